//! The stage: plays one round after the other, and counts.

use std::collections::BTreeMap;
use std::time::Duration;

use procession::StartMethod;
use procession_sys::fd;

use super::super::figures::{Samples, cells};
use super::plan::Plan;
use super::{act, kill, stop, travel};
use crate::{Litter, steady, wait_until};

/// After so many rounds it is known what a round leaves at most.
const WARM: usize = 10;

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Tally {
    late: Samples,
    saw: BTreeMap<&'static str, u64>,
}

impl Tally {
    /// An answer that came so late.
    pub(super) fn late(&mut self, late: Duration) {
        self.late.add(late);
    }

    /// Something that happened so often.
    pub(super) fn saw(&mut self, what: &'static str, times: u64) {
        *self.saw.entry(what).or_default() += times;
    }
}

/// What this process has open and mapped.
#[derive(Debug, Default)]
pub(super) struct Left {
    played: usize,
    descriptors: usize,
    mappings: usize,
}

impl Left {
    /// After each round there is as much as after the first ones, soon.
    pub(super) fn check(&mut self) {
        self.played += 1;
        if self.played <= WARM {
            self.descriptors = self.descriptors.max(descriptors());
            self.mappings = self.mappings.max(mappings());
        } else {
            wait_until(&format!("{self:?} is all there is"), || descriptors() <= self.descriptors);
            assert!(mappings() <= self.mappings, "{self:?}, and {} mappings", mappings());
        }
    }
}

fn descriptors() -> usize {
    fd::open_descriptors().expect("/proc is mounted").len()
}

/// How much memory is mapped that is a file without a name.
fn mappings() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("/proc is mounted");
    maps.lines().filter(|line| line.contains("/memfd:")).count()
}

/// Says which round it was when something was wrong in it.
pub(super) struct Telling<'a>(pub(super) &'a Plan);

impl Telling<'_> {
    #[expect(clippy::print_stderr, reason = "the last words of a program")]
    pub(super) fn tell(&self) {
        let Plan { kind, seed, round, .. } = self.0;
        eprintln!("{:?}", self.0);
        eprintln!("cargo xtask soak pipe --only {kind} --seed {seed} --from {round} --rounds 1");
    }
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell();
        }
    }
}

/// Plays so many rounds from `first` on; returns the row of figures. What is wrong is a panic.
///
/// # Panics
///
/// When anything is wrong.
pub fn play(name: &str, method: StartMethod, rounds: usize, seed: u64, first: usize) -> String {
    procession::force_start_method(method);
    if act::NAMES.contains(&name) {
        return act::play(name, rounds, seed);
    }
    // A forked child holds its parent's pipes, so that nothing settles down.
    let before = (method != StartMethod::Fork).then(steady);
    let row = play_kind(name, rounds, seed, first);
    wait_until("nobody is left", || {
        procession::active_children().is_ok_and(|children| children.is_empty())
    });
    if let Some(before) = before {
        let after = Litter::now();
        // The watch may keep its bell.
        assert!(after.is_within(&before, 8), "left: {before:?}, now {after:?}");
    }
    row
}

fn play_kind(kind: &str, rounds: usize, seed: u64, first: usize) -> String {
    let (mut tally, mut left) = (Tally::default(), Left::default());
    for round in first..first + rounds {
        let plan = Plan::draw(kind, seed, round);
        let _telling = Telling(&plan);
        match kind {
            "stopped" => stop::play(&plan, &mut tally),
            "moved" => travel::play(&plan, &mut tally),
            _ => kill::play(&plan, &mut tally),
        }
        left.check();
    }
    let saw: Vec<_> = tally.saw.iter().map(|(what, times)| format!("{what} {times}")).collect();
    format!("{kind:<10}{}  | {}", cells(&tally.late), saw.join(", "))
}
