//! The whole life of processes under the start method that the first argument names, from a process with as many busy
//! threads as the second one says. Prints a line for each step.
#![expect(clippy::print_stdout, reason = "a helper program talks to its test")]
#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]
#![expect(unsafe_code, reason = "forks beside other threads, which is the test")]

use std::io::Read;
use std::thread;

use procession::prelude::*;
use procession::process::Builder;
use procession::{Death, ErrorKind, active_children, current_process, parent_process};
use procession_sys::prim::{AtomicBool, Ordering};
use procession_sys::signal;
use procession_tests::{SOON, fork_server};

#[derive(Clone, Copy)]
struct Way {
    method: StartMethod,
    threads: usize,
}

impl Way {
    fn process(self) -> Builder {
        let builder = Context::new(self.method).process();
        match self.threads {
            0 => builder,
            // SAFETY: What the threads below hold (the allocator, which a fork may take, and standard output) is nothing that
            // the children of this test touch.
            _ => unsafe { builder.fork_despite_threads() },
        }
    }

    fn is_thread(self) -> bool {
        self.method == StartMethod::Thread
    }
}

fn divide(a: u32, b: u32) -> u32 {
    a / b
}

/// Until there is nothing to shout: a fork has a copy of the other end as well, so that nothing hangs up.
fn shout(rx: Receiver<String>, tx: Sender<String>) -> procession::Result<usize> {
    let mut count = 0;
    loop {
        let text = rx.recv()?;
        if text.is_empty() {
            return Ok(count);
        }
        tx.send(text.to_uppercase())?;
        count += 1;
    }
}

fn values(way: Way) {
    assert_eq!(way.process().spawn(divide, (42, 6)).unwrap().join().unwrap(), 7);
    let large = vec![7u8; 1 << 20];
    let child = way.process().spawn(|x: Vec<u8>| x, (large.clone(),)).unwrap();
    assert!(child.join().unwrap() == large && child.join().unwrap() == large);
    let (to_child, from_parent) = pipe().unwrap();
    let (to_parent, from_child) = pipe().unwrap();
    let child = way.process().spawn(shout, (from_parent, to_parent)).unwrap();
    for text in ["a", "b"] {
        to_child.send(text.into()).unwrap();
        assert_eq!(from_child.recv_timeout(SOON).unwrap(), text.to_uppercase());
    }
    to_child.send(String::new()).unwrap();
    assert_eq!(child.join().unwrap().unwrap(), 2);
    assert_eq!(child.exit_status().unwrap(), Some(ExitStatus::Exited(0)));
    println!("values");
}

fn ends(way: Way) {
    let child = way.process().stderr_quiet(way).spawn(divide, (1, 0)).unwrap();
    let Err(JoinError::Panicked(panic)) = child.join() else { panic!("it panicked") };
    assert!(panic.message.contains("divide by zero"), "{panic}");
    assert_eq!(child.exit_status().unwrap(), Some(ExitStatus::Exited(1)));
    if way.is_thread() {
        println!("ends");
        return;
    }
    let child = way.process().spawn(thread::park, ()).unwrap();
    assert!(child.is_alive().unwrap());
    child.kill().unwrap();
    let Err(JoinError::Died(Death { status, .. })) = child.join() else { panic!("it died") };
    assert_eq!(status.signal(), Some(signal::KILL));
    let child = way.process().spawn(|| -> () { procession::exit(256 + 3) }, ()).unwrap();
    let Err(JoinError::Died(Death { status, .. })) = child.join() else { panic!("it exited") };
    assert_eq!(status.code(), Some(3));
    println!("ends");
}

trait Quiet {
    fn stderr_quiet(self, way: Way) -> Self;
}

impl Quiet for Builder {
    fn stderr_quiet(self, way: Way) -> Self {
        match way.is_thread() {
            true => self,
            false => self.stderr(procession::Stream::null()),
        }
    }
}

