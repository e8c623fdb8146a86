//! CPython's `_TestBarrier`, and what of barriers it does not ask.

use std::io::{PipeWriter, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use procession::prelude::*;
use procession::{BarrierError, Error, ErrorKind};
use procession_sys::Deadline;
use procession_tests::{SOON, wait_until};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::stage::{Board, Row, SHORT, takes, value};

pub(crate) const ROWS: &[Row] = &[
    ("barrier::barrier", barrier),
    ("barrier::barrier_10", barrier_10),
    ("barrier::wait_return", wait_return),
    ("barrier::action", action),
    ("barrier::abort", abort),
    ("barrier::reset", reset),
    ("barrier::abort_and_reset", abort_and_reset),
    ("barrier::timeout", timeout),
    ("barrier::default_timeout", default_timeout),
    ("barrier::single_thread", single_thread),
    ("barrier::thousand", thousand),
    ("barrier::an_action_that_fails_breaks_it", an_action_that_fails_breaks_it),
    ("barrier::more_callers_than_parties", more_callers_than_parties),
    ("barrier::a_deadline_that_has_passed", a_deadline_that_has_passed),
    ("barrier::more_generations_than_it_counts", more_generations_than_it_counts),
    ("barrier::limits", limits),
    ("barrier::text", text),
];

/// How many parties there are, of which the program itself is one.
const N: usize = 5;

/// What parties meet at, and count in.
#[derive(Clone, Serialize, Deserialize)]
struct Meeting {
    barrier: Barrier,
    /// For when the first is broken.
    other: Barrier,
    board: Board,
}

impl Meeting {
    fn new() -> Self {
        let barrier = || Barrier::new(N).unwrap();
        Self { barrier: barrier(), other: barrier(), board: Board::new(2) }
    }

    /// Has all parties do the same; tells what came of it, of the program itself last.
    fn hold<F, R>(&self, party: F) -> Vec<R>
    where
        F: Fn(Self) -> R + Copy + Send + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        let spawn = |_| Process::spawn(party, (self.clone(),)).unwrap();
        let children: Vec<_> = (1..N).map(spawn).collect();
        let own = party(self.clone());
        children.iter().map(value).chain([own]).collect()
    }

    #[track_caller]
    fn is_over(&self) {
        assert_eq!((self.barrier.waiting(), self.barrier.is_broken()), (0, false));
    }
}

/// How a wait went, as others are told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Went {
    Passed(usize),
    Broken,
    Failed(String),
    /// It did something else instead.
    Other,
}

impl From<Result<usize, BarrierError>> for Went {
    fn from(result: Result<usize, BarrierError>) -> Self {
        match result {
            Ok(index) => Self::Passed(index),
            Err(BarrierError::Broken) => Self::Broken,
            Err(error) => Self::Failed(Error::from(error).to_string()),
        }
    }
}

/// That one did something else, and all others learned that it was broken.
#[track_caller]
fn broken_by_one(went: &[Went]) {
    let count = |wanted: Went| went.iter().filter(|went| **went == wanted).count();
    assert_eq!((count(Went::Other), count(Went::Broken)), (1, N - 1), "{went:?}");
}

/// Passes two barriers in each round, and sees that all have passed the one before.
fn meet<const ROUNDS: u64>(Meeting { barrier, board, .. }: Meeting) {
    let parties = barrier.parties() as u64;
    assert_eq!(parties, N as u64);
    for round in 0..ROUNDS {
        board.count(0);
        assert_eq!(board.get(1), round * parties);
        barrier.wait_timeout(SOON).unwrap();
        board.count(1);
        assert_eq!(board.get(0), (round + 1) * parties);
        barrier.wait_timeout(SOON).unwrap();
    }
}

fn barrier() {
    let meeting = Meeting::new();
    meeting.hold(meet::<1>);
    meeting.is_over();
}

fn barrier_10() {
    let meeting = Meeting::new();
    meeting.hold(meet::<10>);
    meeting.is_over();
}

