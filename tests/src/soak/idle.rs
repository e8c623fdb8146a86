//! Waiting costs nothing: a hundred processes that are blocked, on each kind of lock and kin, and the processor time that they use.
//!
//! A round is five seconds. Before the first, all have slept long enough to watch over each other.

use std::fmt::Write as _;
use std::time::Duration;

use procession::{Barrier, Condition, Event, Lock, LockError, Process, Result, Semaphore};
use procession_sys::{Deadline, poll};
use serde::{Deserialize, Serialize};

use super::Options;
use crate::{program, wait_until};

const PROCESSES: usize = 100;
const WINDOW: Duration = Duration::from_secs(5);
/// What all of them may use in a window.
const LIMIT: Duration = Duration::from_millis(20);

/// Measures so many windows; returns the table.
///
/// # Errors
///
/// As [`Soak`](super::Soak); when the processes use more than 20 ms in a window.
pub fn soak(options: &Options) -> Result<String, String> {
    let mut command = program(&options.program);
    command.arg(options.rounds.min(100).to_string());
    let output = command.output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.success() {
        true => Ok(said.trim_end().to_owned()),
        false => Err(format!("{said}\n{}", String::from_utf8_lossy(&output.stderr))),
    }
}

/// One of each kind, on which a fifth of the processes waits.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct All {
    lock: Lock,
    semaphore: Semaphore,
    condition: Condition,
    event: Event,
    barrier: Barrier,
}

fn block(all: All, number: usize) -> Result<()> {
    match number % 5 {
        0 => drop(all.lock.lock().or_else(LockError::into_guard)?),
        1 => drop(all.semaphore.acquire()?),
        2 => {
            let mut guard = all.condition.lock()?;
            all.condition.wait(&mut guard)?;
        }
        3 => all.event.wait()?,
        _ => drop(all.barrier.wait()),
    }
    Ok(())
}

/// Measures so many windows; returns the table.
///
/// # Panics
///
/// When a process does not block, or all use more than they may.
pub fn measure(windows: usize) -> String {
    let all = All {
        lock: Lock::new().expect("a lock"),
        semaphore: Semaphore::new(0).expect("a semaphore"),
        condition: Condition::new().expect("a condition"),
        event: Event::new().expect("an event"),
        barrier: Barrier::new(PROCESSES).expect("a barrier"),
    };
    let guard = all.lock.lock().expect("it is free");
    let start = |number| Process::spawn(block, (all.clone(), number)).expect("a process");
    let children: Vec<_> = (0..PROCESSES).map(start).collect();
    let waiting = || all.condition.waiting() + all.barrier.waiting();
    wait_until("all wait", || waiting() == 2 * PROCESSES / 5);
    // The others as well, by now; and all of them have armed.
    pause(Duration::from_secs(2));
    let mut table = String::new();
    for window in 0..windows {
        let before: Duration = children.iter().map(|child| used(child.pid())).sum();
        pause(WINDOW);
        let after: Duration = children.iter().map(|child| used(child.pid())).sum();
        let used = after.saturating_sub(before);
        let line = writeln!(table, "window {window}: {PROCESSES} processes used {used:.2?}");
        assert!(line.is_ok() && used <= LIMIT, "{table}more than {LIMIT:?}");
    }
    all.event.set().expect("it is there");
    all.semaphore.release_many(20).expect("it is there");
    let mut locked = all.condition.lock().expect("it is free");
    all.condition.notify_all(&mut locked).expect("it is there");
    drop((guard, locked));
    all.barrier.abort().expect("it is there");
    for child in &children {
        match child.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => panic!("{error}"),
            Err(error) => panic!("{error}"),
        }
    }
    table
}

fn pause(time: Duration) {
    drop(poll::wait(&mut [], Deadline::after(time)));
}

/// The processor time that all threads of a process have used.
fn used(pid: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of = |task: std::fs::DirEntry| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse().ok()
    };
    tasks.filter_map(of).map(Duration::from_nanos).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_runs_uses_time() {
        let before = used(std::process::id());
        wait_until("some time was used", || used(std::process::id()) > before);
    }
}
