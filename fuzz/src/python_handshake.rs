//! CPython's handshake: whoever is at the other end, it ends, and well only with somebody who knows the key and was not tampered with.
//!
//! As `handshake`: our listener and our client talk, each in a thread, and all that they say goes through our hands; or there is nobody but
//! us.
//!
//! # Input
//!
//! A byte of settings, and for each frame of the protocol what becomes of it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use procession::python::{Client, Digests, Listener};
use procession::{Address, AuthKey, ErrorKind, Result};

use super::input::Input;
use super::wire;

/// Nobody waits that long for what is there at once.
const LONG: Duration = Duration::from_secs(30);

const RIGHT: &[u8] = b"the key of the house";
const WRONG: &[u8] = b"the key of the horse";

/// Frames are said by turns, the listener first.
const TURNS: usize = 6;
/// The longest that is said: `#CHALLENGE#{sha256}` and 40 bytes.
const MOST: usize = 59;

/// What a side is to do.
type Job = Box<dyn FnOnce() -> Result<()> + Send>;

/// A thread that is one side, over and over.
struct Side {
    jobs: mpsc::Sender<Job>,
    outcomes: mpsc::Receiver<Result<()>>,
}

impl Side {
    fn start() -> Self {
        let (jobs, to_do) = mpsc::channel::<Job>();
        let (done, outcomes) = mpsc::channel();
        std::thread::spawn(move || {
            // Until nobody asks any more.
            to_do.into_iter().try_for_each(|job| done.send(job())).ok();
        });
        Self { jobs, outcomes }
    }

    fn begin(&self, job: impl FnOnce() -> Result<()> + Send + 'static) {
        self.jobs.send(Box::new(job)).unwrap();
    }

    fn outcome(&self) -> Result<()> {
        self.outcomes.recv().unwrap()
    }
}

/// By key, and whether only modern digests are allowed.
type Listeners = BTreeMap<(Vec<u8>, bool), Arc<Listener>>;

struct Stage {
    sides: [Side; 2],
    name: String,
    /// One for each key and choice of digests.
    listeners: RefCell<Listeners>,
    /// Where a client connects to us.
    door: UnixListener,
}

impl Stage {
    fn new() -> Self {
        let name = wire::own_name("python");
        let door = wire::listen(&name);
        let sides = [Side::start(), Side::start()];
        Self { sides, name, listeners: RefCell::default(), door }
    }

    /// The listener begins; what it says comes out of this socket.
    fn listen(&self, key: &[u8], is_modern: bool) -> UnixStream {
        let name = format!("{}-{}-{is_modern}", self.name, String::from_utf8_lossy(key));
        let address = || Address::Abstract(name.clone().into_bytes());
        let builder = || Listener::builder().address(address()).authkey(&AuthKey::from(key));
        let listen = || Arc::new(builder().digests(digests(is_modern)).bind().unwrap());
        let mut listeners = self.listeners.borrow_mut();
        let listener = listeners.entry((key.to_vec(), is_modern)).or_insert_with(listen);
        let (theirs, listener) = (wire::connect(&name), Arc::clone(listener));
        self.sides[0].begin(move || listener.accept_timeout(LONG).map(drop));
        theirs
    }

    /// The client begins.
    fn connect(&self, key: &[u8], is_modern: bool) -> UnixStream {
        let address = Address::Abstract(self.name.clone().into_bytes());
        let key = AuthKey::from(key);
        self.sides[1].begin(move || {
            let builder = Client::builder(address).authkey(&key).digests(digests(is_modern));
            builder.timeout(LONG).connect().map(drop)
        });
        self.door.accept().unwrap().0
    }
}

fn digests(is_modern: bool) -> Digests {
    if is_modern { Digests::Modern } else { Digests::All }
}

/// Runs one input.
///
/// # Panics
///
/// When a property does not hold.
pub fn run(data: &[u8]) {
    thread_local! {
        static STAGE: Stage = Stage::new();
    }
    STAGE.with(|stage| {
        let mut input = Input::new(data);
        let settings = input.byte();
        let is_modern = settings & 1 != 0;
        match settings >> 1 & 3 {
            0 => alone(stage, 0, is_modern, input),
            1 => alone(stage, 1, is_modern, input),
            2 => between(stage, WRONG, is_modern, input),
            _ => between(stage, RIGHT, is_modern, input),
        }
    });
}

/// A side has nobody but us at the other end, who do not know the key.
fn alone(stage: &Stage, side: usize, is_modern: bool, mut input: Input<'_>) {
    let mut socket = match side {
        0 => stage.listen(RIGHT, is_modern),
        _ => stage.connect(RIGHT, is_modern),
    };
    let mut said = Vec::new();
    for turn in 0..TURNS {
        if turn % 2 == side {
            let Some(frame) = frame_of(&mut socket) else { break };
            let is_refusal = frame[4..] == *b"#FAILURE#";
            // The listener is the one that strangers can make speak.
            assert!(side != 0 || said.is_empty() || is_refusal, "told {frame:?}");
            said.push(frame);
        } else if !say(&socket, &said, &mut input) {
            break;
        }
    }
    wire::end(&socket);
    assert!(read_to_end(&mut socket) <= 2 * (4 + MOST), "it goes on and on");
    fails(&stage.sides[side], "nobody but us was there");
}

