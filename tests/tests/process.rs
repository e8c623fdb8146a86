//! The life of a process, from its arguments to its end.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use procession::prelude::*;
use procession::{Child, Error, ErrorKind, Panic};
use procession_sys::signal;
use procession_tests::{SOON, Stranger, program, run, watchdog};
use serde::{Deserialize, Serialize, Serializer, ser};

procession::test_support!();

fn divide(a: u32, b: u32) -> u32 {
    a / b
}

fn longest<T: AsRef<str>>(words: Vec<T>) -> String {
    words.iter().map(AsRef::as_ref).max_by_key(|word| word.len()).unwrap_or_default().to_owned()
}

/// Waits for ever, and says when it begins to.
fn wait_for_ever(started: Sender<()>) {
    started.send(()).unwrap();
    loop {
        thread::park();
    }
}

fn waiting() -> Process {
    let (tx, rx) = pipe().unwrap();
    let child = Process::spawn(wait_for_ever, (tx,)).unwrap();
    rx.recv_timeout(SOON).unwrap();
    child
}

#[test]
fn functions_closures_and_generics_return_their_values() {
    let _dog = watchdog(60);
    assert_eq!(Process::spawn(divide, (42, 6)).unwrap().join().unwrap(), 7);
    let closure = |name: String, times: usize| name.repeat(times);
    assert_eq!(Process::spawn(closure, ("ab".into(), 2)).unwrap().join().unwrap(), "abab");
    let generic = Process::spawn(longest::<String>, (vec!["a".into(), "bcd".into()],)).unwrap();
    assert_eq!(generic.join().unwrap(), "bcd");
    Process::spawn(|| (), ()).unwrap().join().unwrap();
}

#[test]
fn another_process_it_is_with_a_name() {
    let _dog = watchdog(60);
    let child = Process::builder().name("adder").spawn(std::process::id, ()).unwrap();
    assert_eq!(child.name(), "adder");
    assert_eq!(child.join().unwrap(), child.pid());
    assert_ne!(child.pid(), std::process::id());
    let first = Process::spawn(|| (), ()).unwrap();
    assert!(first.name().starts_with("Process-"), "{}", first.name());
    let nested = |_: ()| Process::spawn(|| (), ()).map(|child| child.name().to_owned());
    let parent = Process::spawn(nested, ((),)).unwrap();
    assert_eq!(parent.join().unwrap().unwrap(), format!("{}:1", parent.name()));
    let zero = Process::builder().name("a\0b").spawn(|| (), ()).unwrap_err();
    assert_eq!(zero.kind(), ErrorKind::InvalidInput);
}

#[test]
fn large_arguments_and_values_arrive() {
    let _dog = watchdog(60);
    let large: Vec<u32> = (0..3_000_000).collect();
    let child = Process::spawn(
        |mut x: Vec<u32>| {
            x.reverse();
            x
        },
        (large.clone(),),
    )
    .unwrap();
    let back = child.join().unwrap();
    assert!(back.iter().rev().eq(&large));
}

#[test]
fn join_answers_again_and_to_everybody() {
    let _dog = watchdog(60);
    let (tx, rx) = pipe::<()>().unwrap();
    let child =
        Process::spawn(|rx: Receiver<()>| rx.recv().map(|()| vec![1, 2, 3]), (rx,)).unwrap();
    assert!(child.try_join().is_none());
    assert!(child.join_timeout(Duration::from_millis(1)).is_none());
    assert!(child.is_alive().unwrap());
    assert_eq!(child.exit_status().unwrap(), None);
    thread::scope(|scope| {
        let waiters: Vec<_> = (0..4).map(|_| scope.spawn(|| child.join().unwrap())).collect();
        tx.send(()).unwrap();
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap().unwrap(), [1, 2, 3]);
        }
    });
    assert_eq!(child.try_join().unwrap().unwrap().unwrap(), [1, 2, 3]);
    assert_eq!(child.exit_status().unwrap(), Some(ExitStatus::Exited(0)));
    assert!(!child.is_alive().unwrap());
}

#[test]
fn a_value_with_handles_is_handed_out_once() {
    let _dog = watchdog(60);
    let child = Process::spawn(
        || {
            pipe::<u8>().map(|(tx, rx)| {
                tx.send(7).unwrap();
                rx
            })
        },
        (),
    )
    .unwrap();
    assert_eq!(child.join().unwrap().unwrap().recv().unwrap(), 7);
    let Err(JoinError::Value(error)) = child.join() else { panic!("there is one") };
    assert_eq!(error.kind(), ErrorKind::Taken);
}

