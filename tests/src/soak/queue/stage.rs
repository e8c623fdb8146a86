//! The stage: plays one scene after the other, and counts.

use std::collections::BTreeMap;
use std::time::Duration;

use procession::StartMethod;

use super::super::figures::{Samples, cells};
use super::super::random;
use super::item::Flavour;
use super::scene::Scene;
use super::{act, alone};
use crate::{Litter, Random, steady, wait_until};

/// So many rounds, which are kills, make a scene.
const SCENE: usize = 10;

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Tally {
    late: Samples,
    saw: BTreeMap<&'static str, usize>,
}

impl Tally {
    pub(super) fn saw(&mut self, what: &'static str, times: usize) {
        if times > 0 {
            *self.saw.entry(what).or_default() += times;
        }
    }

    /// An answer that came so late.
    pub(super) fn late(&mut self, late: Duration) {
        self.late.add(late);
    }
}

/// Plays so many rounds from `first` on; returns the row of figures. What is wrong is a panic.
///
/// # Panics
///
/// When anything is wrong.
pub fn play(kind: &str, method: StartMethod, rounds: usize, seed: u64, first: usize) -> String {
    procession::force_start_method(method);
    if act::NAMES.contains(&kind) {
        return act::play(kind, rounds, seed);
    }
    // A forked child holds its parent's descriptors, so that nothing settles down.
    let before = (method != StartMethod::Fork).then(steady);
    let mut tally = Tally::default();
    for round in (first..first + rounds).step_by(SCENE) {
        let kills = SCENE.min(first + rounds - round);
        let mut telling = Telling(
            format!(
                "cargo xtask soak queue --only {kind} --seed {seed} --from {round} --rounds {kills}"
            ),
            String::new(),
        );
        play_scene(kind, kills, random(seed, round, 30), &mut tally, &mut telling);
    }
    // Of 200, a dozen are killed while they copy.
    let lost = tally.saw.get("lost").copied().unwrap_or_default();
    assert!(kind != "getter" || rounds < 200 || lost > 0, "no loss was counted in {rounds} rounds");
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

fn play_scene(kind: &str, kills: usize, mut random: Random, tally: &mut Tally, told: &mut Telling) {
    match kind {
        "alone" => (0..kills).for_each(|_| alone::play_alone(&mut random, tally)),
        "closed" => {
            for first in (0..kills).step_by(4) {
                alone::play_closed(4.min(kills - first), &mut random, tally);
            }
        }
        kind => {
            let flavour = match kind {
                "lease" => Some(Flavour::Leases),
                "tasks" => Some(Flavour::Tasks),
                _ => None,
            };
            if let Some(flavour) = flavour {
                alone::play_concerned(flavour, &mut random, tally);
            }
            let mut scene = Scene::set(kind, random);
            told.1 = scene.describe();
            for _ in usize::from(flavour.is_some())..kills {
                scene.kill_some(tally);
            }
            scene.end(tally);
        }
    }
}

/// Says which round it was when something was wrong in it.
struct Telling(String, String);

impl Drop for Telling {
    #[expect(clippy::print_stderr, reason = "the last words of a program")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}\n{}", self.0, self.1);
        }
    }
}
