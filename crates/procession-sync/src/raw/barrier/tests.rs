//! The barrier against a model in plain memory: one thread plays all parties, so that nobody sleeps.

use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::Relaxed;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::super::mortal::{Hasty, Life, View};
use super::*;

#[derive(Debug, Clone, Copy)]
enum Event {
    Arrives {
        acts: bool,
    },
    /// Whoever acts is done, or has failed.
    Finishes,
    Fails,
    /// One of those who wait looks; its deadline has passed.
    IsLate(usize),
    Abort,
    Reset,
    /// A process, the acting one or another, has died, or has left.
    Gone {
        acted: bool,
        has_left: bool,
    },
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        12 => any::<bool>().prop_map(|acts| Event::Arrives { acts }),
        3 => Just(Event::Finishes),
        1 => Just(Event::Fails),
        2 => (0usize..4).prop_map(Event::IsLate),
        1 => Just(Event::Abort),
        3 => Just(Event::Reset),
        1 => any::<[bool; 2]>().prop_map(|[acted, has_left]| Event::Gone { acted, has_left }),
    ];
    proptest::collection::vec(event, 0..200)
}

/// One who has arrived, and has not looked since.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    epoch: u32,
    /// How many generations have ended since its own, and whether its own ended well.
    ended: Option<(u32, bool)>,
}

const ACTOR: u16 = 3;
const ANOTHER: u16 = 4;

struct World {
    word: AtomicU64,
    parties: u16,
    arrived: u16,
    is_broken: bool,
    acting: Option<u32>,
    waiting: Vec<Waiting>,
}

impl World {
    fn new(parties: u16) -> Self {
        Self {
            // Near the end of all epochs, so that they come round.
            word: AtomicU64::new(u64::from(EPOCHS) - 20),
            parties,
            arrived: 0,
            is_broken: false,
            acting: None,
            waiting: Vec::new(),
        }
    }

    fn with<T>(&self, with: impl FnOnce(&RawBarrier<'_, View<'_>>) -> T) -> T {
        let life = Life::long();
        let word = View { word: &self.word, life: &life };
        with(&RawBarrier { word: &word, parties: self.parties })
    }

    /// The generation has ended.
    fn end(&mut self, well: bool) {
        for waiting in &mut self.waiting {
            waiting.ended = match waiting.ended {
                None => Some((1, well)),
                Some((later, well)) => Some((later + 1, well)),
            };
        }
        (self.arrived, self.is_broken, self.acting) = (0, false, None);
    }

    fn break_it(&mut self) {
        (self.is_broken, self.acting) = (true, None);
    }

    /// One of those who wait looks, with no time left.
    fn look(&mut self, at: usize) -> Result<(), TestCaseError> {
        let waiting = self.waiting.swap_remove(at);
        let waited = self.with(|barrier| barrier.wait(waiting.epoch, &mut Hasty));
        match waiting.ended {
            // What was more than 16 generations ago is forgotten.
            Some((later, well)) => prop_assert_eq!(waited.is_ok(), well || later > 16),
            None => {
                prop_assert!(waited.is_err());
                self.break_it();
            }
        }
        Ok(())
    }

    fn arrive(&mut self, acts: bool) -> Result<(), TestCaseError> {
        let arrival = self.with(|barrier| barrier.arrive(ACTOR, acts, &mut Hasty));
        let is_last = self.arrived + 1 >= self.parties;
        match arrival {
            Err(Stopped::Broken) => prop_assert!(self.is_broken || self.acting.is_some()),
            Err(Stopped::Failed(error)) => panic!("{error}"),
            Ok(arrival) => {
                prop_assert!(!self.is_broken && self.acting.is_none());
                match arrival {
                    Arrival::Waits { index, epoch } => {
                        prop_assert!(!is_last && index == self.arrived);
                        self.arrived += 1;
                        self.waiting.push(Waiting { epoch, ended: None });
                    }
                    Arrival::MustAct { epoch } => {
                        prop_assert!(is_last && acts);
                        self.acting = Some(epoch);
                    }
                    Arrival::Passed => {
                        prop_assert!(is_last && !acts);
                        self.end(true);
                    }
                }
            }
        }
        Ok(())
    }

    fn happen(&mut self, event: Event) -> Result<(), TestCaseError> {
        match event {
            Event::Arrives { acts } => self.arrive(acts)?,
            Event::Finishes => {
                if let Some(epoch) = self.acting {
                    prop_assert!(self.with(|barrier| barrier.finish(epoch)).is_ok());
                    self.end(true);
                    prop_assert!(self.with(|barrier| barrier.finish(epoch)).is_err());
                }
            }
            Event::Fails => {
                if let Some(epoch) = self.acting {
                    self.with(|barrier| barrier.break_epoch(epoch));
                    prop_assert!(self.with(|barrier| barrier.finish(epoch)).is_err());
                    self.break_it();
                }
            }
            Event::IsLate(at) if at < self.waiting.len() => self.look(at)?,
            Event::IsLate(_) => {}
            Event::Abort => {
                self.with(|barrier| barrier.abort());
                self.break_it();
            }
            Event::Reset => {
                self.with(|barrier| barrier.reset());
                if self.arrived > 0 || self.is_broken || self.acting.is_some() {
                    self.end(false);
                }
            }
            Event::Gone { acted, has_left } => {
                let who = if acted { ACTOR } else { ANOTHER };
                self.with(|barrier| barrier.recover(who, has_left));
                if !has_left || acted && self.acting.is_some() {
                    self.break_it();
                }
            }
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn generations_end_as_in_the_model(parties in 0u16..5, events in events()) {
        let mut world = World::new(parties);
        for event in events {
            world.happen(event)?;
            prop_assert_eq!(world.with(|barrier| barrier.is_broken()), world.is_broken);
            let is_filling = !world.is_broken && world.acting.is_none();
            let waiting = if is_filling { world.arrived } else { 0 };
            prop_assert_eq!(world.with(|barrier| barrier.waiting()), waiting);
        }
        // Those who look last learn what became of their generations.
        while let Some(last) = world.waiting.len().checked_sub(1) {
            world.look(last)?;
        }
    }
}

#[test]
fn the_most_parties_that_there_can_be_pass() {
    let word = AtomicU64::new(0);
    let life = Life::long();
    let view = View { word: &word, life: &life };
    let barrier = RawBarrier { word: &view, parties: MOST };
    for expected in 0..MOST - 1 {
        let arrival = barrier.arrive(0, false, &mut Hasty).unwrap();
        assert_eq!(arrival, Arrival::Waits { index: expected, epoch: 0 });
    }
    assert_eq!(barrier.arrive(0, false, &mut Hasty).unwrap(), Arrival::Passed);
    assert_eq!(word.load(Relaxed), 1);
}
