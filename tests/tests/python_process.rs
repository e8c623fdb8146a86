//! The behaviours of processes that CPython's tests assert, row by row, and rules of our own. `docs/conformance.md` says which
//! row is tested where.
//!
//! Each row runs in a helper program, once for each start method: a test harness has threads, so that it cannot be forked.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use procession_sys::{Deadline, pidfd, poll, signal};
use procession_tests::rows::{ALL, EACH, FORK, FORKED, FRESH, SERVED, holds, holds_for};
use procession_tests::{Running, Stranger, program, run, watchdog};

/// Tests that are called like the rows of a helper program, each with the methods under which it holds.
macro_rules! rows {
    ($helper:literal: $($row:ident $methods:ident),+ $(,)?) => {
        $(
            #[test]
            fn $row() {
                const HELPER: &str = env!(concat!("CARGO_BIN_EXE_", $helper));
                crate::holds(HELPER, stringify!($row), &crate::$methods);
            }
        )+
    };
}

/// CPython's `_TestProcess`.
mod process {
    rows!("py_process":
        current EACH,
        args_argument ALL,
        daemon_argument ALL,
        parent_process_attributes ALL,
        parent_process EACH,
        process ALL,
        process_mainthread_native_id EACH,
        terminate EACH,
        kill EACH,
        cpu_count ALL,
        active_children ALL,
        recursion ALL,
        sentinel EACH,
        close EACH,
        many_processes EACH,
        wait_for_threads EACH,
        forkserver_sigint SERVED,
        forkserver_sigkill SERVED,
    );
    rows!("py_streams":
        child_fd_inflation FRESH,
        error_on_stdio_flush_1 EACH,
        error_on_stdio_flush_2 EACH,
    );
    rows!("py_executable": set_executable FRESH);
}

/// CPython's `_TestSubclassingProcess`.
mod subclassing {
    rows!("py_streams": subclassing ALL, stderr_flush EACH, sys_exit EACH);
}

/// CPython's `_TestFinalize`.
mod finalize {
    rows!("py_exit": finalize EACH);
}

/// CPython's `_TestAtExit`.
mod at_exit {
    rows!("py_exit": atexit EACH);
}

/// CPython's `_TestPollEintr`.
mod poll_eintr {
    rows!("py_signals": poll_eintr EACH);
}

/// CPython's `TestIgnoreEINTR`.
mod ignore_eintr {
    rows!("py_signals": ignore EACH);
}

/// CPython's `TestStartMethod`.
mod start_method {
    rows!("py_start_method":
        context EACH,
        set_get EACH,
        get_all SERVED,
        nested_startmethod EACH,
        mixed_startmethod EACH,
    );
}

/// CPython's `TestStdinBadfiledescriptor`.
mod stdin_bad_file_descriptor {
    use super::{Command, EACH, holds, holds_for, program};

    const STREAMS: &str = env!("CARGO_BIN_EXE_py_streams");

    /// The same, for a parent without a standard input.
    fn without_input(row: &'static str) -> impl Fn(&str) -> Command {
        move |method| {
            let mut command = program("/bin/sh");
            command.args(["-c", "exec \"$0\" \"$@\" <&-", STREAMS, row, method]);
            command
        }
    }

    #[test]
    fn queue_in_process() {
        holds(STREAMS, "queue_in_process", &EACH);
        holds_for(&EACH, without_input("queue_in_process"));
    }

    #[test]
    fn pool_in_process() {
        holds(STREAMS, "pool_in_process", &EACH);
        holds_for(&EACH, without_input("pool_in_process"));
    }
}

/// CPython's `TestNoForkBomb`.
mod no_fork_bomb {
    use super::{FORK, FRESH, program, run, watchdog};

    const NO_GUARD: &str = env!("CARGO_BIN_EXE_py_no_guard");

