//! The barrier against a model in plain memory: one thread plays all parties, so that nobody waits.

use procession_core::waiting::Slept;
use procession_sys::prim::AtomicU64;
use proptest::prelude::*;

use super::*;

/// Who may not wait.
struct Nobody;

impl Waiter<AtomicU64> for Nobody {
    fn spin(&mut self) -> bool {
        false
    }

    fn sleep(
        &mut self,
        _word: &AtomicU64,
        _expected: u32,
        _owners: &dyn Fn() -> Vec<u16>,
    ) -> Result<Slept> {
        Ok(Slept::TimedOut)
    }

    fn is_armed(&self) -> bool {
        false
    }
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Arrive,
    Abort,
    Reset,
    Die { has_left: bool },
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        8 => Just(Act::Arrive),
        1 => Just(Act::Abort),
        2 => Just(Act::Reset),
        1 => any::<bool>().prop_map(|has_left| Act::Die { has_left }),
    ];
    proptest::collection::vec(act, 0..120)
}

proptest! {
    #[test]
    fn generations_end_as_in_the_model(parties in 1u16..5, acts in acts()) {
        let word = AtomicU64::new(0);
        let barrier = RawBarrier { word: &word, parties };
        let mut arrived = Vec::new();
        let mut is_broken = false;
        for act in acts {
            // What those who wait would learn now: nothing, that they may pass, or that it is broken.
            let ends = match act {
                Act::Arrive => match barrier.arrive(0, false, &mut Nobody) {
                    Ok(Arrival::Waits { index, epoch }) => {
                        prop_assert!(!is_broken);
                        prop_assert_eq!(usize::from(index), arrived.len());
                        arrived.push(epoch);
                        prop_assert!(arrived.len() < usize::from(parties));
                        None
                    }
                    Ok(Arrival::Passed) => {
                        prop_assert!(!is_broken && arrived.len() + 1 == usize::from(parties));
                        Some(true)
                    }
                    Ok(other) => panic!("{other:?}"),
                    Err(Stopped::Broken) => {
                        prop_assert!(is_broken);
                        None
                    }
                    Err(Stopped::Failed(error)) => panic!("{error}"),
                },
                Act::Abort => {
                    barrier.abort();
                    is_broken = true;
                    Some(false)
                }
                Act::Reset => {
                    barrier.reset();
                    is_broken = false;
                    Some(false)
                }
                Act::Die { has_left } => {
                    barrier.recover(3, has_left);
                    is_broken |= !has_left;
                    (!has_left).then_some(false)
                }
            };
            if let Some(passed) = ends {
                for epoch in arrived.drain(..) {
                    prop_assert_eq!(barrier.wait(epoch, &mut Nobody).is_ok(), passed);
                }
            }
            prop_assert_eq!(barrier.is_broken(), is_broken);
            prop_assert_eq!(usize::from(barrier.waiting()), arrived.len());
        }
    }
}
