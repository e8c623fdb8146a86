//! How long somebody has waited for an answer, without the time that the system took.

use std::time::{Duration, Instant};

use procession_sys::fork;

/// How long after a death whoever waits may learn of it.
pub(super) const LATE: Duration = Duration::from_millis(100);

/// A span of time of one thread, without that in which the thread could run and had no processor: it is nobody's fault that
/// others want the machine as well.
#[derive(Debug, Clone)]
pub(super) struct Waited {
    thread: u32,
    pub(super) start: Instant,
    /// How long it had no processor.
    stood_by: Duration,
}

impl Waited {
    /// Of this thread, from now on.
    pub(super) fn begin() -> Self {
        Self::of(fork::thread_id())
    }

    /// Of a thread of this process.
    pub(super) fn of(thread: u32) -> Self {
        let stood_by = stood_by(thread);
        Self { thread, start: Instant::now(), stood_by }
    }

    /// Until now, at least.
    pub(super) fn end(&self) -> Duration {
        let (now, stood_by) = (Instant::now(), stood_by(self.thread));
        self.between(Answer { at: now, stood_by })
    }

    /// Until that answer, to the same thread.
    pub(super) fn between(&self, Answer { at, stood_by }: Answer) -> Duration {
        let excuse = stood_by.saturating_sub(self.stood_by);
        at.saturating_duration_since(self.start).saturating_sub(excuse)
    }
}

/// When an answer came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub(super) at: Instant,
    stood_by: Duration,
}

impl Answer {
    /// To this thread, now.
    pub(super) fn now() -> Self {
        Self { at: Instant::now(), stood_by: stood_by(fork::thread_id()) }
    }
}

/// How long a thread of this process could run and had no processor, so far (`sched-stats`, in the kernel's documentation).
fn stood_by(thread: u32) -> Duration {
    read(&format!("/proc/self/task/{thread}/schedstat"))
}

/// The same of the first thread of a process.
pub(super) fn stood_by_of(pid: u32) -> Duration {
    read(&format!("/proc/{pid}/schedstat"))
}

fn read(path: &str) -> Duration {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let nanos = text.split_whitespace().nth(1).and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}
