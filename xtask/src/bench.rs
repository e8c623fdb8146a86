//! `cargo xtask bench <family>`: ours, the limits and the peers, side by side in the same run.
//!
//! [`family`] says what a family is; [`start`], [`sync`], [`pipe`], [`socket`], [`sharedmem`], [`queue`], [`pool`], [`manager`], [`python`] and
//! [`wordcount`] are families. [`build`] makes the programs, [`cage`] runs one of them, [`rounds`] runs all of them in
//! turn while [`machine`] keeps an eye on other work, and [`table`] prints, [`bar`] what shall be beside what is.
//! `docs/benchmarks.md` explains method and figures.

mod bar;
mod build;
mod cage;
mod corpus;
mod family;
mod machine;
mod manager;
mod pipe;
mod pool;
mod python;
mod queue;
mod rounds;
mod sharedmem;
mod socket;
mod start;
mod sync;
mod table;
mod wordcount;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;

use crate::report::{complain, say};
use build::Workshop;
use cage::Cage;
use family::{Contender, Family, Kind, Source};
use rounds::Row;

const HELP: &str = "\
cargo xtask bench <family> [options]

families
  start             how long a process takes to start, to say something, and to be reaped
  sync              locks, semaphores, events, conditions and barriers between processes
  pipe              messages between two processes of one machine
  socket            messages over Unix sockets and TCP
  sharedmem         blocks, values and arrays in shared memory
  queue             items through a queue of several putters and getters
  pool              tasks for two workers: maps, single ones, long arguments, and their start and end
  manager           values put into and got from a dictionary behind a server
  python            managers that Python's programs and ours share, and clients of them
  wordcount         a whole program: counting words with two workers

options
  --quick           2 rounds, a fifth of the repetitions, a smaller corpus
  --rounds N        rounds (5)
  --json FILE       write the figures to FILE
  --lines           run ours alone, once, and print its lines unchanged, for another harness
  --cpus LIST       bind every process to these CPUs, for instance `0` or `0,1`
  --only NAME       contenders whose name contains NAME; `a|b` means either
  --no-peers        ours and the limits only
  --timeout SECONDS what a single run may take before it is killed (120)
";

/// What the command line asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    family: String,
    quick: bool,
    rounds: Option<usize>,
    json: Option<PathBuf>,
    lines: bool,
    cpus: Option<String>,
    only: Option<String>,
    no_peers: bool,
    timeout: Option<u64>,
}

pub(crate) fn run(args: Vec<OsString>) -> Result<(), String> {
    let Some(options) = Options::parse(args)? else {
        say(HELP);
        return Ok(());
    };
    let mut workshop = Workshop::open()?;
    let family = match options.family.as_str() {
        "start" => start::family(),
        "sync" => sync::family(options.cpus.as_deref()),
        "pipe" => pipe::family(options.cpus.as_deref()),
        "socket" => socket::family(),
        "sharedmem" => sharedmem::family(options.cpus.as_deref()),
        "queue" => queue::family(options.cpus.as_deref()),
        "pool" => pool::family(options.cpus.as_deref()),
        "manager" => manager::family(options.cpus.as_deref()),
        "python" => python::family(options.cpus.as_deref()),
        "wordcount" => wordcount::family(&workshop, options.quick)?,
        "" => return Err(format!("which family?\n\n{HELP}")),
        other => return Err(format!("there is no family `{other}`\n\n{HELP}")),
    };
    let cage = workshop.build_cage(family.tools)?;
    let cage = Cage::new(cage, options.cpus.clone(), options.timeout(), options.quick);
    if options.lines {
        return print_lines(&family, &mut workshop, &cage);
    }
    let (entries, skipped) = prepare(&family, &mut workshop, &options)?;
    let rows = rounds::run(&family, entries, &cage, options.rounds());
    say(&table::render(&family, &rows));
    for (name, reason) in &skipped {
        say(&format!("SKIPPED: {name}: {reason}\n"));
    }
    say(&format!("skipped: {} contender(s)\n", skipped.len()));
    if let Some(path) = &options.json {
        std::fs::write(path, table::json(&family, &rows))
            .map_err(|error| format!("could not write {}: {error}", path.display()))?;
    }
    verdict(&family, &rows, &skipped)
}

