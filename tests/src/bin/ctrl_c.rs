//! A family in a terminal, whose path is the first argument; the second one says what Ctrl-C is to meet:
//!
//! * `busy`: a program that asked to be ended in order, in the middle of joining;
//! * `exiting`: the same, which has returned from `main` and waits for a child;
//! * `stuck`: the same, with a finalizer that never returns;
//! * `draining`: a program that asked for its pools to finish, and says how many tasks that wait, and then two that run, have ended;
//! * `endless`: the same, whose tasks never do;
//! * `unprepared`: a program that asked for nothing.
#![expect(clippy::print_stdout, reason = "a helper program talks to its test")]
#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]

use std::fs::File;
use std::thread;

use procession::finalize::Finalizer;
use procession::prelude::*;
use procession_sys::fd::{StandardStream, replace_standard_stream};
use procession_sys::process;

fn wait_for_ever(ready: Sender<()>) {
    ready.send(()).unwrap();
    loop {
        thread::park();
    }
}

/// Has a child of its own.
fn parent(ready: Sender<()>) {
    let child = Process::spawn(wait_for_ever, (ready,)).unwrap();
    drop(child.join());
}

fn start(method: StartMethod, function: fn(Context, Sender<()>) -> Process) -> Process {
    let (tx, rx) = pipe().unwrap();
    let child = function(Context::new(method), tx);
    rx.recv().unwrap();
    child
}

fn busy() {
    let alone = |context: Context, tx| context.process().spawn(wait_for_ever, (tx,)).unwrap();
    let with_child = |context: Context, tx| context.process().spawn(parent, (tx,)).unwrap();
    let daemon =
        |context: Context, tx| context.process().daemon(true).spawn(wait_for_ever, (tx,)).unwrap();
    let mut children = vec![start(StartMethod::Fork, alone), start(StartMethod::Fork, with_child)];
    for method in [StartMethod::ForkServer, StartMethod::Spawn] {
        children.extend([start(method, alone), start(method, with_child), start(method, daemon)]);
    }
    let pool = Pool::new().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| pool.map(|_: u32| -> u32 { wait_in_worker() }, 0..100).is_ok());
        println!("ready");
        for child in &children {
            drop(child.join());
        }
    });
}

fn drain(is_endless: bool) {
    procession::drain_on_interrupt().unwrap();
    let pool = Pool::builder().workers(2.try_into().unwrap()).build().unwrap();
    let (gate, begun) = (Event::new().unwrap(), Semaphore::new(0).unwrap());
    let task = |gate: Event, begun: Semaphore, is_endless: bool| {
        begun.release().unwrap();
        gate.wait().unwrap();
        if is_endless {
            wait_in_worker();
        }
    };
    let arguments = || (gate.clone(), begun.clone(), is_endless);
    let running = [pool.apply_async(task, arguments()), pool.apply_async(task, arguments())];
    for _ in 0..2 {
        begun.acquire_raw().unwrap();
    }
    println!("ready");
    let cancelled = pool.map(|x: u32| x, 0..1000);
    println!("cancelled: {}", matches!(cancelled, Err(TaskError::Cancelled { .. })));
    gate.set().unwrap();
    for result in running {
        println!("{:?}", result.get());
    }
}

fn wait_in_worker() -> ! {
    loop {
        thread::park();
    }
}

fn main() {
    procession::init();
    let words: Vec<String> = std::env::args().collect();
    process::new_session().unwrap();
    let terminal = File::options().read(true).write(true).open(&words[1]).unwrap();
    for stream in [StandardStream::Input, StandardStream::Output, StandardStream::Error] {
        replace_standard_stream(&terminal, stream).unwrap();
    }
    drop(terminal);
    if words[2] == "draining" || words[2] == "endless" {
        return drain(words[2] == "endless");
    }
    if words[2] != "unprepared" {
        procession::exit_on_interrupt().unwrap();
    }
    if words[2] == "stuck" {
        let stuck = || loop {
            thread::park();
        };
        Finalizer::new(0, stuck).unwrap().keep();
    }
    if words[2] == "exiting" {
        let alone = |context: Context, tx| context.process().spawn(wait_for_ever, (tx,)).unwrap();
        drop(start(StartMethod::ForkServer, alone));
        println!("ready");
        return;
    }
    busy();
}
