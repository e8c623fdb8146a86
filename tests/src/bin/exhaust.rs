//! Runs out of descriptors, again and again, and says what it got instead. Started with a low limit on them.
#![expect(clippy::print_stdout, reason = "a helper program talks to its test")]
#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]

use procession::prelude::*;
use procession_sys::fd::{duplicate, open_descriptors};
use procession_tests::{children, steady};

fn wait(end: Receiver<()>) {
    drop(end.recv());
}

fn main() {
    procession::init();
    procession_tests::choose_start_method();
    Pool::new().unwrap().map(|x: u8| x, 0..3).unwrap();
    // What stays open for ever: the lifeline, the reaper's bell, the child in reserve.
    steady();
    let before = open_descriptors().unwrap().len();

    let mut started = 0;
    let mut refusals = Vec::new();
    // Each time with one descriptor less, so that every call of a start is the one that fails.
    for spare in 0..12 {
        let mut held = Vec::new();
        let (mut ends, mut family) = (Vec::new(), Vec::new());
        let refusal = loop {
            if family.len() == 2 {
                // The rest of the room, but for a few.
                while let Ok(fd) = duplicate(std::io::stdout()) {
                    held.push(fd);
                }
                held.truncate(held.len() - spare.min(held.len()));
            }
            let (tx, rx) = match pipe::<()>() {
                Ok(pipe) => pipe,
                Err(error) => break error,
            };
            match Process::spawn(wait, (rx,)) {
                Ok(child) => family.push(child),
                Err(error) => break error,
            }
            ends.push(tx);
        };
        started += family.len();
        refusals.push(refusal.os_code().map(|code| code.raw()));
        drop((ends, held));
        for child in family {
            child.join().unwrap();
        }
        // There may be no child in reserve now.
        steady();
        assert_eq!(open_descriptors().unwrap().len(), before, "with {spare} spare");
        assert!(children().is_empty(), "with {spare} spare");
    }
    println!("started {started}, refused with {refusals:?}");

    // Values with descriptors that this process has no room for.
    let pool = Pool::builder().workers(std::num::NonZeroUsize::MIN).build().unwrap();
    let mut held = Vec::new();
    while let Ok(fd) = duplicate(std::io::stdout()) {
        held.push(fd);
    }
    held.truncate(held.len() - 1);
    let make = |_: u8| pipe::<u8>().unwrap();
    let refused = pool.try_map(make, 0..3);
    println!("values refused: {}", refused.iter().filter(|result| result.is_err()).count());
    drop((held, refused));
    println!("values: {}", pool.try_map(make, 0..3).iter().filter(|result| result.is_ok()).count());
    drop(pool);
    steady();
    assert_eq!(open_descriptors().unwrap().len(), before);
    println!("done");
}
