//! The behaviours of queues that CPython's tests assert, row by row, and what those do not ask. `docs/conformance.md` says which row is
//! tested where.
//!
//! Each row runs in a helper program, once for each start method: a test harness has threads, so that it cannot be forked.

#[macro_use(rows)]
extern crate procession_tests;

use procession_tests::rows;

const HELPER: &str = env!("CARGO_BIN_EXE_py_queue");

/// Runs a row of the helper program under each of these methods.
#[track_caller]
fn holds(row: &str, methods: &[&str]) {
    rows::holds_in_silence(HELPER, row, methods);
}

/// CPython's `_TestQueue`.
mod queue {
    rows!("queue":
        put ALL,
        get ALL,
        fork ALL,
        qsize SERVED,
        task_done ALL,
        timeout SERVED,
        queue_feeder_donot_stop_onexc SERVED,
        queue_feeder_on_queue_feeder_error SERVED,
        closed_queue_empty_exceptions SERVED,
        closed_queue_put_get_exceptions ALL,
    );
}

/// CPython's `TestSimpleQueue`.
mod simple {
    rows!("simple":
        empty_exceptions ALL,
        empty ALL,
        close SERVED,
    );
}

/// CPython's `TestSyncManagerTypes`: here what a worker is given is no proxy.
mod sync_manager_types {
    rows!("elsewhere":
        queue ALL,
        joinable_queue ALL,
    );
}

/// CPython's `_TestContainers` and `_TestRemoteManager`.
mod managers {
    rows!("elsewhere":
        nested_queue ALL,
        remote ALL,
    );
}

/// CPython's `TestStartMethod`.
mod start_method {
    rows!("elsewhere":
        mixed_startmethod ALL,
        nested_startmethod ALL,
    );
}

/// CPython's `TestStdinBadfiledescriptor`.
mod stdin_bad_file_descriptor {
    use procession_tests::program;
    use procession_tests::rows::{ALL, holds_for};

    const ROW: &str = "elsewhere::queue_in_process";

    #[test]
    fn queue_in_process() {
        super::holds(ROW, &ALL);
        holds_for(&ALL, |method| {
            let mut command = program("/bin/sh");
            command.args(["-c", "exec \"$0\" \"$@\" <&-", super::HELPER, ROW, method]);
            command
        });
    }
}

/// What CPython's tests do not ask of `JoinableQueue`.
mod joinable {
    rows!("joinable":
        join_of_an_empty_queue ALL,
        task_done_too_often SERVED,
        task_done_is_said_by_who_got EACH,
        all_who_join_go_on ALL,
        a_killed_worker_is_not_waited_for EACH,
        who_sleeps_in_join_learns_of_a_death EACH,
        who_sleeps_gets_what_the_dead_had EACH,
        who_is_left_alone_joins_no_more EACH,
        who_is_left_alone_with_an_item_joins_in_time EACH,
        who_forgets_task_done_and_ends EACH,
        a_lease_of_a_killed_worker_comes_back EACH,
        an_item_that_kills_is_given_up EACH,
        a_fork_has_no_items_of_its_parent FORKED,
    );
}

/// Where queues are other than CPython's.
mod rules {
    rows!("rules":
        join_before_get ALL,
        who_puts_and_ends_at_once EACH,
        no_bound_is_zero SERVED,
        times_of_all_lengths SERVED,
        closing_is_for_all ALL,
        dropping_is_for_one ALL,
        closing_throws_away_what_it_is_told_to ALL,
        each_producer_is_in_order ALL,
        a_simple_queue_has_no_bound SERVED,
    );
}
