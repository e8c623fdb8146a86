//! Rows of CPython's tests about standard streams and descriptors: runs the row that the first argument names, under the start
//! method that the second one names. Its output may be broken on purpose: it goes on to tell by its exit code.
#![expect(clippy::print_stdout, reason = "a helper program talks to its test")]
#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]
#![expect(unsafe_code, reason = "closes standard streams, which the standard library keeps open")]

use std::fs::File;
use std::io::{PipeWriter, Read, Write};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use procession::prelude::*;
use procession::{Run, Stream, current_process};
use procession_sys::fd::{StandardStream, duplicate, open_descriptors, replace_standard_stream};
use procession_sys::signal;
use procession_tests::{SOON, Stranger, fork_server};
use serde::{Deserialize, Serialize};

const ROWS: [(&str, fn()); 12] = [
    ("child_fd_inflation", child_fd_inflation),
    ("error_on_stdio_flush_1", error_on_stdio_flush_1),
    ("started_without_streams", started_without_streams),
    ("closed_streams_do_not_become_ours", closed_streams),
    ("error_on_stdio_flush_2", error_on_stdio_flush_2),
    ("subclassing", subclassing),
    ("stderr_flush", stderr_flush),
    ("sys_exit", sys_exit),
    ("closefd", closefd),
    ("queue_in_process", queue_in_process),
    ("pool_in_process", pool_in_process),
    ("piped_streams", piped),
];

fn child_fd_inflation() {
    type Look = (Sender<usize>, Receiver<()>);
    let look = |(tx, rx): Look| {
        tx.send(open_descriptors().unwrap().len()).unwrap();
        rx.recv().unwrap();
    };
    let mut counts = Vec::new();
    let mut children = Vec::new();
    for _ in 0..5 {
        let ((tx, count), (go, rx)) = (pipe().unwrap(), pipe().unwrap());
        children.push((Process::spawn(look, ((tx, rx),)).unwrap(), go));
        counts.push(count.recv_timeout(SOON).unwrap());
    }
    for (child, go) in &children {
        go.send(()).unwrap();
        child.join().unwrap();
    }
    assert!(counts.iter().all(|count| *count == counts[0]), "{counts:?}");
}

/// Closes standard streams for good, behind the back of the standard library.
fn close(streams: &[i32]) {
    for number in streams {
        // SAFETY: The standard library takes the closing of its streams for writing to nowhere; nothing else here uses them.
        drop(unsafe { OwnedFd::from_raw_fd(*number) });
    }
}

/// Something that takes no bytes.
fn full() -> OwnedFd {
    File::options().write(true).open("/dev/full").unwrap().into()
}

/// A pipe that nobody reads.
fn broken_pipe() -> OwnedFd {
    std::io::pipe().unwrap().1.into()
}

/// A child that has nothing to do with the streams lives as always.
#[track_caller]
fn a_child_lives(when: &str) {
    let child =
        Process::spawn(|x: u32| x + 1, (41,)).unwrap_or_else(|error| panic!("{when}: {error}"));
    assert_eq!(child.join().unwrap(), 42, "{when}");
    assert_eq!(child.exit_status().unwrap(), Some(ExitStatus::Exited(0)), "{when}");
}

/// The parent's streams are closed, or broken with text before them.
fn error_on_stdio_flush_1() {
    let saved = [duplicate(std::io::stdout()).unwrap(), duplicate(std::io::stderr()).unwrap()];
    let restore = || {
        replace_standard_stream(&saved[0], StandardStream::Output).unwrap();
        replace_standard_stream(&saved[1], StandardStream::Error).unwrap();
    };
    for broken in [full, broken_pipe] {
        replace_standard_stream(broken(), StandardStream::Output).unwrap();
        // No line break: it is written when this process ends, or by a child that has a copy of it.
        print!("what cannot be written");
        a_child_lives("broken output");
        replace_standard_stream(broken(), StandardStream::Error).unwrap();
        a_child_lives("broken output and error");
        restore();
    }
    let failures: Vec<String> = [&[1][..], &[2], &[1, 2], &[0, 1, 2]]
        .into_iter()
        .filter_map(|closed| {
            close(closed);
            let child = Process::spawn(|x: u32| x + 1, (41,));
            let status =
                child.map(|child| (child.join().unwrap_or(0), child.exit_status().unwrap()));
            restore();
            let lived = matches!(status, Ok((42, Some(ExitStatus::Exited(0)))));
            (!lived).then(|| format!("with {closed:?} closed: {status:?}"))
        })
        .collect();
    assert!(failures.is_empty(), "{failures:#?}");
    println!();
}

