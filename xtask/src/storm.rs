//! `cargo xtask storm`: all tests of a package, while every thread of theirs is interrupted every 100 µs (`docs/safety.md`).
//!
//! `tests/storm` makes the storm. It is preloaded into the test programs only: cargo and nextest run these by the runner of the
//! target, which is `env` here.

use std::ffi::OsString;
use std::path::Path;

use lexopt::prelude::*;
use xshell::{Shell, cmd};

use crate::metadata::{self, Metadata};
use crate::report::{Outcome, Report, say};
use crate::tasks;

const HELP: &str = "\
cargo xtask storm [options]

options
  --package P       whose tests (procession-connection)
";

/// Whose tests `test-all` takes.
const PACKAGE: &str = "procession-connection";

const STORM: &str = "procession-storm";
const LIBRARY: &str = "libprocession_storm.so";
/// As `tests/storm` calls it.
const COUNT_FILE: &str = "PROCESSION_STORM_COUNT";

/// So many signals in one program, a tenth of a second's, are no accident.
const ENOUGH: u64 = 1000;

pub(crate) fn run(args: Vec<OsString>) -> Result<(), String> {
    let Some(package) = parse(args).map_err(|error| error.to_string())? else {
        say(HELP);
        return Ok(());
    };
    let sh = metadata::shell()?;
    let mut report = Report::default();
    report.step("storm", || check(&sh, &package));
    report.finish()
}

/// Nothing if help was asked for.
fn parse(args: Vec<OsString>) -> Result<Option<String>, lexopt::Error> {
    let mut package = PACKAGE.to_owned();
    let mut parser = lexopt::Parser::from_args(args);
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(None),
            Long("package") => package = parser.value()?.string()?,
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(package))
}

/// The part of `test-all`.
pub(crate) fn step(sh: &Shell) -> Result<Outcome, String> {
    check(sh, PACKAGE)
}

fn check(sh: &Shell, package: &str) -> Result<Outcome, String> {
    let workspace = Metadata::load(sh)?;
    if workspace.package(package).is_none() {
        return Err(format!("no member of the workspace is called `{package}`"));
    }
    tasks::run(sh, "cargo", &["build", "--package", STORM])?;
    let folder = &workspace.target_directory;
    let counts = folder.join("storm.txt");
    // Lines are appended to it.
    std::fs::write(&counts, "").map_err(|error| format!("{}: {error}", counts.display()))?;
    let (name, runner) = runner(&host(sh)?, &folder.join("debug").join(LIBRARY))?;
    {
        let _runner = sh.push_env(name, runner);
        let _counts = sh.push_env(COUNT_FILE, &counts);
        // Without doctests, which are run by no runner.
        let tests: &[&str] = match tasks::works(sh, &["cargo", "nextest"]) {
            true => &["nextest", "run", "--package", package],
            false => &["test", "--tests", "--no-fail-fast", "--package", package],
        };
        tasks::run(sh, "cargo", tests)?;
    }
    let text = std::fs::read_to_string(&counts);
    let summary = summary(&text.map_err(|error| format!("{}: {error}", counts.display()))?)?;
    say(&format!("{summary}\n"));
    Ok(Outcome::Passed)
}

/// The triple of this machine.
fn host(sh: &Shell) -> Result<String, String> {
    let asked = cmd!(sh, "rustc --version --verbose").quiet().read();
    let told = asked.map_err(|error| error.to_string())?;
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc does not tell what it runs on".to_owned())
}

/// The variable by which cargo and nextest learn what runs the programs of a target, and its value.
fn runner(host: &str, library: &Path) -> Result<(String, String), String> {
    let triple = host.to_uppercase().replace(['-', '.'], "_");
    let path = library.to_str().filter(|path| !path.contains([' ', ':']));
    // Cargo takes the value apart at spaces, the loader the list of what it preloads at colons as well.
    let path = path.ok_or_else(|| format!("cannot be preloaded from there: {library:?}"))?;
    Ok((format!("CARGO_TARGET_{triple}_RUNNER"), format!("env LD_PRELOAD={path}")))
}

/// How bad the storm was, out of one count for each program.
///
/// # Errors
///
/// When there was none: tests that pass in fair weather prove nothing here.
fn summary(counts: &str) -> Result<String, String> {
    let counts: Result<Vec<u64>, _> = counts.lines().map(str::parse).collect();
    let counts = counts.map_err(|error| format!("a count of signals: {error}"))?;
    let (sum, most) = (counts.iter().sum::<u64>(), counts.iter().max().copied().unwrap_or(0));
    let text = format!("{sum} signals in {} programs, at most {most} in one", counts.len());
    if most > ENOUGH { Ok(text) } else { Err(format!("no storm: {text}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_has_a_default() {
        let parse = |line: &str| parse(line.split_whitespace().map(OsString::from).collect());
        assert_eq!(parse("").expect("no options").as_deref(), Some(PACKAGE));
        assert_eq!(
            parse("--package procession-pool").expect("an option").as_deref(),
            Some("procession-pool")
        );
        assert_eq!(parse("--help").expect("an option"), None);
        assert!(parse("pool").is_err());
    }

    #[test]
    fn fair_weather_is_a_failure() {
        let storm = summary("3\n1001\n0\n");
        assert_eq!(storm, Ok("1004 signals in 3 programs, at most 1001 in one".to_owned()));
        assert!(summary("1000\n1000\n").is_err_and(|text| text.contains("2000 signals in 2")));
        assert!(summary("").is_err() && summary("1001\nx\n").is_err());
    }

    #[test]
    fn runner_is_that_of_the_target() {
        let wanted = (
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER".to_owned(),
            "env LD_PRELOAD=/a/b.so".to_owned(),
        );
        assert_eq!(runner("x86_64-unknown-linux-gnu", Path::new("/a/b.so")), Ok(wanted));
        assert!(runner("x86_64-unknown-linux-gnu", Path::new("/a b/c.so")).is_err());
        assert!(runner("x86_64-unknown-linux-gnu", Path::new("/a:b/c.so")).is_err());
    }

    #[test]
    fn library_is_called_as_the_step_expects() {
        let sh = metadata::shell().expect("a current directory");
        let workspace = Metadata::load(&sh).expect("cargo describes the workspace");
        let storm = workspace.package(STORM).expect("a member of the workspace");
        let names: Vec<&str> = storm.targets_of_kind("cdylib").collect();
        assert_eq!(names.iter().map(|name| format!("lib{name}.so")).collect::<Vec<_>>(), [LIBRARY]);
        let source = storm.folder().join("src/lib.rs");
        let source = std::fs::read_to_string(source).expect("a source");
        assert!(source.contains(&format!("\"{COUNT_FILE}\"")));
    }
}
