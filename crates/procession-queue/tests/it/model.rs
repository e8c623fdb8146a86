//! Against a `VecDeque`.

use std::collections::VecDeque;

use procession_queue::{Queue, TryGetError, TryPutError};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Put(usize),
    Get,
    Many(usize),
    Len,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let len = prop_oneof![0usize..60, 900usize..1100, 16_000usize..17_000, 60_000usize..140_000];
    let step = prop_oneof![
        4 => len.prop_map(Step::Put),
        4 => Just(Step::Get),
        1 => (1usize..20).prop_map(Step::Many),
        1 => Just(Step::Len),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_queue_is_a_deque_with_a_bound(bound in prop::option::of(1usize..30), steps in steps()) {
        let queue = match bound {
            None => Queue::new().unwrap(),
            Some(items) => Queue::bounded(items).unwrap(),
        };
        let mut deque = VecDeque::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Put(len) => {
                    let item = vec![number.to_le_bytes()[0]; len];
                    match queue.try_put(item.clone()) {
                        Ok(()) => deque.push_back(item),
                        Err(TryPutError::Full(back)) => {
                            prop_assert_eq!(back, item);
                            prop_assert_eq!(Some(deque.len()), bound);
                        }
                        Err(other) => panic!("{other:?}"),
                    }
                }
                Step::Get => match queue.try_get() {
                    Ok(item) => prop_assert_eq!(Some(item), deque.pop_front()),
                    Err(TryGetError::Empty) => prop_assert!(deque.is_empty()),
                    Err(other) => panic!("{other:?}"),
                },
                Step::Many(most) if !deque.is_empty() => {
                    let mut items = Vec::new();
                    queue.get_many(&mut items, most).unwrap();
                    let count = most.min(deque.len());
                    prop_assert_eq!(items, deque.drain(..count).collect::<Vec<_>>());
                }
                Step::Many(_) => {}
                Step::Len => {
                    prop_assert_eq!(queue.len().unwrap(), deque.len());
                    prop_assert_eq!(queue.is_full().unwrap(), Some(deque.len()) == bound);
                }
            }
        }
        queue.close().unwrap();
        let rest: Vec<_> = queue.iter().map(|item| item.unwrap()).collect();
        prop_assert_eq!(rest, Vec::from(deque));
    }
}
