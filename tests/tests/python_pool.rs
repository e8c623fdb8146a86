//! The behaviours of pools and executors that CPython's tests assert, row by row. `docs/conformance.md` says which row is tested where.
//!
//! Each row runs in a helper program, once for each start method: a test harness has threads, so that it cannot be forked.

#[macro_use(rows)]
extern crate procession_tests;

use procession_tests::rows;

const HELPER: &str = env!("CARGO_BIN_EXE_py_pool");

/// Runs a row of the helper program under each of these methods.
#[track_caller]
fn holds(row: &str, methods: &[&str]) {
    rows::holds_in_silence(HELPER, row, methods);
}

/// CPython's `_TestPool`.
mod pool {
    rows!("pool":
        apply EACH,
        map EACH,
        starmap EACH,
        starmap_async EACH,
        map_async EACH,
        map_async_callbacks EACH,
        map_unplicklable EACH,
        map_chunksize EACH,
        map_handle_iterable_exception EACH,
        async_timeout EACH,
        imap EACH,
        imap_handle_iterable_exception EACH,
        imap_unordered EACH,
        imap_unordered_handle_iterable_exception EACH,
        make_pool EACH,
        terminate EACH,
        empty_iterable EACH,
        context EACH,
        traceback EACH,
        wrapped_exception EACH,
        map_no_failfast EACH,
        enter EACH,
    );

    #[test]
    fn r#async() {
        super::holds("pool::async", &procession_tests::rows::EACH);
    }
}

/// CPython's `_TestPoolWorkerErrors`.
mod worker_errors {
    rows!("errors":
        async_error_callback EACH,
        unpickleable_result EACH,
    );
}

/// CPython's `_TestPoolWorkerLifetime`.
mod worker_lifetime {
    rows!("lifetime":
        pool_worker_lifetime EACH,
        pool_worker_lifetime_early_close EACH,
        worker_finalization_via_atexit_handler_of_multiprocessing EACH,
    );
}

/// CPython's `TestInitializers`, `TestPoolNotLeakOnFailure`, `MiscTestCase` and `TestSyncManagerTypes`.
mod elsewhere {
    rows!("elsewhere":
        pool_initializer EACH,
        release_unused_processes EACH,
        large_pool EACH,
        pool EACH,
    );
}

/// CPython's `ExecutorTest`.
mod executor {
    rows!("executor":
        submit EACH,
        submit_keyword EACH,
        map EACH,
        map_exception EACH,
        map_timeout EACH,
        shutdown_race_issue12456 EACH,
    );
}

/// CPython's `ProcessPoolExecutorTest`.
mod process_pool {
    rows!("process_pool":
        killed_child EACH,
        map_chunksize EACH,
        ressources_gced_in_workers EACH,
        saturation EACH,
        idle_process_reuse_one EACH,
        idle_process_reuse_multiple EACH,
        max_tasks_per_child EACH,
        max_tasks_early_shutdown EACH,
    );
}

/// CPython's `ExecutorDeadlockTest`.
mod deadlock {
    rows!("deadlock":
        error_at_task_pickle EACH,
        exit_at_task_unpickle EACH,
        error_at_task_unpickle EACH,
        crash_at_task_unpickle EACH,
        crash_during_func_exec_on_worker EACH,
        exit_during_func_exec_on_worker EACH,
        error_during_func_exec_on_worker EACH,
        crash_during_result_pickle_on_worker EACH,
        exit_during_result_pickle_on_worker EACH,
        error_during_result_pickle_on_worker EACH,
        error_during_result_unpickle_in_result_handler EACH,
        shutdown_deadlock EACH,
        shutdown_deadlock_pickle EACH,
        crash_big_data EACH,
        gh105829_should_not_deadlock_if_wakeup_pipe_full EACH,
    );
}

/// CPython's `ExecutorShutdownTest` and `ProcessPoolShutdownTest`.
mod shutdown {
    rows!("shutdown":
        run_after_shutdown EACH,
        interpreter_shutdown EACH,
        hang_issue12364 EACH,
        hang_gh83386 EACH,
        hang_gh94440 EACH,
        processes_terminate EACH,
        context_manager_shutdown EACH,
        del_shutdown EACH,
        shutdown_no_wait EACH,
    );
}

/// CPython's `InitializerMixin` and `FailingInitializerMixin`.
mod init {
    rows!("init":
        initializer EACH,
        failing_initializer EACH,
    );
}

/// CPython's `FutureTests`.
mod future {
    rows!("future":
        done_callback_with_result SERVED,
        done_callback_with_exception SERVED,
        done_callback_with_cancel SERVED,
        done_callback_raises SERVED,
        done_callback_already_successful SERVED,
        done_callback_already_failed SERVED,
        done_callback_already_cancelled SERVED,
        done_callback_raises_already_succeeded SERVED,
        repr SERVED,
        cancel EACH,
        cancelled SERVED,
        done SERVED,
        running SERVED,
        result_with_timeout SERVED,
        result_with_success SERVED,
        result_with_cancel SERVED,
        exception_with_timeout SERVED,
        exception_with_success SERVED,
    );
}

/// CPython's `WaitTests`.
mod wait {
    rows!("wait":
        first_completed SERVED,
        first_completed_some_already_completed SERVED,
        first_exception SERVED,
        first_exception_some_already_complete SERVED,
        first_exception_one_already_failed SERVED,
        all_completed SERVED,
        timeout SERVED,
    );
}

/// CPython's `AsCompletedTests`.
mod as_completed {
    rows!("as_completed":
        no_timeout SERVED,
        future_times_out SERVED,
        correct_timeout_exception_msg SERVED,
    );
}
