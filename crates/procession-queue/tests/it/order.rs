//! Who gets what, in which order.

use std::collections::HashMap;
use std::thread;

use procession_core::Message;
use procession_queue::{Queue, SimpleQueue};

#[test]
fn items_come_in_the_order_in_which_they_were_put() {
    let queue = Queue::new().unwrap();
    for item in 0..2000 {
        queue.put(item).unwrap();
    }
    for item in 0..2000 {
        assert_eq!(queue.get().unwrap(), item);
    }
}

#[test]
fn each_item_is_got_once_and_those_of_a_putter_in_order() {
    const EACH: u64 = 20_000;
    for bound in [None, Some(1), Some(100)] {
        let queue = match bound {
            None => Queue::new().unwrap(),
            Some(items) => Queue::bounded(items).unwrap(),
        };
        let putters: Vec<_> = (0..3u64)
            .map(|putter| {
                let queue = queue.clone();
                thread::spawn(move || {
                    for item in 0..EACH {
                        queue.put((putter, item)).unwrap();
                    }
                })
            })
            .collect();
        let getters: Vec<_> = (0..3)
            .map(|_| {
                let queue = queue.clone();
                thread::spawn(move || {
                    let mut last = HashMap::new();
                    let mut count = 0;
                    for item in &queue {
                        let (putter, item): (u64, u64) = item.unwrap();
                        let before = last.insert(putter, item);
                        assert!(before.is_none_or(|before| before < item), "{before:?}, {item}");
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        for putter in putters {
            putter.join().unwrap();
        }
        queue.close().unwrap();
        let got: u64 = getters.into_iter().map(|getter| getter.join().unwrap()).sum();
        assert_eq!(got, 3 * EACH, "{bound:?}");
    }
}

#[test]
fn many_are_put_and_got_as_one_by_one() {
    let queue = Queue::new().unwrap();
    assert_eq!(queue.put_many(0..10).unwrap(), 10);
    let mut items = Vec::new();
    assert_eq!(queue.get_many(&mut items, 4).unwrap(), 4);
    assert_eq!(queue.get_many(&mut items, 0).unwrap(), 0);
    assert_eq!(queue.get_many(&mut items, 100).unwrap(), 6);
    assert_eq!(items, Vec::from_iter(0..10));
    queue.close().unwrap();
    let mut rest = 10..20;
    assert_eq!(queue.put_many(&mut rest).unwrap_err().into_item(), Some(10));
    assert_eq!(rest, 11..20);
}

#[test]
fn what_arrives_in_a_message_is_the_same_queue() {
    let queue = Queue::<String>::bounded(5).unwrap();
    let other: Queue<String> = Message::encode(&queue).unwrap().decode().unwrap();
    assert!(queue.is_same(&other) && !queue.is_same(&Queue::new().unwrap()));
    other.put("item".to_owned()).unwrap();
    drop(other);
    assert_eq!(queue.get().unwrap(), "item");
    assert_eq!(queue.capacity(), Some(5));
    let simple = SimpleQueue::<u8>::new().unwrap();
    let other: SimpleQueue<u8> = Message::encode(&simple).unwrap().decode().unwrap();
    other.put(7).unwrap();
    assert!(!simple.is_empty().unwrap());
    assert_eq!(simple.get().unwrap(), 7);
    simple.close().unwrap();
    assert!(other.put(8).is_err());
}

#[test]
fn len_counts_what_is_there() {
    let queue = Queue::bounded(300).unwrap();
    assert!(queue.is_empty().unwrap() && !queue.is_full().unwrap());
    for count in 1..=300 {
        queue.put(count).unwrap();
        assert_eq!(queue.len().unwrap(), count);
    }
    assert!(queue.is_full().unwrap());
    for count in (0..300).rev() {
        queue.get().unwrap();
        assert_eq!(queue.len().unwrap(), count);
    }
    assert!(queue.is_empty().unwrap());
}
