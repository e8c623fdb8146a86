//! The family that is killed at chosen instructions: an actor takes or gives something back, one instruction at a time, and is
//! killed at the n-th. Whoever waits for it must get on, and all must add up.
//!
//! Each *act* is played to its end once, to count its instructions; then once for each of as many points, spread over
//! all. `act` has the acts: what the actor does, and what must be true afterwards. They run in the program `soak_step`.

pub mod act;

use std::fmt::Write as _;
use std::process::Stdio;

use procession::StartMethod;

use super::Options;
use super::eyes::Home;
use crate::program;

/// Kills an actor at so many points of each act, or of the [only one](Options::only) that is wanted; returns the table of acts.
///
/// # Errors
///
/// As [`Soak`](super::Soak).
pub fn soak(options: &Options) -> Result<String, String> {
    let mut table = format!("{:<24} | {:>12} | {:>6}\n", "act", "instructions", "kills");
    for name in act::NAMES {
        if options.only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let home = Home::new(&options.program)?;
        let row = run(&home, options, name).map_err(|what| {
            let Options { seed, rounds, .. } = options;
            format!("cargo xtask soak step --only {name} --seed {seed} --rounds {rounds}\n{what}")
        })?;
        writeln!(table, "{row}").map_err(|error| error.to_string())?;
        if !home.members().is_empty() {
            return Err(format!("{name} left processes {:?}", home.members()));
        }
    }
    write!(table, "seed {}", options.seed).map_err(|error| error.to_string())?;
    Ok(table)
}

fn run(home: &Home, options: &Options, name: &str) -> Result<String, String> {
    let method = options.method.unwrap_or(StartMethod::ForkServer);
    let errors = std::fs::File::create(home.errors()).map_err(|error| error.to_string())?;
    let mut command = program(home.program());
    command
        .args([name, &method.to_string(), &options.rounds.to_string(), &options.seed.to_string()])
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