fn who(way: Way) {
    let ask = || {
        let parent = parent_process().map(|parent| (parent.pid(), parent.name().to_owned()));
        (current_process().name().to_owned(), std::process::id(), parent)
    };
    let child = way.process().name("Ada").spawn(ask, ()).unwrap();
    let (name, pid, parent) = child.join().unwrap();
    assert_eq!((&*name, pid), ("Ada", child.pid()));
    assert_eq!(parent, Some((std::process::id(), "MainProcess".into())));
    assert_eq!(pid == std::process::id(), way.is_thread());
    println!("who");
}

/// Children start children, by the same method.
fn nested(method: String, depth: u32) -> Vec<String> {
    let mut names = vec![current_process().name().to_owned()];
    if depth > 0 {
        let context = Context::new(method.parse().unwrap());
        for _ in 0..2 {
            let child = context.process().spawn(nested, (method.clone(), depth - 1)).unwrap();
            names.extend(child.join().unwrap());
        }
    }
    names
}

fn generations(way: Way) {
    let child = way.process().name("Process-9").spawn(nested, (way.method.to_string(), 2)).unwrap();
    let names = child.join().unwrap();
    assert_eq!(names.len(), 7, "{names:?}");
    assert!(names[2].ends_with(":1:1") && names[6].ends_with(":2:2"), "{names:?}");
    println!("generations");
}

fn streams(way: Way) {
    if way.is_thread() {
        let error = way.process().stdout(procession::Stream::null()).spawn(|| (), ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
        println!("streams");
        return;
    }
    let copy = || {
        let text = std::io::read_to_string(std::io::stdin()).unwrap();
        // Not through the standard library's lock, which a busy thread may have held at a fork.
        let mut out = std::fs::File::options().write(true).open("/dev/stdout").unwrap();
        std::io::Write::write_all(&mut out, text.as_bytes()).unwrap();
    };
    let piped = procession::Stream::piped;
    let child = way.process().stdin(piped()).stdout(piped()).spawn(copy, ()).unwrap();
    let mut to_child = child.take_stdin().unwrap();
    assert!(child.take_stdin().is_none());
    std::io::Write::write_all(&mut to_child, b"through").unwrap();
    drop(to_child);
    let mut text = String::new();
    child.take_stdout().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "through");
    child.join().unwrap();
    println!("streams");
}

fn many(way: Way) {
    let start = |x: u32| way.process().spawn(|x: u32| x * x, (x,)).unwrap();
    let children: Vec<_> = (0..40).map(start).collect();
    let sum: u32 = children.iter().map(|child| child.join().unwrap()).sum();
    assert_eq!(sum, (0..40).map(|x| x * x).sum());
    assert!(active_children().unwrap().is_empty());
    println!("many");
}

fn pool(way: Way) {
    let pool = Pool::builder().context(Context::new(way.method)).build();
    if way.is_thread() || (way.method == StartMethod::Fork && way.threads > 0) {
        assert_eq!(pool.unwrap_err().kind(), ErrorKind::Unsupported);
    } else {
        let pool = pool.unwrap();
        assert_eq!(pool.map(|x: u64| x * x, 0..1000).unwrap().iter().sum::<u64>(), 332_833_500);
        let results = pool.try_map(|x: u32| if x == 3 { procession::exit(9) } else { x }, 0..6);
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 5);
    }
    println!("pool");
}

fn live(way: Way) {
    values(way);
    ends(way);
    who(way);
    generations(way);
    streams(way);
    many(way);
    pool(way);
    let server = way.method == StartMethod::ForkServer;
    assert_eq!(fork_server().is_some(), server);
}

fn main() {
    procession::init();
    let words: Vec<String> = std::env::args().collect();
    let way = Way { method: words[1].parse().unwrap(), threads: words[2].parse().unwrap() };
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..way.threads {
            scope.spawn(|| {
                // What a copy of a process with threads hangs on: the allocator, and a lock.
                while !done.load(Ordering::Relaxed) {
                    drop(std::hint::black_box(vec![1u8; 4096]));
                    drop(std::io::stderr().lock());
                }
            });
        }
        live(way);
        done.store(true, Ordering::Relaxed);
    });
}
