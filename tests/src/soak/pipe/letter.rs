//! What goes through the pipe. Both sides know what the n-th letter of a round must be.

use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

use procession::Handle;
use procession_sys::fd;
use procession_sys::prim::{Mutex, lock};
use serde::{Deserialize, Serialize, Serializer};

use super::super::random;
use super::plan::{Board, Plan};

/// The sizes, in bytes. The last two stream.
pub(super) const SIZES: [usize; 6] = [0, 8, 100, 5_000, 70_000, 1_000_000];

/// What is longer becomes visible in parts, so that one may see a part of it.
pub(super) const WHOLE: usize = 64 << 10;

/// The bytes of all letters are a part of this many random words again and again; the number has nothing in common with the size of
/// a ring, so that a part that is missing, doubled or out of place is seen.
const WORDS: usize = 4099;

/// A message.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Letter {
    number: u64,
    bytes: Vec<u8>,
    handles: Vec<Handle<OwnedFd>>,
    cue: Cue,
}

/// At the end of a letter: where an act begins, when the letter is encoded and has not gone.
#[derive(Debug, Serialize, Deserialize)]
struct Cue(#[serde(serialize_with = "wait_for_it")] ());

/// Waits for the signal, in an actor that is [ready](wait_before_the_next).
fn wait_for_it<S: Serializer>(_unit: &(), serializer: S) -> Result<S::Ok, S::Error> {
    if let Some(board) = lock(&STAGE).take() {
        board.wait_for_go();
    }
    serializer.serialize_unit()
}

/// The stage for which this process shall wait.
static STAGE: Mutex<Option<Board>> = Mutex::new(None);

/// Has this process wait before it sends the next letter.
pub(super) fn wait_before_the_next(board: Board) {
    *lock(&STAGE) = Some(board);
}

/// All letters of a round.
#[derive(Debug)]
pub(super) struct Book {
    seed: u64,
    round: usize,
    sizes: usize,
    noise: Vec<u8>,
    /// What letters have copies of, if they have any.
    writer: Option<OwnedFd>,
    /// Where that is not drawn: which letters have how many bytes and handles; the others are short.
    fixed: Option<(Range<u64>, usize, usize)>,
}

impl Book {
    pub(super) fn new(plan: &Plan, writer: Option<OwnedFd>) -> Self {
        let mut random = plan.random(11);
        let limit = usize::MAX >> 33;
        let words = std::iter::repeat_with(|| random.below(limit).to_le_bytes()).take(WORDS);
        let noise = grown(words.flatten().collect(), SIZES[plan.sizes - 1] + WORDS * 8);
        Self { seed: plan.seed, round: plan.round, sizes: plan.sizes, noise, writer, fixed: None }
    }

    /// Those letters have that size, and all others are short.
    pub(super) fn of(
        which: Range<u64>,
        len: usize,
        handles: usize,
        writer: Option<OwnedFd>,
    ) -> Self {
        // The largest prime number of values that a byte can have.
        let noise = grown((0..251).collect(), len + WORDS * 8);
        Self { seed: 0, round: 0, sizes: 0, noise, writer, fixed: Some((which, len, handles)) }
    }

    /// How many bytes that letter has.
    pub(super) fn len(&self, number: u64) -> usize {
        if let Some((which, len, _)) = &self.fixed {
            return if which.contains(&number) { *len } else { SIZES[1] };
        }
        SIZES[random(self.seed, self.round, 1000 + number).below(self.sizes)]
    }

    /// Whether a part of that letter may be seen.
    pub(super) fn streams(&self, number: u64) -> bool {
        self.len(number) > WHOLE
    }

    fn bytes(&self, number: u64) -> &[u8] {
        let start = usize::try_from(number).expect("few letters") * 8191 % (WORDS * 8);
        &self.noise[start..start + self.len(number)]
    }

    fn handles(&self, number: u64) -> usize {
        if let Some((which, _, handles)) = &self.fixed {
            return if which.contains(&number) { *handles } else { 0 };
        }
        match (&self.writer, random(self.seed, self.round, 1_000_000 + number).below(32)) {
            (None, _) => 0,
            // More than a packet carries.
            (_, 0) => 300,
            (_, some) => [0, 1, 3][some % 3],
        }
    }

    pub(super) fn letter(&self, number: u64) -> Letter {
        let copy = || fd::duplicate(self.writer.as_ref().expect("a writer")).map(Handle);
        let handles = (0..self.handles(number)).map(|_| copy().expect("a descriptor")).collect();
        Letter { number, bytes: self.bytes(number).to_vec(), handles, cue: Cue(()) }
    }

    /// The letter must be that one.
    #[track_caller]
    pub(super) fn check(&self, letter: &Letter, number: u64) {
        let Letter { number: came, bytes, handles, cue: _ } = letter;
        assert_eq!(*came, number, "letters are lost or come twice");
        let expected = self.bytes(number);
        assert_eq!(bytes.len(), expected.len(), "letter {number} has another length");
        let differs = bytes.iter().zip(expected).position(|(one, other)| one != other);
        assert!(bytes == expected, "letter {number} differs at {differs:?} of {}", bytes.len());
        assert_eq!(handles.len(), self.handles(number), "letter {number} has other handles");
        if let Some(writer) = &self.writer {
            let names = handles.iter().map(|handle| name(&**handle));
            assert!(names.take(3).all(|other| other == name(writer)), "handles of something else");
        }
    }
}

/// The same again and again, at least so many bytes.
fn grown(mut bytes: Vec<u8>, len: usize) -> Vec<u8> {
    while bytes.len() < len {
        bytes.extend_from_within(..);
    }
    bytes
}

/// What the system calls what is open there.
fn name(fd: impl AsFd) -> PathBuf {
    let link = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    std::fs::read_link(link).expect("/proc is mounted")
}
