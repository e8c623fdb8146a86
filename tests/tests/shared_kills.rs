//! Whoever makes blocks of shared memory, uses them, or writes them under a lock is killed, 200 times each: the other is told, its data are
//! whole, and nothing is left. `docs/soak.md` says what is checked; `cargo xtask soak shared` does it for long.

use procession_sys::prim::{Mutex, lock};
use procession_tests::soak::{Options, shared};
use procession_tests::watchdog;

/// The machine has two processors.
static ALONE: Mutex<()> = Mutex::new(());

#[expect(clippy::print_stdout, reason = "figures, for whoever looks")]
fn soak(kind: &str) {
    let (_alone, _dog) = (lock(&ALONE), watchdog(110));
    let options = Options::from_environment(200, env!("CARGO_BIN_EXE_soak_shared"));
    match shared::soak(&Options { only: Some(kind.to_owned()), ..options }) {
        Ok(table) => println!("{table}"),
        Err(what) => panic!("{what}"),
    }
}

#[test]
fn two_hundred_killed_creators_leave_whole_blocks_and_no_names() {
    soak("creator");
}

#[test]
fn two_hundred_killed_attachers_leave_data_names_and_blocks_alone() {
    soak("attacher");
}

#[test]
fn two_hundred_killed_writers_are_told_by_the_lock() {
    soak("writer");
}
