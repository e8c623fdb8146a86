//! Families whose rounds a program of their own plays, kind by kind: it is told how many, and prints a row of figures.

use std::fmt::Write as _;
use std::path::Path;

use procession::StartMethod;
use procession_sys::Deadline;

use super::eyes::Home;
use super::{Options, figures};
use crate::program;

/// Plays so many rounds of each kind, or of the [only one](Options::only) that is wanted; returns the table of figures.
pub(super) fn soak(family: &str, kinds: &[&str], options: &Options) -> Result<String, String> {
    let only = options.only.as_deref();
    let wanted: Vec<&str> =
        kinds.iter().copied().filter(|kind| only.is_none_or(|only| only == *kind)).collect();
    if wanted.is_empty() {
        return Err(format!("there are: {}", kinds.join(", ")));
    }
    let home = Home::new(&options.program)?;
    let mut table = format!("{:<10}{}  | saw\n", "ms", figures::heading("told"));
    for kind in wanted {
        writeln!(table, "{}", watch(&home, options, family, kind, &[])?).map_err(text)?;
    }
    write!(table, "seed {}", options.seed).map_err(text)?;
    Ok(table)
}

/// Runs the program, with these in its environment, and sees to it that it leaves nothing. Returns its row.
pub(super) fn watch(
    home: &Home,
    options: &Options,
    family: &str,
    kind: &str,
    environment: &[(&str, &str)],
) -> Result<String, String> {
    let again = || {
        let Options { seed, rounds, .. } = options;
        let method = options.method.map(|method| format!("PROCESSION_TEST_METHOD={method} "));
        let method = method.unwrap_or_default();
        format!("{method}cargo xtask soak {family} --only {kind} --seed {seed} --rounds {rounds}")
    };
    let row =
        run(home, options, kind, environment).map_err(|what| format!("{}\n{what}", again()))?;
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

fn run(
    home: &Home,
    options: &Options,
    kind: &str,
    environment: &[(&str, &str)],
) -> Result<String, String> {
    let method = options.method.unwrap_or(StartMethod::ForkServer);
    let create = |path: &Path| std::fs::File::create(path).map_err(|error| error.to_string());
    // No pipe: who outlives the stage when that fails would keep it open.
    let said = home.errors().with_extension("out");
    let numbers = [options.rounds as u64, options.seed, options.first as u64];
    let status = program(home.program())
        .args([kind, &method.to_string()])
        .args(numbers.map(|number| number.to_string()))
        .env("TMPDIR", home.scratch())
        .envs(environment.iter().copied())
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

pub(super) fn text(error: std::fmt::Error) -> String {
    error.to_string()
}