/// Two sides talk through us.
fn between(stage: &Stage, key: &[u8], is_modern: bool, mut input: Input<'_>) {
    let mut sockets = [stage.listen(RIGHT, is_modern), stage.connect(key, is_modern)];
    let (mut said, mut untouched) = (Vec::new(), Vec::new());
    for turn in 0..TURNS {
        let from = turn % 2;
        let Some(frame) = frame_of(&mut sockets[from]) else { break };
        if turn == 2 && (untouched.contains(&false) || key != RIGHT) {
            assert_eq!(frame[4..], *b"#FAILURE#", "who is not known is refused, and told nothing");
        }
        untouched.push(pass(&frame, &said, &sockets[1 - from], &mut input));
        said.push(frame);
    }
    for socket in &mut sockets {
        wire::end(socket);
        assert!(read_to_end(socket) <= 2 * (4 + MOST), "it goes on and on");
    }
    drop(sockets);
    // For each side: the last frame that it takes, and the two that convince it. The verdicts are words that anybody can say.
    for (side, needed, proof) in [(0, TURNS, 0..2), (1, TURNS - 1, 3..5)] {
        let is = |turns: std::ops::Range<usize>| {
            untouched.get(turns).is_some_and(|turns| !turns.contains(&false)) && key == RIGHT
        };
        match stage.sides[side].outcome() {
            Ok(()) => assert!(is(proof), "what convinces was touched"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
                assert!(!is(0..needed), "nothing was touched: {error}");
            }
        }
    }
}

/// Lets a frame pass in some way; tells whether it is as it was.
fn pass(frame: &[u8], said: &[Vec<u8>], to: &UnixStream, input: &mut Input<'_>) -> bool {
    let mut passed = frame.to_vec();
    let mut ends = false;
    match input.byte() % 9 {
        0..=2 => {}
        3 => {
            for byte in &passed {
                wire::send(to, &[*byte], &[]);
            }
            return true;
        }
        4 => {
            let at = 4 + usize::from(input.byte()) % (frame.len() - 4);
            passed[at] ^= input.byte();
        }
        5 => {
            let len = usize::from(input.byte());
            passed = framed(input.some(len));
        }
        // What was said before, by anybody.
        6 => {
            let before = said.get(usize::from(input.byte() % 8));
            passed = before.cloned().unwrap_or_default();
        }
        7 => {
            let len = usize::from(input.byte()) % 128;
            passed.resize(4 + len, input.byte());
            passed = framed(&passed[4..]);
        }
        _ => {
            passed = input.some(40).to_vec();
            // The same frame with a long head is the same frame.
            passed.retain(|byte| *byte != 255);
            ends = true;
        }
    }
    wire::send(to, &passed, &[]);
    if ends || passed.is_empty() {
        wire::end(to);
    }
    passed == frame
}

/// Says something without knowing the key; tells whether more is to come.
fn say(socket: &UnixStream, said: &[Vec<u8>], input: &mut Input<'_>) -> bool {
    let text = match input.byte() % 7 {
        0 => [b"#CHALLENGE#{sha256}", &input.array::<40>()[..]].concat(),
        1 => [b"#CHALLENGE#", &input.array::<20>()[..]].concat(),
        2 => b"#WELCOME#".to_vec(),
        3 => [b"{sha256}", &input.array::<32>()[..]].concat(),
        4 => input.array::<16>().to_vec(),
        // What the side has said itself.
        5 => said.get(usize::from(input.byte() % 4)).map_or(vec![], |frame| frame[4..].to_vec()),
        _ => {
            let len = input.byte().into();
            wire::send(socket, input.some(len), &[]);
            return false;
        }
    };
    wire::send(socket, &framed(&text), &[]);
    true
}

/// The next frame that a side says, with its head; nothing when it has ended.
fn frame_of(socket: &mut UnixStream) -> Option<Vec<u8>> {
    let mut frame = vec![0; 4];
    socket.read_exact(&mut frame).ok()?;
    let len = u32::from_be_bytes(*frame.first_chunk()?) as usize;
    assert!((1..=MOST).contains(&len), "a frame of {len} bytes in a handshake");
    frame.resize(4 + len, 0);
    socket.read_exact(&mut frame[4..]).unwrap();
    Some(frame)
}

fn framed(content: &[u8]) -> Vec<u8> {
    let len = u32::try_from(content.len()).unwrap();
    [&len.to_be_bytes(), content].concat()
}

/// What else a side says until it has ended.
fn read_to_end(socket: &mut UnixStream) -> usize {
    let mut rest = Vec::new();
    // Who goes without having read everything resets it.
    socket.read_to_end(&mut rest).ok();
    rest.len()
}

#[track_caller]
fn fails(side: &Side, why: &str) {
    match side.outcome() {
        Ok(()) => panic!("a handshake went well, although {why}"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Authentication, "{error}"),
    }
}
