//! What workers do: tasks that return, and tasks that fail in all the ways there are.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use procession::{ExitStatus, Handle};
use procession_sys::prim::OnceLock;
use procession_sys::signal::{self, Mask};
use procession_sys::{Deadline, fd, pidfd, poll};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use super::super::random;
use super::ledger::{Ledger, Sent};
use super::limit::{self, Limited};

/// What becomes of a task when nobody disturbs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Deed {
    /// It returns, after so many microseconds of work.
    Return(u16),
    Panic,
    /// It panics the first few times that it is tried.
    PanicsAtFirst(u8),
    /// It is killed the first few times.
    DiesAtFirst(u8),
    Die(Way),
    /// It never returns.
    Stuck(Stuck),
    /// Its argument, or its value, fails somewhere.
    Broken(Place),
    /// It opens descriptors until there are no more, and closes them, or keeps a few for ever.
    Descriptors {
        keeps: bool,
    },
}

/// How a task takes its worker along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Way {
    Abort,
    Segment,
    Overflow,
    Exit(u8),
    Kill,
    /// It allocates until there is no more.
    Hoard,
    /// It is killed while its argument is read, or its value is written.
    Reading,
    Writing,
    /// .. or when its value was written, and has not been sent.
    Dropping,
}

/// How a task spends its time for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stuck {
    Spin,
    Sleep,
    /// It has blocked `SIGTERM`, and spins.
    Deaf,
}

/// Where a task's argument or value cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Place {
    ArgumentWritten,
    ArgumentRead,
    ValueWritten,
    ValueRead,
    /// The same, by panics.
    ArgumentReadPanics,
    ValueWrittenPanics,
    ValueReadPanics,
}

impl Way {
    /// Whether a worker that died so has this status.
    pub(super) fn shows(self, status: ExitStatus) -> bool {
        let expected = match self {
            Self::Exit(code) => return status == ExitStatus::Exited(code),
            Self::Abort | Self::Overflow | Self::Hoard => signal::ABORT,
            Self::Segment => signal::SEGMENT,
            Self::Kill | Self::Reading | Self::Writing | Self::Dropping => signal::KILL,
        };
        matches!(status, ExitStatus::Signaled { signal, .. } if signal == expected)
    }
}

/// Sends this process a signal until it ends by it.
fn raise(number: i32) -> ! {
    let own = pidfd::open(std::process::id()).expect("a descriptor");
    // More than once: the first SIGSEGV only takes away Rust's handler for overflows of the stack.
    loop {
        drop(pidfd::signal(&own, number));
    }
}

#[expect(unconditional_recursion, reason = "that is what it is for")]
fn overflow(depth: u64) -> u64 {
    let room = std::hint::black_box([depth; 64]);
    std::hint::black_box(overflow(std::hint::black_box(depth + 1)) + room[7])
}

/// Allocates until the process is out of memory, which it is before this stops.
fn hoard() -> ! {
    let mut held = Vec::new();
    for _ in 0..1 << 16 {
        held.push(std::hint::black_box(vec![0u8; 1 << 20]));
    }
    // There was no limit.
    drop(held);
    std::process::abort()
}

pub(super) fn spin(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

impl Stuck {
    fn be(self) -> ! {
        if self == Self::Deaf {
            let terminate = Mask::from_bits(1 << (signal::TERMINATE - 1));
            signal::set_thread_mask(terminate).expect("a mask");
        }
        loop {
            match self {
                Self::Sleep => drop(poll::wait(&mut [], Deadline::after(Duration::from_mins(1)))),
                Self::Spin | Self::Deaf => std::hint::spin_loop(),
            }
        }
    }
}

impl Way {
    fn die(self) {
        match self {
            Self::Abort => std::process::abort(),
            Self::Segment => raise(signal::SEGMENT),
            Self::Overflow => drop(overflow(0)),
            Self::Exit(code) => std::process::exit(code.into()),
            Self::Kill => raise(signal::KILL),
            Self::Hoard => hoard(),
            Self::Reading | Self::Writing | Self::Dropping => {}
        }
    }
}

/// An argument.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Work {
    pub(super) item: usize,
    seed: u64,
    deed: Argument,
    pad: Vec<u8>,
    handles: Vec<Handle<OwnedFd>>,
}

/// A value.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Done {
    pub(super) item: usize,
    check: u64,
    pad: Vec<u8>,
    handles: Vec<Handle<OwnedFd>>,
    /// Last, so that all else was written when it fails.
    deed: Returned,
}

/// A deed, as part of an argument.
#[derive(Debug)]
struct Argument(Deed);

/// A deed, as part of a value.
#[derive(Debug)]
struct Returned(Deed);

impl Serialize for Argument {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 == Deed::Broken(Place::ArgumentWritten) {
            return Err(ser::Error::custom("it is not to be written"));
        }
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Argument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let deed = Deed::deserialize(deserializer)?;
        match deed {
            Deed::Die(Way::Reading) => raise(signal::KILL),
            Deed::Broken(Place::ArgumentRead) => Err(de::Error::custom("it is not to be read")),
            Deed::Broken(Place::ArgumentReadPanics) => panic!("{BY_DESIGN}"),
            deed => Ok(Self(deed)),
        }
    }
}

