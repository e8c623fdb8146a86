//! The stage: plays one round after the other, and counts.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use procession::StartMethod;
use procession_core::family::Family;
use procession_sys::fd;

use super::super::figures::{Samples, cells};
use super::super::random;
use super::{attacher, creator, writer};
use crate::{Litter, Random, steady, wait_until};

/// After so many rounds it is known what a round leaves at most.
const WARM: usize = 10;

/// What a round is made of; all of it follows from the seed and the round's number.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) round: usize,
    pub(super) random: Random,
}

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Tally {
    late: Samples,
    saw: BTreeMap<&'static str, u64>,
}

impl Tally {
    /// The answer to a death that was seen at `death` came just now.
    pub(super) fn answered(&mut self, death: Instant, answer: Instant) {
        let late = answer.saturating_duration_since(death);
        assert!(late <= Duration::from_secs(5), "the answer came {late:?} late");
        self.late.add(late);
    }

    /// Something that happened so often.
    pub(super) fn saw(&mut self, what: &'static str, times: usize) {
        *self.saw.entry(what).or_default() += times as u64;
    }
}

/// What this process has open and mapped, and what the family has.
#[derive(Debug, Default)]
struct Left {
    played: usize,
    most: [usize; 3],
}

impl Left {
    fn now() -> [usize; 3] {
        let descriptors = fd::open_descriptors().expect("/proc is mounted").len();
        let maps = std::fs::read_to_string("/proc/self/maps").expect("/proc is mounted");
        let mappings = maps.lines().filter(|line| line.contains("/memfd:")).count();
        let family = Family::current().expect("a family");
        family.collect().expect("a look");
        [descriptors, mappings, family.objects()]
    }

    /// After each round there is as much as after the first ones, soon.
    fn check(&mut self) {
        self.played += 1;
        if self.played <= WARM {
            let now = Self::now();
            self.most = std::array::from_fn(|at| self.most[at].max(now[at]));
        } else {
            let is_within = || Self::now().iter().zip(&self.most).all(|(now, most)| now <= most);
            wait_until(&format!("{self:?} is all there is"), is_within);
        }
    }
}

/// Says which round it was when something was wrong in it.
struct Telling(String);

impl Drop for Telling {
    #[expect(clippy::print_stderr, reason = "the last words of a program")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0);
        }
    }
}

/// Plays so many rounds from `first` on; returns the row of figures. What is wrong is a panic.
///
/// # Panics
///
/// When anything is wrong.
pub fn play(kind: &str, method: StartMethod, rounds: usize, seed: u64, first: usize) -> String {
    procession::force_start_method(method);
    // A forked child holds its parent's descriptors, so that nothing settles down.
    let before = (method != StartMethod::Fork).then(steady);
    let (mut tally, mut left) = (Tally::default(), Left::default());
    for round in first..first + rounds {
        let again = format!("cargo xtask soak shared --only {kind} --seed {seed} --from {round}");
        let _telling = Telling(format!("{again} --rounds 1"));
        let mut plan = Plan { seed, round, random: random(seed, round, 20) };
        match kind {
            "creator" => creator::play(&mut plan, &mut tally),
            "attacher" => attacher::play(&mut plan, &mut tally),
            _ => writer::play(&mut plan, &mut tally),
        }
        if method != StartMethod::Fork {
            left.check();
        }
    }
    wait_until("nobody is left", || {
        procession::active_children().is_ok_and(|children| children.is_empty())
    });
    procession_shared::pool::trim().expect("a look");
    if let Some(before) = before {
        let after = Litter::now();
        // The watch may keep its bell.
        assert!(after.is_within(&before, 8), "left: {before:?}, now {after:?}");
    }
    let saw: Vec<_> = tally.saw.iter().map(|(what, times)| format!("{what} {times}")).collect();
    format!("{kind:<10}{}  | {}", cells(&tally.late), saw.join(", "))
}
