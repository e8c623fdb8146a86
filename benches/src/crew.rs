//! Those who take part in a measurement beside the program itself.
//!
//! The peers' workspace includes this file by path, so it stands on `std` alone.

use std::io;
use std::thread::{self, ScopedJoinHandle};

/// A way to have several do something at once.
pub trait Crew {
    /// Has `size` members do their `role`, each with its number, and does `lead` here meanwhile.
    ///
    /// # Errors
    /// What `lead` returns; a member that could not be started or failed.
    fn run<T>(
        &self,
        size: usize,
        role: impl Fn(usize) + Sync,
        lead: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T>;
}

/// Threads of this process. They cannot be killed: if one fails, others may wait for it for ever.
#[derive(Debug, Clone, Copy)]
pub struct Threads;

impl Crew for Threads {
    fn run<T>(
        &self,
        size: usize,
        role: impl Fn(usize) + Sync,
        lead: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let role = &role;
        thread::scope(|scope| {
            let members: Vec<_> = (0..size).map(|seat| scope.spawn(move || role(seat))).collect();
            let led = lead();
            // All are joined, for the scope to hand on no panic.
            let ends: Vec<_> = members.into_iter().map(ScopedJoinHandle::join).collect();
            let went_well = ends.iter().all(Result::is_ok);
            led.and_then(|led| {
                went_well.then_some(led).ok_or_else(|| io::Error::other("a thread panicked"))
            })
        })
    }
}
