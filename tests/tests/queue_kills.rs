//! Putters, getters and those who settle what the dead leave are killed, 200 times for each kind, and one who does one thing at 40
//! instructions of it: every item is got once, or lost and counted, or comes back; nobody hangs, and nothing is left. `docs/soak.md` says
//! what is checked; `cargo xtask soak queue` does it for long.

use procession_sys::prim::{Mutex, lock};
use procession_tests::soak::{Options, queue};
use procession_tests::watchdog;

/// The machine has two processors.
static ALONE: Mutex<()> = Mutex::new(());

#[expect(clippy::print_stdout, reason = "figures, for whoever looks")]
fn soak(rounds: usize, name: &str) {
    let (_alone, _dog) = (lock(&ALONE), watchdog(110));
    let options = Options::from_environment(rounds, env!("CARGO_BIN_EXE_soak_queue"));
    match queue::soak(&Options { only: Some(name.to_owned()), ..options }) {
        Ok(table) => println!("{table}"),
        Err(what) => panic!("{what}"),
    }
}

#[test]
fn two_hundred_killed_putters_take_nothing_along_but_their_item() {
    soak(200, "putter");
}

#[test]
fn two_hundred_killed_getters_lose_what_is_counted() {
    soak(200, "getter");
}

#[test]
fn two_hundred_pairs_of_deaths_are_settled_although_the_settlers_die() {
    soak(200, "both");
}

#[test]
fn two_hundred_who_are_left_alone_are_told() {
    soak(200, "alone");
}

#[test]
fn two_hundred_deaths_give_every_lease_back_once() {
    soak(200, "lease");
}

#[test]
fn two_hundred_deaths_lose_what_was_not_called_done() {
    soak(200, "tasks");
}

#[test]
fn two_hundred_times_those_who_settle_are_killed_as_well() {
    soak(200, "settler");
}

#[test]
fn two_hundred_deaths_leave_the_count_of_bytes_right() {
    soak(200, "bytes");
}

#[test]
fn two_hundred_deaths_leave_no_descriptor() {
    soak(200, "handles");
}

#[test]
fn two_hundred_deaths_at_the_end_of_a_queue_leave_their_items_to_the_others() {
    soak(200, "closed");
}

#[test]
fn killed_while_it_puts() {
    for act in ["put-small", "put-span", "put-large", "put-handle"] {
        soak(40, act);
    }
}

#[test]
fn killed_while_it_gets() {
    for act in ["get-small", "get-span", "get-large", "get-handle"] {
        soak(40, act);
    }
}

#[test]
fn killed_while_it_says_what_becomes_of_an_item() {
    for act in ["lease-done", "lease-back", "task-done"] {
        soak(40, act);
    }
}

#[test]
fn killed_while_it_settles_what_another_left() {
    // There is more to be repeated than anywhere else.
    soak(200, "settle");
}

#[test]
fn killed_over_the_books() {
    for act in ["close", "attach-and-retire", "put-bytes", "get-bytes"] {
        soak(40, act);
    }
}
