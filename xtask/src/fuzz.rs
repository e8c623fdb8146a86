//! `cargo xtask fuzz`: feeds whatever reads bytes of others with bytes that a fuzzer makes up (`docs/safety.md`).
//!
//! The programs are in `fuzz/`, a workspace of its own in the layout of cargo-fuzz, which is not needed: they are built here, with
//! the flags that it gives. Each starts from its stored corpus, `fuzz/corpus/<target>`.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use lexopt::prelude::*;
use xshell::{Shell, cmd};

use crate::metadata::{self, Metadata};
use crate::report::{Outcome, Report, say};
use crate::tasks;

const HELP: &str = "\
cargo xtask fuzz [target..] [options]

targets
  address           addresses as text, there and back
  codec             bytes and descriptors as values of many types
  frames            a stream of frames that comes in pieces
  handshake         authentication, with somebody in the middle
  pickle            bytes as pickles of CPython's, there and back
  python_handshake  CPython's authentication, with somebody in the middle

options
  --seconds N       how long each target runs (60); two run at once
  --merge           instead: adds to the stored corpus what earlier runs have found and reaches more code
";

/// As many at once: CI has as many processors, or twice that.
const AT_ONCE: usize = 2;

/// Seconds that each target has in `test-all`.
const IN_TEST_ALL: u64 = 15;

/// Longer inputs find no more than those, and take more time. It is the fuzzer's own default.
const MOST_BYTES: usize = 4096;
/// The slowest inputs take some milliseconds: whatever takes that long hangs, on the busiest machine.
const HANGS_SECONDS: u64 = 20;

/// How the fuzzer sees which way an input takes: counters in each branch, and the operands of comparisons.
const COVERAGE: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    // Branches that are folded into one cannot be told apart.
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    // With more of them nothing would be inlined across: what is instrumented is not imported.
    "-Ccodegen-units=1",
];

/// What the command line asked for.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    /// None is all.
    targets: Vec<String>,
    seconds: u64,
    merges: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { targets: Vec::new(), seconds: 60, merges: false }
    }
}

impl Options {
    /// Nothing if help was asked for.
    fn parse(args: Vec<OsString>) -> Result<Option<Self>, lexopt::Error> {
        let mut options = Self::default();
        let mut parser = lexopt::Parser::from_args(args);
        while let Some(argument) = parser.next()? {
            match argument {
                Short('h') | Long("help") => return Ok(None),
                Long("seconds") => options.seconds = parser.value()?.parse()?,
                Long("merge") => options.merges = true,
                Value(name) => options.targets.push(name.string()?),
                other => return Err(other.unexpected()),
            }
        }
        Ok(Some(options))
    }
}

pub(crate) fn run(args: Vec<OsString>) -> Result<(), String> {
    let Some(mut options) = Options::parse(args).map_err(|error| error.to_string())? else {
        say(HELP);
        return Ok(());
    };
    let all = targets()?;
    if let Some(unknown) = options.targets.iter().find(|name| !all.contains(name)) {
        return Err(format!("there is no target `{unknown}`\n\n{HELP}"));
    }
    if options.targets.is_empty() {
        options.targets = all;
    }
    let sh = metadata::shell()?;
    let mut report = Report::default();
    take_steps(&sh, &mut report, &options);
    report.finish()
}

/// The part of `test-all`: every target, for long enough to go through its stored inputs and some millions more.
pub(crate) fn steps(sh: &Shell, report: &mut Report) {
    match targets() {
        Ok(targets) => {
            take_steps(sh, report, &Options { targets, seconds: IN_TEST_ALL, ..Options::default() })
        }
        Err(message) => report.step("fuzz", || Err(message)),
    }
}

fn take_steps(sh: &Shell, report: &mut Report, options: &Options) {
    if !tasks::works(sh, &["c++"]) {
        report.skip("fuzz", "there is no C++ compiler, which the fuzzer is built with");
        return;
    }
    let compiler = Compiler::find(sh);
    if compiler == Compiler::Ours {
        let reason = "there is no nightly toolchain; what is fuzzed is built without the sanitizer";
        report.skip("fuzz: address sanitizer", reason);
    }
    let mut programs = None;
    report.step("fuzz: build", || {
        programs = Some(build(sh, compiler)?);
        Ok(Outcome::Passed)
    });
    let Some(programs) = programs else { return };
    let yard = Yard { programs, root: metadata::root() };
    match options.merges {
        true => report.step("fuzz: merge", || yard.merge_all(options)),
        false => report.step("fuzz", || yard.fuzz_all(options)),
    }
}

