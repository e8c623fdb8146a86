//! What a pool has done, and with what.

use std::fmt;
use std::time::Duration;

use procession_sys::clock;

use crate::Progress;

/// What a worker has done, as its pool counts it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tally {
    /// When it was started, in [nanoseconds](clock::nanos).
    pub(crate) since: u64,
    pub(crate) tasks: u64,
    pub(crate) chunks: u64,
    pub(crate) busy_nanos: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            since: clock::nanos(),
            tasks: 0,
            chunks: 0,
            busy_nanos: 0,
            bytes_in: 0,
            bytes_out: 0,
        }
    }

    pub(crate) fn age(&self) -> Duration {
        Duration::from_nanos(clock::nanos().saturating_sub(self.since))
    }

    /// Notes a chunk that took so long, and whose arguments had so many bytes.
    #[inline]
    pub(crate) fn note(&mut self, nanos: u64, bytes: usize) {
        self.chunks += 1;
        self.busy_nanos += nanos;
        self.bytes_in += bytes as u64;
    }

    /// Adds what another one has done.
    pub(crate) fn add(&mut self, other: &Self) {
        self.tasks += other.tasks;
        self.chunks += other.chunks;
        self.busy_nanos += other.busy_nanos;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
    }
}

/// What a pool has done since it was started: [`Pool::stats`](crate::Pool::stats). All of it is counted always, by who gives out work and
/// takes answers.
///
/// `Display` writes a line for each worker, and a [diagnosis](Self::diagnosis).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// How long ago the pool was started; between two [readings](Self::since), how long that was.
    pub elapsed: Duration,
    /// How many tasks were answered: values and panics, not those whose worker died.
    pub tasks: u64,
    /// In how many chunks.
    pub chunks: u64,
    /// How long workers were busy with them, all together.
    pub busy: Duration,
    /// How many bytes of arguments and of values have passed.
    pub bytes_in: u64,
    /// See `bytes_in`.
    pub bytes_out: u64,
    /// How many workers were started.
    pub started: u64,
    /// How many ended that nobody had asked to.
    pub died: u64,
    /// How many tasks wait for a worker now, beside those that workers have.
    pub waiting: usize,
    /// Those that run now, in the order of their seats.
    pub workers: Vec<WorkerStats>,
}

/// What a worker does, and has done since it was started.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerStats {
    /// Its seat.
    pub worker: usize,
    /// Its process number.
    pub pid: u32,
    /// How long ago it was started.
    pub age: Duration,
    /// How long it took to be ready, with what it calls before its first task; nothing when it is not.
    pub startup: Option<Duration>,
    /// How many tasks it has answered,
    pub tasks: u64,
    /// in how many chunks,
    pub chunks: u64,
    /// and how long that took.
    pub busy: Duration,
    /// How many bytes its arguments had.
    pub bytes_in: u64,
    /// How many bytes its values had.
    pub bytes_out: u64,
    /// How many bytes of its memory are resident, shared ones included; nothing when it has just ended.
    pub resident: Option<u64>,
    /// How long it ran on processors, in steps of the system's clock tick.
    pub processor_time: Option<Duration>,
    /// What it runs.
    pub task: Option<TaskStats>,
}

/// What a worker runs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskStats {
    /// The task's place in its input, from zero.
    pub index: usize,
    /// How long it has run, at most: a task without a [time limit](crate::Tasks::timeout) is counted from the beginning of its chunk.
    pub ran_for: Duration,
    /// How far it is, [as it has said](crate::TaskContext::report_progress).
    pub progress: Option<Progress>,
}

impl WorkerStats {
    /// How long it had nothing to do, since it was ready.
    pub fn waited(&self) -> Duration {
        let ready = self.startup.map_or(Duration::ZERO, |startup| self.age.saturating_sub(startup));
        ready.saturating_sub(self.busy)
    }
}

impl Stats {
    /// What was done since an earlier reading of the same pool. What `workers` have done is told since their start.
    #[must_use]
    pub fn since(mut self, earlier: &Self) -> Self {
        self.elapsed = self.elapsed.saturating_sub(earlier.elapsed);
        self.tasks = self.tasks.saturating_sub(earlier.tasks);
        self.chunks = self.chunks.saturating_sub(earlier.chunks);
        self.busy = self.busy.saturating_sub(earlier.busy);
        self.bytes_in = self.bytes_in.saturating_sub(earlier.bytes_in);
        self.bytes_out = self.bytes_out.saturating_sub(earlier.bytes_out);
        self.started = self.started.saturating_sub(earlier.started);
        self.died = self.died.saturating_sub(earlier.died);
        self
    }

    /// What part of the time the workers were busy, from zero to one.
    pub fn utilization(&self) -> f64 {
        let there = self.elapsed.as_secs_f64() * self.workers.len() as f64;
        if there > 0.0 { (self.busy.as_secs_f64() / there).min(1.0) } else { 0.0 }
    }

