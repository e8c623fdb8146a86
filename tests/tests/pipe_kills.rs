//! One of the two that use a pipe is killed or stopped, 200 times for each kind, and at 40 instructions of what it does: the other is told,
//! gets what was sent, and nothing is left. `docs/soak.md` says what is checked; `cargo xtask soak pipe` does it for long.

use procession_sys::prim::{Mutex, lock};
use procession_tests::soak::{Options, pipe};
use procession_tests::watchdog;

/// The machine has two processors, and those who wait may spin.
static ALONE: Mutex<()> = Mutex::new(());

#[expect(clippy::print_stdout, reason = "figures, for whoever looks")]
fn soak(rounds: usize, name: &str) {
    let (_alone, _dog) = (lock(&ALONE), watchdog(110));
    let options = Options::from_environment(rounds, env!("CARGO_BIN_EXE_soak_pipe"));
    match pipe::soak(&Options { only: Some(name.to_owned()), ..options }) {
        Ok(table) => println!("{table}"),
        Err(what) => panic!("{what}"),
    }
}

#[test]
fn two_hundred_killed_senders_lose_nothing_that_they_sent() {
    soak(200, "sender");
}

#[test]
fn two_hundred_killed_receivers_are_missed_and_what_they_left_is_counted() {
    soak(200, "receiver");
}

#[test]
fn two_hundred_that_are_stopped_go_on() {
    soak(200, "stopped");
}

#[test]
fn two_hundred_killed_with_handles_leave_no_descriptor() {
    soak(200, "handles");
}

#[test]
fn two_hundred_ends_that_are_lost_on_the_way_are_missed() {
    soak(200, "moved");
}

#[test]
fn two_hundred_deaths_are_told_although_a_sibling_has_a_copy() {
    soak(200, "sibling");
}

#[test]
fn killed_while_it_sends() {
    for act in ["send-small", "send-waited", "send-large"] {
        soak(40, act);
    }
}

#[test]
fn killed_while_it_sends_handles_or_gives_up() {
    for act in ["send-handles", "give-up"] {
        soak(40, act);
    }
}

#[test]
fn killed_while_it_receives() {
    for act in ["recv-small", "recv-large", "recv-waited", "recv-handles"] {
        soak(40, act);
    }
}

#[test]
fn killed_while_an_end_moves() {
    for act in ["move-end", "move-inlet", "take-end"] {
        soak(40, act);
    }
}
