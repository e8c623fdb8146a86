//! Putters and getters of a queue are killed, 200 times each: every item is got once, or lost and counted; nobody hangs, and nothing is
//! left. `docs/soak.md` says what is checked; `cargo xtask soak queue` does it for long.

use procession_sys::prim::{Mutex, lock};
use procession_tests::soak::{Options, queue};
use procession_tests::watchdog;

/// The machine has two processors.
static ALONE: Mutex<()> = Mutex::new(());

#[expect(clippy::print_stdout, reason = "figures, for whoever looks")]
fn soak(kind: &str) {
    let (_alone, _dog) = (lock(&ALONE), watchdog(110));
    let options = Options::from_environment(200, env!("CARGO_BIN_EXE_soak_queue"));
    match queue::soak(&Options { only: Some(kind.to_owned()), ..options }) {
        Ok(table) => println!("{table}"),
        Err(what) => panic!("{what}"),
    }
}

#[test]
fn two_hundred_killed_putters_take_nothing_along_but_their_item() {
    soak("putter");
}

#[test]
fn two_hundred_killed_getters_lose_what_is_counted() {
    soak("getter");
}

#[test]
fn two_hundred_pairs_of_deaths_are_settled_although_the_settlers_die() {
    soak("both");
}

#[test]
fn two_hundred_who_are_left_alone_are_told() {
    soak("alone");
}
