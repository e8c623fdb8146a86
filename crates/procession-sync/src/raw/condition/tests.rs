//! The condition against a queue in plain memory, with processes that die between any two of their changes.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

use std::collections::{BTreeSet, VecDeque};

use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::Relaxed;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::super::mortal::{Hasty, Life, View};
use super::*;

const SLOTS: usize = 4;
const MORE: usize = 3;
const PROCESSES: u16 = 4;

#[derive(Debug, Clone, Copy)]
enum Event {
    Waits(u16),
    /// It dies over the beginning of its wait, after so many changes.
    DiesWaiting(u16, u32),
    /// The one at this place of those who wait gives up.
    TimesOut(usize),
    NotifyOne,
    NotifyAll,
    /// The one at this place of those who were notified has the lock again.
    Leaves(usize),
    /// It dies, and others go on before it is recovered.
    Dies(u16),
    /// By one who dies after so many changes.
    RecoveredBy(u16, u32),
    Recovered(u16),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let who = || 0..PROCESSES;
    let event = prop_oneof![
        8 => who().prop_map(Event::Waits),
        1 => (who(), 0u32..4).prop_map(|(who, changes)| Event::DiesWaiting(who, changes)),
        2 => (0usize..4).prop_map(Event::TimesOut),
        4 => Just(Event::NotifyOne),
        1 => Just(Event::NotifyAll),
        4 => (0usize..4).prop_map(Event::Leaves),
        1 => who().prop_map(Event::Dies),
        1 => (who(), 0u32..5).prop_map(|(who, changes)| Event::RecoveredBy(who, changes)),
        2 => who().prop_map(Event::Recovered),
    ];
    proptest::collection::vec(event, 0..200)
}

/// A waiter of a process, in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Waiting {
    who: u16,
    slot: usize,
}

struct World {
    ticket: AtomicU64,
    reach: AtomicU64,
    slots: Vec<AtomicU64>,
    waiting: VecDeque<Waiting>,
    notified: Vec<Waiting>,
    dead: BTreeSet<u16>,
}

impl World {
    fn new() -> Self {
        Self {
            // Tickets come round soon.
            ticket: AtomicU64::new(u64::from(TICKETS) - 3),
            reach: AtomicU64::new(0),
            slots: (0..SLOTS + MORE).map(|_| AtomicU64::new(0)).collect(),
            waiting: VecDeque::new(),
            notified: Vec::new(),
            dead: BTreeSet::new(),
        }
    }

    fn with<T>(
        &self,
        life: &Life,
        with: impl FnOnce(&RawCondition<'_, View<'_>>) -> T,
    ) -> Option<T> {
        let view = |word| View { word, life };
        let (ticket, reach) = (view(&self.ticket), view(&self.reach));
        let slots: Vec<_> = self.slots.iter().map(view).collect();
        let (slots, more) = slots.split_at(SLOTS);
        life.live(|| with(&RawCondition { ticket: &ticket, reach: &reach, slots, more }))
    }

    fn state(&self, slot: usize) -> (u32, u16) {
        let word = self.slots[slot].load(Relaxed);
        (low(word) & STATE, u16::try_from(word >> 32).unwrap())
    }

    /// The first of those who wait, whose slots say that they are notified by now.
    fn take_notified(&mut self) -> usize {
        let mut count = 0;
        while let Some(first) = self.waiting.front()
            && self.state(first.slot) == (NOTIFIED, first.who + 1)
        {
            self.notified.extend(self.waiting.pop_front());
            count += 1;
        }
        count
    }

    /// Enters, as far as `life` reaches; tells the slot.
    fn enter(&self, who: u16, life: &Life) -> Option<Option<usize>> {
        self.with(life, |condition| {
            let slot = condition.enter(who)?;
            let rows = condition.slots.iter().chain(condition.more);
            rows.enumerate().find_map(|(at, other)| std::ptr::eq(slot, other).then_some(at))
        })
    }

