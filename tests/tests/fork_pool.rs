//! Pools whose workers are copies of the program that has them. Each row runs in a helper program, because a test harness has
//! threads and cannot be forked.

use procession_tests::rows;

/// Runs a row of the helper program.
#[track_caller]
fn holds(row: &str, methods: &[&str]) {
    rows::holds(env!("CARGO_BIN_EXE_fork_pool"), row.trim_start_matches("::"), methods);
}

rows!(
    "":
    a_worker_is_replaced_by_a_copy_of_the_same FORKED,
    workers_are_replaced_after_their_tasks FORKED,
    a_pool_whose_template_is_killed_says_so_when_it_needs_it FORKED,
    no_time_to_kill_is_a_bad_one FORKED,
);