    #[test]
    fn noforkbomb() {
        let _dog = watchdog(60);
        for method in FRESH {
            let (output, stdout, stderr) = run(program(NO_GUARD).arg(method));
            assert!(output.status.success(), "{stderr}");
            let (first, second) = stdout.split_once('\n').unwrap();
            assert_eq!(first, "main runs");
            assert!(
                second.starts_with("NotInitialized: ") && second.lines().count() == 1,
                "{stdout}"
            );
            assert!(
                second.contains("make `procession::init();` the first line of `main`"),
                "{stdout}"
            );
        }
        let (output, stdout, stderr) = run(program(NO_GUARD).arg(FORK));
        assert!(output.status.success(), "{stderr}");
        assert_eq!(stdout, "main runs\n123\nOk(())\n");
    }
}

/// CPython's `TestCloseFds`.
mod close_fds {
    use super::{EACH, holds_for, program};

    #[test]
    fn closefd() {
        holds_for(&EACH, |method| {
            // Descriptor 9 comes from a careless program: it is not close-on-exec.
            let mut command = program("/bin/sh");
            let script = "exec 9</dev/null; exec \"$0\" \"$@\"";
            command.args(["-c", script, env!("CARGO_BIN_EXE_py_streams"), "closefd", method]);
            command
        });
    }
}

/// Our own.
mod rules {
    use super::*;

    const EXECUTABLE: &str = env!("CARGO_BIN_EXE_py_executable");
    const RULES: &str = env!("CARGO_BIN_EXE_py_rules");
    const STREAMS: &str = env!("CARGO_BIN_EXE_py_streams");

    /// A program of which each line is seen, and which is told when to go on.
    struct Scene {
        running: Running,
        lines: Lines<BufReader<std::process::ChildStdout>>,
        family: Vec<Stranger>,
    }

    impl Scene {
        fn start(name: &str, method: &str) -> Self {
            let mut command = program(RULES);
            command.args([name, method]).stdin(Stdio::piped()).stderr(Stdio::null());
            let mut running = Running::start(&mut command);
            let stdout = running.0.stdout.take().unwrap();
            Self { running, lines: BufReader::new(stdout).lines(), family: Vec::new() }
        }

        fn line(&mut self) -> Option<String> {
            self.lines.next().map(Result::unwrap)
        }

        /// The next lines, until each of these has come, in no order.
        #[track_caller]
        fn read(&mut self, expected: &[&str]) -> Vec<String> {
            let mut seen: Vec<String> = Vec::new();
            let mut missing = expected.to_vec();
            while !missing.is_empty() {
                let Some(line) = self.line() else {
                    panic!("{seen:?} is all that came, and not {missing:?}")
                };
                if let Some(at) = missing.iter().position(|missing| *missing == line) {
                    missing.swap_remove(at);
                }
                seen.push(line);
            }
            seen
        }

        /// Reads as many lines that begin with each of these words as it says, and returns the processes that they name.
        #[track_caller]
        fn processes<const N: usize>(&mut self, words: [(&str, usize); N]) -> [Vec<Stranger>; N] {
            let mut found = [const { Vec::new() }; N];
            while (0..N).any(|at| found[at].len() < words[at].1) {
                let line = self.line().expect("more processes");
                let at = words.iter().position(|(word, _)| line.starts_with(word));
                let number = line.split_once(' ').and_then(|(_, number)| number.parse().ok());
                if let (Some(at), Some(number)) = (at, number) {
                    found[at].push(Stranger::new(number));
                }
            }
            found
        }

        /// Such processes, which live until somebody ends them: when this is dropped, at the latest.
        #[track_caller]
        fn living<const N: usize>(&mut self, words: [(&str, usize); N]) -> [Vec<Stranger>; N] {
            let found = self.processes(words);
            assert!(found.iter().flatten().all(Stranger::is_alive), "{found:?}");
            // What is alive now has the number that it said.
            self.family.extend(found.iter().flatten().map(|process| Stranger::new(process.pid)));
            found
        }

        /// Writes a line, for one of those who wait for it.
        fn go_on(&mut self) {
            self.running.0.stdin.as_ref().unwrap().write_all(b"\n").unwrap();
        }