    /// One sentence that says what holds this pool up most.
    pub fn diagnosis(&self) -> String {
        if self.died > 0 && self.died * 10 >= self.tasks {
            return format!("{} workers died: the tasks kill them", self.died);
        }
        if self.tasks == 0 {
            return match self.waiting {
                0 => "nothing was run".into(),
                waiting => format!("nothing has ended yet, and {waiting} tasks wait"),
            };
        }
        let busy = self.utilization() * 100.0;
        if busy >= 90.0 {
            return format!(
                "workers were busy {busy:.0} %: more of them, or faster functions, would help"
            );
        }
        let each = self.busy / u32::try_from(self.tasks).unwrap_or(u32::MAX);
        let bytes = (self.bytes_in + self.bytes_out) / self.tasks;
        // A copy into shared memory and one out of it.
        let copying = Duration::from_nanos(bytes / 4);
        if copying > each / 4 && bytes > 4096 {
            return format!(
                "workers waited {:.0} %: {bytes} bytes go to and fro for each task, which takes {each:?}; share them instead",
                100.0 - busy
            );
        }
        if each < SHORT && self.chunks > self.tasks / 2 {
            return format!(
                "workers waited {:.0} %: tasks take {each:?} and come one at a time; a map, or chunks, would help",
                100.0 - busy
            );
        }
        format!("workers waited {:.0} %: for tasks, or for who takes results", 100.0 - busy)
    }
}

/// Tasks that take less are short.
const SHORT: Duration = Duration::from_micros(50);

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tasks, elapsed, started, died, waiting, .. } = self;
        writeln!(
            f,
            "{tasks} tasks in {elapsed:.3?}, {waiting} wait; {started} workers started, {died} died"
        )?;
        for worker in &self.workers {
            let WorkerStats { worker: seat, pid, tasks, busy, .. } = worker;
            write!(f, "worker {seat} (pid {pid}): {tasks} tasks, busy {busy:.3?}, ")?;
            write!(f, "waited {:.3?}", worker.waited())?;
            if let Some(bytes) = worker.resident {
                write!(f, ", {:.1} MiB", bytes as f64 / f64::from(1 << 20))?;
            }
            if let Some(task) = &worker.task {
                write!(f, "; runs task {} for {:.3?}", task.index, task.ran_for)?;
                if let Some(Progress { done, total }) = task.progress {
                    write!(f, ", {done} of {total}")?;
                }
            }
            writeln!(f)?;
        }
        f.write_str(&self.diagnosis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(tasks: u64, chunks: u64, busy: Duration, bytes_in: u64) -> Stats {
        let worker = WorkerStats {
            worker: 0,
            pid: 7,
            age: Duration::from_secs(1),
            startup: Some(Duration::from_millis(1)),
            tasks,
            chunks,
            busy,
            bytes_in,
            bytes_out: 0,
            resident: Some(3 << 19),
            processor_time: None,
            task: None,
        };
        Stats {
            elapsed: Duration::from_secs(1),
            tasks,
            chunks,
            busy,
            bytes_in,
            bytes_out: 0,
            started: 1,
            died: 0,
            waiting: 0,
            workers: vec![worker],
        }
    }

    #[test]
    fn the_diagnosis_names_what_is_worst() {
        let says = |stats: &Stats, what: &str| {
            let diagnosis = stats.diagnosis();
            assert!(diagnosis.contains(what), "{diagnosis}");
        };
        says(&stats(0, 0, Duration::ZERO, 0), "nothing was run");
        says(&stats(100, 100, Duration::from_millis(950), 0), "busy 95 %");
        says(&stats(1000, 1000, Duration::from_millis(10), 0), "one at a time");
        says(&stats(100, 100, Duration::from_millis(100), 100 << 20), "share them");
        says(&stats(10, 10, Duration::from_millis(100), 0), "for tasks");
        says(&Stats { died: 3, ..stats(10, 10, Duration::from_millis(900), 0) }, "3 workers died");
    }

    #[test]
    fn what_was_done_between_two_readings() {
        let (before, after) = (stats(3, 3, Duration::from_millis(1), 10), {
            let mut after = stats(10, 8, Duration::from_millis(5), 30);
            after.elapsed *= 3;
            after
        });
        let between = after.since(&before);
        assert_eq!((between.tasks, between.chunks, between.bytes_in), (7, 5, 20));
        assert_eq!(between.elapsed, Duration::from_secs(2));
        assert_eq!(between.busy, Duration::from_millis(4));
    }

    #[test]
    fn a_line_for_each_worker() {
        let text = stats(10, 10, Duration::from_millis(100), 0).to_string();
        let expected = "10 tasks in 1.000s, 0 wait; 1 workers started, 0 died\n\
                        worker 0 (pid 7): 10 tasks, busy 100.000ms, waited 899.000ms, 1.5 MiB\n\
                        workers waited 90 %: for tasks, or for who takes results";
        assert_eq!(text, expected);
    }
}
