//! What a copy of this process has of its values, that nobody here made.
#![expect(unsafe_code, reason = "forks as a foreign library does")]

use procession::prelude::*;
use procession::{ErrorKind, RawArray, RawValue};
use procession_sys::fork::{Forked, fork};
use procession_sys::process;
use procession_tests::{SOON, Stranger};

use crate::stage::{Row, next};

pub(crate) const ROWS: &[Row] = &[
    ("forks::a_foreign_fork_uses_its_parents_values", uses_its_parents_values),
    ("forks::a_foreign_fork_learns_that_they_are_gone", learns_that_they_are_gone),
];

/// Forks as a foreign library does; the copy calls `work`, and ends without a word.
fn fork_without_a_word(work: impl FnOnce()) -> Stranger {
    // SAFETY: No other thread has been started.
    match unsafe { fork() }.unwrap() {
        Forked::Parent { child } => Stranger::new(child),
        Forked::Child => {
            work();
            process::exit_now(0)
        }
    }
}

fn uses_its_parents_values() {
    let (number, numbers) = (Value::new(1u32).unwrap(), Array::filled(10, 1u8).unwrap());
    let (raw, large) = (RawValue::new(1u64).unwrap(), RawArray::<u8>::new(9000).unwrap());
    let child = fork_without_a_word(|| {
        raw.fetch_add(1).unwrap();
        number.update(|number| number + 1).unwrap();
        numbers.set(9, 2).unwrap();
        large.set(8999, 2).unwrap();
    });
    assert!(child.ends_soon());
    assert_eq!((raw.get().unwrap(), number.get().unwrap()), (2, 2));
    assert_eq!((numbers.get(9).unwrap(), large.get(8999).unwrap()), (2, 2));
}

/// It has not joined by then, so that nothing is held for it; their places are others' by now.
fn learns_that_they_are_gone() {
    let (number, numbers) = (RawValue::new(1u32).unwrap(), RawArray::filled(10, 1u8).unwrap());
    let locked = Value::new(1u32).unwrap();
    let mut mine = Some((number, numbers, locked));
    let (tx, rx) = pipe::<()>().unwrap();
    let (up, told) = pipe::<Vec<ErrorKind>>().unwrap();
    let child = fork_without_a_word(|| {
        let (number, numbers, locked) = mine.take().unwrap();
        rx.recv_timeout(SOON).unwrap();
        let errors = [
            number.get().unwrap_err(),
            number.set(2).unwrap_err(),
            number.fetch_add(1).unwrap_err(),
            numbers.get(0).unwrap_err(),
            numbers.fill(2).unwrap_err(),
            numbers.iter().next().unwrap().unwrap_err(),
            locked.get().unwrap_err().into(),
        ];
        up.send(errors.iter().map(procession::Error::kind).collect()).unwrap();
    });
    drop(mine.take());
    let others: Vec<_> = (0..100).map(|_| RawValue::new(7u32).unwrap()).collect();
    tx.send(()).unwrap();
    assert_eq!(next(&told), [ErrorKind::Closed; 7]);
    assert!(child.ends_soon());
    assert!(others.iter().all(|other| other.get().unwrap() == 7));
}
