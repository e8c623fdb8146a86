//! The handshake: whoever is at the other end, it ends, and well only with somebody who knows the key and was not tampered with.
//!
//! Two honest sides talk, each in a thread, and all that they say goes through our hands. A side passes if and only if both have
//! the same key and every frame up to the last that it takes has come through as it was. Or there is nobody but us.
//!
//! # Input
//!
//! A byte for the two roles, a byte of settings; then for each frame of the protocol what becomes of it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use procession::{
    Address, AuthKey, Client, ErrorKind, Listener, Result, answer_challenge, deliver_challenge,
};

use super::input::Input;
use super::wire;

/// Nobody waits that long for what is there at once.
const LONG: Duration = Duration::from_secs(30);

const RIGHT: &[u8] = b"the key of the house";
const WRONG: &[u8] = b"the key of the horse";

/// The longest frame of a handshake is 64 bytes, and nothing else is said.
const MOST: usize = 64;

const ZEROS: [u8; MOST] = [0; MOST];

/// What a side does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Deliver,
    Answer,
    Listen,
    Connect,
}

impl Role {
    /// Which frames it says, of the first so many.
    fn says(self, turn: usize) -> bool {
        let is_first = matches!(self, Self::Deliver | Self::Listen);
        is_first == turn.is_multiple_of(2)
    }

    /// How many frames are said in all.
    fn turns(self) -> usize {
        match self {
            Self::Deliver | Self::Answer => 3,
            Self::Listen | Self::Connect => 6,
        }
    }

    fn opposite(self) -> Self {
        match self {
            Self::Deliver => Self::Answer,
            Self::Answer => Self::Deliver,
            Self::Listen => Self::Connect,
            Self::Connect => Self::Listen,
        }
    }

    /// How many frames there are up to the last that it takes.
    fn needs(self) -> usize {
        let last = (0..self.turns()).rev().find(|turn| !self.says(*turn));
        last.map_or(0, |last| last + 1)
    }
}

/// What a side is to do.
type Job = Box<dyn FnOnce() -> Result<()> + Send>;

/// A thread that is one side, over and over.
struct Side {
    jobs: mpsc::Sender<Job>,
    outcomes: mpsc::Receiver<Result<()>>,
    name: String,
    /// One for each key.
    listeners: RefCell<BTreeMap<Vec<u8>, Arc<Listener>>>,
    /// Where a client connects to us.
    door: UnixListener,
}

impl Side {
    fn start(name: &str) -> Self {
        let (jobs, to_do) = mpsc::channel::<Job>();
        let (done, outcomes) = mpsc::channel();
        std::thread::spawn(move || {
            // Until nobody asks any more.
            to_do.into_iter().try_for_each(|job| done.send(job())).ok();
        });
        let name = wire::own_name(name);
        let door = wire::listen(&name);
        Self { jobs, outcomes, name, listeners: RefCell::default(), door }
    }

    /// Begins with a role; what it says comes out of this socket.
    fn begin(&self, role: Role, key: &[u8]) -> UnixStream {
        let authkey = AuthKey::from(key);
        match role {
            Role::Deliver => {
                let (connection, theirs) = wire::plugged();
                self.start_job(move || deliver_challenge(&connection, &authkey));
                theirs
            }
            Role::Answer => {
                let (connection, theirs) = wire::plugged();
                self.start_job(move || answer_challenge(&connection, &authkey));
                theirs
            }
            Role::Listen => {
                let name = format!("{}-{}", self.name, String::from_utf8_lossy(key));
                let address = || Address::Abstract(name.clone().into_bytes());
                let listen = || Listener::builder().address(address()).authkey(&authkey).bind();
                let mut listeners = self.listeners.borrow_mut();
                let listener =
                    listeners.entry(key.to_vec()).or_insert_with(|| Arc::new(listen().unwrap()));
                let (theirs, listener) = (wire::connect(&name), Arc::clone(listener));
                self.start_job(move || listener.accept_timeout(LONG).map(drop));
                theirs
            }
            Role::Connect => {
                let address = Address::Abstract(self.name.clone().into_bytes());
                self.start_job(move || {
                    Client::builder(address).authkey(&authkey).timeout(LONG).connect().map(drop)
                });
                self.door.accept().unwrap().0
            }
        }
    }

    fn start_job(&self, job: impl FnOnce() -> Result<()> + Send + 'static) {
        self.jobs.send(Box::new(job)).unwrap();
    }

    /// How it ended.
    fn outcome(&self) -> Result<()> {
        self.outcomes.recv().unwrap()
    }
}

/// What has become of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passage {
    Untouched,
    Touched,
}

/// All that went through our hands.
#[derive(Default)]
struct Talk {
    /// The frames that were said, with their heads.
    said: Vec<Vec<u8>>,
    /// What became of them.
    passages: Vec<Passage>,
}

/// Runs one input.
///
/// # Panics
///
/// When a property does not hold.
pub fn run(data: &[u8]) {
    thread_local! {
        static SIDES: [Side; 2] = [Side::start("left"), Side::start("right")];
    }
    SIDES.with(|[left, right]| {
        let mut input = Input::new(data);
        let role = match input.byte() % 4 {
            0 => Role::Deliver,
            1 => Role::Answer,
            2 => Role::Listen,
            _ => Role::Connect,
        };
        match input.byte() % 4 {
            0 => alone(left, role, input),
            1 => between([left, right], role, [RIGHT, WRONG], input),
            _ => between([left, right], role, [RIGHT; 2], input),
        }
    });
}

