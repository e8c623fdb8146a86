//! The behaviours of queues that CPython's tests assert, row by row, and one that its users wish for.
//!
//! Each row runs in a helper program, once for each start method: a test harness has threads, so that it cannot be forked.

#[macro_use(rows)]
extern crate procession_tests;

use procession_tests::rows;

/// Runs a row of the helper program under each of these methods.
#[track_caller]
fn holds(row: &str, methods: &[&str]) {
    rows::holds_in_silence(env!("CARGO_BIN_EXE_py_queue"), row, methods);
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