fn wait_return() {
    let meeting = Meeting::new();
    for _ in 0..3 {
        let mut indices = meeting.hold(|meeting| meeting.barrier.wait_timeout(SOON).unwrap());
        indices.sort_unstable();
        assert_eq!(indices, [0, 1, 2, 3, 4]);
    }
    meeting.is_over();
}

fn action() {
    const ROUNDS: u64 = 5;
    let meeting = Meeting::new();
    meeting.hold(|Meeting { barrier, board, .. }| {
        for round in 1..=ROUNDS {
            let act = || {
                assert_eq!(barrier.waiting(), 0, "all have arrived");
                assert_eq!(board.count(0), round - 1);
                Ok(())
            };
            barrier.wait_with(Deadline::after(SOON), act).unwrap();
            assert_eq!(board.get(0), round);
            // Nobody begins the next round before all have looked.
            barrier.wait_timeout(SOON).unwrap();
        }
    });
    assert_eq!(meeting.board.get(0), ROUNDS);
    meeting.is_over();
}

fn abort() {
    let meeting = Meeting::new();
    let went = meeting.hold(|Meeting { barrier, .. }| {
        if barrier.wait_timeout(SOON).unwrap() == N / 2 {
            barrier.abort().unwrap();
            return Went::Other;
        }
        barrier.wait().into()
    });
    broken_by_one(&went);
    let is_broken = |barrier: &Barrier| {
        assert!(barrier.is_broken());
        assert_eq!(barrier.waiting(), 0);
        assert!(matches!(barrier.wait(), Err(BarrierError::Broken)));
        let act = || panic!("nobody acts");
        assert!(matches!(barrier.wait_with(Deadline::NEVER, act), Err(BarrierError::Broken)));
        assert_eq!(Error::from(barrier.wait().unwrap_err()).kind(), ErrorKind::Broken);
    };
    is_broken(&meeting.barrier);
    let late = Process::spawn(move |barrier: Barrier| is_broken(&barrier), (meeting.barrier,));
    value(&late.unwrap());
}

fn reset() {
    let meeting = Meeting::new();
    let went = meeting.hold(|Meeting { barrier, board, .. }| {
        let went = if barrier.wait_timeout(SOON).unwrap() == N / 2 {
            wait_until("the others wait", || barrier.waiting() == N - 1);
            barrier.reset().unwrap();
            Went::Other
        } else {
            barrier.wait().into()
        };
        barrier.wait_timeout(SOON).unwrap();
        board.count(0);
        went
    });
    broken_by_one(&went);
    assert_eq!(meeting.board.get(0), N as u64, "all have met once more");
    meeting.is_over();
}

fn abort_and_reset() {
    let meeting = Meeting::new();
    let went = meeting.hold(|Meeting { barrier, other, board }| {
        let went = if barrier.wait_timeout(SOON).unwrap() == N / 2 {
            barrier.abort().unwrap();
            Went::Other
        } else {
            barrier.wait().into()
        };
        if other.wait_timeout(SOON).unwrap() == N / 2 {
            assert!(barrier.is_broken());
            barrier.reset().unwrap();
        }
        other.wait_timeout(SOON).unwrap();
        barrier.wait_timeout(SOON).unwrap();
        board.count(0);
        went
    });
    broken_by_one(&went);
    assert_eq!(meeting.board.get(0), N as u64);
    meeting.is_over();
}

fn timeout() {
    let meeting = Meeting::new();
    let went = meeting.hold(|Meeting { barrier, .. }| {
        // From before anybody's time begins: the first whose time is over breaks it for all.
        takes(SHORT, || {
            if barrier.wait_timeout(SOON).unwrap() == N / 2 {
                // Late: the others' time is over.
                wait_until("it is broken", || barrier.is_broken());
            }
            Went::from(barrier.wait_timeout(SHORT))
        })
    });
    assert_eq!(went, [const { Went::Broken }; N]);
    assert!(meeting.barrier.is_broken());
}