impl Serialize for Returned {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Deed::Die(Way::Writing) => raise(signal::KILL),
            Deed::Broken(Place::ValueWritten) => Err(ser::Error::custom("it is not to be written")),
            Deed::Broken(Place::ValueWrittenPanics) => panic!("{BY_DESIGN}"),
            deed => deed.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Returned {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let deed = Deed::deserialize(deserializer)?;
        match deed {
            Deed::Broken(Place::ValueRead) => Err(de::Error::custom("it is not to be read")),
            Deed::Broken(Place::ValueReadPanics) => panic!("{BY_DESIGN}"),
            deed => Ok(Self(deed)),
        }
    }
}

impl Drop for Returned {
    fn drop(&mut self) {
        // Only a worker is killed by this; whoever has the value in the end had it read.
        if self.0 == Deed::Die(Way::Dropping) && LEDGER.get().is_some() {
            raise(signal::KILL);
        }
    }
}

/// What all panics say that are part of a round.
pub(super) const BY_DESIGN: &str = "by design";

/// What the value of an item must hold.
fn check_of(seed: u64, item: usize) -> u64 {
    random(seed, item, 7).below(usize::MAX) as u64
}

fn pad_of(item: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from((item + at) % 251).expect("a byte")).collect()
}

impl Work {
    pub(super) fn new(
        item: usize,
        seed: u64,
        deed: Deed,
        len: usize,
        handles: Vec<OwnedFd>,
    ) -> Self {
        let handles = handles.into_iter().map(Handle).collect();
        Self { item, seed, deed: Argument(deed), pad: pad_of(item, len), handles }
    }
}

impl Done {
    /// It is the value of that item.
    pub(super) fn check(&self, item: usize, seed: u64, len: usize, handles: usize) {
        assert_eq!(self.item, item, "the value of another item");
        assert_eq!(self.check, check_of(seed, item), "item {item}: a wrong value");
        assert!(self.pad == pad_of(item, len), "item {item}: its bytes are others");
        assert_eq!(self.handles.len(), handles, "item {item}: its handles");
    }
}

/// What a worker is told at its start.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) ledger: Sent,
    pub(super) seed: u64,
    /// How much more memory and how many more descriptors it may have than at its start.
    pub(super) memory: Option<u64>,
    pub(super) descriptors: Option<u64>,
    /// One in so many is killed or fails at its start.
    pub(super) dying: Option<usize>,
}

static LEDGER: OnceLock<Ledger> = OnceLock::new();

/// What each worker calls before its first task.
#[expect(clippy::exit, reason = "that is what it is for")]
pub(super) fn enter(entry: Entry) {
    let Entry { ledger, seed, memory, descriptors, dying } = entry;
    let ledger = Ledger::open(ledger).expect("the ledger");
    let mut random = random(seed, usize::try_from(ledger.start()).expect("a number"), 8);
    if dying.is_some_and(|dying| random.below(dying) == 0) {
        match random.below(4) {
            0 => raise(signal::KILL),
            1 => std::process::abort(),
            2 => std::process::exit(0),
            _ => panic!("{BY_DESIGN}"),
        }
    }
    drop(LEDGER.set(ledger));
    if let Some(memory) = memory {
        limit::set(Limited::Memory, Some(memory_in_use() + memory)).expect("a limit");
    }
    if let Some(more) = descriptors {
        limit::set(Limited::Descriptors, Some(highest_descriptor() + 1 + more)).expect("a limit");
    }
}

/// How many bytes of addresses this process uses.
fn memory_in_use() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("/proc is mounted");
    let pages = text.split(' ').next().and_then(|pages| pages.parse::<u64>().ok());
    pages.expect("a number") * 4096
}

/// The highest number of a descriptor of this process.
pub(super) fn highest_descriptor() -> u64 {
    let open = fd::open_descriptors().expect("/proc is mounted");
    open.into_iter().max().and_then(|number| u64::try_from(number).ok()).unwrap_or_default()
}

/// What the workers run.
pub(super) fn work(work: Work) -> Done {
    let Work { item, seed, deed: Argument(deed), pad, handles } = work;
    let ledger = LEDGER.get().expect("a worker has entered");
    let attempt = ledger.begin(item);
    match deed {
        Deed::Return(micros) => spin(Duration::from_micros(micros.into())),
        Deed::PanicsAtFirst(times) if attempt <= u32::from(times) => panic!("{BY_DESIGN}"),
        Deed::DiesAtFirst(times) if attempt <= u32::from(times) => raise(signal::KILL),
        Deed::PanicsAtFirst(_) | Deed::DiesAtFirst(_) | Deed::Broken(_) => {}
        Deed::Panic => panic!("{BY_DESIGN}"),
        Deed::Die(way) => way.die(),
        Deed::Stuck(stuck) => stuck.be(),
        Deed::Descriptors { keeps } => use_descriptors(keeps),
    }
    let done = Done { item, check: check_of(seed, item), pad, handles, deed: Returned(deed) };
    ledger.end(item);
    done
}

fn use_descriptors(keeps: bool) {
    static KEPT: OnceLock<Vec<OwnedFd>> = OnceLock::new();
    let mut held = Vec::new();
    // A worker without a limit has room for these.
    while let (true, Ok(fd)) = (held.len() < 500, fd::duplicate(std::io::stdout())) {
        held.push(fd);
    }
    if keeps {
        held.truncate(1);
        drop(KEPT.set(held));
    }
}
