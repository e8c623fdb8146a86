//! The soak: families of processes that are killed at random, round after round, and what is checked afterwards.
//!
//! A family is a program whose processes are killed, and a harness around it; [`FAMILIES`] lists them. `docs/soak.md` says
//! what each shows. The harness is no process of ours: it sees what the system sees, and what the members of a family
//! write into a pipe. `eyes` looks for what is left behind, `figures` counts, `process` is the family of processes, `sync` that of locks and
//! their kin, `pipe` that of pipes, `pool` that of pools, `shared` that of shared memory, `queue` that of queues; `step` kills at chosen instructions.
//! `cargo xtask soak` runs a family for long, `tests/tests/soak.rs` for a minute.

mod eyes;
mod figures;
pub mod idle;
mod kinds;
mod leak;
pub mod pipe;
pub mod pool;
pub mod process;
pub mod queue;
pub mod shared;
pub mod step;
pub mod sync;
mod tracer;
mod waited;

use std::path::PathBuf;

use procession::StartMethod;

use crate::Random;

/// What a soak shall do.
#[derive(Debug, Clone)]
pub struct Options {
    /// The number of rounds.
    pub rounds: usize,
    /// What all random choices of all rounds follow from.
    pub seed: u64,
    /// The number of the first round: what happens in a round depends on the seed and its number only.
    pub first: usize,
    /// The program whose processes are killed.
    pub program: PathBuf,
    /// The only kind of victim, where it is not to be chosen at random: families say which there are.
    pub only: Option<String>,
    /// The only start method, where it is not to be chosen at random.
    pub method: Option<StartMethod>,
}

impl Options {
    /// That many rounds with `program`; with the start method in `PROCESSION_TEST_METHOD` if that is set.
    pub fn new(rounds: usize, seed: u64, program: impl Into<PathBuf>) -> Self {
        let method = std::env::var("PROCESSION_TEST_METHOD").ok();
        let method = method.map(|name| name.parse().expect("a start method"));
        Self { rounds, seed, first: 0, program: program.into(), only: None, method }
    }

    /// How to play the round with this number again.
    fn again(&self, family: &str, number: Option<usize>) -> String {
        let method = self.method.map(|method| format!("PROCESSION_TEST_METHOD={method} "));
        let only = self.only.as_ref().map(|only| format!(" --only {only}"));
        let (method, only, seed) =
            (method.unwrap_or_default(), only.unwrap_or_default(), self.seed);
        let rounds = match number {
            Some(number) => format!("--from {number} --rounds 1"),
            // The rounds in front of the first one.
            None => "--rounds 0".to_owned(),
        };
        format!("{method}cargo xtask soak {family}{only} --seed {seed} {rounds}")
    }

    /// The same with the seed in `PROCESSION_SEED`, or another one each time; prints it.
    pub fn from_environment(rounds: usize, program: impl Into<PathBuf>) -> Self {
        Self::new(rounds, Random::from_environment().0, program)
    }
}

/// Runs a soak; returns the table of its figures.
///
/// # Errors
///
/// What was found, and the whole log of the round in which it was.
pub type Soak = fn(&Options) -> Result<String, String>;

/// What can be soaked. The processes of `x` run the program `soak_x`.
pub const FAMILIES: [(&str, Soak); 8] = [
    ("idle", idle::soak),
    ("pipe", pipe::soak),
    ("pool", pool::soak),
    ("process", process::soak),
    ("queue", queue::soak),
    ("shared", shared::soak),
    ("step", step::soak),
    ("sync", sync::soak),
];

/// A generator for one purpose in one round: seeds that differ in one bit give numbers that have nothing in common.
fn random(seed: u64, round: usize, purpose: u64) -> Random {
    // Splitmix (Steele, Lea, Flood 2014).
    let mut mixed = 0;
    for part in [seed, round as u64, purpose] {
        mixed = (mixed ^ part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
    }
    Random(mixed | 1)
}
