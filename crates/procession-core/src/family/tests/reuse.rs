//! A system with eight process numbers, which reuses them all the time, and a family that lives in it.
//!
//! The processes take their steps one after the other, in an order that proptest chooses, and die between any two of them;
//! orders within a step are loom's business. After each step the table is compared with what is true.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use procession_sys::prim::AtomicU64;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::super::oracle::{Life, Oracle, life};
use super::super::recovery::{Buried, Recoverer, Step, Undertaker};
use super::super::stamp::State;
use super::super::table::{Entry, Origin, Size, Table};
use super::super::words::local;
use super::super::{DeadProcess, ProcessId};
use crate::Result;

const PIDS: usize = 8;
const SLOTS: u16 = 10;

/// What has a process number: who, since when, and whether it has ended and waits to be reaped.
#[derive(Debug, Clone, Copy)]
struct Owner {
    birth: u64,
    ended: bool,
}

/// Process numbers 1 to 8.
#[derive(Debug, Default)]
struct System {
    pids: RefCell<[Option<Owner>; PIDS]>,
    clock: Cell<u64>,
    /// How often a number was given to another process.
    reuses: Cell<u64>,
    used: RefCell<[bool; PIDS]>,
}

impl System {
    fn start(&self) -> Option<Entry> {
        let mut pids = self.pids.borrow_mut();
        let at = pids.iter().position(Option::is_none)?;
        self.clock.set(self.clock.get() + 1);
        let birth = self.clock.get();
        pids[at] = Some(Owner { birth, ended: false });
        if std::mem::replace(&mut self.used.borrow_mut()[at], true) {
            self.reuses.set(self.reuses.get() + 1);
        }
        Some(Entry { pid: u32::try_from(at + 1).unwrap(), birth })
    }

    fn owner(&self, pid: u32) -> Option<Owner> {
        self.pids.borrow()[pid as usize - 1]
    }

    fn end(&self, pid: u32) {
        self.pids.borrow_mut()[pid as usize - 1].as_mut().unwrap().ended = true;
    }

    fn reap(&self, pid: u32) {
        self.pids.borrow_mut()[pid as usize - 1] = None;
    }
}

impl Oracle for System {
    /// As a pidfd, it names one process whatever becomes of its number.
    type Process = Entry;

    fn open(&self, pid: u32) -> Result<Option<Entry>> {
        Ok(self.owner(pid).map(|owner| Entry { pid, birth: owner.birth }))
    }

    fn birth(&self, _process: &Entry, pid: u32) -> Result<Option<u64>> {
        // As on a system that only tells when whoever has the number started.
        Ok(self.owner(pid).map(|owner| owner.birth))
    }

    fn has_ended(&self, process: &Entry) -> Result<bool> {
        let owner = self.owner(process.pid);
        let is_it = owner.filter(|owner| owner.birth == process.birth);
        Ok(is_it.is_none_or(|owner| owner.ended))
    }
}

/// How far a process has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Started, with a slot that its parent reserved.
    Invited,
    /// Forked, without.
    Forked,
    Arriving,
    Live,
}

#[derive(Debug, Clone)]
struct Process {
    entry: Entry,
    phase: Phase,
    id: Option<ProcessId>,
    parent: ProcessId,
    ended: bool,
    reaped: bool,
}

/// What the dead got; and who dies over it.
#[derive(Debug, Default)]
struct Hooks {
    ran: RefCell<HashMap<ProcessId, u32>>,
    /// Whose hooks ran last.
    last: Cell<Option<ProcessId>>,
    dies_at: Cell<Option<Step>>,
    /// How often hooks may run: more than once where a recoverer died after them.
    allowed: RefCell<HashMap<ProcessId, u32>>,
}

impl Undertaker for Hooks {
    fn run_hooks(&self, dead: &DeadProcess) -> Result<()> {
        *self.ran.borrow_mut().entry(dead.id).or_default() += 1;
        self.last.set(Some(dead.id));
        Ok(())
    }

    fn survives(&self, step: Step) -> bool {
        let dies = self.dies_at.get() == Some(step);
        if dies && matches!(step, Step::HooksRan | Step::ChildrenSeen | Step::Cleared) {
            let last = self.last.get().unwrap();
            *self.allowed.borrow_mut().entry(last).or_insert(1) += 1;
        }
        !dies
    }
}

/// One step of somebody's; numbers choose among those who can take it.
#[derive(Debug, Clone)]
enum Event {
    Start {
        parent: usize,
    },
    Fork {
        parent: usize,
    },
    /// A reservation that nobody uses; it is given back, or the parent dies first.
    Reserve {
        parent: usize,
        give_back: bool,
    },
    Advance {
        process: usize,
    },
    Hold {
        process: usize,
        object: u32,
    },
    Kill {
        process: usize,
    },
    /// Its number is free; nobody is told.
    Reap {
        process: usize,
    },
    /// As a parent's reaper does it.
    MarkDead {
        process: usize,
        by: usize,
    },
    Sweep {
        by: usize,
    },
    DieRecovering {
        by: usize,
        step: usize,
    },
}

