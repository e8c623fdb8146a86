//! The end of a queue.

use std::thread;

use procession_core::{Error, ErrorKind};
use procession_queue::{GetError, PutError, Queue, TryGetError, TryPutError};

#[test]
fn a_closed_queue_is_drained_and_then_at_its_end() {
    let queue = Queue::new().unwrap();
    queue.put(1).unwrap();
    queue.put(2).unwrap();
    assert!(!queue.is_closed().unwrap());
    queue.close().unwrap();
    queue.close().unwrap();
    assert!(queue.is_closed().unwrap());
    assert_eq!(queue.len().unwrap(), 2);
    let items: Vec<i32> = queue.iter().map(|item| item.unwrap()).collect();
    assert_eq!(items, [1, 2]);
    assert!(matches!(queue.get(), Err(GetError::Closed)));
    assert!(matches!(queue.try_get(), Err(TryGetError::Closed)));
    assert_eq!(queue.len().unwrap(), 0);
}

#[test]
fn an_item_comes_back_from_a_closed_queue() {
    let queue = Queue::bounded(1).unwrap();
    queue.close().unwrap();
    let refused = queue.put("item".to_owned()).unwrap_err();
    assert_eq!(refused.into_item().as_deref(), Some("item"));
    assert!(matches!(queue.try_put("item".to_owned()), Err(TryPutError::Closed(_))));
    let error: Error = queue.put("item".to_owned()).unwrap_err().into();
    assert_eq!(error.kind(), ErrorKind::Closed);
}

#[test]
fn a_full_queue_can_be_closed_and_tells_who_waits_for_room() {
    let queue = Queue::bounded(1).unwrap();
    queue.put(1).unwrap();
    let waiting = {
        let queue = queue.clone();
        thread::spawn(move || queue.put(2))
    };
    // Whether it waits already makes no difference.
    queue.close().unwrap();
    match waiting.join().unwrap() {
        Err(PutError::Closed(2)) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(queue.get().unwrap(), 1);
    assert!(matches!(queue.get(), Err(GetError::Closed)));
}

#[test]
fn those_who_wait_for_items_are_told() {
    let queue = Queue::<u8>::new().unwrap();
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let queue = queue.clone();
            thread::spawn(move || queue.get())
        })
        .collect();
    queue.close().unwrap();
    for waiting in waiting {
        assert!(matches!(waiting.join().unwrap(), Err(GetError::Closed)));
    }
}

#[test]
fn what_is_thrown_away_is_counted() {
    let queue = Queue::new().unwrap();
    for len in [0, 100, 20_000, 300_000] {
        queue.put(vec![1u8; len]).unwrap();
    }
    assert_eq!(queue.close_now().unwrap(), 4);
    assert_eq!(queue.close_now().unwrap(), 0);
    assert!(matches!(queue.get(), Err(GetError::Closed)));
    assert_eq!(queue.lost().unwrap(), 0);
}

#[test]
fn no_item_is_behind_the_end() {
    for _ in 0..50 {
        let queue = Queue::new().unwrap();
        let putters: Vec<_> = (0..2)
            .map(|_| {
                let queue = queue.clone();
                thread::spawn(move || (0u64..).take_while(|item| queue.put(*item).is_ok()).count())
            })
            .collect();
        let getter = {
            let queue = queue.clone();
            thread::spawn(move || queue.iter().filter(Result::is_ok).count())
        };
        queue.close().unwrap();
        let put: usize = putters.into_iter().map(|putter| putter.join().unwrap()).sum();
        assert_eq!(getter.join().unwrap(), put);
    }
}
