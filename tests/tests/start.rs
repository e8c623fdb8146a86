//! Start methods: the same program means the same under each, and the fork server may die at any time.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use procession::ErrorKind;
use procession::prelude::*;
use procession_sys::prim::{AtomicBool, Mutex, Ordering, lock};
use procession_sys::signal;
use procession_tests::{
    Random, Running, SOON, Stranger, fork_server, program, run, steady_by, wait_until, watchdog,
};

procession::test_support!();

/// What is counted, and the one fork server, belong to the whole process.
static ALONE: Mutex<()> = Mutex::new(());

/// Those that do not copy this process: a test harness has threads. See the tests of `matrix` for the others.
fn each_method(test: impl Fn(Context)) {
    for method in [StartMethod::ForkServer, StartMethod::Spawn] {
        test(Context::new(method));
    }
}

fn divide(a: u32, b: u32) -> u32 {
    a / b
}

/// The whole life of processes, in one program.
fn live(context: Context) {
    let (tx, rx) = pipe::<String>().unwrap();
    let child = context.process().spawn(|tx: Sender<String>| tx.send("hi".into()), (tx,)).unwrap();
    assert_eq!(rx.recv_timeout(SOON).unwrap(), "hi");
    child.join().unwrap().unwrap();
    assert_eq!(child.exit_status().unwrap(), Some(ExitStatus::Exited(0)));
    assert_eq!(context.process().spawn(divide, (42, 6)).unwrap().join().unwrap(), 7);
    let child = context.process().spawn(divide, (1, 0)).unwrap();
    assert!(matches!(child.join(), Err(JoinError::Panicked(_))));
    let child = context.process().spawn(thread::park, ()).unwrap();
    child.kill().unwrap();
    assert!(matches!(child.join(), Err(JoinError::Died(_))));
    assert_eq!(child.exit_status().unwrap().unwrap().signal(), Some(signal::KILL));
    let large = vec![7u8; 1 << 20];
    let child = context.process().spawn(|x: Vec<u8>| x, (large.clone(),)).unwrap();
    assert!(child.join().unwrap() == large);
}

#[test]
fn the_same_program_runs_under_each_method() {
    let (_alone, _dog) = (lock(&ALONE), watchdog(60));
    each_method(live);
}

#[test]
fn the_same_program_runs_beside_32_busy_threads() {
    let (_alone, _dog) = (lock(&ALONE), watchdog(120));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                // Allocating and printing: what a copy of a process with threads hangs on.
                while !done.load(Ordering::Relaxed) {
                    drop(std::hint::black_box(vec![1u8; 4096]));
                    drop(std::io::stdout().lock());
                }
            });
        }
        each_method(live);
        done.store(true, Ordering::Relaxed);
    });
}

/// What a process has inherited: directory, one variable of the environment, and the rest.
type Inherited = (PathBuf, Option<String>, (u32, i32, Vec<u16>), usize);

fn inherited() -> Inherited {
    let now = procession_sys::surroundings::Surroundings::of_this_process().unwrap();
    let variable = std::env::var("PROCESSION_TEST_VARIABLE").ok();
    (now.directory, variable, (now.umask, now.nice, now.processors), std::env::vars_os().count())
}

#[test]
fn children_inherit_what_their_parent_has_now() {
    let (_alone, _dog) = (lock(&ALONE), watchdog(60));
    // In a program of its own: the directory and the umask belong to the whole process.
    let (output, stdout, stderr) = run(&mut program(env!("CARGO_BIN_EXE_inherit")));
    assert!(output.status.success(), "{stderr}");
    let lines: Vec<_> = stdout.lines().collect();
    let methods = ["forkserver: same", "spawn: same", "fork: same"];
    assert_eq!(lines, [methods, methods].concat());
    each_method(|context| {
        let child = context.process().spawn(inherited, ()).unwrap();
        assert_eq!(child.join().unwrap(), inherited());
    });
}