/// For whoever starts this program without standard streams.
fn started_without_streams() {
    a_child_lives("without streams");
    let pool = Pool::builder().workers(NonZeroUsize::MIN).build().unwrap();
    assert_eq!(pool.map(|x: u32| x + 1, 0..3).unwrap(), [1, 2, 3]);
}

/// Says something on both streams, which may be closed.
fn say(text: &str) {
    println!("{text}");
    drop(writeln!(std::io::stderr(), "{text}"));
}

/// What this library opens gets none of the numbers of closed streams: else whatever is printed goes into its own channels.
fn closed_streams() {
    let saved = [duplicate(std::io::stdout()).unwrap(), duplicate(std::io::stderr()).unwrap()];
    close(&[0, 1, 2]);
    let talk = |x: u32| {
        say("from the child");
        x + 1
    };
    let child = Process::spawn(talk, (41,));
    say("from the parent");
    let outcome = child.map(|child| (child.join().ok(), child.exit_status().unwrap()));
    let streams: Vec<_> = (0..3)
        .filter_map(|number| {
            Some((number, std::fs::read_link(format!("/proc/self/fd/{number}")).ok()?))
        })
        .collect();
    replace_standard_stream(&saved[0], StandardStream::Output).unwrap();
    replace_standard_stream(&saved[1], StandardStream::Error).unwrap();
    let lived = matches!(outcome, Ok((Some(42), Some(ExitStatus::Exited(0)))));
    assert!(lived && streams.is_empty(), "{outcome:?}, streams are {streams:?}");
}

/// The child's own streams are closed, or broken with text before them.
fn error_on_stdio_flush_2() {
    for closed in [vec![1], vec![2], vec![1, 2], vec![0, 1, 2]] {
        let child = Process::spawn(|streams: Vec<i32>| close(&streams), (closed,)).unwrap();
        child.join().unwrap();
        assert_eq!(child.exit_status().unwrap(), Some(ExitStatus::Exited(0)));
    }
    let break_them = |is_full: bool| {
        print!("what cannot be written");
        let broken = if is_full { full } else { broken_pipe };
        replace_standard_stream(broken(), StandardStream::Output).unwrap();
        replace_standard_stream(broken(), StandardStream::Error).unwrap();
    };
    for is_full in [true, false] {
        let child = Process::spawn(break_them, (is_full,)).unwrap();
        child.join().unwrap();
        assert_eq!(child.exit_status().unwrap(), Some(ExitStatus::Exited(0)));
    }
}

/// A server that is a value: it answers in capitals until there is nothing to answer.
#[derive(Serialize, Deserialize)]
struct UpperCaser {
    end: Duplex<String, Option<String>>,
}

impl Run for UpperCaser {
    type Output = u32;

    fn run(self) -> u32 {
        let mut count = 0;
        while let Some(text) = self.end.recv().unwrap() {
            self.end.send(text.to_uppercase()).unwrap();
            count += 1;
        }
        count
    }
}

/// What has both: the process, and the end by which it is asked.
struct Client {
    end: Duplex<Option<String>, String>,
    process: Process<u32>,
}

impl Client {
    fn start() -> Self {
        let (end, theirs) = duplex().unwrap();
        Self { end, process: Process::builder().run(UpperCaser { end: theirs }).unwrap() }
    }

    fn submit(&self, text: &str) -> String {
        self.end.send(Some(text.to_owned())).unwrap();
        self.end.recv_timeout(SOON).unwrap()
    }

    fn stop(self) -> u32 {
        self.end.send(None).unwrap();
        self.process.join().unwrap()
    }
}

