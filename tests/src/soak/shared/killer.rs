//! Kills at the right moment, and knows how late an answer came.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use procession::{JoinError, Process, Result};
use procession_shared::SharedMemory;
use procession_sys::prim::AtomicBool;
use procession_sys::prim::Ordering::SeqCst;
use procession_sys::{Deadline, pidfd, poll, signal};

use crate::{Random, SOON, wait_until};

/// When the victim is killed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// Whether the pause begins when the victim has begun, and not when it is started.
    is_ready: bool,
    pause: Duration,
}

impl Moment {
    pub(super) fn draw(random: &mut Random) -> Self {
        let most = [100, 1_000, 10_000][random.below(3)];
        let pause = Duration::from_micros(random.below(most) as u64);
        Self { is_ready: random.below(8) > 0, pause }
    }
}

/// A block in which the victim says, by its first word, that it has begun.
pub(super) fn board() -> SharedMemory {
    SharedMemory::new(4096).expect("memory")
}

pub(super) fn say_ready(board: &SharedMemory) -> Result<()> {
    board.view()?.atomic_u64(0)?.store(1, SeqCst);
    Ok(())
}

/// A thread that kills a process, while the one that has it made watches.
#[derive(Debug)]
pub(super) struct Killer {
    thread: JoinHandle<Instant>,
    is_dead: Arc<AtomicBool>,
}

impl Killer {
    /// Has the process `pid` killed at that moment.
    pub(super) fn start(pid: u32, moment: Moment, board: &SharedMemory) -> Self {
        let is_dead = Arc::new(AtomicBool::new(false));
        let (dead, board) = (Arc::clone(&is_dead), board.clone());
        let kill = move || {
            let watched = pidfd::open(pid).expect("it runs");
            if moment.is_ready {
                let view = board.view().expect("it is there");
                let ready = view.atomic_u64(0).expect("a word");
                wait_until("the victim begins", || ready.load(SeqCst) != 0);
            }
            pause(moment.pause);
            assert!(pidfd::signal(&watched, signal::KILL).expect("a signal"), "it runs");
            let has_ended = poll::wait_readable(&watched, Deadline::after(SOON));
            assert!(has_ended.expect("a poll"), "it dies");
            let at = Instant::now();
            dead.store(true, SeqCst);
            at
        };
        let thread = thread::Builder::new().name("killer".into()).spawn(kill).expect("a thread");
        Self { thread, is_dead }
    }

    /// Whether the process can be seen to be dead.
    pub(super) fn has_killed(&self) -> bool {
        self.is_dead.load(SeqCst)
    }

    /// When that was first seen.
    pub(super) fn died_at(self) -> Instant {
        self.thread.join().expect("the killer")
    }
}

/// That is how a victim ends.
#[track_caller]
pub(super) fn is_killed(victim: &Process<Result<()>>) {
    match victim.join_timeout(SOON).expect("it ends") {
        Err(JoinError::Died(death)) => assert_eq!(death.status.signal(), Some(signal::KILL)),
        other => panic!("the victim ended by itself: {other:?}"),
    }
}

/// Lets some time pass, to the microsecond.
fn pause(duration: Duration) {
    let start = Instant::now();
    let short = Duration::from_millis(2);
    if duration > short {
        // Nothing is lost when it cannot be waited.
        drop(poll::wait(&mut [], Deadline::after(duration - short)));
    }
    while start.elapsed() < duration {
        std::hint::spin_loop();
    }
}