    fn happen(&mut self, event: Event) -> Result<(), TestCaseError> {
        let long = Life::long();
        match event {
            Event::Waits(who) | Event::DiesWaiting(who, _) if self.dead.contains(&who) => {}
            Event::Waits(who) => {
                let free = (0..self.slots.len()).find(|slot| self.state(*slot).0 == FREE);
                prop_assert_eq!(self.enter(who, &long), Some(free));
                self.waiting.extend(free.map(|slot| Waiting { who, slot }));
            }
            Event::DiesWaiting(who, changes) => {
                let before: Vec<_> = (0..self.slots.len()).map(|slot| self.state(slot)).collect();
                let entered = self.enter(who, &Life::of(changes));
                let slot = (0..self.slots.len()).find(|slot| self.state(*slot) != before[*slot]);
                prop_assert!(entered.is_none_or(|entered| entered == slot));
                self.waiting.extend(slot.map(|slot| Waiting { who, slot }));
                self.dead.insert(who);
            }
            Event::TimesOut(at) => {
                if let Some(Waiting { slot, who }) = self.waiting.get(at).copied()
                    && !self.dead.contains(&who)
                {
                    let view = View { word: &self.slots[slot], life: &long };
                    let waited = RawCondition::wait(&view, &mut Hasty);
                    prop_assert!(matches!(waited, Err(Halt::TimedOut)));
                    prop_assert_eq!(self.state(slot).0, FREE);
                    self.waiting.remove(at);
                }
            }
            Event::NotifyOne => {
                let oldest = self.waiting.front().map(|waiting| waiting.slot);
                prop_assert_eq!(self.with(&long, |condition| condition.notify_one()), Some(oldest));
                prop_assert_eq!(self.take_notified(), usize::from(oldest.is_some()));
            }
            Event::NotifyAll => {
                let count = self.waiting.len();
                prop_assert_eq!(self.with(&long, |condition| condition.waiting()), Some(count));
                prop_assert_eq!(self.with(&long, |condition| condition.notify_all()), Some(count));
                prop_assert_eq!(self.take_notified(), count);
            }
            Event::Leaves(at) => {
                if let Some(Waiting { slot, who }) = self.notified.get(at).copied()
                    && !self.dead.contains(&who)
                {
                    let view = View { word: &self.slots[slot], life: &long };
                    prop_assert!(RawCondition::wait(&view, &mut Hasty).is_ok());
                    RawCondition::leave(&view);
                    prop_assert_eq!(self.state(slot).0, FREE);
                    self.notified.remove(at);
                }
            }
            Event::Dies(who) => {
                self.dead.insert(who);
            }
            Event::RecoveredBy(who, _) | Event::Recovered(who) if !self.dead.contains(&who) => {}
            Event::RecoveredBy(who, changes) => self.recover(who, &Life::of(changes))?,
            Event::Recovered(who) => {
                self.recover(who, &long)?;
                let is_its = |slot: usize| self.state(slot).1 == who + 1;
                prop_assert!(!(0..self.slots.len()).any(is_its));
                self.dead.remove(&who);
            }
        }
        Ok(())
    }

    /// Those of `who` go whose slots are free; as many of the others are notified as had been of these, or one more, by one who
    /// died over it.
    fn recover(&mut self, who: u16, life: &Life) -> Result<(), TestCaseError> {
        let lived = self.with(life, |condition| condition.recover(who)).is_some();
        let slots: Vec<_> = (0..self.slots.len()).map(|slot| self.state(slot)).collect();
        let is_there = |waiting: &Waiting| slots[waiting.slot].1 == waiting.who + 1;
        let before = self.notified.len();
        self.notified.retain(is_there);
        let freed = before - self.notified.len();
        // A recoverer may free one of its dead that it has just notified.
        self.waiting.retain(is_there);
        let others = self.waiting.iter().filter(|waiting| waiting.who != who).count();
        let notified: Vec<_> = {
            let before = self.notified.len();
            self.take_notified_of_others(who);
            self.notified[before..].iter().filter(|waiting| waiting.who != who).collect()
        };
        let most = freed + usize::from(!lived);
        prop_assert!((freed.min(others)..=most).contains(&notified.len()));
        Ok(())
    }

    /// As [`take_notified`](Self::take_notified), when those of `who` are in between.
    fn take_notified_of_others(&mut self, who: u16) {
        let mut left = VecDeque::new();
        let mut is_passed = false;
        while let Some(waiting) = self.waiting.pop_front() {
            match self.state(waiting.slot).0 {
                NOTIFIED => {
                    assert!(!is_passed, "an older one was passed over");
                    self.notified.push(waiting);
                }
                _ => {
                    is_passed |= waiting.who != who;
                    left.push_back(waiting);
                }
            }
        }
        self.waiting = left;
    }
}

proptest! {
    #[test]
    fn who_has_waited_longest_is_notified_first(events in events()) {
        let mut world = World::new();
        for event in events {
            world.happen(event)?;
            let used = world.slots.iter().filter(|slot| slot.load(Relaxed) != 0).count();
            prop_assert_eq!(used, world.waiting.len() + world.notified.len());
        }
    }
}
