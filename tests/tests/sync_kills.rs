//! Workers that hammer a lock or one of its kin are killed, 200 of each kind: the others go on, and all adds up. `docs/soak.md`
//! says what is checked; `cargo xtask soak sync` does it for long.

use procession_sys::prim::{Mutex, lock};
use procession_tests::soak::{Options, sync};
use procession_tests::watchdog;

/// The machine has two processors, and each kind nine processes.
static ALONE: Mutex<()> = Mutex::new(());

#[expect(clippy::print_stdout, reason = "figures, for whoever looks")]
fn kill_two_hundred(kind: &str) {
    let (_alone, _dog) = (lock(&ALONE), watchdog(110));
    let options = Options::from_environment(200, env!("CARGO_BIN_EXE_soak_sync"));
    match sync::soak(&Options { only: Some(kind.to_owned()), ..options }) {
        Ok(table) => println!("{table}"),
        Err(what) => panic!("{what}"),
    }
}

#[test]
fn two_hundred_killed_over_a_lock() {
    kill_two_hundred("lock");
}

#[test]
fn two_hundred_killed_over_a_recursive_lock() {
    kill_two_hundred("rlock");
}

#[test]
fn two_hundred_killed_over_permits() {
    kill_two_hundred("permits");
}

#[test]
fn two_hundred_killed_over_permits_that_are_nobodys() {
    kill_two_hundred("raw-permits");
}

#[test]
fn two_hundred_killed_over_a_condition() {
    kill_two_hundred("condition");
}

#[test]
fn two_hundred_killed_over_an_event() {
    kill_two_hundred("event");
}

#[test]
fn two_hundred_killed_over_a_barrier() {
    kill_two_hundred("barrier");
}
