//! Has workers too small for an argument; and a forked child that drops the pool.
#![expect(clippy::print_stdout, reason = "a helper program talks to its test")]
#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]
#![expect(unsafe_code, reason = "forks")]

use procession::prelude::*;
use procession_sys::fork::{Forked, fork};
use procession_sys::surroundings::Surroundings;

/// Where the limit on the address space stands among the limits.
const ADDRESS_SPACE: usize = 9;

fn main() {
    if std::env::args().nth(1).is_some_and(|word| word.starts_with("procession-")) {
        let present = Surroundings::of_this_process().unwrap();
        let mut wanted = present.clone();
        wanted.limits[ADDRESS_SPACE].0 = Some(100 << 20);
        wanted.apply_over(&present).unwrap();
    }
    procession::init();
    let context = Context::new(StartMethod::Spawn);
    let pool =
        Pool::builder().workers(std::num::NonZeroUsize::MIN).context(context).build().unwrap();
    let large = pool.apply(|x: Vec<u8>| x.len(), (vec![0u8; 80 << 20],));
    println!(
        "large: {:?}",
        large.map_err(|error| procession::Error::from(error).kind()).unwrap_err()
    );
    println!("small: {}", pool.apply(|x: Vec<u8>| x.len(), (vec![0u8; 3],)).unwrap());
    // SAFETY: The child calls nothing but the pool's destructor, which does nothing there, and ends at once.
    match unsafe { fork() }.unwrap() {
        Forked::Child => {
            drop(pool);
            procession_sys::process::exit_now(0);
        }
        Forked::Parent { child } => {
            let pidfd = procession_sys::pidfd::open(child).unwrap();
            procession_sys::poll::wait_readable(&pidfd, procession_sys::Deadline::NEVER).unwrap();
            let Some(procession_sys::pidfd::Ended::Exited(code)) =
                procession_sys::pidfd::try_reap(&pidfd).unwrap().map(|reaped| reaped.ended)
            else {
                panic!("the forked child died")
            };
            println!("fork: {code}");
        }
    }
}
