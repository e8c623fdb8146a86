//! `cargo xtask crash-table`: what becomes of a pool's other tasks when one of them takes its worker along, side by side with the pools of Python.
//!
//! `tests/src/bin/crash_pool` plays the scenes with ours and runs all programs; `benches/peers/py/crash_pools.py` has the peers. [`table`] prints.

mod table;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use lexopt::prelude::*;
use xshell::{Shell, cmd};

use crate::metadata::{self, Metadata};
use crate::python;
use crate::report::{complain, say};

const HELP: &str = "\
cargo xtask crash-table [options]

Plays with each pool: one of eight tasks ends its worker; the initializer ends each worker; Ctrl-C in the middle of 16 tasks of a
second; the end of the parent by SIGKILL. Prints the tables in Markdown, and fails when ours is not as it shall be.

options
  --by S            how the task ends its worker: kill (SIGKILL, unless given) or segment (SIGSEGV)
  --patience N      how many seconds anybody is waited for (15)
  --rounds N        how often ours is played, for the time until a death is told (21)
  --only POOL       only those whose names hold that
  --no-peers        only ours
";

const PACKAGE: &str = "procession-tests";
const PROGRAM: &str = "crash_pool";
const SCRIPT: &str = "crash_pools.py";
const REQUIREMENTS: &str = "crash_requirements.txt";

/// Ours; the first two words of the last are how it deals with Ctrl-C.
const OURS: [&str; 3] = ["try_map", "apply_async", "exit_on_interrupt apply_async"];

/// As `crash_pools.py` calls them.
const PEERS: [&str; 9] = [
    "multiprocessing.Pool.map",
    "multiprocessing.Pool.apply_async",
    "billiard.Pool.apply_async",
    "ProcessPoolExecutor.submit",
    "loky.submit",
    "joblib.Parallel",
    "pebble.ProcessPool.schedule",
    "mpire.WorkerPool.map",
    "mpire.WorkerPool.apply_async",
];

/// What the command line asked for.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    by: String,
    patience: u32,
    rounds: usize,
    only: Option<String>,
    has_peers: bool,
}

/// What a program said in a scene: the words behind each name, in order.
pub(crate) type Said = BTreeMap<String, Vec<String>>;

/// What a pool did in all scenes.
#[derive(Debug, Default)]
pub(crate) struct Row {
    name: String,
    is_ours: bool,
    task: Vec<Said>,
    init: Said,
    interrupt: Said,
    orphan: Said,
}

pub(crate) fn run(args: Vec<OsString>) -> Result<(), String> {
    let Some(options) = Options::parse(args).map_err(|error| error.to_string())? else {
        say(HELP);
        return Ok(());
    };
    let sh = metadata::shell()?;
    let target = Metadata::load(&sh)?.target_directory;
    cmd!(sh, "cargo build --release --package {PACKAGE} --bin {PROGRAM}")
        .quiet()
        .run()
        .map_err(|error| error.to_string())?;
    let stage = Stage { sh: &sh, program: target.join("release").join(PROGRAM), options: &options };
    let mut rows = Vec::new();
    for name in OURS.iter().filter(|name| options.wants(name)) {
        let words = vec![stage.program.clone().into(), "play".into()];
        rows.push(stage.play(name, true, &words)?);
    }
    if options.has_peers {
        match furnish(&sh, &target) {
            Ok(python) => {
                let words: Vec<OsString> = vec![python.into(), script(SCRIPT).into()];
                for name in PEERS.iter().filter(|name| options.wants(name)) {
                    rows.push(stage.play(name, false, &words)?);
                }
            }
            Err(reason) => complain(&format!("SKIPPED: the pools of Python: {reason}")),
        }
    }
    say(&table::print(&rows));
    table::check(&rows)
}

