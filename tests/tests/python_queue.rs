//! The behaviours of queues that CPython's tests assert, row by row, and one that its users wish for.
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
/// That of the fork server: for what has no children.
const SERVED: [&str; 1] = ["forkserver"];

/// How long a row may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a row under each of these methods: it ends well, says that it is done, and nothing else.
#[track_caller]
fn holds(row: &str, methods: &[&str]) {
    let _dog = watchdog(300);
    for method in methods {
        let mut running =
            Running::start(program(env!("CARGO_BIN_EXE_py_queue")).args([row, method]));
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
        assert!(status.success() && stdout == "done\n" && stderr.is_empty(), "{text}");
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

/// CPython's `_TestQueue`, without `JoinableQueue`, and one row of our own.
mod queue {
    rows!("queue":
        put EACH,
        get EACH,
        fork EACH,
        qsize SERVED,
        timeout SERVED,
        queue_feeder_donot_stop_onexc SERVED,
        closed_queue_empty_exceptions SERVED,
        closed_queue_put_get_exceptions EACH,
        join_before_get EACH,
    );
}

/// CPython's `TestSimpleQueue`.
mod simple {
    rows!("simple":
        empty EACH,
        close SERVED,
    );
}
