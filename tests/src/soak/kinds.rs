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

/// How wide the names of acts are.
pub(super) const WIDTH: usize = 18;

/// What a family has that is killed at random moments, and at chosen instructions.
pub(super) struct Play<'a> {
    pub(super) family: &'a str,
    pub(super) kinds: &'a [&'a str],
    pub(super) acts: &'a [&'a str],
}

/// From so many bytes on the C library copies by one instruction, which counts as one for each byte when it is run step by step: never.
const MUCH: usize = 1 << 28;

impl Play<'_> {
    /// Plays so many rounds of each kind and so many points of each act, or of the [only one](Options::only) that is wanted, or of
    /// all `kinds` or `acts`; returns the tables of figures.
    pub(super) fn soak(&self, options: &Options) -> Result<String, String> {
        let Self { family, kinds, acts } = *self;
        let only = options.only.as_deref();
        let all = only.is_none_or(|only| {
            only == "kinds" || only == "acts" || kinds.contains(&only) || acts.contains(&only)
        });
        if !all {
            let (kinds, acts) = (kinds.join(", "), acts.join(", "));
            return Err(format!("there are: kinds, {kinds}, acts, {acts}"));
        }
        let wanted = |all: &str, name: &str| only.is_none_or(|only| only == all || only == name);
        let home = Home::new(&options.program)?;
        // With a C library that copies as it shall.
        let tunables = format!(
            "glibc.cpu.x86_rep_movsb_threshold={MUCH}:glibc.cpu.x86_rep_stosb_threshold={MUCH}"
        );
        let mut table = String::new();
        let headings = [
            format!("{:<10}{}  | saw", "ms", figures::heading("told")),
            format!("{:<WIDTH$} | {:>12} | {:>6} | afterwards", "act", "instructions", "kills"),
        ];
        for ((all, names), heading) in [("kinds", kinds), ("acts", acts)].iter().zip(headings) {
            let mut names = names.iter().filter(|name| wanted(all, name)).peekable();
            if names.peek().is_some() {
                writeln!(table, "{heading}").map_err(text)?;
            }
            for name in names {
                let row = watch(&home, options, family, name, &[("GLIBC_TUNABLES", &tunables)])?;
                writeln!(table, "{row}").map_err(text)?;
            }
        }
        write!(table, "seed {}", options.seed).map_err(text)?;
        Ok(table)
    }
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

fn text(error: std::fmt::Error) -> String {
    error.to_string()
}
