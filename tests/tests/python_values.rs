//! The behaviours of values and arrays in shared memory that CPython's tests assert, row by row, and what those do not ask.
//! `docs/conformance.md` says which row is tested where.
//!
//! Each row runs in a helper program, once for each start method: a test harness has threads, so that it cannot be forked.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

use std::io::Read;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use procession_sys::{Deadline, pidfd, poll};
use procession_tests::{Running, program, watchdog};

/// The methods that start processes.
const EACH: [&str; 3] = ["forkserver", "spawn", "fork"];
/// For what threads that stand for processes do as well.
const ALL: [&str; 4] = ["forkserver", "spawn", "fork", "thread"];
/// For what starts processes in a way of its own.
const ONE: [&str; 1] = ["forkserver"];

/// How long a row may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a row under each of these methods: it ends well and says that it is done.
#[track_caller]
fn holds(row: &str, methods: &[&str]) {
    let _dog = watchdog(300);
    for method in methods {
        let mut running =
            Running::start(program(env!("CARGO_BIN_EXE_py_values")).args([row, method]));
        let stdout = read_in_background(running.0.stdout.take().unwrap());
        let stderr = read_in_background(running.0.stderr.take().unwrap());
        let end = pidfd::open(running.0.id()).unwrap();
        if !poll::wait_readable(&end, Deadline::after(PATIENCE)).unwrap() {
            // Its children with it.
            running.0.kill().unwrap();
        }
        let status = running.0.wait().unwrap();
        let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
        let text = format!("{row} by {method}: {status:?}\n{stdout}{stderr}");
        assert!(status.success() && stdout.ends_with("done\n"), "{text}");
    }
}

fn read_in_background(mut stream: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Tests that are called like the rows of the helper program, each with the methods under which it holds.
macro_rules! rows {
    ($module:literal: $($row:ident $methods:ident),+ $(,)?) => {
        $(
            #[test]
            fn $row() {
                crate::holds(concat!($module, "::", stringify!($row)), &crate::$methods);
            }
        )+
    };
}

/// CPython's `_TestValue`, and our own.
mod value {
    rows!("value":
        value ALL,
        rawvalue ALL,
        getobj_getlock ALL,
        counts_under_the_lock_are_exact ALL,
        counts_without_a_lock_are_exact ALL,
        a_release_is_seen_with_what_was_done_before ALL,
    );
}

/// CPython's `_TestArray`, and our own.
mod array {
    rows!("array":
        array ALL,
        array_from_size ALL,
        rawarray ALL,
        getobj_getlock_obj ALL,
        large_arrays_are_shared ALL,
        items_of_several_writers_are_exact ALL,
    );
}

/// CPython's `_TestSharedCTypes`.
mod shared_ctypes {
    rows!("ctypes":
        sharedctypes ALL,
        synchronize ALL,
        copy ALL,
    );
}

/// CPython's `_TestHeap`, and our own.
mod heap {
    rows!("heap":
        heap ONE,
        what_others_let_go_is_given_back EACH,
    );
}

/// How they go from process to process.
mod handles {
    rows!("handles":
        they_go_everywhere_and_stay_the_same ALL,
        a_child_makes_them_and_returns_them ALL,
        a_task_of_a_pool_has_them EACH,
    );
}

/// What follows when a process dies over their lock.
mod death {
    rows!("death":
        whoever_is_next_is_told_and_repairs EACH,
        every_operation_is_told_until_one_repairs EACH,
        half_an_update_is_seen_by_who_repairs EACH,
        memory_outlives_its_makers EACH,
    );
}

/// What a fork has that nobody here made.
mod forks {
    rows!("forks":
        a_foreign_fork_uses_its_parents_values ONE,
        a_foreign_fork_learns_that_they_are_gone ONE,
    );
}
