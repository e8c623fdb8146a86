//! Clients of a manager are killed, holding locks, permits and leases, in the middle of calls and of waits, and so are servers: what the dead
//! had is free, nobody hangs, and nothing is left.

use procession_tests::{Random, program, run, watchdog};

#[expect(clippy::print_stdout, reason = "figures, for whoever looks")]
fn kill(whom: &str, rounds: u32) {
    let _dog = watchdog(110);
    let seed = Random::from_environment().below(1 << 30).to_string();
    let mut command = program(env!("CARGO_BIN_EXE_manager_kills"));
    command.args([whom, "forkserver", &rounds.to_string(), &seed]);
    let (output, stdout, stderr) = run(&mut command);
    let text = format!("seed {seed}: {}\n{stdout}{stderr}", output.status);
    assert!(output.status.success() && stdout.ends_with("done\n"), "{text}");
    println!("{stdout}");
}

#[test]
fn two_hundred_times_what_killed_clients_had_is_free() {
    kill("clients", 200);
}

#[test]
fn two_hundred_killed_servers_are_told_to_all() {
    kill("server", 200);
}
