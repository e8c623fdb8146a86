//! Frames in a stream: bytes come in pieces of any size, and each whole frame is delivered as it was.
//!
//! A second, simple reader of frames runs beside the connection, and knows after each piece what there is to receive, and which
//! descriptors come with it. Nothing panics, memory is in proportion to what has come and not to what was announced, and all
//! descriptors are closed in the end.
//!
//! # Input
//!
//! A byte of settings; then acts of the sender, which writes down bytes and lets them go piece by piece, and of the receiver.

use std::io::Read;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use procession::{
    Connection, ErrorKind, Handle, MAX_MESSAGE_BYTES, RecvIntoError, RecvTimeoutError, TryRecvError,
};
use procession_core::{Deadline, Message};
use procession_sys::poll;
use procession_sys::socket::MAX_HANDLES;

use super::input::Input;
use super::memory;
use super::wire::{self, Witness};

/// More would only take time.
const MOST_ACTS: usize = 48;
/// What is taken ahead for a message that has not come: a MiB, and what all the small things take.
const AHEAD_BYTES: usize = (1 << 20) + (64 << 10);
/// So much fits into a socket that nobody reads yet, and more.
const MOST_ECHO: usize = 64 << 10;
/// With more descriptors under way a connection may refuse them.
const MANY_HANDLES: usize = 2 * MAX_HANDLES;

/// What is received as a value.
type Value = (u8, Vec<Handle<OwnedFd>>);

/// Runs one input.
///
/// # Panics
///
/// When a property does not hold.
pub fn run(data: &[u8]) {
    let (model, peak) = memory::peak(|| {
        let mut input = Input::new(data);
        let settings = input.byte();
        let mut case = Case::new(settings & 1 != 0);
        for _ in 0..MOST_ACTS {
            if input.is_empty() {
                break;
            }
            case.act(&mut input);
        }
        case.finish(settings)
    });
    // The bytes are held here twice, in the receiver while they grow, and where they are handed out.
    let allowed = AHEAD_BYTES + 8 * (model.pending.len() + model.written.len());
    assert!(peak <= allowed, "{peak} bytes of memory, {} came", model.written.len());
}

/// What the reader beside it knows.
#[derive(Debug, Default)]
struct Model {
    /// What the sender has not let go.
    pending: Vec<u8>,
    /// What it has.
    written: Vec<u8>,
    /// How much of that was received.
    taken: usize,
    /// Whether nothing more comes.
    has_ended: bool,
    /// Whether nonsense has come, or the end of it was told.
    is_over: bool,
    /// From which bytes on descriptors rode, and how many.
    riders: Vec<(usize, usize)>,
    /// Whether descriptors were sent in the middle of a frame, or too many: then the receiver may refuse what the model would not,
    /// and only what it delivers is compared.
    is_lost: bool,
}

/// What there is to receive.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// A message, and how many descriptors come with it.
    Message(Range<usize>, usize),
    Nothing,
    /// Nothing, and nothing more comes.
    End,
    /// An error of this kind, and nothing after it.
    Error(ErrorKind),
}

impl Model {
    fn next(&self) -> Next {
        if self.is_over { Next::End } else { self.next_at(self.taken) }
    }

    /// What there is from here on, where a frame starts.
    fn next_at(&self, at: usize) -> Next {
        let rest = &self.written[at..];
        let unfinished = match (self.has_ended, rest.len()) {
            (false, _) => Next::Nothing,
            (true, 0) => Next::End,
            (true, _) => Next::Error(ErrorKind::Torn),
        };
        let Some(short) = rest.first_chunk() else { return unfinished };
        let (head, len) = match i32::from_be_bytes(*short) {
            -1 => match rest[4..].first_chunk() {
                Some(long) => (12, u64::from_be_bytes(*long)),
                None => return unfinished,
            },
            ..-1 => return Next::Error(ErrorKind::Decode),
            len => (4, len.unsigned_abs().into()),
        };
        if len > MAX_MESSAGE_BYTES {
            return Next::Error(ErrorKind::TooLarge);
        }
        let start = at + head;
        match usize::try_from(len).ok().and_then(|len| start.checked_add(len)) {
            Some(end) if end <= self.written.len() => {
                let riders = self.riders.iter().filter(|(on, _)| *on == at);
                Next::Message(start..end, riders.map(|(_, count)| count).sum())
            }
            _ => unfinished,
        }
    }

