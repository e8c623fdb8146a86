//! Kills at the right moment, and knows how late an answer came.

use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use procession_sys::prim::AtomicBool;
use procession_sys::prim::Ordering::SeqCst;
use procession_sys::{Deadline, fork, pidfd, poll, signal};

use super::super::waited::{Answer, LATE, Waited};
use super::plan::{Board, Plan, nap};
use super::stage::Telling;
use crate::{SOON, wait_until};

/// A thread that kills a process, while the one that has it made waits for the answer.
#[derive(Debug)]
pub(super) struct Killer {
    thread: JoinHandle<Waited>,
    told: mpsc::Sender<()>,
    is_dead: Arc<AtomicBool>,
}

impl Killer {
    /// Has the process `pid` killed at that moment.
    pub(super) fn start(pid: u32, plan: &Plan, board: &Board) -> Self {
        let (moment, plan) = (plan.moment, plan.clone());
        let (told, answer) = mpsc::channel();
        let is_dead = Arc::new(AtomicBool::new(false));
        let (survivor, dead) = (fork::thread_id(), Arc::clone(&is_dead));
        let board = Board::open(board.words());
        let kill = move || {
            let watched = pidfd::open(pid).expect("it runs");
            if moment.is_ready {
                wait_until("the victim begins", || board.is_ready());
            }
            pause(moment.pause);
            if moment.is_stopped {
                stop(pid);
            }
            assert!(pidfd::signal(&watched, signal::KILL).expect("a signal"), "it runs");
            let has_ended = poll::wait_readable(&watched, Deadline::after(SOON));
            assert!(has_ended.expect("a poll"), "it dies");
            let waited = Waited::of(survivor);
            dead.store(true, SeqCst);
            if answer.recv_timeout(SOON) == Err(mpsc::RecvTimeoutError::Timeout) {
                hangs(&plan, "nobody is told of a death");
            }
            waited
        };
        let thread = thread::Builder::new().name("killer".into()).spawn(kill).expect("a thread");
        Self { thread, told, is_dead }
    }

    /// Whether the process can be seen to be dead.
    pub(super) fn has_killed(&self) -> bool {
        self.is_dead.load(SeqCst)
    }

    /// Tells how late the answer came, at least, since the death or since somebody else had the end for the last time. It must not be
    /// too late.
    #[track_caller]
    pub(super) fn judge(self, answer: Answer, since: Option<Instant>) -> Duration {
        // It may have given up, which is told below.
        self.told.send(()).unwrap_or_default();
        let mut waited = self.thread.join().expect("the killer");
        waited.start = waited.start.max(since.unwrap_or(waited.start));
        let late = waited.between(answer);
        let all = answer.at.saturating_duration_since(waited.start);
        assert!(late <= LATE, "the answer came {late:?} late, {all:?} with what the system took");
        late
    }
}

/// Ends this process, which would wait for ever, with all its children.
#[expect(clippy::print_stderr, reason = "the last words of a program")]
pub(super) fn hangs(plan: &Plan, what: &str) -> ! {
    Telling(plan).tell();
    eprintln!("hangs: {what}");
    for task in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let read = |name: &str| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
        eprintln!("{} {} {}", read("comm").trim_end(), read("wchan"), read("syscall").trim_end());
    }
    std::process::abort()
}

/// Stops the process `pid`, and comes back when it is stopped.
pub(super) fn stop(pid: u32) {
    signal_to(pid, signal::STOP);
    wait_until("it is stopped or gone", || ['T', 't', 'Z', 'X'].contains(&state(pid)));
}

/// Has it go on.
pub(super) fn go_on(pid: u32) {
    signal_to(pid, signal::CONTINUE);
}

fn signal_to(pid: u32, signal: i32) {
    // It may be gone.
    drop(pidfd::open(pid).and_then(|process| pidfd::signal(process, signal)));
}

/// Whether it is stopped now.
pub(super) fn is_stopped(pid: u32) -> bool {
    state(pid) == 'T'
}

/// What the system says that a process does; `X` when it is gone.
fn state(pid: u32) -> char {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = text.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.unwrap_or('X')
}

/// Lets some time pass, to the microsecond.
pub(super) fn pause(duration: Duration) {
    let start = Instant::now();
    let short = Duration::from_millis(2);
    if duration > short {
        nap(duration - short);
    }
    while start.elapsed() < duration {
        std::hint::spin_loop();
    }
}
