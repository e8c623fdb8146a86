//! The semaphore against a model in plain memory, with processes that die.

use std::collections::BTreeMap;

use procession_sys::prim::AtomicU64;
use proptest::prelude::*;

use super::*;

const CELLS_HERE: usize = 3;

/// What a process does.
#[derive(Debug, Clone, Copy)]
enum Act {
    Take,
    Give(u32),
    Acquire,
    Release,
    Forget,
    /// Nothing more: its recoverer puts in order what it left.
    Die,
}

fn acts() -> impl Strategy<Value = Vec<(u16, Act)>> {
    let act = prop_oneof![
        Just(Act::Take),
        (0u32..3).prop_map(Act::Give),
        Just(Act::Acquire),
        Just(Act::Acquire),
        Just(Act::Release),
        Just(Act::Forget),
        Just(Act::Die),
    ];
    proptest::collection::vec((0u16..5, act), 0..200)
}

proptest! {
    #[test]
    fn values_and_permits_are_those_of_the_model(bound in 0u32..6, start in 0u32..6, acts in acts()) {
        let start = start.min(bound);
        let word = AtomicU64::new(start.into());
        let cells: Vec<_> = (0..CELLS_HERE).map(|_| AtomicU64::new(0)).collect();
        let semaphore = RawSemaphore { word: &word, cells: &cells, bound };
        let mut value = start;
        let mut permits: BTreeMap<u16, u32> = BTreeMap::new();
        for (who, act) in acts {
            let has_cell = permits.contains_key(&who) || permits.len() < CELLS_HERE;
            match act {
                Act::Take => {
                    prop_assert_eq!(semaphore.try_take(), value > 0);
                    value = value.saturating_sub(1);
                }
                Act::Give(count) => {
                    let fits = value + count <= bound;
                    prop_assert_eq!(semaphore.give(count).is_ok(), fits);
                    value += if fits { count } else { 0 };
                }
                Act::Acquire => {
                    let gets = value > 0 && has_cell;
                    prop_assert_eq!(semaphore.try_acquire(who), gets);
                    if gets {
                        value -= 1;
                        *permits.entry(who).or_default() += 1;
                    }
                }
                Act::Release | Act::Forget => {
                    let has = permits.get(&who).is_some_and(|count| *count > 0);
                    let did = match act {
                        Act::Release => semaphore.release(who),
                        _ => semaphore.forget(who),
                    };
                    prop_assert_eq!(did, has);
                    if has {
                        *permits.entry(who).or_default() -= 1;
                        if matches!(act, Act::Release) {
                            value = (value + 1).min(bound);
                        }
                    }
                }
                Act::Die => {
                    semaphore.recover(who);
                    // A recoverer that died over it is followed by another.
                    semaphore.recover(who);
                    value = (value + permits.remove(&who).unwrap_or_default()).min(bound);
                }
            }
            permits.retain(|_, count| *count > 0);
            prop_assert_eq!(semaphore.value(), value);
            for process in 0..5 {
                prop_assert_eq!(semaphore.owns(process), permits.contains_key(&process));
            }
        }
    }
}