/// The names of all targets, in order.
fn targets() -> Result<Vec<String>, String> {
    let folder = metadata::root().join("fuzz/fuzz_targets");
    let fail = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        names.extend(path.file_stem().and_then(|name| name.to_str()).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// Who compiles what is fuzzed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compiler {
    /// It has the address sanitizer.
    Nightly,
    /// The one of the workspace.
    Ours,
}

impl Compiler {
    fn find(sh: &Shell) -> Self {
        // A question is no reason to install anything.
        let _only_asked = sh.push_env("RUSTUP_AUTO_INSTALL", "0");
        if tasks::works(sh, &["cargo", "+nightly"]) { Self::Nightly } else { Self::Ours }
    }

    fn flags(self) -> String {
        // The name by which code knows that it is fuzzed.
        let mut flags = [&COVERAGE[..], &["--cfg", "fuzzing"]].concat();
        if self == Self::Nightly {
            flags.push("-Zsanitizer=address");
        }
        flags.join(" ")
    }
}

/// Builds the programs; returns the folder in which they are.
fn build(sh: &Shell, compiler: Compiler) -> Result<PathBuf, String> {
    let asked = cmd!(sh, "rustc --version --verbose").quiet().read();
    let told = asked.map_err(|error| error.to_string())?;
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.ok_or("rustc does not tell what it runs on")?;
    let folder = Metadata::load(sh)?.target_directory.join("fuzz");
    let folder_text = folder.display().to_string();
    let mut arguments = match compiler {
        Compiler::Nightly => vec!["+nightly"],
        Compiler::Ours => Vec::new(),
    };
    arguments.extend(["build", "--quiet", "--release", "--bins"]);
    arguments.extend(["--manifest-path", "fuzz/Cargo.toml", "--target-dir", &folder_text]);
    // Where a target is named, the flags are not for build scripts.
    arguments.extend(["--target", host]);
    let _flags = sh.push_env("RUSTFLAGS", compiler.flags());
    tasks::run(sh, "cargo", &arguments)?;
    Ok(folder.join(host).join("release"))
}

/// Where everything lies.
struct Yard {
    programs: PathBuf,
    root: PathBuf,
}

impl Yard {
    fn program(&self, target: &str) -> PathBuf {
        self.programs.join(target)
    }

    /// Inputs that everybody has.
    fn stored(&self, target: &str) -> PathBuf {
        self.root.join("fuzz/corpus").join(target)
    }

    /// Inputs that were found here.
    fn found(&self, target: &str) -> PathBuf {
        self.programs.join("corpus").join(target)
    }

    /// Inputs that fail.
    fn artifacts(&self, target: &str) -> PathBuf {
        self.root.join("fuzz/artifacts").join(target)
    }

    fn fuzz_all(&self, options: &Options) -> Result<Outcome, String> {
        let mut findings = Vec::new();
        for some in options.targets.chunks(AT_ONCE) {
            say(&format!("{} s of {}\n", options.seconds, some.join(" and ")));
            let ended: Vec<_> = std::thread::scope(|scope| {
                let fuzz = |target: &'_ String| {
                    let target = target.clone();
                    scope.spawn(move || self.fuzz(&target, options.seconds))
                };
                let threads: Vec<_> = some.iter().map(fuzz).collect();
                threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
            });
            for (target, ended) in some.iter().zip(ended) {
                match ended.unwrap_or_else(|_panic| Err("the task panicked".to_owned())) {
                    Ok(summary) => say(&format!("{target}: {summary}\n")),
                    Err(message) => findings.push(format!("{target}: {message}")),
                }
            }
        }
        if findings.is_empty() { Ok(Outcome::Passed) } else { Err(findings.join("\n\n")) }
    }

    /// Runs one target; tells how far it came.
    fn fuzz(&self, target: &str, seconds: u64) -> Result<String, String> {
        let [stored, found] = [self.stored(target), self.found(target)];
        let artifacts = self.artifacts(target);
        for folder in [&stored, &found, &artifacts] {
            make_folder(folder)?;
        }
        let sh = metadata::shell()?;
        let program = self.program(target);
        let output = cmd!(sh, "{program}")
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-max_len={MOST_BYTES}"))
            .arg(format!("-timeout={HANGS_SECONDS}"))
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .arg("-print_final_stats=1")
            // What is found goes into the first.
            .args([found, stored])
            .quiet()
            .ignore_status()
            .output()
            .map_err(|error| error.to_string())?;
        let told = String::from_utf8_lossy(&output.stderr);
        match (output.status.success(), executions(&told)) {
            (true, Some(count)) if count > 0 => {
                Ok(format!("{count} inputs, {} a second", count / seconds.max(1)))
            }
            (true, _) => Err(format!("no input was run\n{told}")),
            (false, _) => Err(finding(&told)),
        }
    }

    fn merge_all(&self, options: &Options) -> Result<Outcome, String> {
        for target in &options.targets {
            let [stored, found] = [self.stored(target), self.found(target)];
            make_folder(&stored)?;
            make_folder(&found)?;
            let sh = metadata::shell()?;
            // How often a branch was taken is not worth a file.
            let merge = ["-merge=1", "-use_counters=0"];
            let program = self.program(target);
            cmd!(sh, "{program}")
                .args(merge)
                .arg(format!("-max_len={MOST_BYTES}"))
                .args([stored, found])
                .run()
                .map_err(|error| error.to_string())?;
        }
        Ok(Outcome::Passed)
    }
}

