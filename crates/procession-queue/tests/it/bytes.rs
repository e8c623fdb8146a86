//! Bounds in bytes.

use std::thread;

use procession_core::ErrorKind;
use procession_queue::{GetError, JoinableQueue, Queue, TryPutError};

fn queue(bytes: u64) -> Queue<Vec<u8>> {
    Queue::<Vec<u8>>::builder().bytes(bytes).build().expect("memory")
}

#[test]
fn there_is_room_for_so_many_bytes_and_for_one_item_that_is_longer() {
    let queue = queue(1000);
    assert_eq!((queue.capacity(), queue.capacity_bytes()), (None, Some(1000)));
    queue.put(vec![1; 600]).unwrap();
    assert!(matches!(queue.try_put(vec![2; 600]), Err(TryPutError::Full(_))));
    queue.put(vec![3; 300]).unwrap();
    assert_eq!(queue.get().unwrap(), [1; 600]);
    queue.put(vec![4; 600]).unwrap();
    assert_eq!(queue.get().unwrap(), [3; 300]);
    assert_eq!(queue.get().unwrap(), [4; 600]);
    queue.put(vec![5; 100_000]).unwrap();
    assert!(matches!(queue.try_put(vec![6]), Err(TryPutError::Full(_))));
    assert_eq!(queue.get().unwrap(), [5; 100_000]);
    queue.put(vec![6]).unwrap();
}

#[test]
fn who_waits_for_bytes_is_woken_whatever_he_needs() {
    let queue = queue(10_000);
    let putters: Vec<_> = [1, 100, 5_000, 9_000, 50_000]
        .into_iter()
        .map(|len| {
            let queue = queue.clone();
            thread::spawn(move || (0..200).for_each(|_| queue.put(vec![7; len]).unwrap()))
        })
        .collect();
    let mut bytes = 0;
    for _ in 0..1000 {
        bytes += queue.get().unwrap().len();
    }
    putters.into_iter().for_each(|putter| putter.join().unwrap());
    assert_eq!(bytes, 200 * 64_101);
    assert!(queue.is_empty().unwrap());
    // And nothing is left of what was counted.
    queue.put(vec![0; 9_990]).unwrap();
    assert!(matches!(queue.try_put(vec![0; 20]), Err(TryPutError::Full(_))));
}

#[test]
fn both_bounds_hold_and_the_end_comes() {
    let queue = Queue::<Vec<u8>>::builder().items(2).bytes(1000).build::<Vec<u8>>().unwrap();
    queue.put(vec![1]).unwrap();
    queue.put(vec![2]).unwrap();
    assert!(matches!(queue.try_put(vec![3]), Err(TryPutError::Full(_))));
    assert!(queue.is_full().unwrap());
    let waiter = {
        let queue = queue.clone();
        thread::spawn(move || queue.put(vec![3]).unwrap_err().into_item())
    };
    queue.close().unwrap();
    assert_eq!(waiter.join().unwrap(), Some(vec![3]));
    assert_eq!(queue.get().unwrap(), [1]);
    assert_eq!(queue.close_now().unwrap(), 1);
    assert!(matches!(queue.get(), Err(GetError::Closed)));
}

#[test]
fn what_is_leased_takes_no_room_until_it_comes_back() {
    let queue: JoinableQueue<Vec<u8>> =
        Queue::<()>::builder().bytes(1000).build_joinable().unwrap();
    queue.put(vec![1; 900]).unwrap();
    let lease = queue.lease().unwrap();
    queue.put(vec![2; 900]).unwrap();
    drop(lease);
    assert_eq!(queue.len().unwrap(), 2);
    assert_eq!(queue.lease().unwrap().into_done().unwrap(), [1; 900]);
    assert!(matches!(queue.try_put(vec![3; 900]), Err(TryPutError::Full(_))));
    assert_eq!(queue.lease().unwrap().into_done().unwrap(), [2; 900]);
    queue.put(vec![3; 900]).unwrap();
}

#[test]
fn bounds_of_nothing_are_refused() {
    let refused = |builder: procession_queue::QueueBuilder| {
        builder.build_joinable::<u8>().unwrap_err().kind() == ErrorKind::InvalidInput
    };
    let builder = Queue::<u8>::builder;
    assert!(refused(builder().items(0)) && refused(builder().bytes(0)));
    assert!(refused(builder().attempts(0)) && refused(builder().attempts(32_769)));
    let kind = builder().attempts(3).build::<u8>().unwrap_err().kind();
    assert_eq!(kind, ErrorKind::InvalidInput);
}
