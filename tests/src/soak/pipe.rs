//! The family of pipes: one of the two that use a pipe is killed or stopped, and the other is watched.
//!
//! A *kind* is killed at random moments; an *act* is run one instruction at a time and killed at the n-th. `plan` says what a round is
//! made of, `letter` what goes through the pipe, `ends` how it is sent and received; `killer` kills, and knows how late an answer came. `kill`,
//! `stop` and `travel` have the kinds, `act` the acts; all of it runs in processes of ours, in the program `soak_pipe`. This file starts that.

mod act;
mod ends;
mod kill;
mod killer;
mod letter;
mod plan;
mod point;
pub mod stage;
mod stop;
mod tracer;
mod travel;

use std::fmt::Write as _;

use super::eyes::Home;
use super::kinds::{self, text};
use super::{Options, figures};

pub use act::NAMES as ACTS;

/// What is killed at random moments.
pub const KINDS: [&str; 6] = ["sender", "receiver", "stopped", "handles", "moved", "sibling"];

/// From so many bytes on the C library copies by one instruction, which counts as one for each byte when it is run step by step: never.
const MUCH: usize = 1 << 28;

/// Plays so many rounds of each kind and so many points of each act, or of the [only one](Options::only) that is wanted, or of
/// all `kinds` or `acts`; returns the tables of figures.
///
/// # Errors
///
/// As [`Soak`](super::Soak).
pub fn soak(options: &Options) -> Result<String, String> {
    let wanted = |all: &str, names: &[&'static str]| -> Vec<&'static str> {
        let only = options.only.as_deref();
        let is_wanted = |name: &&str| only.is_none_or(|only| only == all || only == *name);
        names.iter().copied().filter(is_wanted).collect()
    };
    let (kinds, acts) = (wanted("kinds", &KINDS), wanted("acts", &ACTS));
    if kinds.is_empty() && acts.is_empty() {
        return Err(format!("there are: kinds, {}, acts, {}", KINDS.join(", "), ACTS.join(", ")));
    }
    let home = Home::new(&options.program)?;
    let mut table = String::new();
    if !kinds.is_empty() {
        writeln!(table, "{:<10}{}  | saw", "ms", figures::heading("told")).map_err(text)?;
    }
    for kind in kinds {
        writeln!(table, "{}", watch(&home, options, kind)?).map_err(text)?;
    }
    if !acts.is_empty() {
        writeln!(table, "{}", act::heading()).map_err(text)?;
    }
    for act in acts {
        writeln!(table, "{}", watch(&home, options, act)?).map_err(text)?;
    }
    write!(table, "seed {}", options.seed).map_err(text)?;
    Ok(table)
}

/// Runs the program, with a C library that copies as it shall.
fn watch(home: &Home, options: &Options, name: &str) -> Result<String, String> {
    let tunables = format!(
        "glibc.cpu.x86_rep_movsb_threshold={MUCH}:glibc.cpu.x86_rep_stosb_threshold={MUCH}"
    );
    kinds::watch(home, options, "pipe", name, &[("GLIBC_TUNABLES", &tunables)])
}