fn event() -> impl Strategy<Value = Event> {
    let any = 0..64usize;
    prop_oneof![
        4 => any.clone().prop_map(|parent| Event::Start { parent }),
        2 => any.clone().prop_map(|parent| Event::Fork { parent }),
        1 => (any.clone(), proptest::bool::ANY)
            .prop_map(|(parent, give_back)| Event::Reserve { parent, give_back }),
        8 => any.clone().prop_map(|process| Event::Advance { process }),
        2 => (any.clone(), 0..128u32)
            .prop_map(|(process, object)| Event::Hold { process, object }),
        4 => any.clone().prop_map(|process| Event::Kill { process }),
        5 => any.clone().prop_map(|process| Event::Reap { process }),
        3 => (any.clone(), any.clone())
            .prop_map(|(process, by)| Event::MarkDead { process, by }),
        1 => any.clone().prop_map(|by| Event::Sweep { by }),
        2 => (any, 0..6usize).prop_map(|(by, step)| Event::DieRecovering { by, step }),
    ]
}

struct World {
    table: Table<Box<[AtomicU64]>>,
    system: System,
    hooks: Hooks,
    /// The first is the root, which stays.
    processes: Vec<Process>,
}

impl World {
    fn new() -> Self {
        let size = Size { slots: SLOTS, hold_words: 2 };
        let origin = Origin { namespaces: 1, root: [1, 1, 0] };
        let table = Table::create(local(size.words()), size, origin);
        let system = System::default();
        let entry = system.start().unwrap();
        let id = table.arrive_unasked(entry.pid, None).unwrap();
        assert!(table.go_live(id, entry));
        let root = Process {
            entry,
            phase: Phase::Live,
            id: Some(id),
            parent: id,
            ended: false,
            reaped: false,
        };
        Self { table, system, hooks: Hooks::default(), processes: vec![root] }
    }

    /// One of the processes that `fit`.
    fn pick(&self, number: usize, fit: impl Fn(&Process) -> bool) -> Option<usize> {
        let fitting: Vec<_> =
            (0..self.processes.len()).filter(|at| fit(&self.processes[*at])).collect();
        (!fitting.is_empty()).then(|| fitting[number % fitting.len()])
    }

    fn pick_live(&self, number: usize) -> Option<usize> {
        self.pick(number, |process| !process.ended && process.phase == Phase::Live)
    }

