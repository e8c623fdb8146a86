//! An actor that is killed at chosen instructions of what it does with a lock or one of its kin: whoever waits for it gets on, and
//! nothing is left. `docs/soak.md` says what is checked; `cargo xtask soak step --rounds 100000` does it at every instruction.

use procession_sys::prim::{Mutex, lock};
use procession_tests::soak::{Options, step};
use procession_tests::watchdog;

/// The machine has two processors, and waiters spin.
static ALONE: Mutex<()> = Mutex::new(());

#[expect(clippy::print_stdout, reason = "figures, for whoever looks")]
fn kill_at_forty_points(act: &str) {
    let (_alone, _dog) = (lock(&ALONE), watchdog(110));
    let options = Options::from_environment(40, env!("CARGO_BIN_EXE_soak_step"));
    match step::soak(&Options { only: Some(act.to_owned()), ..options }) {
        Ok(table) => println!("{table}"),
        Err(what) => panic!("{what}"),
    }
}

#[test]
fn killed_over_a_lock() {
    kill_at_forty_points("lock");
    kill_at_forty_points("lock-sleeper");
    kill_at_forty_points("rlock");
}

#[test]
fn killed_over_permits() {
    kill_at_forty_points("permit");
    kill_at_forty_points("permit-sleeper");
    kill_at_forty_points("raw-permit");
}

#[test]
fn killed_while_it_notifies() {
    kill_at_forty_points("notify");
    kill_at_forty_points("event-sleeper");
}

#[test]
fn killed_while_it_waits() {
    kill_at_forty_points("notified");
    kill_at_forty_points("wait-timeout");
}

#[test]
fn killed_at_a_barrier() {
    kill_at_forty_points("barrier-last");
    kill_at_forty_points("barrier-first");
}

#[test]
fn killed_while_it_makes_objects_or_sends_them() {
    kill_at_forty_points("object");
    kill_at_forty_points("send");
}
