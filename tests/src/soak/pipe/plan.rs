//! What a round is made of; all of it follows from the seed and the round's number.

use std::os::fd::OwnedFd;
use std::time::Duration;

use procession::Handle;
use procession::waiting::{self, Policy};
use procession_sys::memory::SharedWords;
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::SeqCst;
use procession_sys::{Deadline, fd, poll};
use serde::{Deserialize, Serialize};

use super::super::random;
use super::letter::SIZES;
use crate::Random;

/// How a process waits: see [`Policy`].
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Wait {
    Adaptive,
    Sleep,
    Spin,
}

/// How fast a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Pace {
    /// As fast as it can.
    Hammer,
    /// It pauses for up to a millisecond each time.
    Breathe,
    /// It pauses for so long now and then that the other side goes to sleep for good.
    Doze,
    /// After so many letters it does nothing any more.
    Idle(u64),
}

/// Which call a process uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Way {
    /// Without end.
    Plain,
    /// With a timeout, in microseconds.
    Timeout(u64),
    /// That does not wait.
    Try,
    /// For receivers: `poll` first.
    Poll,
    /// For receivers: the descriptor first.
    Watch,
}

/// What a process does with its end.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Manner {
    wait: Wait,
    pub(super) pace: Pace,
    pub(super) way: Way,
}

/// Who has a copy of the victim's end, and does not use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Sibling {
    Nobody,
    /// One that was forked when the end was still the stage's.
    OfStage,
    /// The same; it ends by itself before the victim.
    Short,
    /// One that the victim has forked; it is stopped meanwhile, and lives longer.
    OfVictim,
}

/// When the victim is killed.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Moment {
    /// Whether the pause begins when the victim begins, and not when it is started.
    pub(super) is_ready: bool,
    pub(super) pause: Duration,
    /// Whether it is stopped before.
    pub(super) is_stopped: bool,
}

/// A round.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) kind: String,
    pub(super) seed: u64,
    pub(super) round: usize,
    /// Whether the victim sends.
    pub(super) is_sender: bool,
    /// Whether the pipe goes both ways.
    pub(super) is_duplex: bool,
    /// How many of the sizes there are.
    pub(super) sizes: usize,
    pub(super) with_handles: bool,
    pub(super) theirs: Manner,
    pub(super) ours: Manner,
    pub(super) sibling: Sibling,
    pub(super) moment: Moment,
}

impl Manner {
    fn draw(random: &mut Random) -> Self {
        Self {
            wait: match random.below(3) {
                0 => Wait::Adaptive,
                1 => Wait::Sleep,
                _ => Wait::Spin,
            },
            pace: match random.below(8) {
                0..4 => Pace::Hammer,
                4 | 5 => Pace::Breathe,
                6 => Pace::Doze,
                _ => Pace::Idle(random.below(6) as u64),
            },
            way: match random.below(6) {
                0 | 1 => Way::Plain,
                2 => Way::Timeout([30, 200, 2_000, 10_000][random.below(4)]),
                3 => Way::Try,
                4 => Way::Poll,
                _ => Way::Watch,
            },
        }
    }

    /// As the one who is watched: it does not stop to do what it does.
    pub(super) fn awake(self) -> Self {
        let pace = match self.pace {
            Pace::Doze | Pace::Idle(_) => Pace::Hammer,
            pace => pace,
        };
        Self { pace, ..self }
    }

    /// Waits like this from now on.
    pub(super) fn adopt(self) {
        waiting::set_policy(match self.wait {
            Wait::Adaptive => Policy::Adaptive,
            Wait::Sleep => Policy::Sleep,
            Wait::Spin => Policy::Spin,
        });
    }

    /// Pauses after so many letters; tells whether there is more to do.
    pub(super) fn pause(self, letters: u64, random: &mut Random) -> bool {
        match self.pace {
            Pace::Hammer => {}
            Pace::Breathe => nap(Duration::from_micros(random.below(1_000) as u64)),
            Pace::Doze if random.below(4) == 0 => nap(Duration::from_millis(30)),
            Pace::Doze => {}
            Pace::Idle(last) => return letters < last,
        }
        true
    }
}

impl Plan {
    pub(super) fn draw(kind: &str, seed: u64, round: usize) -> Self {
        let mut random = random(seed, round, 10);
        let is_sender = match kind {
            "sender" => true,
            "receiver" => false,
            _ => random.below(2) == 0,
        };
        let pause = match random.below(6) {
            0 => 45_000,
            1 => 300,
            _ => 3_000,
        };
        let sizes = [3, 4, 5, SIZES.len(), SIZES.len()];
        let siblings = [Sibling::OfStage, Sibling::Short, Sibling::OfVictim];
        Self {
            kind: kind.to_owned(),
            seed,
            round,
            is_sender,
            is_duplex: random.below(3) == 0,
            sizes: sizes[random.below(sizes.len())],
            with_handles: kind == "handles",
            theirs: Manner::draw(&mut random),
            ours: Manner::draw(&mut random).awake(),
            sibling: match kind {
                "sibling" => siblings[random.below(siblings.len())],
                _ => Sibling::Nobody,
            },
            moment: Moment {
                // Where somebody forks, it shall have done so.
                is_ready: random.below(8) > 0 || kind == "sibling",
                pause: Duration::from_micros(random.below(pause) as u64),
                is_stopped: random.below(8) == 0,
            },
        }
    }

    /// A generator for one purpose in this round.
    pub(super) fn random(&self, purpose: u64) -> Random {
        random(self.seed, self.round, purpose)
    }
}

/// The words that stage and victim share.
#[derive(Debug)]
pub(super) struct Board(SharedWords);

/// The same, on its way.
pub(super) type Words = Handle<OwnedFd>;

impl Board {
    pub(super) fn new() -> Self {
        Self(SharedWords::create(64).expect("memory"))
    }

    pub(super) fn open(words: Words) -> Self {
        Self(SharedWords::open(words.into_inner()).expect("memory"))
    }

    pub(super) fn words(&self) -> Words {
        Handle(fd::duplicate(&self.0).expect("a descriptor"))
    }

    /// Not zero once the victim runs.
    pub(super) fn ready(&self) -> &AtomicU64 {
        self.0.word(0)
    }

    /// How many letters whoever sends has begun to send.
    pub(super) fn begun(&self) -> &AtomicU64 {
        self.0.word(8)
    }

    /// How many letters the victim has sent, or received.
    pub(super) fn done(&self) -> &AtomicU64 {
        self.0.word(16)
    }

    /// The process that the victim has forked.
    pub(super) fn sibling(&self) -> &AtomicU64 {
        self.0.word(24)
    }

    /// The actor may act.
    pub(super) fn go(&self) -> &AtomicU64 {
        self.0.word(32)
    }

    /// The act is over.
    pub(super) fn over(&self) -> &AtomicU64 {
        self.0.word(40)
    }

    /// How often an end was sent away.
    pub(super) fn journeys(&self) -> &AtomicU64 {
        self.0.word(48)
    }

    /// Waits until the actor may act.
    pub(super) fn wait_for_go(&self) {
        self.ready().store(1, SeqCst);
        while self.go().load(SeqCst) == 0 {
            std::hint::spin_loop();
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready().load(SeqCst) != 0
    }
}

/// Waits for nothing.
pub(super) fn nap(duration: Duration) {
    // Nothing is lost when it cannot be waited.
    drop(poll::wait(&mut [], Deadline::after(duration)));
}

/// Waits for ever.
pub(super) fn idle() -> ! {
    loop {
        nap(Duration::from_secs(1));
    }
}