    fn recoverer(&self, by: usize) -> Recoverer<'_, Box<[AtomicU64]>, System, Hooks> {
        let me = self.processes[by].id.unwrap();
        Recoverer { table: &self.table, oracle: &self.system, undertaker: &self.hooks, me }
    }

    fn take(&mut self, event: &Event) {
        match *event {
            Event::Start { parent } => self.start(parent, Phase::Invited),
            Event::Fork { parent } => self.start(parent, Phase::Forked),
            Event::Reserve { parent, give_back } => {
                let parent = self.processes[self.pick_live(parent).unwrap()].id.unwrap();
                if let (Some(id), true) = (self.table.reserve(parent), give_back) {
                    assert!(self.table.abandon(id, parent));
                }
            }
            Event::Advance { process } => {
                if let Some(at) = self.pick(process, |it| !it.ended && it.phase != Phase::Live) {
                    self.advance(at);
                }
            }
            Event::Hold { process, object } => {
                let at = self.pick_live(process).unwrap();
                self.table.hold(self.processes[at].id.unwrap(), object);
            }
            Event::Kill { process } => {
                if let Some(at) = self.pick(process, |it| !it.ended).filter(|at| *at != 0) {
                    self.kill(at);
                }
            }
            Event::Reap { process } => {
                if let Some(at) = self.pick(process, |it| it.ended && !it.reaped) {
                    self.reap(at);
                }
            }
            Event::MarkDead { process, by } => {
                let dead = self.pick(process, |it| it.ended && it.id.is_some());
                if let (Some(at), Some(by)) = (dead, self.pick_live(by)) {
                    let id = self.processes[at].id.unwrap();
                    self.table.mark_dead(id);
                    check(&self.recoverer(by).bury(id));
                }
            }
            Event::Sweep { by } => {
                let by = self.pick_live(by).unwrap();
                check(&self.recoverer(by).sweep());
            }
            Event::DieRecovering { by, step } => {
                if let Some(by) = self.pick_live(by).filter(|at| *at != 0) {
                    self.hooks.dies_at.set(Some(Step::ALL[step]));
                    check(&self.recoverer(by).sweep());
                    self.hooks.dies_at.set(None);
                    self.kill(by);
                }
            }
        }
    }

    fn start(&mut self, parent: usize, phase: Phase) {
        let parent = self.processes[self.pick_live(parent).unwrap()].id.unwrap();
        let id = match phase {
            Phase::Invited => match self.table.reserve(parent) {
                Some(id) => Some(id),
                None => return,
            },
            _ => None,
        };
        match (self.system.start(), id) {
            (Some(entry), _) => {
                let process = Process { entry, phase, id, parent, ended: false, reaped: false };
                self.processes.push(process);
            }
            (None, Some(id)) => assert!(self.table.abandon(id, parent)),
            (None, None) => {}
        }
    }

    fn advance(&mut self, at: usize) {
        let Process { entry, phase, id, parent, .. } = self.processes[at].clone();
        let came = match (phase, id) {
            (Phase::Invited, Some(id)) => self.table.arrive(id, entry.pid),
            (Phase::Forked, _) => {
                let id = self.table.arrive_unasked(entry.pid, Some(parent));
                self.processes[at].id = id;
                id.is_some()
            }
            (Phase::Arriving, Some(id)) => {
                assert!(self.table.go_live(id, entry), "a living process lost its slot");
                true
            }
            other => panic!("{other:?}"),
        };
        match came {
            true => {
                let is_in = phase == Phase::Arriving;
                self.processes[at].phase = if is_in { Phase::Live } else { Phase::Arriving };
            }
            // No place in the family: it exits. The slot that it was invited to is another's business now.
            false => {
                self.processes[at].id = None;
                self.kill(at);
            }
        }
    }

    fn kill(&mut self, at: usize) {
        self.system.end(self.processes[at].entry.pid);
        self.processes[at].ended = true;
    }

    fn reap(&mut self, at: usize) {
        self.system.reap(self.processes[at].entry.pid);
        self.processes[at].reaped = true;
    }

    /// What the table says is true.
    fn check(&self) -> Result<(), TestCaseError> {
        for process in &self.processes {
            let Some(id) = process.id else { continue };
            let said = life(&self.table, &self.system, id).unwrap();
            match (process.ended, process.phase, said) {
                (false, Phase::Live, Life::Alive { process: found, known: true }) => {
                    prop_assert_eq!(found, process.entry);
                    prop_assert_eq!(self.table.entry(id), Some(process.entry));
                }
                (false, Phase::Arriving, Life::Alive { known: false, .. }) => {}
                // Not there yet; dead when its parent was recovered first, and then it cannot arrive.
                (_, Phase::Invited, Life::Pending | Life::Dead) => {}
                (true, Phase::Live | Phase::Arriving, Life::Dead) => {}
                // It died before it said when it started, and another process has its number.
                (true, Phase::Arriving, Life::Alive { known: false, .. }) => {
                    let now = self.system.owner(process.entry.pid).unwrap();
                    prop_assert_ne!(now.birth, process.entry.birth);
                }
                (_, _, said) => prop_assert!(false, "{process:?} is said to be {said:?}"),
            }
        }
        for (id, ran) in &*self.hooks.ran.borrow() {
            let allowed = self.hooks.allowed.borrow().get(id).copied().unwrap_or(1);
            prop_assert!(*ran <= allowed, "hooks for {} ran {} times", id, ran);
        }
        Ok(())
    }

    /// Everybody but the root dies, and the root looks once.
    fn finish(mut self) -> Result<u64, TestCaseError> {
        for at in 1..self.processes.len() {
            if !self.processes[at].ended {
                self.kill(at);
            }
        }
        for at in 1..self.processes.len() {
            if !self.processes[at].reaped {
                self.reap(at);
            }
        }
        check(&self.recoverer(0).sweep());
        // What the root reserved and has not used is still its own.
        for slot in 1..SLOTS {
            let stamp = self.table.stamp(slot);
            if stamp.state == (State::Joining { parent: 0 }) {
                let id = ProcessId { slot, generation: stamp.generation };
                self.table.mark_dead(id);
                check(&self.recoverer(0).bury(id));
                prop_assert!(self.hooks.ran.borrow().contains_key(&id));
            }
        }
        for slot in 1..SLOTS {
            let stamp = self.table.stamp(slot);
            prop_assert_eq!(stamp.state, State::Free, "slot {} leaked", slot);
            let id = ProcessId { slot, generation: stamp.generation };
            prop_assert_eq!(self.table.holds(id).count(), 0);
        }
        self.check()?;
        for process in &self.processes[1..] {
            if let Some(id) = process.id {
                prop_assert!(self.hooks.ran.borrow().contains_key(&id), "{process:?} unrecovered");
            }
        }
        Ok(self.system.reuses.get())
    }
}

fn check(buried: &Buried) {
    assert!(buried.failure.is_none(), "{buried:?}");
}

#[test]
fn recycled_process_numbers_harm_nobody() {
    let mut runner =
        TestRunner::new(Config { cases: 400, failure_persistence: None, ..Config::default() });
    let reuses = Cell::new(0);
    let events = proptest::collection::vec(event(), 50..300);
    let outcome = runner.run(&events, |events| {
        let mut world = World::new();
        for event in &events {
            world.take(event);
            world.check()?;
        }
        reuses.set(reuses.get() + world.finish()?);
        Ok(())
    });
    outcome.unwrap();
    assert!(reuses.get() > 5_000, "process numbers were reused {} times only", reuses.get());
}
