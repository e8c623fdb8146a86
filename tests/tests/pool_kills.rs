//! Pools in trouble, 200 rounds of each kind: every task has its outcome, once, and for a reason; nobody hangs, and nothing is left. `docs/soak.md`
//! says what is checked; `cargo xtask soak pool` does it for long.

use procession_sys::prim::{Mutex, lock};
use procession_tests::soak::{Options, pool};
use procession_tests::{skip, watchdog};

/// The machine has two processors.
static ALONE: Mutex<()> = Mutex::new(());

#[expect(clippy::print_stdout, reason = "figures, for whoever looks")]
fn soak(name: &str) {
    let (_alone, _dog) = (lock(&ALONE), watchdog(110));
    let options = Options::from_environment(200, env!("CARGO_BIN_EXE_soak_pool"));
    if !pool::has_pools(&options) {
        return skip("pools in trouble: a process with threads cannot fork workers");
    }
    match pool::soak(&Options { only: Some(format!("{name}-short")), ..options }) {
        Ok(table) => println!("{table}"),
        Err(what) => panic!("{what}"),
    }
}

#[test]
fn killed_workers_take_one_task_along_at_most() {
    soak("kill");
}

#[test]
fn tasks_that_fail_by_themselves_fail_alone() {
    soak("deeds");
}

#[test]
fn stopped_workers_lose_nothing() {
    soak("stop");
}

#[test]
fn tasks_that_never_return_are_ended_alone() {
    soak("timeout");
}

#[test]
fn cancelled_calls_resolve_while_workers_die() {
    soak("cancel");
}

#[test]
fn tasks_that_take_all_memory_are_ended_alone() {
    soak("memory");
}

#[test]
fn a_lack_of_descriptors_is_told_and_goes_by() {
    soak("descriptors");
}

#[test]
fn pools_keep_their_size_while_workers_die() {
    soak("resize");
}

#[test]
fn calls_of_a_pool_that_ends_resolve() {
    soak("close");
}

#[test]
fn workers_that_die_at_their_start_cost_no_task() {
    soak("start");
}

#[test]
fn pools_outlive_their_fork_server() {
    soak("server");
}

#[test]
fn all_of_that_at_once_loses_nothing() {
    soak("all");
}

#[test]
fn a_slow_consumer_costs_no_memory() {
    soak("flat");
}
