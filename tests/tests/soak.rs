//! A minute of the soak: each kind of member is killed 200 times, and nothing is left. `docs/soak.md` says what is checked.

use procession_sys::prim::{Mutex, lock};
use procession_tests::soak::Options;
use procession_tests::soak::process;
use procession_tests::{skip, watchdog};

/// The harness counts its own descriptors.
static ALONE: Mutex<()> = Mutex::new(());

#[expect(clippy::print_stdout, reason = "figures, for whoever looks")]
fn kill_two_hundred(victim: &str) {
    let (_alone, _dog) = (lock(&ALONE), watchdog(110));
    let options = Options::from_environment(200, env!("CARGO_BIN_EXE_soak_process"));
    let options = Options { only: Some(victim.to_owned()), ..options };
    if victim == "server" && !process::has_servers(&options) {
        return skip("killed fork servers: the start method has none");
    }
    match process::soak(&options) {
        Ok(table) => println!("{table}"),
        Err(what) => panic!("{what}"),
    }
}

#[test]
fn two_hundred_killed_roots_leave_nothing() {
    kill_two_hundred("root");
}

#[test]
fn two_hundred_killed_parents_leave_nothing() {
    kill_two_hundred("parent");
}

#[test]
fn two_hundred_killed_fork_servers_leave_nothing() {
    kill_two_hundred("server");
}

#[test]
fn two_hundred_killed_children_leave_nothing() {
    kill_two_hundred("child");
}
