//! What is to happen in a round: everything that is drawn.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::super::random;
use super::work::{Deed, Place, Stuck, Way};
use crate::Random;

/// How many tasks a short round has, and a long one.
const SHORT: usize = 40;
const LONG: usize = 100_000;

/// What may happen in the rounds of a kind.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Features {
    /// Workers are killed.
    pub(super) kills: bool,
    /// Workers are stopped, and go on later or never.
    pub(super) stops: bool,
    /// The fork server is killed.
    pub(super) servers: bool,
    /// Tasks panic, die, or cannot be sent.
    pub(super) deeds: bool,
    /// Tasks never return; all have a timeout.
    pub(super) stuck: bool,
    /// Calls are cancelled, and iterators dropped.
    pub(super) cancels: bool,
    /// Workers have little memory, and tasks that take it all.
    pub(super) hoards: bool,
    /// Workers, and now and then the stage, have few descriptors; arguments and values hold some.
    pub(super) descriptors: bool,
    /// The pool gets another size, and workers leave after some tasks.
    pub(super) resizes: bool,
    /// The pool is closed or terminated in the middle.
    pub(super) closes: bool,
    /// Workers die at their start.
    pub(super) starts: bool,
}

impl Features {
    pub(super) fn of(kind: &str) -> Self {
        let none = Self::default();
        match kind {
            "kill" => Self { kills: true, ..none },
            "stop" => Self { stops: true, ..none },
            "deeds" => Self { deeds: true, ..none },
            "timeout" => Self { stuck: true, deeds: true, ..none },
            "cancel" => Self { cancels: true, kills: true, ..none },
            "memory" => Self { hoards: true, ..none },
            "descriptors" => Self { descriptors: true, kills: true, ..none },
            "resize" => Self { resizes: true, kills: true, ..none },
            "close" => Self { closes: true, kills: true, cancels: true, ..none },
            "start" => Self { starts: true, kills: true, ..none },
            "server" => Self { servers: true, kills: true, ..none },
            _ => Self {
                kills: true,
                stops: true,
                servers: true,
                deeds: true,
                stuck: true,
                cancels: true,
                hoards: true,
                descriptors: true,
                resizes: true,
                closes: true,
                starts: true,
            },
        }
    }
}

/// What is to happen in a round.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) features: Features,
    pub(super) tasks: usize,
    pub(super) workers: usize,
    pub(super) callers: usize,
    pub(super) tasks_per_worker: Option<NonZeroUsize>,
    /// One task in so many does something else than return.
    odd: usize,
    /// For how many microseconds the others work at most.
    work: usize,
    /// How long a task may take, if nothing else says so.
    pub(super) timeout: Option<Duration>,
    /// How long the trouble pauses, in microseconds.
    pub(super) pauses: [usize; 3],
    pub(super) memory: Option<u64>,
    pub(super) descriptors: Option<u64>,
    pub(super) dying: Option<usize>,
    pub(super) is_long: bool,
    /// What the tasks follow from.
    pub(super) seed: u64,
}

impl Plan {
    pub(super) fn draw(kind: &str, is_long: bool, random: &mut Random) -> Self {
        let mut features = Features::of(kind);
        if kind == "all" {
            // Not every round is one in which everything happens at once.
            let bits: [bool; 6] = std::array::from_fn(|_| random.below(4) > 0);
            let Features { servers, hoards, descriptors, resizes, closes, starts, .. } =
                &mut features;
            *hoards &= bits[0];
            *descriptors &= bits[1] && random.below(3) == 0;
            *resizes &= bits[2];
            *closes &= bits[3] && random.below(3) == 0;
            *starts &= bits[4];
            *servers &= bits[5] && random.below(3) == 0;
        }
        let tasks = if is_long { LONG } else { SHORT / 2 + random.below(SHORT) };
        let odd = if is_long { 400 } else { 12 };
        let per_worker = features.resizes.then(|| random.below(if is_long { 2000 } else { 12 }));
        let pauses = if is_long { [1_000, 10_000, 60_000] } else { [50, 1_000, 4_000] };
        Self {
            features,
            tasks,
            workers: 1 + random.below(3),
            callers: 1 + random.below(3),
            tasks_per_worker: per_worker.and_then(NonZeroUsize::new),
            odd,
            work: if is_long { [1, 20, 100] } else { [20, 200, 1_000] }[random.below(3)],
            timeout: (features.stops || features.stuck)
                .then(|| Duration::from_millis(5 + random.below(10) as u64)),
            pauses,
            memory: features.hoards.then_some(48 << 20),
            descriptors: features.descriptors.then(|| 8 + random.below(8) as u64),
            dying: features.starts.then(|| 2 + random.below(4)),
            is_long,
            seed: random.below(usize::MAX) as u64,
        }
    }

    /// What an item's task does.
    pub(super) fn deed(&self, item: usize) -> Deed {
        let mut random = random(self.seed, item, 1);
        let Features { deeds, stuck, hoards, descriptors, .. } = self.features;
        let micros = [0, random.below(self.work)][random.below(2)];
        let quick = Deed::Return(u16::try_from(micros).expect("a moment"));
        if random.below(self.odd) > 0 {
            return quick;
        }
        let mut choices = Vec::new();
        if deeds {
            choices.push(odd_deed(&mut random));
        }
        if stuck {
            choices.push(Deed::Stuck([Stuck::Spin, Stuck::Sleep, Stuck::Deaf][random.below(3)]));
        }
        if hoards {
            choices.push(Deed::Die(Way::Hoard));
        }
        if descriptors {
            choices.push(Deed::Descriptors { keeps: random.below(2) == 0 });
        }
        match choices.len() {
            0 => quick,
            count => choices.swap_remove(random.below(count)),
        }
    }

    /// How many bytes an item's argument holds, and its value.
    pub(super) fn len(&self, item: usize) -> usize {
        let mut random = random(self.seed, item, 2);
        match random.below(if self.is_long { 2_000 } else { 60 }) {
            0 => [70_000, 300_000, 1_200_000][random.below(3)],
            1..4 => 5_000,
            4..12 => 100,
            _ => 0,
        }
    }

    /// How many descriptors they hold.
    pub(super) fn handles(&self, item: usize) -> usize {
        let mut random = random(self.seed, item, 3);
        match self.features.descriptors && random.below(self.odd / 3) == 0 {
            true => 1 + random.below(4),
            false => 0,
        }
    }
}

/// One of those that fail by themselves.
fn odd_deed(random: &mut Random) -> Deed {
    let times = |random: &mut Random| u8::try_from(1 + random.below(3)).expect("a few");
    match random.below(5) {
        0 => Deed::Panic,
        1 => Deed::PanicsAtFirst(times(random)),
        2 => Deed::DiesAtFirst(times(random)),
        3 => Deed::Broken(
            [
                Place::ArgumentWritten,
                Place::ArgumentRead,
                Place::ValueWritten,
                Place::ValueRead,
                Place::ArgumentReadPanics,
                Place::ValueWrittenPanics,
                Place::ValueReadPanics,
            ][random.below(7)],
        ),
        _ => Deed::Die(
            [
                Way::Abort,
                Way::Segment,
                Way::Overflow,
                Way::Exit(0),
                Way::Exit(3),
                Way::Kill,
                Way::Reading,
                Way::Writing,
                Way::Dropping,
            ][random.below(9)],
        ),
    }
}
