//! How queues travel: in arguments, results and messages of all kinds, to processes of all start methods, early and late; who waits
//! for several; and how many there can be.
//!
//! Each row runs in a helper program, once for each start method: a test harness has threads, so that it cannot be forked.

use procession_tests::rows;

/// Runs a row of the helper program under each of these methods.
#[track_caller]
fn holds(row: &str, methods: &[&str]) {
    rows::holds(env!("CARGO_BIN_EXE_queue_sharing"), row, methods);
}

rows!("sharing":
    in_arguments_and_results ALL,
    in_a_pipe ALL,
    in_another_queue ALL,
    in_itself ALL,
    of_one_in_itself_nothing_is_left SERVED,
    to_one_who_comes_late ALL,
    to_a_grandchild ALL,
    a_hundred_in_a_message ALL,
    made_by_a_process_that_has_ended ALL,
    made_by_a_process_that_was_killed EACH,
    to_the_workers_of_a_pool FRESH,
    another_process_waits_for_several ALL,
    a_fork_beside_a_thread_that_watches FORKED,
    a_fork_outlives_its_parent_and_its_thread FORKED,
    sending_them_leaves_nothing FRESH,
    received_by_threads_at_once FRESH,
    ten_thousand_in_one_process SERVED,
);