#[test]
fn a_panic_is_a_value_with_message_place_and_calls() {
    let _dog = watchdog(60);
    let child = Process::spawn(divide, (1, 0)).unwrap();
    let Err(JoinError::Panicked(Panic { message, location, backtrace })) = child.join() else {
        panic!("it divides by zero")
    };
    assert_eq!(message, "attempt to divide by zero");
    assert!(location.contains("process.rs:"), "{location}");
    assert!(backtrace.contains("divide"), "{backtrace}");
    assert_eq!(child.exit_status().unwrap(), Some(ExitStatus::Exited(1)));
}

/// A child that ends in the way given, and how its parent sees it.
fn end_of<R>(function: fn() -> Process<R>) -> ExitStatus
where
    R: serde::de::DeserializeOwned + std::fmt::Debug,
{
    let child = function();
    match child.join().unwrap_err() {
        JoinError::Died(death) => {
            assert_eq!((death.pid, &*death.name), (child.pid(), child.name()));
            assert_eq!(child.exit_status().unwrap(), Some(death.status));
            death.status
        }
        other => panic!("{other:?}"),
    }
}

#[expect(clippy::exit, reason = "that is the test")]
fn exit_with(code: i32) {
    std::process::exit(code)
}

fn give_up() {
    std::process::abort()
}

#[expect(unconditional_recursion, reason = "that is the test")]
fn overflow(depth: u64) -> u64 {
    std::hint::black_box(overflow(std::hint::black_box(depth + 1)) + 1)
}

#[test]
fn exits_and_signals_are_told_apart() {
    let _dog = watchdog(60);
    assert_eq!(end_of(|| Process::spawn(exit_with, (3,)).unwrap()), ExitStatus::Exited(3));
    assert_eq!(end_of(|| Process::spawn(exit_with, (256 + 3,)).unwrap()), ExitStatus::Exited(3));
    assert_eq!(end_of(|| Process::spawn(exit_with, (0,)).unwrap()), ExitStatus::Exited(0));
    let aborted = end_of(|| Process::spawn(give_up, ()).unwrap());
    assert_eq!(aborted.signal(), Some(signal::ABORT));
    assert_eq!(end_of(|| Process::spawn(overflow, (0,)).unwrap()).signal(), Some(signal::ABORT));
    let raise = |number: i32| {
        let own = procession_sys::pidfd::open(std::process::id()).unwrap();
        // More than once: the first SIGSEGV only takes Rust's handler for stack overflows away.
        loop {
            procession_sys::pidfd::signal(&own, number).unwrap();
        }
    };
    for number in [signal::SEGMENT, signal::KILL, signal::TERMINATE] {
        let child: Process<()> = Process::spawn(raise, (number,)).unwrap();
        assert!(matches!(child.join(), Err(JoinError::Died(_))));
        assert_eq!(child.exit_status().unwrap().unwrap().signal(), Some(number));
    }
}

#[test]
fn terminate_and_kill_end_it_and_do_nothing_afterwards() {
    let _dog = watchdog(60);
    for (end, number) in
        [(Child::terminate as fn(&Child) -> _, signal::TERMINATE), (Child::kill, signal::KILL)]
    {
        let child = waiting();
        end(&child).unwrap();
        assert!(matches!(child.join(), Err(JoinError::Died(_))));
        assert_eq!(child.exit_status().unwrap().unwrap().signal(), Some(number));
        end(&child).unwrap();
    }
    let child = waiting();
    child.signal(0).unwrap();
    // A real-time signal, whose default is to end the process.
    child.signal(40).unwrap();
    drop(child.join());
    assert_eq!(child.exit_status().unwrap().unwrap().signal(), Some(40));
}

#[test]
fn a_stopped_process_is_alive_and_can_be_killed() {
    let _dog = watchdog(60);
    let child = waiting();
    child.signal(signal::STOP).unwrap();
    assert!(child.join_timeout(Duration::from_millis(20)).is_none());
    assert!(child.is_alive().unwrap());
    child.kill().unwrap();
    assert!(child.join().is_err());
}

#[derive(Deserialize)]
struct Unsendable;

impl Serialize for Unsendable {
    fn serialize<S: Serializer>(&self, _serializer: S) -> Result<S::Ok, S::Error> {
        Err(ser::Error::custom("not sendable"))
    }
}

/// Reads as something else than it was written.
#[derive(Serialize)]
struct Fickle(u8);

impl<'de> Deserialize<'de> for Fickle {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|_| Self(0))
    }
}