/// A barrier has no time of its own here: the first party whose time is over breaks it, for those as well that would wait on.
fn default_timeout() {
    let meeting = Meeting::new();
    let went = meeting.hold(|Meeting { barrier, .. }| match barrier.wait_timeout(SOON).unwrap() {
        0 => {
            wait_until("it is broken", || barrier.is_broken());
            Went::from(barrier.wait())
        }
        1 => takes(SHORT, || barrier.wait_timeout(SHORT)).into(),
        _ => barrier.wait().into(),
    });
    assert_eq!(went, [const { Went::Broken }; N]);
    assert!(meeting.barrier.is_broken());
}

fn single_thread() {
    for parties in [0, 1] {
        let barrier = Barrier::new(parties).unwrap();
        let pass = |barrier: Barrier, parties: usize| {
            assert_eq!(barrier.parties(), parties);
            for _ in 0..2 {
                assert_eq!(barrier.wait().unwrap(), 0);
                assert_eq!(barrier.wait_timeout(Duration::ZERO).unwrap(), 0);
            }
            let mut acted = 0;
            let act = || {
                acted += 1;
                Ok(())
            };
            assert_eq!(barrier.wait_with(Deadline::NEVER, act).unwrap(), 0);
            assert_eq!(acted, 1);
        };
        pass(barrier.clone(), parties);
        value(&Process::spawn(pass, (barrier.clone(), parties)).unwrap());
        assert_eq!((barrier.waiting(), barrier.is_broken()), (0, false));
    }
}

/// What all write in one generation is there before what any writes in the next.
fn thousand() {
    const GENERATIONS: u32 = 1000;
    let (barrier, lock) = (Barrier::new(N).unwrap(), Lock::new().unwrap());
    let (mut reader, writer) = std::io::pipe().unwrap();
    let write = |barrier: Barrier, lock: Lock, mut writer: Handle<PipeWriter>| {
        for generation in 0..GENERATIONS {
            barrier.wait_timeout(SOON).unwrap();
            let _guard = lock.lock().unwrap();
            for byte in generation.to_ne_bytes() {
                writer.write_all(&[byte]).unwrap();
            }
        }
    };
    let spawn = |_| {
        let writer = Handle(writer.try_clone().unwrap());
        Process::spawn(write, (barrier.clone(), lock.clone(), writer)).unwrap()
    };
    let children: Vec<_> = (0..N).map(spawn).collect();
    let mut number = [0; 4];
    for at in 0..GENERATIONS as usize * N {
        reader.read_exact(&mut number).unwrap();
        assert_eq!(u32::from_ne_bytes(number) as usize, at / N);
    }
    children.iter().for_each(value);
    assert_eq!((barrier.waiting(), barrier.is_broken()), (0, false));
}

fn an_action_that_fails_breaks_it() {
    let meeting = Meeting::new();
    let fails = |Meeting { barrier, other, board }: Meeting| {
        let fail = || {
            board.count(0);
            Err(Error::new(ErrorKind::Broken, "on purpose"))
        };
        let went = Went::from(barrier.wait_with(Deadline::after(SOON), fail));
        other.wait_timeout(SOON).unwrap();
        went
    };
    let went = meeting.hold(fails);
    let failed = |went: &&Went| matches!(went, Went::Failed(text) if text.contains("on purpose"));
    assert_eq!(went.iter().filter(failed).count(), 1, "{went:?}");
    assert_eq!(went.iter().filter(|went| **went == Went::Broken).count(), N - 1, "{went:?}");
    assert!(meeting.barrier.is_broken());
    meeting.barrier.reset().unwrap();
    let panics = |Meeting { barrier, board, .. }: Meeting| {
        let panic = || {
            board.count(0);
            panic!("on purpose")
        };
        let wait = AssertUnwindSafe(|| barrier.wait_with(Deadline::after(SOON), panic));
        catch_unwind(wait).map_or(Went::Other, Into::into)
    };
    broken_by_one(&meeting.hold(panics));
    assert!(meeting.barrier.is_broken());
    assert_eq!(meeting.board.get(0), 2, "one party acts each time");
    meeting.barrier.reset().unwrap();
    meeting.is_over();
}

