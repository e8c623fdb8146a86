//! In a program that is built with `panic = "abort"`, a panic is a value too: it is told before the process ends.

use std::path::Path;

use procession_tests::{program, run, watchdog};

#[test]
fn a_panic_is_a_value_before_the_process_aborts() {
    let _dog = watchdog(300);
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    // Beside the other builds, so that `cargo clean` finds it.
    let target = Path::new(env!("CARGO_BIN_EXE_probe")).ancestors().nth(2).unwrap();
    let mut build = program(env!("CARGO"));
    build.args(["build", "--quiet", "--profile", "abort", "--bin", "aborts", "--manifest-path"]);
    build.arg(&manifest).arg("--target-dir").arg(target);
    let (output, _, stderr) = run(&mut build);
    assert!(output.status.success(), "{stderr}");

    let (output, stdout, stderr) = run(&mut program(target.join("abort/aborts")));
    assert!(output.status.success(), "{stdout}{stderr}");
    assert!(stdout.starts_with("abort: true\n"), "{stdout}");
    assert!(stdout.contains("join: panicked at "), "{stdout}");
    assert!(
        stdout.contains("attempt to divide by zero\nstatus: was killed by SIGABRT"),
        "{stdout}"
    );
    assert!(
        stdout.ends_with("task 0: attempt to divide by zero\nvalue 6\nvalue 3\ndone\n"),
        "{stdout}"
    );
}