/// A side has nobody but us at the other end, who do not know the key.
fn alone(side: &Side, role: Role, mut input: Input<'_>) {
    let mut socket = side.begin(role, RIGHT);
    let mut said = Vec::new();
    for turn in 0..role.turns() {
        if role.says(turn) {
            let Some(frame) = frame_of(&mut socket) else { break };
            let is_refusal = ZEROS.starts_with(&frame[4..]);
            // The listener is the one that strangers can make speak.
            assert!(role != Role::Listen || said.is_empty() || is_refusal, "told {frame:?}");
            said.push(frame);
        } else if !say(&socket, &said, &mut input) {
            break;
        }
    }
    wire::end(&socket);
    assert!(read_to_end(&mut socket) <= 2 * (4 + MOST), "it goes on and on");
    fails(side, "nobody but us was there");
}

/// Two sides talk through us.
fn between(sides: [&Side; 2], role: Role, keys: [&[u8]; 2], mut input: Input<'_>) {
    let roles = [role, role.opposite()];
    let mut sockets = [0, 1].map(|side| sides[side].begin(roles[side], keys[side]));
    let mut talk = Talk::default();
    for turn in 0..role.turns() {
        let from = usize::from(!role.says(turn));
        let Some(frame) = frame_of(&mut sockets[from]) else { break };
        let is_touched = talk.passages.contains(&Passage::Touched) || keys[0] != keys[1];
        if turn == 2 && is_touched {
            assert_eq!(frame[4..], ZEROS[..32], "who is not known is refused, and told nothing");
        }
        let passage = talk.pass(frame, &sockets[1 - from], &mut input);
        talk.passages.push(passage);
    }
    for socket in &mut sockets {
        wire::end(socket);
        assert!(read_to_end(socket) <= 2 * (4 + MOST), "it goes on and on");
    }
    drop(sockets);
    for (side, role) in sides.into_iter().zip(roles) {
        let needed = talk.passages.get(..role.needs());
        let is_sound = needed.is_some_and(|all| !all.contains(&Passage::Touched));
        match is_sound && keys[0] == keys[1] {
            true => side.outcome().unwrap(),
            false => fails(side, "what was said was touched"),
        }
    }
}

impl Talk {
    /// Lets a frame pass to who is to take it, in some way.
    fn pass(&mut self, frame: Vec<u8>, to: &UnixStream, input: &mut Input<'_>) -> Passage {
        let mut passed = frame.clone();
        let mut ends = false;
        match input.byte() % 10 {
            0..=2 => {}
            3 => {
                let at = usize::from(input.byte()) % frame.len();
                wire::send(to, &passed[..at], &[]);
                wire::send(to, &passed[at..], &[]);
                return self.seen(frame, Passage::Untouched);
            }
            4 => {
                for byte in &passed {
                    wire::send(to, &[*byte], &[]);
                }
                return self.seen(frame, Passage::Untouched);
            }
            5 => {
                let at = 4 + usize::from(input.byte()) % (frame.len() - 4);
                passed[at] ^= input.byte();
            }
            6 => {
                let len = usize::from(input.byte()) % 128;
                passed = framed(input.some(len));
            }
            // What was said before, by anybody.
            7 => {
                passed = framed(part_of(&self.said, input));
            }
            8 => {
                let len = usize::from(input.byte()) % 128;
                passed.resize(4 + len, input.byte());
                passed = framed(&passed[4..]);
            }
            _ => {
                passed = input.some(40).to_vec();
                ends = true;
            }
        }
        wire::send(to, &passed, &[]);
        if ends {
            wire::end(to);
        }
        let passage = if passed == frame { Passage::Untouched } else { Passage::Touched };
        self.seen(frame, passage)
    }

    fn seen(&mut self, frame: Vec<u8>, passage: Passage) -> Passage {
        self.said.push(frame);
        passage
    }
}

/// Says something without knowing the key; tells whether more is to come.
fn say(socket: &UnixStream, said: &[Vec<u8>], input: &mut Input<'_>) -> bool {
    match input.byte() % 5 {
        0 => {
            let challenge = [b"procession auth1", &input.array::<32>()[..]].concat();
            wire::send(socket, &framed(&challenge), &[]);
        }
        1 => {
            let len = usize::from(input.byte()) % 128;
            wire::send(socket, &framed(input.some(len)), &[]);
        }
        2 => {
            wire::send(socket, &framed(&input.array::<64>()), &[]);
        }
        // What the side has said itself.
        3 => {
            let part = part_of(said, input);
            wire::send(socket, &framed(part), &[]);
        }
        _ => {
            let len = input.byte().into();
            wire::send(socket, input.some(len), &[]);
            return false;
        }
    }
    true
}

/// What was said in one of these frames, or the proof in it alone, which is as long as a verdict.
fn part_of<'a>(said: &'a [Vec<u8>], input: &mut Input<'_>) -> &'a [u8] {
    let content = said.get(usize::from(input.byte() % 8)).map_or(&[][..], |frame| &frame[4..]);
    match input.byte() % 2 {
        0 => content,
        _ => &content[content.len().saturating_sub(32)..],
    }
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
