//! The family of queues: putters and getters are killed, one after the other or at once, and every item is accounted for.
//!
//! `ledger` is where all of them say what they did, `stage` plays rounds in a process of ours, in the program `soak_queue`. This file
//! starts that.

mod ledger;
pub mod stage;

use std::fmt::Write as _;
use std::path::Path;

use procession::StartMethod;
use procession_sys::Deadline;

use super::Options;
use super::eyes::Home;
use super::figures;
use crate::program;

/// Who is killed: a putter, a getter, one of each in quick succession, all but those who look, so that the last of them is told.
pub const KINDS: [&str; 4] = ["putter", "getter", "both", "alone"];

/// Plays so many rounds of each kind, or of the [only one](Options::only) that is wanted; returns the table of figures.
///
/// # Errors
///
/// As [`Soak`](super::Soak).
pub fn soak(options: &Options) -> Result<String, String> {
    let only = options.only.as_deref();
    let kinds: Vec<&str> =
        KINDS.into_iter().filter(|kind| only.is_none_or(|only| only == *kind)).collect();
    if kinds.is_empty() {
        return Err(format!("there are: {}", KINDS.join(", ")));
    }
    let home = Home::new(&options.program)?;
    let mut table = format!("{:<10}{}  | saw\n", "ms", figures::heading("told"));
    for kind in kinds {
        writeln!(table, "{}", watch(&home, options, kind)?).map_err(|error| error.to_string())?;
    }
    write!(table, "seed {}", options.seed).map_err(|error| error.to_string())?;
    Ok(table)
}

/// Runs the program, and sees to it that it leaves nothing.
fn watch(home: &Home, options: &Options, kind: &str) -> Result<String, String> {
    let Options { seed, rounds, .. } = options;
    let again = || format!("cargo xtask soak queue --only {kind} --seed {seed} --rounds {rounds}");
    let row = run(home, options, kind).map_err(|what| format!("{}\n{what}", again()))?;
    // Those who end with the stage may need a moment.
    let deadline = Deadline::after(crate::SOON);
    while !home.members().is_empty() && !deadline.has_passed() {
        std::thread::yield_now();
    }
    let (left, litter) = (home.members(), home.litter());
    if !left.is_empty() || !litter.is_empty() {
        return Err(format!("{}\nleft: processes {left:?}, files {litter:?}", again()));
    }
    Ok(row)
}

fn run(home: &Home, options: &Options, kind: &str) -> Result<String, String> {
    let method = options.method.unwrap_or(StartMethod::ForkServer);
    let create = |path: &Path| std::fs::File::create(path).map_err(|error| error.to_string());
    // No pipe: who outlives the stage when that fails would keep it open.
    let said = home.errors().with_extension("out");
    let numbers = [options.rounds as u64, options.seed, options.first as u64];
    let status = program(home.program())
        .args([kind, &method.to_string()])
        .args(numbers.map(|number| number.to_string()))
        .env("TMPDIR", home.scratch())
        .stdout(create(&said)?)
        .stderr(create(&home.errors())?)
        .status()
        .map_err(|error| error.to_string())?;
    let [said, errors] = [said, home.errors()].map(|path| std::fs::read(path).unwrap_or_default());
    let said = String::from_utf8_lossy(&said);
    match status.success() {
        true => Ok(said.trim_end().to_owned()),
        false => Err(format!("{status}\n{said}\n{}", String::from_utf8_lossy(&errors))),
    }
}
