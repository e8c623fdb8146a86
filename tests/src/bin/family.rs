//! Starts children that never end by themselves, and a grandchild; says who they are; waits to be killed.
#![expect(clippy::print_stdout, reason = "a helper program talks to its test")]
#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]

use std::io::Write;

use procession::prelude::*;

/// Blocks all signals and spins: only `SIGKILL` ends it.
fn spin(ready: Sender<u32>) {
    use procession_sys::signal::{Mask, set_thread_mask};
    set_thread_mask(Mask::from_bits(u64::MAX)).unwrap();
    ready.send(std::process::id()).unwrap();
    loop {
        std::hint::spin_loop();
    }
}

/// Has a child of its own.
fn nest(ready: Sender<u32>) {
    let (tx, rx) = pipe().unwrap();
    let grandchild = Process::spawn(spin, (tx,)).unwrap();
    ready.send(rx.recv().unwrap()).unwrap();
    ready.send(std::process::id()).unwrap();
    grandchild.join().unwrap();
}

fn main() {
    procession::init();
    procession_tests::choose_start_method();
    let (tx, rx) = pipe::<u32>().unwrap();
    let (second, nested) = pipe::<u32>().unwrap();
    let spinner = Process::spawn(spin, (tx,)).unwrap();
    let nester = Process::spawn(nest, (second,)).unwrap();
    let pool = Pool::new().unwrap();
    pool.map(|x: u32| x, 0..10).unwrap();
    let told = rx.iter().take(1).chain(nested.iter().take(2)).map(Result::unwrap);
    for pid in told.chain(pool.worker_pids()) {
        println!("{pid}");
    }
    println!("done");
    std::io::stdout().flush().unwrap();
    spinner.join().unwrap();
    nester.join().unwrap();
}