fn subclassing() {
    let client = Client::start();
    assert_eq!(client.submit("hello"), "HELLO");
    assert_eq!(client.submit("world"), "WORLD");
    assert!(client.process.is_alive().unwrap());
    assert_eq!(client.stop(), 2);
}

fn divide_by_nothing(nothing: u32) -> u32 {
    1 / nothing
}

/// A new file, opened for writing.
fn new_file() -> (PathBuf, File) {
    let name = format!("procession-streams-{}-{}", std::process::id(), procession::start_method());
    let path = std::env::temp_dir().join(name);
    let file = File::create(&path).unwrap();
    (path, file)
}

fn stderr_flush() {
    let whole = |text: &str| {
        assert!(text.contains("panicked at tests/src/bin/py_streams.rs:"), "{text}");
        assert!(text.contains("attempt to divide by zero"), "{text}");
        // The calls, down to the function.
        assert!(text.contains("stack backtrace:") && text.contains("divide_by_nothing"), "{text}");
        assert!(text.ends_with('\n'), "{text}");
    };
    let builder = || Process::builder().env("RUST_BACKTRACE", "1");
    let (path, file) = new_file();
    let child = builder().stderr(file).spawn(divide_by_nothing, (0,)).unwrap();
    assert!(matches!(child.join(), Err(JoinError::Panicked(_))));
    assert_eq!(child.exit_status().unwrap(), Some(ExitStatus::Exited(1)));
    whole(&std::fs::read_to_string(&path).unwrap());
    // The child redirects it by itself.
    let redirect = |file: Handle<File>| {
        replace_standard_stream(file.as_fd(), StandardStream::Error).unwrap();
        divide_by_nothing(0)
    };
    let (path, file) = new_file();
    let child = builder().spawn(redirect, (Handle(file),)).unwrap();
    assert!(matches!(child.join(), Err(JoinError::Panicked(_))));
    assert_eq!(child.exit_status().unwrap(), Some(ExitStatus::Exited(1)));
    whole(&std::fs::read_to_string(&path).unwrap());
    std::fs::remove_file(path).unwrap();
}

/// How a child ends that exits by `leave`, and what it writes to standard error.
fn exit_of(leave: fn() -> Process<()>, file: &PathBuf) -> (Option<u8>, String) {
    let child = leave();
    let Err(JoinError::Died(death)) = child.join() else { panic!("it exits") };
    assert_eq!(child.exit_status().unwrap(), Some(death.status));
    (death.status.code(), std::fs::read_to_string(file).unwrap())
}

/// Starts a function whose standard error is a new file.
macro_rules! leaving {
    ($reason:expr) => {
        || {
            let leave = || -> () { procession::exit($reason) };
            Process::builder().stderr(new_file().1).spawn(leave, ()).unwrap()
        }
    };
}

fn sys_exit() {
    let (path, _file) = new_file();
    let check = |leave: fn() -> Process<()>, code: u8, text: &str| {
        assert_eq!(exit_of(leave, &path), (Some(code), text.to_owned()));
    };
    check(leaving!("ignore this"), 1, "ignore this\n");
    check(leaving!(format!("{:?}", [1, 2, 3])), 1, "[1, 2, 3]\n");
    check(leaving!(true), 1, "");
    check(leaving!(false), 0, "");
    check(leaving!(8), 8, "");
    check(leaving!(256 + 3), 3, "");
    check(leaving!(-1), 255, "");
    check(leaving!(None), 0, "");
    check(leaving!(Some(7)), 7, "");
    check(leaving!(()), 0, "");
    std::fs::remove_file(path).unwrap();
}

