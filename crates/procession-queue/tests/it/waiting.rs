//! Who waits, and for how long.

use std::thread;
use std::time::{Duration, Instant};

use procession_core::waiting::{Policy, set_policy};
use procession_queue::{GetTimeoutError, PutTimeoutError, Queue, TryGetError, TryPutError};

const SHORT: Duration = Duration::from_millis(20);

#[test]
fn an_empty_queue_keeps_who_gets_until_the_deadline() {
    let queue = Queue::<u8>::new().unwrap();
    assert!(matches!(queue.try_get(), Err(TryGetError::Empty)));
    let start = Instant::now();
    assert!(matches!(queue.get_timeout(SHORT), Err(GetTimeoutError::Timeout)));
    assert!(start.elapsed() >= SHORT);
}

#[test]
fn a_full_queue_keeps_who_puts_until_the_deadline() {
    let queue = Queue::bounded(2).unwrap();
    queue.put(1).unwrap();
    queue.put(2).unwrap();
    assert!(matches!(queue.try_put(3), Err(TryPutError::Full(3))));
    let start = Instant::now();
    assert!(matches!(queue.put_timeout(3, SHORT), Err(PutTimeoutError::Timeout(3))));
    assert!(start.elapsed() >= SHORT);
    assert_eq!(queue.get().unwrap(), 1);
    queue.put(3).unwrap();
    assert!(matches!(queue.try_put(4), Err(TryPutError::Full(4))));
}

#[test]
fn who_sleeps_is_woken_by_an_item_and_by_room() {
    // Three that spin on two processors wait for the system to change its mind.
    for (policy, rounds) in [(Policy::Sleep, 500), (Policy::Adaptive, 500), (Policy::Spin, 5)] {
        set_policy(policy);
        let (there, back) = (Queue::bounded(1).unwrap(), Queue::bounded(1).unwrap());
        let echo = {
            let (there, back) = (there.clone(), back.clone());
            thread::spawn(move || {
                for item in &there {
                    back.put(item.unwrap()).unwrap();
                }
            })
        };
        for item in 0..rounds {
            there.put(item).unwrap();
            assert_eq!(back.get().unwrap(), item);
        }
        // And both bounds.
        let putter = {
            let there = there.clone();
            thread::spawn(move || there.put_many(0..rounds).unwrap())
        };
        for item in 0..rounds {
            assert_eq!(back.get().unwrap(), item);
        }
        putter.join().unwrap();
        there.close().unwrap();
        echo.join().unwrap();
    }
    set_policy(Policy::Adaptive);
}

#[test]
fn many_who_sleep_are_all_woken() {
    let queue = Queue::<u32>::bounded(3).unwrap();
    for _ in 0..20 {
        let getters: Vec<_> = (0..8)
            .map(|_| {
                let queue = queue.clone();
                thread::spawn(move || queue.get().unwrap())
            })
            .collect();
        assert_eq!(queue.put_many(0..8).unwrap(), 8);
        let mut got: Vec<_> = getters.into_iter().map(|getter| getter.join().unwrap()).collect();
        got.sort_unstable();
        assert_eq!(got, Vec::from_iter(0..8));
    }
}
