//! The lock against a model in plain memory, with processes that die between any two of their changes.

use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::Relaxed;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::super::mortal::{Hasty, Life, View};
use super::*;
use procession_core::family::ProcessId;

const GENERATION: u32 = 9;
const PROCESSES: u16 = 3;

#[derive(Debug, Clone, Copy)]
enum Act {
    TakeFree,
    TryTake,
    /// And gives up: its deadline has passed.
    Take,
    Unlock {
        repaired: bool,
    },
    /// Whoever has it.
    Release,
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Does(u16, Act),
    DiesOver(u16, Act, u32),
    Recovered(u16),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let act = || {
        prop_oneof![
            Just(Act::TakeFree),
            Just(Act::TryTake),
            Just(Act::Take),
            any::<bool>().prop_map(|repaired| Act::Unlock { repaired }),
            Just(Act::Release),
        ]
    };
    let event = prop_oneof![
        6 => (0..PROCESSES, act()).prop_map(|(who, act)| Event::Does(who, act)),
        2 => (0..PROCESSES, act(), 0u32..4)
            .prop_map(|(who, act, changes)| Event::DiesOver(who, act, changes)),
        2 => (0..PROCESSES).prop_map(Event::Recovered),
    ];
    proptest::collection::vec(event, 0..100)
}

/// Who has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Nobody,
    /// And whether it was told of a death.
    Process(u16, Taken),
    Dead,
}

struct World {
    word: AtomicU64,
    armed: AtomicU64,
    owner: Owner,
}

fn stamp(slot: u16) -> Stamp {
    Stamp::new(ProcessId { slot, generation: 0 }, 1)
}

impl World {
    fn with<T>(&self, life: &Life, with: impl FnOnce(&RawLock<'_, View<'_>>) -> T) -> Option<T> {
        let (word, armed) = (View { word: &self.word, life }, View { word: &self.armed, life });
        let lock = RawLock { word: &word, armed: &armed, generation: GENERATION };
        life.live(|| with(&lock))
    }

    /// How it was taken, if it was; or whether it was unlocked.
    fn act(&self, who: u16, act: Act, life: &Life) -> Option<Result<Taken, bool>> {
        let me = stamp(who);
        self.with(life, |lock| match act {
            Act::TakeFree => lock.take_free(me).then_some(Taken::Clean).ok_or(false),
            Act::TryTake => lock.try_take(me).map_err(|_refused| false),
            Act::Take => lock.take(me, &mut Hasty).map_err(|_refused| false),
            Act::Unlock { repaired: true } => {
                Err(lock.unlock_quiet(me) || lock.unlock(me, Stamp::NOBODY))
            }
            Act::Unlock { repaired: false } => {
                let is_clean = self.owner == Owner::Process(who, Taken::Clean);
                Err(lock.unlock(me, if is_clean { Stamp::NOBODY } else { Stamp::DEAD }))
            }
            Act::Release => Err(lock.release()),
        })
    }

    /// What should come of it, and who has it then.
    fn expected(&self, who: u16, act: Act) -> (Result<Taken, bool>, Owner) {
        let taken = match (act, self.owner) {
            (Act::TakeFree | Act::TryTake | Act::Take, Owner::Nobody) => Taken::Clean,
            (Act::TryTake | Act::Take, Owner::Dead) => Taken::AfterDeath,
            (Act::Unlock { repaired }, Owner::Process(owner, taken)) if owner == who => {
                let is_clean = repaired || taken == Taken::Clean;
                return (Err(true), if is_clean { Owner::Nobody } else { Owner::Dead });
            }
            (Act::Release, Owner::Process(..)) => return (Err(true), Owner::Nobody),
            _ => return (Err(false), self.owner),
        };
        (Ok(taken), Owner::Process(who, taken))
    }

    fn happen(&mut self, event: Event) -> Result<(), TestCaseError> {
        match event {
            Event::Does(who, act) => {
                let (expected, owner) = self.expected(who, act);
                prop_assert_eq!(self.act(who, act, &Life::long()), Some(expected));
                self.owner = owner;
            }
            Event::DiesOver(who, act, changes) => {
                let before = self.owner_now();
                let (expected, owner) = self.expected(who, act);
                let done = self.act(who, act, &Life::of(changes));
                prop_assert!(done.is_none_or(|done| done == expected));
                if self.owner_now() != before {
                    self.owner = owner;
                }
                self.happen(Event::Recovered(who))?;
            }
            Event::Recovered(who) => {
                let had_it = matches!(self.owner, Owner::Process(owner, _) if owner == who);
                self.with(&Life::long(), |lock| lock.recover(who));
                if had_it {
                    self.owner = Owner::Dead;
                }
            }
        }
        Ok(())
    }

    fn owner_now(&self) -> Stamp {
        Stamp::from_bits(low(self.word.load(Relaxed)))
    }
}

proptest! {
    #[test]
    fn the_owner_is_that_of_the_model(events in events()) {
        let free = RawLock::<View<'_>>::free(GENERATION);
        let mut world =
            World { word: AtomicU64::new(free), armed: AtomicU64::new(0), owner: Owner::Nobody };
        for event in events {
            world.happen(event)?;
            prop_assert_eq!(world.owner_now(), match world.owner {
                Owner::Nobody => Stamp::NOBODY,
                Owner::Process(owner, _) => stamp(owner),
                Owner::Dead => Stamp::DEAD,
            });
        }
    }
}

#[test]
fn a_handle_to_what_is_gone_takes_nothing() {
    let next = RawLock::<View<'_>>::free(GENERATION + 1);
    let world =
        World { word: AtomicU64::new(next), armed: AtomicU64::new(0), owner: Owner::Nobody };
    for act in
        [Act::TakeFree, Act::TryTake, Act::Take, Act::Unlock { repaired: true }, Act::Release]
    {
        assert_eq!(world.act(0, act, &Life::long()), Some(Err(false)));
    }
    assert!(matches!(
        world.with(&Life::long(), |lock| lock.try_take(stamp(0))),
        Some(Err(Refused::Gone))
    ));
    assert_eq!(world.word.load(Relaxed), next);
}
