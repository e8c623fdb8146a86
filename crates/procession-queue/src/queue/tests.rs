//! Positions that come round.

use std::thread;

use super::*;

/// Two chunks in front of each power, and of the last position.
fn starts() -> impl Iterator<Item = Position> {
    [0, 1 << 16, 1 << 32, 1 << 48].into_iter().map(|end| Position::new(u64::wrapping_sub(end, 512)))
}

#[test]
fn positions_come_round_without_a_trace() {
    for start in starts() {
        for limit in [None, Some(10)] {
            let traits = Traits { items: limit, ..Traits::default() };
            let queue = Queue::<u64>::starting_at(traits, start).unwrap();
            assert!(queue.is_empty().unwrap());
            let putters: Vec<_> = (0..2)
                .map(|putter| {
                    let queue = queue.clone();
                    thread::spawn(move || {
                        (0..1000).for_each(|item| queue.put(item << 1 | putter).unwrap());
                    })
                })
                .collect();
            let mut next = [0, 0];
            for _ in 0..2000 {
                let item = queue.get().unwrap();
                let putter = usize::from(item & 1 == 1);
                assert_eq!(item >> 1, next[putter]);
                next[putter] += 1;
            }
            putters.into_iter().for_each(|putter| putter.join().unwrap());
            assert!(queue.is_empty().unwrap());
            queue.close().unwrap();
            assert!(matches!(queue.get(), Err(GetError::Closed)));
        }
    }
}