impl Options {
    /// Nothing if help was asked for.
    fn parse(args: Vec<OsString>) -> Result<Option<Self>, String> {
        Self::parse_with(lexopt::Parser::from_args(args)).map_err(|error| error.to_string())
    }

    fn parse_with(mut parser: lexopt::Parser) -> Result<Option<Self>, lexopt::Error> {
        let mut options = Self::default();
        while let Some(argument) = parser.next()? {
            match argument {
                Short('h') | Long("help") => return Ok(None),
                Long("quick") => options.quick = true,
                Long("lines") => options.lines = true,
                Long("no-peers") => options.no_peers = true,
                Long("rounds") => options.rounds = Some(parser.value()?.parse()?),
                Long("timeout") => options.timeout = Some(parser.value()?.parse()?),
                Long("json") => options.json = Some(parser.value()?.into()),
                Long("cpus") => options.cpus = Some(parser.value()?.string()?),
                Long("only") => options.only = Some(parser.value()?.string()?),
                Value(name) if options.family.is_empty() => options.family = name.string()?,
                other => return Err(other.unexpected()),
            }
        }
        Ok(Some(options))
    }

    fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 2 } else { 5 }).max(1)
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout.unwrap_or(120))
    }

    fn wants(&self, contender: &Contender) -> bool {
        let named = self.only.as_ref().is_none_or(|only| {
            only.split('|').any(|part| contender.name.to_lowercase().contains(&part.to_lowercase()))
        });
        named && !(self.no_peers && contender.kind == Kind::Peer)
    }
}

/// A contender that can run, with the words that start it.
pub(crate) struct Entry<'a> {
    contender: &'a Contender,
    argv: Vec<OsString>,
}

/// What could not take part, and why.
type Skipped = Vec<(&'static str, String)>;

/// Builds what is wanted; what cannot be built is said at once and counted at the end.
fn prepare<'a>(
    family: &'a Family,
    workshop: &mut Workshop,
    options: &Options,
) -> Result<(Vec<Entry<'a>>, Skipped), String> {
    let (mut entries, mut skipped) = (Vec::new(), Vec::new());
    for contender in family.contenders.iter().filter(|one| options.wants(one)) {
        match workshop.argv(contender) {
            Ok(argv) => entries.push(Entry { contender, argv }),
            Err(reason) => {
                complain(&format!("SKIPPED: {}: {reason}", contender.name));
                skipped.push((contender.name, reason));
            }
        }
    }
    if entries.is_empty() {
        return Err("no contender is left to run".to_owned());
    }
    Ok((entries, skipped))
}

/// Runs ours once and prints what a contender prints, and nothing else.
fn print_lines(family: &Family, workshop: &mut Workshop, cage: &Cage) -> Result<(), String> {
    let ours = family.contenders.iter().find(|contender| contender.kind == Kind::Ours);
    let contender = ours.ok_or("this family has no contender of ours")?;
    let entry = Entry { argv: workshop.argv(contender)?, contender };
    for env in family.lines_runs(contender) {
        let outcome = cage.run(&entry.argv, &env, family.with_peak)?;
        say(&(family.lines)(&outcome)?);
        outcome.check()?;
    }
    Ok(())
}

/// Ours and the limits must have taken part and gone well, but for those that this setting leaves
/// out; a peer that failed is only told.
fn verdict(family: &Family, rows: &[Row], skipped: &Skipped) -> Result<(), String> {
    let is_peer =
        |name: &str| family.contenders.iter().any(|one| one.name == name && one.kind == Kind::Peer);
    let is_left_out = |name: &str| {
        family
            .contenders
            .iter()
            .any(|one| one.name == name && matches!(one.source, Source::Nowhere(_)))
    };
    let mut missing = skipped.iter().filter(|(name, _)| !is_peer(name) && !is_left_out(name));
    if let Some((name, reason)) = missing.next() {
        return Err(format!("{name} did not take part: {reason}"));
    }
    let mut problems = rows.iter().filter(|row| !is_peer(row.name)).flat_map(|row| &row.problems);
    problems.next().map_or(Ok(()), |problem| Err(format!("a run failed: {problem}")))
}

#[cfg(test)]
mod tests;
