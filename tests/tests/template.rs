//! Templates: copies of a program from which processes are copied later. Each row runs in a helper program, because a test harness has
//! threads and cannot be forked.

use std::io::{BufRead, BufReader};

use procession_sys::signal;
use procession_tests::{Running, Stranger, program, rows, run, watchdog};

const HELPER: &str = env!("CARGO_BIN_EXE_template");

/// Runs a row of the helper program.
#[track_caller]
fn holds(row: &str, methods: &[&str]) {
    rows::holds(HELPER, row.trim_start_matches("::"), methods);
}

rows!(
    "":
    copies_while_threads_run FORKED,
    memory_is_shared_until_it_is_written FORKED,
    a_copy_is_of_what_was_and_inherits_what_is FORKED,
    sigchld_has_its_default_action_in_copies FORKED,
    what_cannot_be_copied_is_an_error FORKED,
    copies_outlive_a_template_that_is_killed FORKED,
    a_template_ends_with_the_last_who_needs_it FORKED,
    no_time_to_kill_is_a_bad_one FORKED,
);

#[test]
fn hooks_run_in_copies_and_nothing_of_the_parent_runs_twice() {
    let _dog = watchdog(60);
    let row = "hooks_run_in_copies_and_nothing_of_the_parent_runs_twice";
    let (output, stdout, stderr) = run(program(HELPER).args([row, rows::FORK]));
    assert!(output.status.success(), "{stderr}");
    let expected = "once, of the copy, its end, of the copy, its end, the program\n\
                    done\nfinalizer\nexit handler\n";
    assert_eq!(stdout, expected, "{stderr}");
}

#[test]
fn nobody_is_left_of_a_program_that_is_killed() {
    let _dog = watchdog(60);
    let mut running = Running::start(program(HELPER).args(["is_killed", rows::FORK]));
    let mut line = String::new();
    BufReader::new(running.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let who: Vec<_> = line.split_whitespace().map(|pid| pid.parse::<u32>().unwrap()).collect();
    assert_eq!(who.len(), 4, "{line}");
    let who: Vec<_> = who.into_iter().map(Stranger::new).collect();
    assert!(who.iter().all(Stranger::is_alive));
    assert!(Stranger::new(running.0.id()).signal(signal::KILL));
    running.0.wait().unwrap();
    for (nth, stranger) in who.iter().enumerate() {
        assert!(stranger.ends_soon(), "number {nth} of {line}");
    }
}