impl Options {
    /// Nothing if help was asked for.
    fn parse(args: Vec<OsString>) -> Result<Option<Self>, lexopt::Error> {
        let by = "kill".to_owned();
        let mut options = Self { by, patience: 15, rounds: 21, only: None, has_peers: true };
        let mut parser = lexopt::Parser::from_args(args);
        while let Some(argument) = parser.next()? {
            match argument {
                Short('h') | Long("help") => return Ok(None),
                Long("by") => {
                    options.by = parser.value()?.string()?;
                    if !["kill", "segment"].contains(&options.by.as_str()) {
                        return Err(format!("there is no `--by {}`", options.by).into());
                    }
                }
                Long("patience") => options.patience = parser.value()?.parse()?,
                Long("rounds") => options.rounds = parser.value()?.parse::<usize>()?.max(1),
                Long("only") => options.only = Some(parser.value()?.string()?),
                Long("no-peers") => options.has_peers = false,
                other => return Err(other.unexpected()),
            }
        }
        Ok(Some(options))
    }

    fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| name.contains(only))
    }
}

struct Stage<'a> {
    sh: &'a Shell,
    program: PathBuf,
    options: &'a Options,
}

impl Stage<'_> {
    /// All scenes with one pool, which these words start.
    fn play(&self, name: &str, is_ours: bool, words: &[OsString]) -> Result<Row, String> {
        complain(&format!("# {name}"));
        let by = self.options.by.as_str();
        let drive = |scene: &str, part: &str| self.drive(scene, part, name, words);
        let rounds = if is_ours { self.options.rounds } else { 1 };
        Ok(Row {
            name: name.to_owned(),
            is_ours,
            task: (0..rounds).map(|_| drive(by, by)).collect::<Result<_, _>>()?,
            init: drive("init", "init")?,
            interrupt: drive("interrupt", "busy")?,
            orphan: drive("orphan", "busy")?,
        })
    }

    fn drive(
        &self,
        scene: &str,
        part: &str,
        name: &str,
        words: &[OsString],
    ) -> Result<Said, String> {
        let (sh, program) = (self.sh, &self.program);
        let patience = self.options.patience.to_string();
        let text = cmd!(sh, "{program} drive {scene} {patience} {words...} {part} {name}")
            .quiet()
            .read()
            .map_err(|error| error.to_string())?;
        Ok(read(&text))
    }
}

/// What a program has said, line by line.
fn read(text: &str) -> Said {
    let mut said = Said::new();
    for line in text.lines() {
        let (name, value) = line.split_once(' ').unwrap_or((line, ""));
        said.entry(name.to_owned()).or_default().push(value.to_owned());
    }
    said
}

fn script(name: &str) -> PathBuf {
    metadata::root().join("benches/peers/py").join(name)
}

/// A CPython 3.13 that has the peers, in the build folder.
fn furnish(sh: &Shell, target: &Path) -> Result<PathBuf, String> {
    let python = python::find(sh)?;
    python::furnish(sh, &python, &target.join("crash-python"), &script(REQUIREMENTS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_have_defaults() {
        let parse =
            |line: &str| Options::parse(line.split_whitespace().map(OsString::from).collect());
        let defaults = parse("").expect("no options").expect("no help");
        assert_eq!((defaults.by.as_str(), defaults.patience, defaults.rounds), ("kill", 15, 21));
        let wanted = parse("--by segment --patience 3 --rounds 0 --only loky --no-peers");
        let wanted = wanted.expect("options").expect("no help");
        assert_eq!((wanted.by.as_str(), wanted.patience, wanted.rounds), ("segment", 3, 1));
        assert!(!wanted.has_peers && wanted.wants("loky.submit") && !wanted.wants("pebble"));
        assert!(parse("--by fire").is_err());
        assert_eq!(parse("--help").expect("an option"), None);
    }

    #[test]
    fn lines_are_read_by_name() {
        let said = read("outcome 0 ok\noutcome 1 never\nhung\nwall 0.5\n");
        assert_eq!(said["outcome"], ["0 ok", "1 never"]);
        assert_eq!(
            (said["hung"].as_slice(), said["wall"].as_slice()),
            (&[String::new()][..], &["0.5".to_owned()][..])
        );
    }
}