    /// Whether a frame starts at this byte: with the first one come its descriptors.
    fn is_start(&self, on: usize) -> bool {
        let mut at = self.taken;
        while at < on
            && let Next::Message(Range { end, .. }, _) = self.next_at(at)
        {
            at = end;
        }
        at == on
    }

    /// Goes on to the first message from here on that is this one.
    fn skip_to(&mut self, message: &[u8]) {
        while let Next::Message(range, _) = self.next() {
            self.taken = range.end;
            if &self.written[range] == message {
                return;
            }
        }
        panic!("a message of {} bytes came that nobody has sent", message.len());
    }
}

/// What a receiver said.
#[derive(Debug)]
enum Said {
    Message(Vec<u8>),
    /// A message with descriptors, where bytes were asked for.
    Loaded,
    /// A message that is a value, or is none.
    Value(bool),
    Nothing,
    End,
    Error(ErrorKind),
}

struct Case {
    connection: Connection,
    theirs: UnixStream,
    /// Made when it is needed.
    witness: Option<Witness>,
    /// How many descriptors go with the next piece.
    riders: usize,
    /// Whether what is received is sent back.
    echoes: bool,
    model: Model,
}

impl Case {
    fn new(echoes: bool) -> Self {
        let (connection, theirs) = wire::plugged();
        let model = Model::default();
        Self { connection, theirs, witness: None, riders: 0, echoes, model }
    }

    fn act(&mut self, input: &mut Input<'_>) {
        let pending = &mut self.model.pending;
        match input.byte() % 16 {
            0 => {
                let len = input.byte().into();
                pending.extend_from_slice(input.some(len));
            }
            1 => {
                let len = input.byte();
                pending.extend_from_slice(&u32::from(len).to_be_bytes());
                pending.extend_from_slice(input.some(len.into()));
            }
            // Of a pattern: long, although the input is short.
            2 => {
                let len = input.short() % 20_000;
                pending.extend_from_slice(&u32::try_from(len).unwrap().to_be_bytes());
                pending.extend(pattern(input.byte(), len));
            }
            3 => {
                let len = input.short() % 6000;
                pending.extend_from_slice(&[255; 4]);
                pending.extend_from_slice(&(len as u64).to_be_bytes());
                pending.extend(pattern(input.byte(), len));
            }
            4 => {
                pending.extend_from_slice(&[255; 4]);
                pending.extend_from_slice(&input.array::<8>());
            }
            5 => pending.extend_from_slice(&input.array::<4>()),
            6 => self.value_frame(input.byte() % 16, input.byte()),
            7 => self.let_go(input.short()),
            8 => self.let_go(input.byte().into()),
            9 => self.let_go(usize::MAX),
            10 => self.receive(Self::bytes),
            11 => {
                let mut buffer = vec![0; input.short() % 20_000];
                self.receive(|case| case.bytes_into(&mut buffer));
            }
            12 => self.receive(Self::value),
            13 => self.poll(),
            14 => match input.byte() {
                0 => drop(self.connection.as_fd()),
                riders => self.riders = (riders % 16).into(),
            },
            _ => self.travel(),
        }
    }

    /// Writes down a value, with `count` descriptors if nothing is `wrong`.
    fn value_frame(&mut self, count: u8, wrong: u8) {
        self.let_go(usize::MAX);
        let copies = self.witness.get_or_insert_default().copies(count.into());
        let value: Value = (count, copies.into_iter().map(Handle).collect());
        let message = Message::encode(&value).unwrap();
        let mut content = [&[count], message.bytes()].concat();
        // The lowest byte, of the count.
        content[0] ^= wrong & 1;
        self.model.pending.extend(u32::try_from(content.len()).unwrap().to_be_bytes());
        self.model.pending.extend(content);
        self.riders = usize::from(count) + usize::from(wrong & 2);
    }

