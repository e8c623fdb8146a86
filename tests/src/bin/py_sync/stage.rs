//! What the rows have in common: how processes say where they are, and memory that they count in.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use procession::prelude::*;
use procession::{Death, StartMethod, start_method};
use procession_sys::fork::thread_id;
use procession_sys::memory::SharedWords;
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::{Relaxed, SeqCst};
use procession_sys::signal;
use procession_tests::{SOON, Stranger, wait_until};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A row: its name, and what it does.
pub(crate) type Row = (&'static str, fn());

/// A time that passes in vain: that of CPython's tests.
pub(crate) const SHORT: Duration = Duration::from_millis(100);

/// A thread of the family, which others watch fall asleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) pid: u32,
    thread: u32,
}

impl Place {
    /// The calling thread.
    pub(crate) fn here() -> Self {
        Self { pid: std::process::id(), thread: thread_id() }
    }

    fn state(self) -> Option<char> {
        let Self { pid, thread } = self;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/task/{thread}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }

    /// Waits until it sleeps: it has said where it is just before it began to wait.
    #[track_caller]
    pub(crate) fn falls_asleep(self) {
        wait_until("it sleeps", || self.state() == Some('S'));
    }

    /// Stops the process, and waits until it has.
    #[track_caller]
    pub(crate) fn stop(self) {
        assert!(Stranger::new(self.pid).signal(signal::STOP));
        wait_until("it is stopped", || self.state() == Some('T'));
    }

    /// Lets the stopped process go on.
    #[track_caller]
    pub(crate) fn go_on(self) {
        assert!(Stranger::new(self.pid).signal(signal::CONTINUE));
    }

    /// Kills it without waiting for its end. Whoever is to learn of that does so by itself.
    #[track_caller]
    pub(crate) fn kill(self) {
        assert!(Stranger::new(self.pid).signal(signal::KILL));
    }
}

/// Says where the calling thread is.
pub(crate) fn say_where(tx: &Sender<Place>) {
    tx.send(Place::here()).unwrap();
}

/// The next message.
#[track_caller]
pub(crate) fn next<T: Serialize + for<'de> Deserialize<'de> + 'static>(rx: &Receiver<T>) -> T {
    rx.recv_timeout(SOON).unwrap()
}

/// For those that are killed or killed with their parent.
pub(crate) fn park() -> ! {
    loop {
        std::thread::park();
    }
}

/// What a child returned.
#[track_caller]
pub(crate) fn value<R: Serialize + for<'de> Deserialize<'de> + 'static>(child: &Process<R>) -> R {
    let joined = child.join_timeout(SOON).expect("it ends");
    joined.unwrap()
}

/// How a child died.
#[track_caller]
pub(crate) fn death<R: Serialize + for<'de> Deserialize<'de> + 'static>(
    child: &Process<R>,
) -> Death {
    match child.join_timeout(SOON).expect("it ends") {
        Err(JoinError::Died(death)) => death,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it returned"),
    }
}

/// Has a killed child seen to, which others have learned of.
#[track_caller]
pub(crate) fn was_killed<R: Serialize + for<'de> Deserialize<'de> + 'static>(child: &Process<R>) {
    assert_eq!(death(child).status.signal(), Some(signal::KILL));
}

/// That this took at least so long.
#[track_caller]
pub(crate) fn takes<T>(least: Duration, call: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = call();
    let passed = start.elapsed();
    assert!(passed >= least, "{passed:?} is less than {least:?}");
    result
}

/// Whether threads stand for processes.
pub(crate) fn is_in_threads() -> bool {
    start_method() == StartMethod::Thread
}

/// Numbers that processes share, as a value that goes to others.
#[derive(Debug, Clone)]
pub(crate) struct Board(Arc<SharedWords>);

impl Board {
    pub(crate) fn new(words: usize) -> Self {
        Self(Arc::new(SharedWords::create(words).unwrap()))
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        self.0.word(at)
    }

    pub(crate) fn get(&self, at: usize) -> u64 {
        self.word(at).load(SeqCst)
    }

    /// Adds one, and tells how many there were.
    pub(crate) fn count(&self, at: usize) -> u64 {
        self.word(at).fetch_add(1, SeqCst)
    }

    /// Adds one in two steps, as nobody may who has no lock: those of others in between are lost.
    pub(crate) fn count_carelessly(&self, at: usize) {
        let number = self.word(at).load(Relaxed);
        std::hint::spin_loop();
        self.word(at).store(number + 1, Relaxed);
    }

    pub(crate) fn set(&self, at: usize, value: u64) {
        self.word(at).store(value, SeqCst);
    }
}

impl Serialize for Board {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Handle(self.0.as_fd()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Board {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Handle(file) = Handle::<OwnedFd>::deserialize(deserializer)?;
        Ok(Self(Arc::new(SharedWords::open(file).unwrap())))
    }
}
