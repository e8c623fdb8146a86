//! The semaphore against a model in plain memory, with processes that die between any two of their changes.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

use std::collections::{BTreeMap, BTreeSet};

use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::Relaxed;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::super::mortal::{Life, View};
use super::*;

const CELLS_HERE: usize = 3;
const PROCESSES: u16 = 5;

/// What a process does.
#[derive(Debug, Clone, Copy)]
enum Act {
    Take,
    Give(u32),
    Acquire,
    Release,
    Forget,
}

/// What happens.
#[derive(Debug, Clone, Copy)]
enum Event {
    Does(u16, Act),
    /// It dies over it, after so many changes; others go on before it is recovered.
    DiesOver(u16, Act, u32),
    /// It is recovered, by one who dies after so many changes.
    RecoveredBy(u16, u32),
    Recovered(u16),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let act = || {
        prop_oneof![
            1 => Just(Act::Take),
            1 => (0u32..3).prop_map(Act::Give),
            3 => Just(Act::Acquire),
            2 => Just(Act::Release),
            1 => Just(Act::Forget),
        ]
    };
    let event = prop_oneof![
        8 => (0..PROCESSES, act()).prop_map(|(who, act)| Event::Does(who, act)),
        2 => (0..PROCESSES, act(), 0u32..5)
            .prop_map(|(who, act, changes)| Event::DiesOver(who, act, changes)),
        1 => (0..PROCESSES, 0u32..4).prop_map(|(who, changes)| Event::RecoveredBy(who, changes)),
        2 => (0..PROCESSES).prop_map(Event::Recovered),
    ];
    proptest::collection::vec(event, 0..200)
}

/// The semaphore, and what it should be.
struct World {
    word: AtomicU64,
    cells: Vec<AtomicU64>,
    bound: u32,
    value: u32,
    permits: BTreeMap<u16, u32>,
    /// The dead who are not recovered, and whether they have a cell and no permit.
    dead: BTreeMap<u16, bool>,
}

impl World {
    fn new(bound: u32, value: u32) -> Self {
        Self {
            word: AtomicU64::new(value.into()),
            cells: (0..CELLS_HERE).map(|_| AtomicU64::new(0)).collect(),
            bound,
            value,
            permits: BTreeMap::new(),
            dead: BTreeMap::new(),
        }
    }

    /// Tells what came of it, if it did not die, and whether it changed the word.
    fn with<T>(
        &self,
        life: &Life,
        with: impl FnOnce(&RawSemaphore<'_, View<'_>>) -> T,
    ) -> (Option<T>, bool) {
        let before = self.word.load(Relaxed);
        let word = View { word: &self.word, life };
        let cells: Vec<_> = self.cells.iter().map(|word| View { word, life }).collect();
        let semaphore = RawSemaphore { word: &word, cells: &cells, bound: self.bound };
        let done = life.live(|| with(&semaphore));
        (done, self.word.load(Relaxed) != before)
    }

    fn act(&self, who: u16, act: Act, life: &Life) -> (Option<bool>, bool) {
        self.with(life, |semaphore| match act {
            Act::Take => semaphore.try_take(),
            Act::Give(count) => semaphore.give(count).is_ok(),
            Act::Acquire => semaphore.try_acquire(who),
            Act::Release => semaphore.release(who),
            Act::Forget => semaphore.forget(who),
        })
    }

    /// Whether `who` can do this now.
    fn can(&self, who: u16, act: Act) -> bool {
        let owners: BTreeSet<_> = self.permits.keys().collect();
        let idle = self.dead.values().filter(|has_cell| **has_cell).count();
        let has_cell = owners.contains(&who) || owners.len() + idle < CELLS_HERE;
        match act {
            Act::Take => self.value > 0,
            Act::Give(count) => self.value + count <= self.bound,
            Act::Acquire => self.value > 0 && has_cell,
            Act::Release | Act::Forget => owners.contains(&who),
        }
    }

