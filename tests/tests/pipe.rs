//! Pipes in processes that run out of something.

use procession_tests::{program, run, watchdog};

#[test]
fn a_message_whose_handles_find_no_room_is_the_only_one_lost() {
    let _dog = watchdog(60);
    let mut command = program("/bin/sh");
    command.args(["-c", "ulimit -n 1000; exec \"$0\"", env!("CARGO_BIN_EXE_no_room")]);
    let (output, stdout, stderr) = run(&mut command);
    assert!(output.status.success(), "{stdout}{stderr}");
    assert!(stdout.starts_with("20 pipes") && stdout.ends_with(": done\n"), "{stdout}");
}
