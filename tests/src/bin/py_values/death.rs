//! What follows when a process dies that has the lock of a value or an array.

use procession::prelude::*;
use procession::{Error, ErrorKind, LockError};
use procession_tests::SOON;

use crate::stage::{Row, await_death, kill, next, value};

pub(crate) const ROWS: &[Row] = &[
    ("death::whoever_is_next_is_told_and_repairs", whoever_is_next_is_told_and_repairs),
    ("death::every_operation_is_told_until_one_repairs", every_operation_is_told),
    ("death::half_an_update_is_seen_by_who_repairs", half_an_update_is_seen),
    ("death::memory_outlives_its_makers", memory_outlives_its_makers),
];

#[derive(Debug, Clone, Copy, PartialEq, Plain)]
struct Account {
    balance: i64,
    changes: u32,
}

fn lock_and_die(account: Value<Account>, tx: Sender<u32>) {
    let guard = account.lock().unwrap();
    guard.update(|account| Account { balance: account.balance - 30, ..account }).unwrap();
    await_death(&tx)
}

fn killed_over(account: &Value<Account>) {
    let (tx, rx) = pipe().unwrap();
    let child = Process::spawn(lock_and_die, (account.clone(), tx)).unwrap();
    kill(next(&rx));
    drop(child);
}

fn whoever_is_next_is_told_and_repairs() {
    let account = Value::new(Account { balance: 100, changes: 0 }).unwrap();
    killed_over(&account);
    let Err(LockError::OwnerDied(mut guard)) = account.lock_timeout(SOON) else {
        panic!("it died over it")
    };
    assert!(guard.is_after_death());
    assert_eq!(guard.get().unwrap(), Account { balance: 70, changes: 0 }, "half done");
    guard.set(Account { balance: 70, changes: 1 }).unwrap();
    guard.repair();
    drop(guard);
    assert_eq!(account.get().unwrap(), Account { balance: 70, changes: 1 });
}

fn every_operation_is_told() {
    let account = Value::new(Account { balance: 100, changes: 0 }).unwrap();
    killed_over(&account);
    let zero = Account { balance: 0, changes: 0 };
    let told = |error: Error| assert_eq!(error.kind(), ErrorKind::OwnerDied, "{error}");
    told(account.get().unwrap_err().into());
    told(account.set(zero).unwrap_err().into());
    told(account.replace(zero).unwrap_err().into());
    told(account.update(|_| panic!("not called")).unwrap_err().into());
    told(account.copy().unwrap_err().into());
    told(account.try_lock().unwrap_err().into());
    // In other processes as well.
    let look = |account: Value<Account>| -> Option<Error> { account.get().err().map(Into::into) };
    told(value(&Process::spawn(look, (account.clone(),)).unwrap()).unwrap());
    // Nothing of that has changed it; without the lock it is seen.
    assert_eq!(account.raw().get().unwrap(), Account { balance: 70, changes: 0 });
    account.lock().or_else(LockError::into_guard).unwrap().repair();
    account.set(zero).unwrap();
}

fn half_an_update_is_seen() {
    const LEN: usize = 3000;
    let numbers = Array::<u64>::filled(LEN, 1).unwrap();
    let half = |numbers: Array<u64>, tx: Sender<u32>| {
        let guard = numbers.lock().unwrap();
        guard.write(0, &[2; LEN / 2]).unwrap();
        await_death(&tx)
    };
    let (tx, rx) = pipe().unwrap();
    let child = Process::spawn(half, (numbers.clone(), tx)).unwrap();
    let pid = next(&rx);
    assert!(matches!(numbers.try_lock(), Err(LockError::TimedOut)));
    kill(pid);
    drop(child);
    drop(numbers.lock_timeout(SOON).unwrap_err());
    each_is_told(&numbers);
    let Err(LockError::OwnerDied(mut guard)) = numbers.lock_timeout(SOON) else {
        panic!("it died over it")
    };
    let sum: u64 = guard.iter().map(Result::unwrap).sum();
    assert_eq!(sum, (LEN + LEN / 2) as u64);
    guard.fill(3).unwrap();
    guard.repair();
    drop(guard);
    assert_eq!(numbers.to_vec().unwrap(), [3; LEN]);
}

/// That every operation of an array takes the lock.
fn each_is_told(numbers: &Array<u64>) {
    let told = |error: Error| assert_eq!(error.kind(), ErrorKind::OwnerDied, "{error}");
    told(numbers.get(0).unwrap_err().into());
    told(numbers.set(0, 9).unwrap_err().into());
    told(numbers.update_item(0, |_| panic!("not called")).unwrap_err().into());
    told(numbers.read(..1, &mut [0]).unwrap_err().into());
    told(numbers.read_vec(..1).unwrap_err().into());
    told(numbers.to_vec().unwrap_err().into());
    told(numbers.write(0, &[9]).unwrap_err().into());
    told(numbers.fill(9).unwrap_err().into());
    told(numbers.update(.., |_| panic!("not called")).unwrap_err().into());
    told(numbers.copy().unwrap_err().into());
    told(numbers.try_lock().unwrap_err().into());
}

fn memory_outlives_its_makers() {
    let (tx, rx) = pipe::<(Value<u64>, Array<u8>)>().unwrap();
    let (up, pids) = pipe().unwrap();
    let make = |tx: Sender<(Value<u64>, Array<u8>)>, up: Sender<u32>| {
        let made = (Value::new(7).unwrap(), Array::filled(100_000, 7).unwrap());
        tx.send(made.clone()).unwrap();
        await_death(&up)
    };
    let child = Process::spawn(make, (tx, up)).unwrap();
    let pid = next(&pids);
    let (number, bytes) = next(&rx);
    kill(pid);
    let joined = child.join_timeout(SOON).expect("it ends");
    assert!(matches!(joined, Err(JoinError::Died(_))));
    assert_eq!(number.get().unwrap(), 7);
    assert!(bytes.to_vec().unwrap().iter().all(|byte| *byte == 7));
    bytes.set(99_999, 8).unwrap();
}