fn closefd() {
    let look = || Process::spawn(|| open_descriptors().unwrap(), ()).unwrap().join().unwrap();
    // So that a fork server is there before the sockets.
    look();
    let mut sockets = Vec::new();
    // Numbers that a child does not use itself.
    while sockets.last().is_none_or(|socket: &UnixStream| socket.as_raw_fd() < 200) {
        let (left, right) = UnixStream::pair().unwrap();
        sockets.extend([left, right]);
    }
    let high = sockets.last().unwrap().as_raw_fd();
    let own = open_descriptors().unwrap();
    // This program got the 9 without close-on-exec.
    assert!(own.contains(&9) && own.contains(&high), "{own:?}");
    let inherits = procession::start_method() == StartMethod::Fork;
    let check = || {
        let theirs = look();
        for number in [9, high] {
            assert_eq!(theirs.contains(&number), inherits, "{number} in {theirs:?}");
        }
        // Nor any of the others.
        assert!(inherits || theirs.len() < 12, "{theirs:?}");
    };
    check();
    if let Some(server) = fork_server().map(Stranger::new) {
        assert!(server.signal(signal::KILL) && server.ends_soon());
        // Another server, which is started behind the sockets.
        check();
    }
}

fn queue_in_process() {
    let nested = || {
        assert!(!current_process().is_daemon());
        let (tx, rx) = pipe::<String>().unwrap();
        let hello = |tx: Sender<String>| tx.send("hello".into());
        let child = Process::builder().daemon(true).spawn(hello, (tx,)).unwrap();
        let text = rx.recv_timeout(SOON).unwrap();
        child.join().unwrap().unwrap();
        let mut input = Vec::new();
        (text, std::io::stdin().read_to_end(&mut input).map_err(|error| error.to_string()))
    };
    let child = Process::spawn(nested, ()).unwrap();
    assert_eq!(child.join().unwrap(), ("hello".into(), Ok(0)));
}

fn pool_in_process() {
    let nested = || -> procession::Result<_> {
        let pool = Pool::builder().workers(NonZeroUsize::new(4).unwrap()).build()?;
        let squares = pool.map(|x: u64| x * x, 0..100)?;
        Ok((squares, pool.worker_pids().len()))
    };
    let child = Process::spawn(nested, ()).unwrap();
    let (squares, workers) = child.join().unwrap().unwrap();
    assert!(squares.into_iter().eq((0..100).map(|x| x * x)));
    assert_eq!(workers, 4);
}

/// Our own: pipes to and from the standard streams.
fn piped() {
    let work = || {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).unwrap();
        for (mut stream, text) in [("/dev/stdout", text.to_uppercase()), ("/dev/stderr", text)]
            .map(|(path, text)| (File::options().write(true).open(path).unwrap(), text))
        {
            stream.write_all(text.as_bytes()).unwrap();
        }
    };
    let all = || {
        Process::builder().stdin(Stream::piped()).stdout(Stream::piped()).stderr(Stream::piped())
    };
    let child = all().spawn(work, ()).unwrap();
    let mut to_child: PipeWriter = child.take_stdin().unwrap();
    let (mut output, mut errors) = (child.take_stdout().unwrap(), child.take_stderr().unwrap());
    assert!(child.take_stdin().is_none() && child.take_stdout().is_none());
    assert!(child.take_stderr().is_none());
    to_child.write_all(b"some text").unwrap();
    drop(to_child);
    let (mut from_output, mut from_errors) = (String::new(), String::new());
    output.read_to_string(&mut from_output).unwrap();
    errors.read_to_string(&mut from_errors).unwrap();
    assert_eq!((&*from_output, &*from_errors), ("SOME TEXT", "some text"));
    child.join().unwrap();
    // What is not piped cannot be taken, and dropping the handle ends the child's input.
    let child = Process::spawn(|| (), ()).unwrap();
    assert!(child.take_stdin().is_none() && child.take_stdout().is_none());
    let (tx, rx) = pipe::<bool>().unwrap();
    let wait = |tx: Sender<bool>| {
        let ended = std::io::stdin().read_to_end(&mut Vec::new()).is_ok();
        // Nobody may be there any more: that is for the test to say.
        drop(tx.send(ended));
    };
    drop(Process::builder().stdin(Stream::piped()).spawn(wait, (tx,)).unwrap());
    assert!(rx.recv_timeout(SOON).unwrap());
    // Whoever writes to a child that is gone is told.
    let child = Process::builder().stdin(Stream::piped()).spawn(|| (), ()).unwrap();
    child.join().unwrap();
    let error = child.take_stdin().unwrap().write_all(b"x").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
}

fn main() {
    procession::init();
    procession_tests::run_row(&ROWS);
}
