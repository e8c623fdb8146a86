//! Family `sharedmem`, of values and arrays, the limits: a number and an array beside a bare futex, and the processor's instructions.
//!
//! The argument is `futex` or `atomic`.

use std::hint::black_box;
use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Relaxed, SeqCst};

use procession_benches::crew::Crew as _;
use procession_benches::forks::share;
use procession_benches::futex::Mutex;
use procession_benches::sync::{Bench, hammer, lead_hammers};
use procession_benches::value::{
    ITEMS, PROCESSES, fetch_add, increment, report_contended, write_locked, write_raw,
};

/// A number and its lock, in one cache line.
#[derive(Default)]
struct Locked {
    mutex: Mutex,
    number: AtomicU64,
}

impl Locked {
    fn increment(&self) {
        self.mutex.lock();
        self.number.store(self.number.load(Relaxed) + 1, Relaxed);
        self.mutex.unlock();
    }
}

fn main() -> io::Result<()> {
    let way = std::env::args().nth(1).unwrap_or_default();
    match way.as_str() {
        "futex" => by_futex(),
        "atomic" => by_atomic(),
        _ => Err(io::Error::other(format!("unknown way `{way}`; one of futex, atomic"))),
    }
}

fn by_futex() -> io::Result<()> {
    let value = share(Locked::default())?;
    increment(|| value.increment())?;
    let (mutex, items) = (share(Mutex::default())?, share([const { AtomicU64::new(0) }; ITEMS])?);
    write_locked(|index| {
        mutex.lock();
        items[index].store(index as u64, Relaxed);
        mutex.unlock();
    })?;
    let value = share(Locked::default())?;
    contend(|| value.increment(), || value.number.load(SeqCst))
}

fn by_atomic() -> io::Result<()> {
    let number = share(AtomicU64::new(0))?;
    increment(|| {
        number.fetch_add(1, AcqRel);
    })?;
    fetch_add(|| {
        black_box(number.fetch_add(1, AcqRel));
    })?;
    let items = share([const { AtomicU64::new(0) }; ITEMS])?;
    write_raw(|index| items[index].store(index as u64, Relaxed))?;
    let number = share(AtomicU64::new(0))?;
    let one = || {
        number.fetch_add(1, AcqRel);
    };
    contend(one, || number.load(SeqCst))
}

fn contend(one: impl Fn() + Sync, counted: impl FnOnce() -> u64) -> io::Result<()> {
    let Bench { crew, board } = Bench::forked()?;
    let role = |_seat| hammer(&board, |_| one());
    let length = crew.run(PROCESSES, role, || lead_hammers(&board, PROCESSES))?;
    report_contended(&board, counted(), length)
}