    /// What follows once `who` has done it.
    fn follow(&mut self, who: u16, act: Act) {
        match act {
            Act::Take => self.value -= 1,
            Act::Give(count) => self.value += count,
            Act::Acquire => {
                self.value -= 1;
                *self.permits.entry(who).or_default() += 1;
            }
            Act::Release | Act::Forget => {
                *self.permits.get_mut(&who).unwrap() -= 1;
                if matches!(act, Act::Release) {
                    self.value = (self.value + 1).min(self.bound);
                }
            }
        }
        self.permits.retain(|_, count| *count > 0);
    }

    /// What a recovery gives back.
    fn clear(&mut self, who: u16) {
        let permits = self.permits.remove(&who).unwrap_or_default();
        self.value = (self.value + permits).min(self.bound);
        if let Some(has_cell) = self.dead.get_mut(&who) {
            *has_cell = false;
        }
    }

    fn happen(&mut self, event: Event) -> Result<(), TestCaseError> {
        match event {
            Event::Does(who, _) | Event::DiesOver(who, ..) if self.dead.contains_key(&who) => {}
            Event::Does(who, act) => {
                let can = self.can(who, act);
                prop_assert_eq!(self.act(who, act, &Life::long()).0, Some(can));
                if can {
                    self.follow(who, act);
                }
            }
            Event::DiesOver(who, act, changes) => {
                let can = self.can(who, act);
                let (done, is_changed) = self.act(who, act, &Life::of(changes));
                prop_assert!(done.is_none_or(|done| done == can));
                prop_assert!(can || !is_changed);
                if is_changed || done == Some(true) {
                    self.follow(who, act);
                }
                let has_claimed = self.owners().contains(&who) && !self.permits.contains_key(&who);
                self.dead.insert(who, has_claimed);
            }
            // Of a process that is not dead nothing is recovered.
            Event::RecoveredBy(who, _) | Event::Recovered(who) if !self.dead.contains_key(&who) => {
            }
            Event::RecoveredBy(who, changes) => {
                let life = Life::of(changes);
                let (_, is_changed) = self.with(&life, |semaphore| semaphore.recover(who));
                if is_changed {
                    self.clear(who);
                }
            }
            Event::Recovered(who) => {
                self.with(&Life::long(), |semaphore| semaphore.recover(who));
                self.clear(who);
                self.dead.remove(&who);
                prop_assert!(!self.owners().contains(&who));
            }
        }
        Ok(())
    }

    fn owners(&self) -> BTreeSet<u16> {
        let owners = self.with(&Life::long(), |semaphore| {
            semaphore.settled();
            semaphore.owners().collect()
        });
        owners.0.unwrap()
    }
}

proptest! {
    #[test]
    fn values_and_permits_are_those_of_the_model(
        bound in 0u32..6,
        start in 0u32..6,
        events in events(),
    ) {
        let mut world = World::new(bound, start.min(bound));
        for event in events {
            world.happen(event)?;
            prop_assert_eq!(low(world.word.load(Relaxed)) & MOST, world.value);
        }
        for who in 0..PROCESSES {
            let (owns, _) = world.with(&Life::long(), |semaphore| semaphore.owns(who));
            prop_assert_eq!(owns, Some(world.permits.contains_key(&who)));
            world.dead.insert(who, false);
            world.happen(Event::Recovered(who))?;
        }
        prop_assert!(world.owners().is_empty());
    }
}

#[test]
fn a_full_cell_is_followed_by_another() {
    let world = World::new(MOST, 2);
    let full = Cell { owner: 1, permits: CELL_FIELD, number: 0 };
    world.cells[0].store(full.to_bits(), Relaxed);
    assert_eq!(world.act(0, Act::Acquire, &Life::long()).0, Some(true));
    let permits = |cell: usize| Cell::of(world.cells[cell].load(Relaxed)).permits;
    assert_eq!([0, 1, 2].map(permits), [CELL_FIELD, 1, 0]);
}
