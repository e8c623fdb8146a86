//! The family of locks and their kin: eight processes that hammer one of them, of which one after the other is killed.
//!
//! `subject` is what is hammered and how a worker does it; `stage` has the processes, and checks; both run in processes of ours,
//! in the program `soak_sync`. This file starts that, once for each kind of subject.

pub mod stage;
mod subject;

use std::fmt::Write as _;
use std::process::Stdio;

use procession::StartMethod;
use procession_sys::Deadline;

use super::Options;
use super::eyes::Home;
use super::figures;
use crate::program;

/// The kinds of subjects.
pub const KINDS: [&str; 7] =
    ["lock", "rlock", "permits", "raw-permits", "condition", "event", "barrier"];

/// Kills so many workers of each kind of subject, or of the [only kind](Options::only) that is wanted; returns the table of
/// figures.
///
/// # Errors
///
/// As [`Soak`](super::Soak).
pub fn soak(options: &Options) -> Result<String, String> {
    let kinds: Vec<_> = match &options.only {
        None => KINDS.to_vec(),
        Some(only) => KINDS.into_iter().filter(|kind| kind == only).collect(),
    };
    if kinds.is_empty() {
        return Err(format!("the kinds are: {}", KINDS.join(", ")));
    }
    let mut table = format!(
        "{:<12}{}{}  | died in\n",
        "ms",
        figures::heading("some go on"),
        figures::heading("all go on")
    );
    for kind in kinds {
        let home = Home::new(&options.program)?;
        let again = || {
            let Options { seed, rounds, .. } = options;
            format!("cargo xtask soak sync --only {kind} --seed {seed} --rounds {rounds}")
        };
        let row = run(&home, options, kind).map_err(|what| format!("{}\n{what}", again()))?;
        writeln!(table, "{row}").map_err(|error| error.to_string())?;
        let left = home.members();
        if !left.is_empty() || !home.litter().is_empty() {
            let litter = home.litter();
            return Err(format!("{}\nleft: processes {left:?}, files {litter:?}", again()));
        }
    }
    write!(table, "seed {}", options.seed).map_err(|error| error.to_string())?;
    Ok(table)
}

fn run(home: &Home, options: &Options, kind: &str) -> Result<String, String> {
    let method = options.method.unwrap_or(StartMethod::ForkServer);
    let errors = std::fs::File::create(home.errors()).map_err(|error| error.to_string())?;
    let mut command = program(home.program());
    command
        .args([kind, &method.to_string(), &options.rounds.to_string(), &options.seed.to_string()])
        .env("TMPDIR", home.scratch())
        .stderr(Stdio::from(errors));
    let output = command.output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout);
    match output.status.success() {
        true => Ok(said.trim_end().to_owned()),
        false => {
            let errors = std::fs::read_to_string(home.errors()).unwrap_or_default();
            Err(format!("{}\n{said}\n{errors}", output.status))
        }
    }
}

/// How long it may take until all survivors have gone on.
fn patience() -> Deadline {
    Deadline::after(crate::SOON)
}