        /// Whether one of those who wait for lines got one, whichever it was.
        fn is_one_done(&mut self) -> bool {
            std::iter::from_fn(|| self.line()).any(|line| line.ends_with(" is done"))
        }

        /// The code that it exits with, and the lines that are left.
        fn end(&mut self) -> (Option<i32>, Vec<String>) {
            let lines = std::iter::from_fn(|| self.line()).collect();
            (self.running.0.wait().unwrap().code(), lines)
        }

        fn stranger(&self) -> Stranger {
            Stranger::new(self.running.0.id())
        }

        /// It goes on, although it has some time to end.
        #[track_caller]
        fn goes_on(&mut self, when: &str) {
            let end = pidfd::open(self.running.0.id()).unwrap();
            let has_ended = poll::wait_readable(end, Deadline::after(Duration::from_millis(500)));
            if has_ended.unwrap() {
                let (lines, status) = (self.end().1, self.running.0.wait());
                panic!(
                    "{when}: it did not wait for its children, but ended: {status:?}, {lines:?}"
                );
            }
        }
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            for process in &self.family {
                process.signal(signal::KILL);
            }
        }
    }

    /// A program ends, and waits for its children all the same.
    #[track_caller]
    fn waits_for_children(scene: &str, code: i32) {
        let _dog = watchdog(60);
        for method in EACH {
            let mut scene = Scene::start(scene, method);
            scene.read(&["main ends", "finalizer before children"]);
            for number in 1..=2 {
                scene.goes_on(&format!("{method}, line {number}"));
                scene.go_on();
                assert!(scene.is_one_done(), "{method}: a child was not waited for");
            }
            assert_eq!(
                scene.end(),
                (Some(code), vec!["finalizer behind children".into()]),
                "{method}"
            );
        }
    }

    #[test]
    fn return_from_main_waits_for_children() {
        waits_for_children("return", 0);
    }

    #[test]
    fn exit_waits_for_children() {
        waits_for_children("exit", 3);
    }

    #[test]
    fn panic_of_main_waits_for_children() {
        waits_for_children("panic", 101);
    }

    #[test]
    fn dropped_children_are_waited_for() {
        let _dog = watchdog(60);
        for method in EACH {
            let mut scene = Scene::start("drop", method);
            scene.read(&["main ends"]);
            for number in 1..=2 {
                scene.goes_on(&format!("{method}, line {number}"));
                scene.go_on();
                assert!(scene.is_one_done(), "{method}: a child was not waited for");
            }
            assert_eq!(scene.end(), (Some(0), vec![]), "{method}");
        }
    }

    #[test]
    fn daemons_are_ended() {
        let _dog = watchdog(60);
        for method in EACH {
            let start = Instant::now();
            let mut scene = Scene::start("daemons", method);
            let [daemons] = scene.processes([("pid ", 2)]);
            let (code, lines) = scene.end();
            assert_eq!(code, Some(0), "{method}: {lines:?}");
            assert!(lines.iter().any(|line| line == "the daemon tidies up"), "{method}: {lines:?}");
            // The stubborn one has a second.
            assert!(start.elapsed() >= Duration::from_secs(1), "{method}");
            assert!(daemons.iter().all(|daemon| !daemon.is_alive()), "{method}: {daemons:?}");
        }
    }

    #[test]
    fn a_killed_parent_takes_all_along_but_those_that_outlive_it() {
        let _dog = watchdog(60);
        for method in EACH {
            let mut scene = Scene::start("family", method);
            // The program, three children, a daemon, one in the middle and its child; and two of the others.
            let [bound, outliving] = scene.living([("pid ", 7), ("outlives ", 2)]);
            assert!(scene.stranger().signal(signal::KILL));
            for process in &bound {
                assert!(process.ends_soon(), "{method}: {process:?} is left");
            }
            // They say so when they have learned of it.
            scene.read(&["is left alone", "is left alone"]);
            assert!(outliving.iter().all(Stranger::is_alive), "{method}: {outliving:?}");
        }
    }

    #[test]
    fn the_end_of_a_program_leaves_those_alone_that_outlive_it() {
        let _dog = watchdog(60);
        for method in EACH {
            let mut scene = Scene::start("outliving", method);
            let [outliving] = scene.living([("outlives ", 2)]);
            // They hold its output, so that its end is asked for first.
            assert!(scene.stranger().ends_soon(), "{method}: it waits for them");
            scene.read(&["is left alone", "is left alone"]);
            assert!(outliving.iter().all(Stranger::is_alive), "{method}: {outliving:?}");
            assert_eq!(scene.running.0.wait().unwrap().code(), Some(0), "{method}");
        }
    }

    #[test]
    fn death_signal_lets_a_child_tidy_up() {
        let _dog = watchdog(60);
        for method in EACH {
            for round in 0..10 {
                let mut scene = Scene::start("death_signal", method);
                let [processes] = scene.living([("pid ", 5)]);
                assert!(scene.stranger().signal(signal::KILL));
                let (code, lines) = scene.end();
                assert_eq!(
                    (code, &*lines),
                    (None, &["told to end".into()][..]),
                    "{method} {round}"
                );
                assert!(processes.iter().all(Stranger::ends_soon), "{method}: {processes:?}");
            }
        }
    }

    #[test]
    fn a_program_that_is_told_to_end_ends_its_children() {
        let _dog = watchdog(60);
        for method in EACH {
            let mut scene = Scene::start("terminate", method);
            let [processes] = scene.living([("pid ", 2)]);
            assert!(scene.stranger().signal(signal::TERMINATE));
            assert_eq!(scene.end(), (Some(128 + 15), vec!["finalizer".into()]), "{method}");
            assert!(processes.iter().all(|process| !process.is_alive()), "{method}: {processes:?}");
        }
    }

    rows!("py_streams": piped_streams EACH, closed_streams_do_not_become_ours EACH);
    rows!("py_exit":
        who_is_killed_finalizes_nothing EACH,
        what_is_the_parents_to_finalize_stays_the_parents EACH,
        exit_on_terminate_runs_finalizers EACH,
        on_drop_detach EACH,
        on_drop_join EACH,
        on_drop_terminate EACH,
        a_child_waits_for_its_children EACH,
        a_fork_that_was_told_to_end_tells_nobody_else EACH,
    );
    rows!("py_settings":
        user_group_and_groups EACH,
        nice EACH,
        affinity EACH,
        limits EACH,
        process_group EACH,
        signal_mask EACH,
        arg0 EACH,
        terminate_tree EACH,
        values_arrive_while_sigchld_is_ignored EACH,
        values_arrive_while_children_are_stolen EACH,
    );
    rows!("py_hooks":
        after_fork_hooks_run_in_forks EACH,
        preload_runs_once_in_the_server SERVED,
        a_panicking_preload_is_an_error SERVED,
        a_preload_that_leaves_a_thread_is_an_error_that_names_it SERVED,
        fork_refuses_other_threads_and_names_them FORKED,
    );
    rows!("py_executable":
        a_refused_program_leaves_nothing FRESH,
        a_silent_program_is_refused_after_ten_seconds FRESH,
    );

    #[test]
    fn a_program_that_knows_nothing_of_us_is_refused() {
        holds_for(&FRESH, |method| {
            let mut command = program(EXECUTABLE);
            command.args(["another_program", method, env!("CARGO_BIN_EXE_forgot_init")]);
            command
        });
    }

    #[test]
    fn a_program_without_standard_streams_has_children() {
        let _dog = watchdog(60);
        for method in EACH {
            let mut command = program("/bin/sh");
            let script = "exec \"$0\" \"$@\" <&- >&- 2>&-";
            command.args(["-c", script, STREAMS, "started_without_streams", method]);
            let (output, ..) = run(&mut command);
            assert!(output.status.success(), "{method}: {}", output.status);
        }
    }
}