    /// Lets go of the next bytes.
    fn let_go(&mut self, most: usize) {
        let most = most.min(self.model.pending.len());
        if most == 0 {
            return;
        }
        let riders = std::mem::take(&mut self.riders);
        let mut gone = 0;
        // The system has a limit as well.
        if riders > 0 && self.all_riders() <= MANY_HANDLES {
            let copies = self.witness.get_or_insert_default().copies(riders);
            let borrowed: Vec<_> = copies.iter().map(AsFd::as_fd).collect();
            // On the head of a frame, if one starts here.
            gone = wire::send(&self.theirs, &self.model.pending[..most.min(4)], &borrowed);
            let start = self.model.written.len();
            if gone > 0 {
                self.model.riders.push((start, riders));
                self.model.is_lost |= !self.model.is_start(start);
            }
        }
        gone += wire::send(&self.theirs, &self.model.pending[gone..most], &[]);
        self.model.written.extend(self.model.pending.drain(..gone));
        self.model.is_lost |= self.all_riders() > MANY_HANDLES;
    }

    fn all_riders(&self) -> usize {
        self.model.riders.iter().map(|(_, count)| count).sum()
    }

    /// Receives by `how`, and compares with what there is.
    fn receive(&mut self, how: impl FnOnce(&Self) -> Said) {
        let next = self.model.next();
        let said = how(self);
        if self.model.is_lost {
            match said {
                Said::Message(message) => self.model.skip_to(&message),
                Said::End | Said::Error(_) if self.model.has_ended => self.model.is_over = true,
                _ => {}
            }
            return;
        }
        match (next, said) {
            (Next::Message(range, 0), Said::Message(message)) => {
                assert!(self.model.written[range.clone()] == message, "another message came");
                self.model.taken = range.end;
                self.send_back(&message);
            }
            (Next::Message(range, 1..), Said::Loaded) => self.model.taken = range.end,
            (Next::Message(range, riders), Said::Value(is_value)) => {
                let wanted = self.is_value(&self.model.written[range.clone()], riders);
                assert_eq!(is_value, wanted, "with {riders} descriptors");
                self.model.taken = range.end;
            }
            (Next::Nothing, Said::Nothing) | (Next::End, Said::End) => {}
            (Next::Error(wanted), Said::Error(kind)) => {
                assert_eq!(wanted, kind);
                self.model.is_over = true;
            }
            (next, Said::Message(message)) => {
                panic!("there is {next:?}, but a message of {} bytes came", message.len())
            }
            (next, said) => panic!("there is {next:?}, but received was {said:?}"),
        }
    }

    /// Whether a message with so many descriptors is a value: how many it has stands before it.
    fn is_value(&self, message: &[u8], riders: usize) -> bool {
        let (count, value) = match message {
            [255, a, b, c, d, value @ ..] => (u32::from_le_bytes([*a, *b, *c, *d]), value),
            [255, ..] | [] => return false,
            [few, value @ ..] => (u32::from(*few), value),
        };
        let copies = self.witness.as_ref().map(|witness| witness.copies(riders));
        let decoded = || Message::decode_parts::<Value>(value, copies.unwrap_or_default());
        usize::try_from(count) == Ok(riders) && decoded().is_ok()
    }

    /// What is said of a failure to receive bytes.
    fn failed(&self, kind: ErrorKind) -> Said {
        match self.model.next() {
            Next::Message(_, 1..) if kind == ErrorKind::Decode => Said::Loaded,
            _ => Said::Error(kind),
        }
    }

    fn bytes(&self) -> Said {
        match self.connection.try_recv_bytes() {
            Ok(message) => Said::Message(message),
            Err(TryRecvError::Empty) => Said::Nothing,
            Err(TryRecvError::Closed) => Said::End,
            Err(TryRecvError::Failed(error)) => self.failed(error.kind()),
        }
    }