#[test]
fn an_argument_that_cannot_be_encoded_starts_nothing() {
    let _dog = watchdog(60);
    let error = Process::spawn(|_: Unsendable| (), (Unsendable,)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Encode);
}

#[test]
fn an_argument_that_cannot_be_decoded_is_not_called_with() {
    let _dog = watchdog(60);
    let child = Process::spawn(|_: Fickle| (), (Fickle(200),)).unwrap();
    let Err(JoinError::NotStarted(error)) = child.join() else { panic!("it cannot be decoded") };
    assert_eq!(error.kind(), ErrorKind::Decode);
}

#[test]
fn a_value_that_cannot_be_sent_is_an_error_of_the_value() {
    let _dog = watchdog(60);
    let child = Process::spawn(|| Unsendable, ()).unwrap();
    let Err(JoinError::Value(error)) = child.join() else { panic!("it cannot be encoded") };
    assert_eq!(error.kind(), ErrorKind::Encode);
    let child = Process::spawn(|| Fickle(200), ()).unwrap();
    let Err(JoinError::Value(error)) = child.join() else { panic!("it cannot be decoded") };
    assert_eq!(error.kind(), ErrorKind::Decode);
}

#[test]
fn errors_travel_as_errors() {
    let _dog = watchdog(60);
    fn fail() -> procession::Result<()> {
        let inner = Process::spawn(divide, (1, 0))?;
        inner.join().map(drop).map_err(Error::from)
    }
    let error = Process::spawn(fail, ()).unwrap().join().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Panicked);
    assert!(error.to_string().contains("divide by zero"), "{error}");
}

