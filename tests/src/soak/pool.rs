//! The family of pools: workers are killed and stopped, tasks fail in every way, callers cancel, the pool is resized and closed, all at once
//! or one of it; and every task has its outcome, once, for a reason.
//!
//! `work` is what tasks do, `plan` what a round is to bring, `ledger` where workers write what they called, `limit` what they may use; `caller`
//! calls, `trouble` kills, `round` is what both share and says which outcomes may be. `flat` is a round of another sort: an input without end.
//! `stage` plays all that in a process of ours, in the program `soak_pool`. This file starts that.

mod caller;
mod flat;
mod ledger;
mod limit;
mod plan;
mod round;
pub mod stage;
mod trouble;
mod work;

use std::fmt::Write as _;

use procession::StartMethod;

use super::eyes::Home;
use super::{Options, figures, kinds};

/// What happens to pools: their workers are killed; tasks fail by themselves; workers are stopped in tasks with a timeout; tasks never return; calls
/// are cancelled; memory, or descriptors run out; pools get another size; they are closed; workers die at their start; the fork server is
/// killed; all of that; and an input has no end.
pub const KINDS: [&str; 13] = [
    "kill",
    "deeds",
    "stop",
    "timeout",
    "cancel",
    "memory",
    "descriptors",
    "resize",
    "close",
    "start",
    "server",
    "all",
    "flat",
];

/// Says for how long each kind is played, if not for a number of rounds.
const SECONDS: &str = "PROCESSION_SOAK_SECONDS";

/// Says for how long all are.
const MINUTES: &str = "PROCESSION_SOAK_MINUTES";

/// Whether pools can be played: their process has several threads, so that it cannot fork their workers.
pub fn has_pools(options: &Options) -> bool {
    options.method != Some(StartMethod::Fork)
}

/// Plays so many rounds of each kind, or of the [only one](Options::only) that is wanted, of 100,000 tasks each; or of 30 to 90, if that one's
/// name ends with `-short`. With minutes in `PROCESSION_SOAK_MINUTES`, as many rounds as fit. Returns the table of figures.
///
/// # Errors
///
/// As [`Soak`](super::Soak).
pub fn soak(options: &Options) -> Result<String, String> {
    let only = options.only.as_deref();
    let names =
        KINDS.iter().flat_map(|kind| [(*kind).to_owned(), format!("{kind}{}", stage::SHORT)]);
    let wanted: Vec<String> = names
        .filter(|name| match only {
            None => !name.ends_with(stage::SHORT),
            Some("short") => name.ends_with(stage::SHORT),
            Some(only) => only == name.as_str(),
        })
        .collect();
    if wanted.is_empty() {
        let (kinds, short) = (KINDS.join(", "), stage::SHORT);
        return Err(format!(
            "there are: {kinds}; the same with `{short}`, or all of those, `short`"
        ));
    }
    let minutes = std::env::var(MINUTES).ok().and_then(|minutes| minutes.parse::<u64>().ok());
    let seconds = minutes.map(|minutes| (minutes * 60).div_ceil(wanted.len() as u64).to_string());
    let environment: Vec<_> = seconds.iter().map(|seconds| (SECONDS, seconds.as_str())).collect();
    let home = Home::new(&options.program)?;
    let mut table = format!("{:<1$}{2}  | saw\n", "ms", stage::WIDTH, figures::heading("told"));
    for kind in wanted {
        let row = kinds::watch(&home, options, "pool", &kind, &environment)?;
        writeln!(table, "{row}").map_err(|error| error.to_string())?;
    }
    write!(table, "seed {}", options.seed).map_err(|error| error.to_string())?;
    Ok(table)
}
