//! The same program under every start method, from a parent with one thread and with 32 that are busy.

use procession_tests::{program, run, watchdog};

#[track_caller]
fn lives(method: &str, threads: usize) {
    let _dog = watchdog(120);
    let mut command = program(env!("CARGO_BIN_EXE_matrix"));
    command.args([method, &threads.to_string()]);
    let (output, stdout, stderr) = run(&mut command);
    assert!(output.status.success(), "{method} with {threads}: {stdout}{stderr}");
    assert_eq!(stdout, "values\nends\nwho\ngenerations\nstreams\nmany\npool\n", "{stderr}");
}

#[test]
fn one_thread_by_forkserver() {
    lives("forkserver", 0);
}

#[test]
fn one_thread_by_spawn() {
    lives("spawn", 0);
}

#[test]
fn one_thread_by_fork() {
    lives("fork", 0);
}

#[test]
fn one_thread_by_thread() {
    lives("thread", 0);
}

#[test]
fn busy_threads_by_forkserver() {
    lives("forkserver", 32);
}

#[test]
fn busy_threads_by_spawn() {
    lives("spawn", 32);
}

#[test]
fn busy_threads_by_fork() {
    lives("fork", 32);
}

#[test]
fn busy_threads_by_thread() {
    lives("thread", 32);
}
