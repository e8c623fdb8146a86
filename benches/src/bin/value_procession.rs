//! Family `sharedmem`, of values and arrays: ours, through the public face. The argument says how processes wait: `adaptive`
//! (the default), `sleep` or `spin`.

use std::error::Error;
use std::hint::black_box;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use procession::waiting::{Policy, set_policy};
use procession::{Array, Handle, Process, RawArray, RawValue, Value};
use procession_benches::board::{Board, WORDS};
use procession_benches::sync::{hammer, lead_hammers};
use procession_benches::value::{
    ITEMS, PROCESSES, fetch_add, increment, report_contended, write_locked, write_raw,
};
use procession_sys::memory::SharedWords;

/// Why no operation ends in an error.
const NOBODY_DIES: &str = "nobody dies while this is measured";

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> Outcome {
    procession::init();
    let policy = std::env::args().nth(1).unwrap_or_else(|| "adaptive".to_owned());
    set_policy(policy_of(&policy)?);
    by_one()?;
    by_two(&policy)
}

fn policy_of(name: &str) -> io::Result<Policy> {
    match name {
        "adaptive" => Ok(Policy::Adaptive),
        "sleep" => Ok(Policy::Sleep),
        "spin" => Ok(Policy::Spin),
        _ => Err(io::Error::other(format!("unknown way `{name}`; one of adaptive, sleep, spin"))),
    }
}

/// What one process measures for itself.
fn by_one() -> Outcome {
    let value = Value::new(0u64)?;
    increment(|| {
        value.update(|count| count + 1).expect(NOBODY_DIES);
    })?;
    let raw = RawValue::new(0u64)?;
    fetch_add(|| {
        black_box(raw.fetch_add(1).expect(NOBODY_DIES));
    })?;
    let array = Array::<u64>::new(ITEMS)?;
    write_locked(|index| array.set(index, index as u64).expect(NOBODY_DIES))?;
    let array = RawArray::<u64>::new(ITEMS)?;
    write_raw(|index| array.set(index, index as u64).expect(NOBODY_DIES))?;
    Ok(())
}

fn by_two(policy: &str) -> Outcome {
    let words = SharedWords::create(WORDS)?;
    let board = Board::over(|index| words.word(index));
    let value = Value::new(0u64)?;
    let role = |policy: String, words: Handle<OwnedFd>, value: Value<u64>| {
        set_policy(policy_of(&policy).expect("the parent understood it"));
        let words = SharedWords::open(words.into_inner()).expect("the parent made it");
        hammer(&Board::over(|index| words.word(index)), |_| {
            value.update(|count| count + 1).expect(NOBODY_DIES);
        });
    };
    let start = |_seat| -> Outcome<Process> {
        let words = Handle(words.as_fd().try_clone_to_owned()?);
        let arguments = (policy.to_owned(), words, value.clone());
        Ok(Process::builder().daemon(true).spawn(role, arguments)?)
    };
    let members: Vec<Process> = (0..PROCESSES).map(start).collect::<Outcome<_>>()?;
    let length = lead_hammers(&board, PROCESSES)?;
    for member in members {
        member.join()?;
    }
    Ok(report_contended(&board, value.raw().get()?, length)?)
}