/// Twice as many processes as parties: those who come first pass.
fn more_callers_than_parties() {
    const PASSES: u64 = 200;
    let (barrier, board) = (Barrier::new(2).unwrap(), Board::new(3));
    let pass = |barrier: Barrier, board: Board| {
        while board.count(0) < PASSES {
            let act = || {
                board.count_carelessly(1);
                Ok(())
            };
            if barrier.wait_with(Deadline::after(SOON), act).unwrap() == 0 {
                board.count(2);
            }
        }
    };
    let spawn = |_| Process::spawn(pass, (barrier.clone(), board.clone())).unwrap();
    let children: Vec<_> = (0..4).map(spawn).collect();
    children.iter().for_each(value);
    assert_eq!((board.get(1), board.get(2)), (PASSES / 2, PASSES / 2));
    assert_eq!((barrier.waiting(), barrier.is_broken()), (0, false));
}

/// The last to arrive need not wait, so that its time cannot be over; any other's is.
fn a_deadline_that_has_passed() {
    let barrier = Barrier::new(2).unwrap();
    let child = Process::spawn(|barrier: Barrier| barrier.wait().unwrap(), (barrier.clone(),));
    wait_until("it waits", || barrier.waiting() == 1);
    assert_eq!(barrier.wait_timeout(Duration::ZERO).unwrap(), 1);
    assert_eq!(value(&child.unwrap()), 0);
    let first = |barrier: Barrier| Went::from(barrier.wait_timeout(Duration::ZERO));
    assert_eq!(value(&Process::spawn(first, (barrier.clone(),)).unwrap()), Went::Broken);
    assert!(barrier.is_broken());
    // Resetting what is whole and empty disturbs nobody.
    for _ in 0..2 {
        barrier.reset().unwrap();
        assert_eq!((barrier.waiting(), barrier.is_broken()), (0, false));
    }
}

/// Its count of generations begins anew after 8192.
fn more_generations_than_it_counts() {
    const GENERATIONS: u64 = 10_000;
    let (barrier, board) = (Barrier::new(2).unwrap(), Board::new(1));
    let meet = |barrier: Barrier, board: Board| {
        for generation in 0..GENERATIONS {
            assert_eq!(board.get(0) / 2, generation);
            barrier.wait_timeout(SOON).unwrap();
            board.count(0);
            barrier.wait_timeout(SOON).unwrap();
        }
    };
    let child = Process::spawn(meet, (barrier.clone(), board.clone())).unwrap();
    meet(barrier.clone(), board);
    value(&child);
    assert_eq!((barrier.waiting(), barrier.is_broken()), (0, false));
}

fn limits() {
    let most = Barrier::new(65_535).unwrap();
    let parties = |barrier: Barrier| (barrier.parties(), barrier.waiting(), barrier.is_broken());
    assert_eq!(value(&Process::spawn(parties, (most.clone(),)).unwrap()), (65_535, 0, false));
    assert!(matches!(most.wait_timeout(Duration::ZERO), Err(BarrierError::Broken)));
    for many in [65_536, usize::MAX] {
        assert_eq!(Barrier::new(many).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

fn text() {
    let barrier = Barrier::new(2).unwrap();
    let show = |barrier: Barrier| format!("{barrier:?}");
    let in_child = || value(&Process::spawn(show, (barrier.clone(),)).unwrap());
    assert_eq!(in_child(), "Barrier(0 of 2 wait, whole)");
    let wait = |barrier: Barrier| Went::from(barrier.wait_timeout(SOON));
    let child = Process::spawn(wait, (barrier.clone(),)).unwrap();
    wait_until("it waits", || barrier.waiting() == 1);
    assert_eq!(show(barrier.clone()), "Barrier(1 of 2 wait, whole)");
    barrier.abort().unwrap();
    assert_eq!(value(&child), Went::Broken);
    assert_eq!(show(barrier.clone()), "Barrier(0 of 2 wait, broken)");
    assert_eq!(in_child(), "Barrier(0 of 2 wait, broken)");
}