#[test]
fn children_start_processes_by_the_method_of_their_family() {
    let _dog = watchdog(60);
    let ask = || Process::spawn(procession::start_method, ()).unwrap().join().unwrap();
    let child = Process::spawn(ask, ()).unwrap();
    assert_eq!(child.join().unwrap(), procession::start_method());
}

#[test]
fn the_method_is_chosen_once_unless_by_force() {
    let _dog = watchdog(60);
    let in_a_fresh_process = || {
        // Its parent's method is the family's; whoever chooses another one says so.
        let before = procession::start_method_if_set();
        let refused =
            procession::set_start_method(StartMethod::Spawn).map_err(|error| error.kind());
        procession::force_start_method(StartMethod::Spawn);
        (before, refused, procession::start_method())
    };
    let child = Process::spawn(in_a_fresh_process, ()).unwrap();
    let (before, refused, after) = child.join().unwrap();
    assert_eq!(before, Some(procession::start_method()));
    assert_eq!((refused, after), (Err(ErrorKind::InvalidInput), StartMethod::Spawn));
    assert_eq!("spawn".parse::<StartMethod>().unwrap(), StartMethod::Spawn);
    assert!("frok".parse::<StartMethod>().is_err());
}

/// The server, for which a start may be needed: one that finds a spare child may not see that its server was killed.
fn running_server(context: Context) -> Stranger {
    loop {
        if let Some(pid) = fork_server() {
            return Stranger::new(pid);
        }
        context.process().spawn(divide, (4, 2)).unwrap().join().unwrap();
    }
}

#[test]
fn a_killed_server_is_replaced_and_its_children_live_on() {
    let (_alone, _dog) = (lock(&ALONE), watchdog(60));
    let context = Context::new(StartMethod::ForkServer);
    for _ in 0..20 {
        let (tx, rx) = pipe::<()>().unwrap();
        let wait = |rx: Receiver<()>| rx.recv().map(|()| 7);
        let survivor = context.process().spawn(wait, (rx,)).unwrap();
        let server = running_server(context);
        assert!(server.signal(signal::KILL) && server.ends_soon());
        assert!(survivor.is_alive().unwrap());
        assert_eq!(context.process().spawn(divide, (42, 6)).unwrap().join().unwrap(), 7);
        assert_ne!(fork_server(), Some(server.pid));
        tx.send(()).unwrap();
        // Its value is not lost with the server that would have told its status.
        assert_eq!(survivor.join().unwrap().unwrap(), 7);
        let status = survivor.exit_status().unwrap().unwrap();
        assert!(matches!(status, ExitStatus::Exited(0) | ExitStatus::Unknown), "{status}");
    }
}

/// Servers and children are killed at random while processes are started: every start gives a process or an error, and every
/// process an answer.
#[test]
fn servers_killed_at_random_points_lose_no_answer() {
    const ROUNDS: usize = 200;
    let (_alone, _dog) = (lock(&ALONE), watchdog(120));
    let context = Context::new(StartMethod::ForkServer);
    let mut random = Random::from_environment();
    let before = steady_by(context);
    let (mut refused, mut answered) = (0, 0);
    for _ in 0..ROUNDS {
        let pause = Duration::from_micros(random.below(600) as u64);
        let server = running_server(context);
        let killer = thread::spawn(move || {
            let start = Instant::now();
            while start.elapsed() < pause {}
            server.signal(signal::KILL)
        });
        match context.process().spawn(divide, (42, 6)) {
            Ok(child) => {
                assert_eq!(child.join().unwrap(), 7);
                answered += 1;
            }
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::Broken | ErrorKind::Died), "{error:?}");
                refused += 1;
            }
        }
        killer.join().unwrap();
        context.process().spawn(divide, (4, 2)).unwrap().join().unwrap();
    }
    assert!(answered > refused, "{refused} of {ROUNDS} starts were refused");
    let after = steady_by(context);
    assert_eq!(after, before);
}

