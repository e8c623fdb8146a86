//! Rows: behaviours that a helper program checks, one at a time, once for each start method. A test harness has threads, so that it
//! cannot be forked itself.

use std::io::Read;
use std::process::{Command, ExitStatus};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use procession_sys::{Deadline, pidfd, poll};

use crate::{Running, program, skip, watchdog};

/// The names of the start methods.
pub const SPAWN: &str = "spawn";
/// See [`SPAWN`].
pub const FORK_SERVER: &str = "forkserver";
/// See [`SPAWN`].
pub const FORK: &str = "fork";
/// See [`SPAWN`].
pub const THREAD: &str = "thread";

/// The methods that start processes.
pub const EACH: [&str; 3] = [FORK_SERVER, SPAWN, FORK];
/// Those by which a process has nothing of its parent's memory.
pub const FRESH: [&str; 2] = [FORK_SERVER, SPAWN];
/// That of the fork server: for what has no children, or starts them in a way of its own.
pub const SERVED: [&str; 1] = [FORK_SERVER];
/// That of copies.
pub const FORKED: [&str; 1] = [FORK];
/// For what threads that stand for processes do as well.
pub const ALL: [&str; 4] = [FORK_SERVER, SPAWN, FORK, THREAD];

/// How long a row may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a row of a helper program under each of these methods: it ends well and says that it is done.
#[track_caller]
pub fn holds(helper: &str, row: &str, methods: &[&str]) {
    holds_for(methods, |method| command(helper, row, method));
}

/// The same, and it says nothing else.
#[track_caller]
pub fn holds_in_silence(helper: &str, row: &str, methods: &[&str]) {
    let _dog = watchdog(300);
    for method in methods {
        let mut command = command(helper, row, method);
        let (status, stdout, stderr) = run_within(&mut command, PATIENCE);
        let text = format!("{row} by {method}: {status:?}\n{stdout}{stderr}");
        assert!(status.success() && stdout == "done\n" && stderr.is_empty(), "{text}");
    }
}

/// Runs these commands: each ends well and says that it is done.
#[track_caller]
pub fn holds_for(methods: &[&str], command: impl Fn(&str) -> Command) {
    let _dog = watchdog(300);
    for method in methods {
        let mut command = command(method);
        let (status, stdout, stderr) = run_within(&mut command, PATIENCE);
        let text = format!("{command:?}: {status:?}\n{stdout}{stderr}");
        assert!(status.success() && stdout.ends_with("done\n"), "{text}");
        for what in stderr.lines().filter_map(|line| line.strip_prefix("SKIPPED: ")) {
            skip(what);
        }
    }
}

fn command(helper: &str, row: &str, method: &str) -> Command {
    let mut command = program(helper);
    command.args([row, method]);
    command
}

/// Runs a helper program; kills it, and its children with it, when it takes longer than this. Returns what it said.
pub fn run_within(command: &mut Command, patience: Duration) -> (ExitStatus, String, String) {
    let mut running = Running::start(command);
    let stdout = read_in_background(running.0.stdout.take().expect("a pipe"));
    let stderr = read_in_background(running.0.stderr.take().expect("a pipe"));
    let end = pidfd::open(running.0.id()).expect("it is not reaped");
    if !poll::wait_readable(&end, Deadline::after(patience)).expect("a poll") {
        running.0.kill().expect("it is not reaped");
    }
    let status = running.0.wait().expect("a child");
    (status, stdout.join().expect("text"), stderr.join().expect("text"))
}

/// Reads all that a stream says.
pub fn read_in_background(mut stream: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("a pipe");
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Tests that are called like the rows of a module of the helper program, each with the methods under which it holds. Whoever
/// uses it has a function `holds` at the top, which knows the helper.
#[macro_export]
#[expect(clippy::crate_in_macro_def, reason = "`holds` is its user's")]
macro_rules! rows {
    ($module:literal: $($row:ident $methods:ident),+ $(,)?) => {
        $(
            #[test]
            fn $row() {
                crate::holds(
                    concat!($module, "::", stringify!($row)),
                    &$crate::rows::$methods,
                );
            }
        )+
    };
}
