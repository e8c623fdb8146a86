//! The workspace's tasks, `cargo xtask <task>`: what a developer runs by hand and all that CI runs.
//!
//! [`layers`] and [`tidy`] check the workspace's own rules and are tests as well. [`tasks`] holds the small tasks,
//! [`test_all`] the complete run, [`report`] counts steps and skips. The benchmarks have a module of their own, `bench`, and so
//! have the table of crashes, [`crash_table`], that of CPython's rows, [`conformance`], the soak, [`soak`], the fuzzer, [`fuzz`], and the storm of signals, [`storm`].

mod bench;
mod conformance;
mod crash_table;
mod fuzz;
mod layers;
mod metadata;
mod python;
mod report;
mod soak;
mod source;
mod storm;
mod tasks;
mod test_all;
mod tidy;
mod unstable;

use std::ffi::OsString;
use std::process::ExitCode;

use lexopt::prelude::*;

const HELP: &str = "\
cargo xtask <task>

  test-all          everything that README and CI promise: the tasks below, all tests, examples, docs; --strict fails with a
                    test that passes only when it is run once more
  test [crate]      tests and doctests of the workspace or of one crate (`pool` means `procession-pool`)
  lint              formatting, clippy, layers, tidy, cargo-deny, typos
  fix               apply clippy's suggestions and format
  docs [--open]     documentation; a warning is an error
  conformance       whether each behaviour that CPython's tests assert has a test here; --open lists those that have none
  layers [--dot]    check that dependencies go strictly downward; --dot prints the graph instead
  loom              explore every order of steps of the process table's protocol (family.md)
  storm             the tests of the connections while signals interrupt every thread; --package P takes others
  tidy              check the rules of docs/style.md that no lint knows
  bench <family>    benchmarks; `cargo xtask bench --help` lists them
  crash-table       what becomes of pools whose workers die: ours and those of Python, as tables
  soak <family>     kill processes at random for long; `cargo xtask soak --help` tells more
  fuzz [target..]   feed made-up bytes to what reads those of others; `cargo xtask fuzz --help` tells more
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            report::complain(&format!("xtask: {message}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let mut parser = lexopt::Parser::from_env();
    let task = match parser.next().map_err(|error| error.to_string())? {
        Some(Value(task)) => task.string().map_err(|error| error.to_string())?,
        Some(Short('h') | Long("help")) | None => {
            report::say(HELP);
            return Ok(());
        }
        Some(argument) => return Err(argument.unexpected().to_string()),
    };
    if let Some(run) = with_options_of_its_own(&task) {
        let rest = parser.raw_args().map_err(|error| error.to_string())?;
        return run(rest.collect());
    }
    let arguments = Arguments::parse(&mut parser)?;
    match task.as_str() {
        "test-all" => arguments.only_flag("strict").and_then(test_all::run),
        "test" => arguments.only_name().and_then(tasks::test),
        "lint" => arguments.none().and_then(|()| tasks::lint()),
        "fix" => arguments.none().and_then(|()| tasks::fix()),
        "docs" => arguments.only_flag("open").and_then(tasks::docs),
        "conformance" => arguments.only_flag("open").and_then(conformance::conformance),
        "layers" => arguments.only_flag("dot").and_then(tasks::layers),
        "loom" => arguments.none().and_then(|()| tasks::loom()),
        "tidy" => arguments.none().and_then(|()| tasks::tidy()),
        "help" => {
            report::say(HELP);
            Ok(())
        }
        other => Err(format!("there is no task `{other}`; `cargo xtask help` lists them")),
    }
}

/// A task, and what stands behind its name.
type Task = fn(Vec<OsString>) -> Result<(), String>;

/// The tasks that parse their own options.
fn with_options_of_its_own(task: &str) -> Option<Task> {
    Some(match task {
        "bench" => bench::run,
        "soak" => soak::run,
        "crash-table" => crash_table::run,
        "storm" => storm::run,
        "fuzz" => fuzz::run,
        _ => return None,
    })
}

/// What may follow a task: one name or one flag.
#[derive(Debug, Default)]
struct Arguments {
    name: Option<String>,
    flag: Option<String>,
}

impl Arguments {
    fn parse(parser: &mut lexopt::Parser) -> Result<Self, String> {
        let mut found = Self::default();
        while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
            match argument {
                Value(name) if found.name.is_none() => {
                    found.name = Some(name.string().map_err(|error| error.to_string())?);
                }
                Long(flag) if found.flag.is_none() => found.flag = Some(flag.to_owned()),
                other => return Err(other.unexpected().to_string()),
            }
        }
        Ok(found)
    }

    fn none(self) -> Result<(), String> {
        match self.name.or(self.flag) {
            Some(extra) => Err(format!("unexpected argument `{extra}`")),
            None => Ok(()),
        }
    }

    fn only_name(self) -> Result<Option<String>, String> {
        match self.flag {
            Some(flag) => Err(format!("unexpected option `--{flag}`")),
            None => Ok(self.name),
        }
    }

    fn only_flag(self, known: &str) -> Result<bool, String> {
        match (self.name, self.flag) {
            (None, None) => Ok(false),
            (None, Some(flag)) if flag == known => Ok(true),
            (Some(extra), _) => Err(format!("unexpected argument `{extra}`")),
            (None, Some(flag)) => Err(format!("unexpected option `--{flag}`")),
        }
    }
}
