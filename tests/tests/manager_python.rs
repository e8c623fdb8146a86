//! The behaviours of managers, and of what they manage, that CPython's tests assert, row by row. `docs/conformance.md` says which row is
//! tested where.
//!
//! Each row runs in a helper program, once for each start method: a test harness has threads, so that it cannot be forked.

#[macro_use(rows)]
extern crate procession_tests;

use procession_tests::rows;

/// Runs a row of the helper program under each of these methods.
#[track_caller]
fn holds(row: &str, methods: &[&str]) {
    rows::holds_in_silence(env!("CARGO_BIN_EXE_py_manager"), row, methods);
}

/// CPython's `_TestContainers`.
mod containers {
    rows!("containers":
        list SERVED,
        list_iter SERVED,
        list_proxy_in_list SERVED,
        dict SERVED,
        dict_iter SERVED,
        dict_proxy_nested SERVED,
        nested_queue SERVED,
        namespace SERVED,
    );
}

/// CPython's `_TestMyManager`, `_TestRemoteManager`, `_TestManagerRestart`; of `TestInitializers` what is of managers.
mod managers {
    rows!("managers":
        mymanager EACH,
        mymanager_context EACH,
        mymanager_context_prestarted EACH,
        remote EACH,
        rapid_restart EACH,
        manager_initializer EACH,
    );
}

/// CPython's `_TestQueue`.
mod queue {
    rows!("queue":
        put EACH,
        get EACH,
        fork EACH,
        qsize SERVED,
        task_done EACH,
        timeout SERVED,
        queue_feeder_donot_stop_onexc SERVED,
        closed_queue SERVED,
    );
}

/// CPython's `_TestLock`.
mod lock {
    rows!("lock": lock SERVED, rlock SERVED, lock_context SERVED);
}

/// CPython's `_TestSemaphore`.
mod semaphore {
    rows!("semaphore": semaphore SERVED, bounded_semaphore SERVED, timeout SERVED);
}

/// CPython's `_TestCondition`.
mod condition {
    rows!("condition":
        notify EACH,
        notify_all FRESH,
        notify_n EACH,
        timeout SERVED,
        waitfor EACH,
        waitfor_timeout EACH,
        wait_result EACH,
    );
}

/// CPython's `_TestEvent`.
mod event {
    rows!("event": event EACH, repr SERVED);
}

/// CPython's `_TestBarrier`.
mod barrier {
    rows!("barrier":
        barrier EACH,
        barrier_10 EACH,
        wait_return EACH,
        action EACH,
        abort EACH,
        reset EACH,
        abort_and_reset EACH,
        timeout EACH,
        default_timeout SERVED,
        single_thread SERVED,
    );
}

/// CPython's `TestSyncManagerTypes`.
mod types {
    rows!("types":
        event EACH,
        lock EACH,
        rlock EACH,
        semaphore EACH,
        bounded_semaphore EACH,
        condition EACH,
        barrier EACH,
        queue EACH,
        joinable_queue EACH,
        list EACH,
        dict EACH,
        value EACH,
        array EACH,
        namespace EACH,
    );
}