fn make_folder(folder: &Path) -> Result<(), String> {
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))
}

/// How many inputs were run.
fn executions(told: &str) -> Option<u64> {
    let line = "stat::number_of_executed_units:";
    told.lines().find_map(|told| told.strip_prefix(line)?.trim().parse().ok())
}

/// What there is to say about an input that failed.
fn finding(told: &str) -> String {
    let mut text = String::new();
    let path = told.lines().find_map(|line| line.split_once("Test unit written to "));
    match path.map(|(_, path)| (path, std::fs::read(path))) {
        Some((path, Ok(bytes))) => {
            let len = bytes.len();
            write!(text, "an input fails\nits {len} bytes: {}\nit lies in {path}\n", hex(&bytes))
                .ok();
        }
        Some((path, Err(error))) => {
            writeln!(text, "an input fails\nit cannot be read from {path}: {error}").ok();
        }
        None => text.push_str("the fuzzer failed, and names no input\n"),
    }
    text.push_str(&reason(told));
    text
}

/// From the first line that tells what was wrong on, as much as one wants to read.
fn reason(told: &str) -> String {
    const MOST_LINES: usize = 40;
    let marks = ["panicked at", "==ERROR:", "== ERROR:", "ERROR: libFuzzer"];
    let lines: Vec<&str> = told.lines().collect();
    let start = lines.iter().position(|line| marks.iter().any(|mark| line.contains(mark)));
    let start = start.unwrap_or(lines.len().saturating_sub(MOST_LINES));
    lines[start..].iter().take(MOST_LINES).map(|line| format!("  {line}\n")).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_have_defaults() {
        let parse =
            |line: &str| Options::parse(line.split_whitespace().map(OsString::from).collect());
        let wanted = parse("codec --seconds 5 frames").expect("options").expect("no help");
        let targets = vec!["codec".to_owned(), "frames".to_owned()];
        assert_eq!(wanted, Options { targets, seconds: 5, merges: false });
        let defaults = parse("").expect("no options").expect("no help");
        assert_eq!((defaults.seconds, defaults.merges), (60, false));
        assert!(parse("--merge").expect("an option").expect("no help").merges);
        assert_eq!(parse("--help").expect("an option"), None);
        assert!(parse("--fast").is_err());
    }

    #[test]
    fn every_target_is_in_the_manifest_and_the_help_and_has_a_corpus() {
        let names = targets().expect("the folder of targets");
        assert!(names.len() >= 4, "{names:?}");
        let root = metadata::root();
        let manifest = std::fs::read_to_string(root.join("fuzz/Cargo.toml")).expect("a manifest");
        for name in names {
            let entry = format!("name = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"\n");
            assert!(manifest.contains(&entry), "{name}");
            assert!(HELP.contains(&format!("\n  {name} ")), "{name}");
            let corpus = root.join("fuzz/corpus").join(&name);
            assert!(std::fs::read_dir(corpus).is_ok_and(|mut files| files.next().is_some()));
        }
    }

    #[test]
    fn finding_tells_the_input_where_it_lies_and_what_was_wrong() {
        let path = metadata::root().join("rustfmt.toml");
        let bytes = std::fs::read(&path).expect("a file");
        let told = format!(
            "INFO: Seed: 7\nthread '<unnamed>' panicked at src/a.rs:1:1:\nwrong\n\
             artifact_prefix='x/'; Test unit written to {}\n",
            path.display()
        );
        let text = finding(&told);
        assert!(text.contains(&hex(&bytes)) && text.contains(&path.display().to_string()));
        assert!(text.contains("panicked at src/a.rs:1:1:\n  wrong\n") && !text.contains("Seed"));
        assert_eq!(hex(&[0, 10, 255]), "000aff");
        assert!(finding("killed").contains("names no input\n  killed"));
    }

    #[test]
    fn runs_are_counted() {
        assert_eq!(executions("a\nstat::number_of_executed_units: 83467\nb"), Some(83_467));
        assert_eq!(executions("Done 7 runs"), None);
    }
}
