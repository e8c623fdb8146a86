//! The event against a model in plain memory.

use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::Relaxed;
use proptest::prelude::*;

use super::super::mortal::{Hasty, Life, View};
use super::*;

const GENERATION: u32 = 9;

#[derive(Debug, Clone, Copy)]
enum Act {
    Set,
    /// Dies before it has changed anything, or after that and before it wakes anybody.
    SetAndDie(u32),
    Clear,
    /// With no time to wait.
    Wait,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        Just(Act::Set),
        (0u32..2).prop_map(Act::SetAndDie),
        Just(Act::Clear),
        Just(Act::Wait),
    ];
    proptest::collection::vec(act, 0..100)
}

fn with<T>(
    word: &AtomicU64,
    life: &Life,
    with: impl FnOnce(&RawEvent<'_, View<'_>>) -> T,
) -> Option<T> {
    let word = View { word, life };
    life.live(|| with(&RawEvent { word: &word, generation: GENERATION }))
}

proptest! {
    #[test]
    fn it_is_set_when_the_model_is(acts in acts()) {
        // The next epoch is zero.
        let last = u64::from(!(EPOCH - 1));
        let word = AtomicU64::new(RawEvent::<View<'_>>::clear_word(GENERATION) | last);
        let long = Life::long();
        let mut is_set = false;
        for act in acts {
            match act {
                Act::Set => {
                    let did = with(&word, &long, |event| event.set().unwrap());
                    prop_assert_eq!(did, Some(!is_set));
                    is_set = true;
                }
                Act::SetAndDie(changes) => {
                    let before = word.load(Relaxed);
                    with(&word, &Life::of(changes), |event| event.set().unwrap());
                    is_set |= word.load(Relaxed) != before;
                    prop_assert!(is_set || changes == 0);
                }
                Act::Clear => {
                    let did = with(&word, &long, |event| event.clear().unwrap());
                    prop_assert_eq!(did, Some(is_set));
                    is_set = false;
                }
                Act::Wait => {
                    let waited = with(&word, &long, |event| event.wait(&mut Hasty)).unwrap();
                    prop_assert_eq!(waited.is_ok(), is_set);
                }
            }
            prop_assert_eq!(with(&word, &long, |event| event.is_set().unwrap()), Some(is_set));
            prop_assert_eq!(word.load(Relaxed) >> 32, u64::from(GENERATION));
        }
    }
}

#[test]
fn a_handle_to_what_is_gone_says_so() {
    let next = RawEvent::<View<'_>>::clear_word(GENERATION + 1);
    let word = AtomicU64::new(next);
    let gone = |result: Result<bool, Halt>| matches!(result, Err(Halt::Gone));
    let long = Life::long();
    assert_eq!(with(&word, &long, |event| gone(event.set())), Some(true));
    assert_eq!(with(&word, &long, |event| gone(event.clear())), Some(true));
    assert_eq!(with(&word, &long, |event| gone(event.is_set())), Some(true));
    let waited = with(&word, &long, |event| event.wait(&mut Hasty)).unwrap();
    assert!(matches!(waited, Err(Halt::Gone)));
    assert_eq!(word.load(Relaxed), next);
}