fn has_stopped(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let state = |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("stat"));
    threads.map(state).all(|state| state.is_ok_and(|state| state.contains(") T ")))
}

#[test]
fn a_stopped_server_reports_when_it_goes_on() {
    let (_alone, _dog) = (lock(&ALONE), watchdog(60));
    let context = Context::new(StartMethod::ForkServer);
    let child = context.process().spawn(thread::park, ()).unwrap();
    let server = Stranger::new(fork_server().unwrap());
    server.signal(signal::STOP);
    wait_until("all its threads have stopped", || has_stopped(server.pid));
    child.kill().unwrap();
    // Nobody can reap it: it has ended, and how is not known yet.
    assert!(Stranger::new(child.pid()).ends_soon());
    let answer = child.join_timeout(Duration::from_millis(20));
    assert!(answer.is_none(), "{answer:?}");
    server.signal(signal::CONTINUE);
    assert!(matches!(child.join(), Err(JoinError::Died(_))));
    assert_eq!(child.exit_status().unwrap().unwrap().signal(), Some(signal::KILL));
}

#[test]
fn a_program_with_threads_before_init_is_told_why_it_cannot_fork() {
    let _dog = watchdog(60);
    let (output, stdout, stderr) = run(&mut program(env!("CARGO_BIN_EXE_early_thread")));
    assert!(output.status.success(), "{stderr}");
    assert!(stdout.contains("forkserver: the fork server has 2 threads"), "{stdout}");
    assert!(stdout.contains("spawn: 42\n"), "{stdout}");
}

#[test]
fn interrupts_reach_children_and_not_the_server() {
    let _dog = watchdog(60);
    let mut command = program(env!("CARGO_BIN_EXE_inherit"));
    command.arg("--interrupt").stdin(Stdio::piped());
    let mut parent = Running::start(&mut command);
    parent.0.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut parent.0.stdout.take().unwrap(), &mut answer).unwrap();
    assert_eq!(answer, "was killed by SIGINT\nserver lives: true\n");
}

#[test]
fn the_builder_says_what_a_child_does_not_inherit() {
    let (_alone, _dog) = (lock(&ALONE), watchdog(60));
    let look = || {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).unwrap();
        println!("{}", std::env::current_dir().unwrap().display());
        let variable = std::env::var("PROCESSION_TEST_VARIABLE").unwrap_or_default();
        (line, variable, std::env::var_os("PATH").is_some(), std::env::vars_os().count())
    };
    each_method(|context| {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let (input, mut to_child) = std::io::pipe().unwrap();
        to_child.write_all(b"a line\n").unwrap();
        let described =
            context.process().env("PROCESSION_TEST_VARIABLE", "value").env_remove("PATH");
        let described = described.current_dir("/").stdin(input).stdout(writer);
        let child = described.spawn(look, ()).unwrap();
        let (line, variable, has_path, _) = child.join().unwrap();
        assert_eq!((&*line, &*variable, has_path), ("a line\n", "value", false));
        let mut printed = String::new();
        std::io::Read::read_to_string(&mut reader, &mut printed).unwrap();
        assert!(printed.ends_with("/\n"), "{printed}");

        let nowhere = procession::process::Stream::null;
        let empty = context.process().env_clear().env("PROCESSION_TEST_VARIABLE", "only");
        let child = empty.stdout(nowhere()).stderr(nowhere()).spawn(look, ()).unwrap();
        assert_eq!(child.join().unwrap(), (String::new(), "only".into(), false, 1));

        // It says so, wherever the method finds out.
        let nowhere = context.process().current_dir("/nowhere at all").spawn(|| (), ());
        let error = nowhere.map_or_else(|error| error, |child| child.join().unwrap_err().into());
        assert_eq!(error.kind(), ErrorKind::Os, "{error:?}");
        assert!(error.to_string().contains("/nowhere at all"), "{error:?}");
    });
}
