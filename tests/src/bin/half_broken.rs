//! A pool with one worker that is busy, whose other workers all die before they are ready, until they do not any more.
#![expect(clippy::print_stdout, reason = "a helper program talks to its test")]
#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use procession::prelude::*;
use procession_sys::signal::KILL;
use procession_tests::{Stranger, children, wait_until};

/// While this file is there, children die before their `main`. It is named by the process that they belong to.
fn flag(root: u32) -> PathBuf {
    std::env::temp_dir().join(format!("procession-half-broken-{root}"))
}

procession_sys::before_main!(die_while_flagged);

fn die_while_flagged() {
    let line = std::fs::read("/proc/self/cmdline").unwrap_or_default();
    if line.ends_with(b"procession-child\0") && flag(procession_sys::process::parent_id()).exists()
    {
        procession_sys::process::exit_now(9);
    }
}

fn main() {
    procession::init();
    let context = Context::new(StartMethod::Spawn);
    let workers = NonZeroUsize::new(2).unwrap();
    let pool = Pool::builder().workers(workers).context(context).build().unwrap();
    let (started, has_started) = pipe::<u32>().unwrap();
    let (release, released) = pipe::<u32>().unwrap();
    std::thread::scope(|scope| {
        let long = scope.spawn(|| {
            let work = |started: Sender<u32>, released: Receiver<u32>| {
                started.send(std::process::id()).unwrap();
                released.recv().unwrap()
            };
            pool.apply(work, (started, released))
        });
        let busy = has_started.recv().unwrap();
        let flag = flag(std::process::id());
        std::fs::write(&flag, "").unwrap();
        for pid in pool.worker_pids().into_iter().filter(|pid| *pid != busy) {
            Stranger::new(pid).signal(KILL);
        }
        // More of them than break a pool that has no other.
        let mut seen = BTreeSet::new();
        wait_until("a dozen have died", || {
            seen.extend(children());
            seen.len() > 12
        });
        release.send(7).unwrap();
        println!("long: {}", long.join().unwrap().unwrap());
        std::fs::remove_file(&flag).unwrap();
        println!("after: {}", pool.apply(|x: u32| x + 1, (7,)).unwrap());
    });
}