#[test]
fn pipes_files_and_sockets_are_arguments() {
    let _dog = watchdog(60);
    type Args = (Receiver<String>, Sender<usize>, Handle<File>, Option<Vec<Handle<UnixStream>>>);
    fn work((rx, tx, mut file, sockets): Args) -> procession::Result<()> {
        for text in &rx {
            let text = text?;
            file.write_all(text.as_bytes())?;
            tx.send(text.len())?;
        }
        for mut socket in sockets.into_iter().flatten() {
            socket.write_all(b"bye")?;
        }
        Ok(())
    }
    let path = std::env::temp_dir().join(format!("procession-test-{}", std::process::id()));
    let file = File::create_new(&path).unwrap();
    let (to_child, rx) = pipe().unwrap();
    let (tx, from_child) = pipe().unwrap();
    let (mut here, there) = UnixStream::pair().unwrap();
    let args = ((rx, tx, Handle(file), Some(vec![Handle(there)])),);
    let child = Process::spawn(work, args).unwrap();
    to_child.send("hello ".to_owned()).unwrap();
    to_child.send("world".to_owned()).unwrap();
    assert_eq!((from_child.recv().unwrap(), from_child.recv().unwrap()), (6, 5));
    drop(to_child);
    child.join().unwrap().unwrap();
    let mut bye = String::new();
    here.read_to_string(&mut bye).unwrap();
    assert_eq!(bye, "bye", "and the last holder is gone, or reading would not end");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "hello world");
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_peer_that_dies_closes_its_pipes() {
    let _dog = watchdog(60);
    let (mine, theirs) = duplex::<u8, u8>().unwrap();
    let child = Process::spawn(
        |end: Duplex<u8, u8>| {
            end.send(1).unwrap();
            end.recv().unwrap();
            give_up();
        },
        (theirs,),
    )
    .unwrap();
    assert_eq!(mine.recv_timeout(SOON).unwrap(), 1);
    mine.send(2).unwrap();
    assert_eq!(mine.recv().unwrap_err().kind(), ErrorKind::Closed);
    assert!(child.join().is_err());
    assert_eq!(mine.send(3).unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn children_see_nothing_of_their_parent_but_what_they_are_given() {
    let _dog = watchdog(60);
    // Descriptor 9 is one that the parent inherited without close-on-exec: every child of a careless program has it.
    let script = "exec 9</dev/null; exec \"$0\" \"$@\"";
    let probe = env!("CARGO_BIN_EXE_probe");
    let mut command = program("/bin/sh");
    command.args(["-c", script, probe, "--secret", "x y"]);
    let (output, stdout, stderr) = run(&mut command);
    assert!(output.status.success(), "{stderr}");
    let lines: Vec<_> = stdout.lines().collect();
    // The child writes its line in front of `init` as well: what stands there happens in every child.
    assert_eq!(lines.iter().filter(|line| **line == "main").count(), 2, "{stdout}");
    assert!(lines.iter().any(|line| line.starts_with("parent sees [0, 1, 2, 9")), "{stdout}");
    let child = lines.iter().find_map(|line| line.strip_prefix("child sees ")).expect("a line");
    // Beside the standard streams: the way back to the parent, the family's table, and for a fork its server's lifeline.
    assert!((5..=6).contains(&child.split(',').count()), "{child}");
    assert!(!child.contains("9,") && !child.contains("9]"), "{child}");
    let role = |line: &&str| line.starts_with(r#"child's arguments ["procession-"#);
    assert_eq!(lines.iter().filter(|line| role(line)).count(), 1, "{stdout}");
    assert!(lines.contains(&r#"parent's arguments Some(["--secret", "x y"])"#), "{stdout}");
    assert!(lines.contains(&"child read 0 bytes"), "{stdout}");
}

#[test]
fn a_program_without_init_is_told_what_to_add_and_its_main_runs_once() {
    let _dog = watchdog(60);
    let (output, stdout, stderr) = run(&mut program(env!("CARGO_BIN_EXE_forgot_init")));
    assert!(output.status.success(), "{stderr}");
    assert_eq!(stdout.matches("main runs").count(), 1, "{stdout}");
    assert!(stdout.contains("make `procession::init();` the first line of `main`"), "{stdout}");
    assert!(stdout.contains("pool: NotInitialized"), "{stdout}");
}

#[test]
fn children_that_die_before_their_first_frame_are_reported() {
    let _dog = watchdog(60);
    let (output, stdout, stderr) = run(&mut program(env!("CARGO_BIN_EXE_stillborn")));
    assert!(output.status.success(), "{stderr}");
    assert!(stdout.contains("server: Broken: the fork server ended before"), "{stdout}");
    assert!(stdout.contains("exited with code 9 before its function returned"), "{stdout}");
    assert!(stdout.contains("status: Some(Exited(9))"), "{stdout}");
    assert!(stdout.contains("large: Err(Died)"), "{stdout}");
    assert!(stdout.contains("refused: 1000\n"), "{stdout}");
    assert!(stdout.contains("ended before they were ready"), "{stdout}");
    assert!(stdout.ends_with("done\n"), "{stdout}");
}

#[test]
fn a_child_that_lost_its_way_back_does_not_run_main() {
    let _dog = watchdog(60);
    let (output, stdout, stderr) = run(&mut program(env!("CARGO_BIN_EXE_closes_three")));
    assert!(output.status.success(), "{stderr}");
    assert!(stdout.contains("main goes on\nspawn: Died\nforkserver: Broken\n"), "{stdout}");
    assert_eq!(stdout.matches("main goes on").count(), 1, "{stdout}");
    assert!(stderr.contains("descriptor 3 closed before `init()`"), "{stderr}");
}

#[test]
fn a_program_that_is_replaced_while_it_runs_starts_the_build_that_runs() {
    let _dog = watchdog(60);
    let folder = std::env::temp_dir().join(format!("procession-replaced-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("program");
    std::fs::copy(env!("CARGO_BIN_EXE_replaced"), &path).unwrap();
    let mut command = program(&path);
    command.stdin(std::process::Stdio::piped());
    let mut running = procession_tests::Running::start(&mut command);
    let mut stdout = running.0.stdout.take().unwrap();
    let mut ready = [0; 6];
    stdout.read_exact(&mut ready).unwrap();
    assert_eq!(&ready, b"ready\n");
    let other = folder.join("other");
    std::fs::copy(env!("CARGO_BIN_EXE_forgot_init"), &other).unwrap();
    std::fs::rename(&other, &path).unwrap();
    running.0.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let mut answer = String::new();
    stdout.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "Ok(42)\n");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_killed_parent_leaves_no_orphan() {
    let _dog = watchdog(120);
    for _ in 0..5 {
        let mut running =
            procession_tests::Running::start(&mut program(env!("CARGO_BIN_EXE_family")));
        let mut lines =
            std::io::BufRead::lines(std::io::BufReader::new(running.0.stdout.take().unwrap()));
        let family: Vec<_> = lines
            .by_ref()
            .map(Result::unwrap)
            .take_while(|line| line != "done")
            .map(|line| Stranger::new(line.parse().unwrap()))
            .collect();
        assert!(family.len() > 3, "{family:?}");
        assert!(family.iter().all(Stranger::is_alive), "{family:?}");
        running.0.kill().unwrap();
        for member in &family {
            assert!(member.ends_soon(), "{member:?} outlives its family");
        }
    }
}
