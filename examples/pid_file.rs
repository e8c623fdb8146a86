//! A daemon of which one instance runs at a time: a `NamedLock` where others use a pid file.
//!
//! `pid_file PATH` runs until its standard input ends. Started a second time, it says who runs, and fails. Started after an
//! instance that was killed, it notices, looks after what that one has left, and goes on: there is nothing to be removed by
//! hand, and a process number that was given to somebody else in the meantime fools nobody.
//!
//! `pid_file --self-test` starts instances of itself, kills one, and prints:
//!
//! ```text
//! process <first> runs
//! could not run: process <first> runs already
//! process <first> is killed
//! the last instance has died: looking after what it left
//! process <third> runs
//! process <third> ends
//! process <fourth> runs
//! process <fourth> ends
//! self-test passed
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::{Path, PathBuf};

use procession::prelude::*;
use procession::{Error, ErrorKind, LockError, NamedLock, Result};

/// One instance, from its beginning to its end: it runs until `wait` returns, which is told whether the last one has died.
fn run(path: PathBuf, wait: impl FnOnce(bool) -> Result<()>) -> Result<()> {
    let lock = NamedLock::open(path)?;
    let mut has_died = false;
    let guard = match lock.try_lock() {
        Ok(guard) => guard,
        Err(LockError::OwnerDied(mut guard)) => {
            println!("the last instance has died: looking after what it left");
            // This is where sockets are removed, journals replayed, and so on. If this process dies over it, the next instance
            // is told as well.
            guard.repair();
            has_died = true;
            guard
        }
        Err(LockError::TimedOut) => {
            let owner = lock.owner()?;
            let owner = owner.map_or_else(|| "an instance".to_owned(), |owner| owner.to_string());
            let text = format!("could not run: {owner} runs already");
            return Err(Error::new(ErrorKind::Other, text));
        }
        Err(LockError::Failed(error)) => return Err(error),
    };
    println!("process {} runs", std::process::id());
    wait(has_died)?;
    println!("process {} ends", std::process::id());
    drop(guard);
    Ok(())
}

/// An instance that says when it runs, and whether the last one has died, and ends when it is told.
fn instance(path: PathBuf, running: Sender<bool>, end: Receiver<()>) -> Result<()> {
    run(path, |has_died| {
        running.send(has_died)?;
        end.recv()
    })
}

/// An instance that was started.
struct Instance {
    process: Process<Result<()>>,
    runs: Receiver<bool>,
    end: Sender<()>,
}

fn start(path: &Path) -> Result<Instance> {
    let (running, runs) = pipe()?;
    let (end, ends) = pipe()?;
    let process = Process::spawn(instance, (path.to_owned(), running, ends))?;
    Ok(Instance { process, runs, end })
}

fn self_test() -> Result<()> {
    let path = std::env::temp_dir().join(format!("pid_file-{}.pid", std::process::id()));

    let first = start(&path)?;
    check(!first.runs.recv()?, "there was no instance that could have died")?;
    match start(&path)?.process.join()? {
        Ok(()) => check(false, "two instances ran at once")?,
        Err(error) => println!("{error}"),
    }
    first.process.kill()?;
    // That it has died, and how, is no news.
    drop(first.process.join());
    println!("process {} is killed", first.process.pid());

    // The one after the killed one, and one after an end in order.
    for has_died in [true, false] {
        let instance = start(&path)?;
        check(instance.runs.recv()? == has_died, "it was told wrongly how the last one ended")?;
        instance.end.send(())?;
        instance.process.join()??;
    }
    // Nobody uses it any more. A daemon leaves its file where it is.
    std::fs::remove_file(path)?;
    println!("self-test passed");
    Ok(())
}

fn check(holds: bool, otherwise: &'static str) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::new(ErrorKind::Other, otherwise)) }
}

fn main() -> Result<()> {
    procession::init();

    match std::env::args_os().nth(1) {
        Some(argument) if argument == "--self-test" => self_test(),
        Some(path) => run(path.into(), |_| {
            std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
            Ok(())
        }),
        None => {
            let text = "which file? Give its path, or --self-test";
            Err(Error::new(ErrorKind::InvalidInput, text))
        }
    }
}