    /// Waits: only when there is something, or the end.
    fn bytes_at_last(&self) -> Said {
        match self.connection.recv_bytes() {
            Ok(message) => Said::Message(message),
            Err(error) if error.kind() == ErrorKind::Closed => Said::End,
            Err(error) => self.failed(error.kind()),
        }
    }

    fn bytes_into(&self, buffer: &mut [u8]) -> Said {
        match self.connection.recv_bytes_into_timeout(buffer, Duration::ZERO) {
            Ok(len) => Said::Message(buffer[..len].to_vec()),
            Err(RecvIntoError::TooShort(message)) => {
                assert!(message.len() > buffer.len());
                Said::Message(message)
            }
            Err(RecvIntoError::Timeout) => Said::Nothing,
            Err(RecvIntoError::Closed) => Said::End,
            Err(RecvIntoError::Failed(error)) => self.failed(error.kind()),
        }
    }

    /// The next message as a value. What else could be one is the business of another target.
    fn value(&self) -> Said {
        let has_message = matches!(self.model.next(), Next::Message(..));
        match self.connection.recv_timeout::<Value>(Duration::ZERO) {
            Ok(_) => Said::Value(true),
            Err(RecvTimeoutError::Timeout) => Said::Nothing,
            Err(RecvTimeoutError::Closed) => Said::End,
            Err(RecvTimeoutError::Failed(error)) => match error.kind() {
                ErrorKind::Decode if has_message => Said::Value(false),
                kind => Said::Error(kind),
            },
        }
    }

    /// The descriptor to wait for is readable when there is something, and so says the connection.
    fn poll(&mut self) {
        let is_readable = |connection: &Connection| {
            poll::wait_readable(connection, Deadline::after(Duration::ZERO)).unwrap()
        };
        let before = is_readable(&self.connection);
        let said = self.connection.poll(Duration::ZERO);
        let after = is_readable(&self.connection);
        if self.model.is_lost {
            return;
        }
        let is_there = self.model.next() != Next::Nothing;
        match said {
            Ok(said) => {
                assert_eq!(said, is_there, "{:?}", self.model.next());
                assert!(before || !is_there, "nothing told that there is something");
                assert!(after || !is_there, "nothing tells any more that there is something");
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// The connection goes elsewhere, with all that is half here.
    fn travel(&mut self) {
        let message = Message::encode(&self.connection).unwrap();
        self.connection = message.decode().unwrap();
    }

    /// What goes back is the same frame, with a short head.
    fn send_back(&self, message: &[u8]) {
        if !self.echoes || message.len() > MOST_ECHO {
            return;
        }
        self.connection.send_bytes(message).unwrap();
        let mut came = vec![0; 4 + message.len()];
        (&self.theirs).read_exact(&mut came).unwrap();
        let (head, content) = came.split_at(4);
        assert_eq!(head, u32::try_from(message.len()).unwrap().to_be_bytes());
        assert!(content == message, "another message went back");
    }

    /// The sender goes, and what is left is received.
    fn finish(mut self, settings: u8) -> Model {
        self.let_go(usize::MAX);
        wire::end(&self.theirs);
        self.model.has_ended = true;
        let most = self.model.written.len() + 2;
        for _ in 0..=most {
            if self.model.next() == Next::End {
                break;
            }
            match settings & 2 {
                0 => self.receive(Self::bytes),
                _ => self.receive(Self::bytes_at_last),
            }
        }
        if !self.model.is_lost {
            assert_eq!(self.model.next(), Next::End);
            self.receive(Self::bytes_at_last);
        }
        drop((self.connection, self.theirs));
        if let Some(witness) = self.witness {
            witness.check();
        }
        self.model
    }
}

/// Bytes that are all different from their neighbours.
fn pattern(seed: u8, len: usize) -> impl Iterator<Item = u8> {
    (0..len).map(move |at| seed.wrapping_add(at.to_le_bytes()[0]).wrapping_mul(31))
}
