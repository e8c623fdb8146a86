//! The small tasks, and the steps that they share with `test-all`.

use std::path::PathBuf;

use xshell::{Shell, cmd};

use crate::conformance;
use crate::layers::{self, Plan};
use crate::metadata::{self, Metadata, Package};
use crate::report::{Outcome, Report, say};
use crate::tidy;
use crate::unstable;

/// `test [crate]`: tests, then doctests.
pub(crate) fn test(name: Option<String>) -> Result<(), String> {
    let sh = metadata::shell()?;
    let workspace = Metadata::load(&sh)?;
    let (scope, has_library) = match name {
        None => (vec!["--workspace".to_owned()], true),
        Some(name) => {
            let package = find(&workspace, &name)?;
            (vec!["--package".to_owned(), package.name.clone()], package.has_library())
        }
    };
    let mut report = Report::default();
    tests(&sh, &mut report, &scope, "default");
    if has_library {
        report.step("doctests", || {
            run(&sh, "cargo", &[&["test", "--doc"], borrowed(&scope).as_slice()].concat())
        });
    }
    report.finish()
}

/// `pool` stands for `procession-pool`.
fn find<'a>(workspace: &'a Metadata, name: &str) -> Result<&'a Package, String> {
    let long = format!("procession-{name}");
    let found = workspace.package(name).or_else(|| workspace.package(&long));
    found.ok_or_else(|| format!("no member of the workspace is called `{name}` or `{long}`"))
}

/// `lint`: everything that reads the code and runs none of it.
pub(crate) fn lint() -> Result<(), String> {
    let sh = metadata::shell()?;
    let mut report = Report::default();
    lint_steps(&sh, &mut report);
    // Advisories change with the day and need the network; `cargo deny check` by hand looks at them too.
    let deny = ["cargo", "deny", "check", "bans", "licenses", "sources"];
    let missing = "cargo-deny is not installed";
    report.step("deny", || optional(&sh, &["cargo", "deny"], missing, &deny));
    report.step("typos", || optional(&sh, &["typos"], "typos is not installed", &["typos"]));
    report.finish()
}

/// The part of `lint` that needs nothing but the toolchain.
pub(crate) fn lint_steps(sh: &Shell, report: &mut Report) {
    report.step("layers", || check_layers(sh));
    report.step("tidy", || check_tidy(sh));
    report.step("conformance", || conformance::check(sh));
    report.step("fmt", || {
        let check = ["cargo", "fmt", "--all", "--check"];
        optional(sh, &["cargo", "fmt"], "rustfmt is not installed", &check)
    });
    report.step("clippy", || {
        let check = ["cargo", "clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
        optional(sh, &["cargo", "clippy"], "clippy is not installed", &check)
    });
}

/// `fix`: what tools can repair by themselves.
pub(crate) fn fix() -> Result<(), String> {
    let sh = metadata::shell()?;
    let mut report = Report::default();
    report.step("clippy --fix", || {
        let dirty = ["--allow-dirty", "--allow-staged"];
        run(
            &sh,
            "cargo",
            &[&["clippy", "--fix", "--workspace", "--all-targets"], &dirty[..]].concat(),
        )
    });
    report.step("fmt", || run(&sh, "cargo", &["fmt", "--all"]));
    report.finish()
}

/// `docs [--open]`
pub(crate) fn docs(open: bool) -> Result<(), String> {
    let sh = metadata::shell()?;
    let mut report = Report::default();
    report.step("docs", || check_docs(&sh));
    if open {
        report.step("open", || {
            run(&sh, "cargo", &["doc", "--no-deps", "--package", "procession", "--open"])
        });
    }
    report.finish()
}

/// Builds the documentation; a warning is an error.
pub(crate) fn check_docs(sh: &Shell) -> Result<Outcome, String> {
    let _flags = sh.push_env("RUSTDOCFLAGS", "-D warnings");
    run(sh, "cargo", &["doc", "--workspace", "--no-deps"])
}

/// `layers [--dot]`
pub(crate) fn layers(dot: bool) -> Result<(), String> {
    let sh = metadata::shell()?;
    if dot {
        say(&layers::dot(&Plan::load(&metadata::root())?, &Metadata::load(&sh)?));
        return Ok(());
    }
    let mut report = Report::default();
    report.step("layers", || check_layers(&sh));
    report.finish()
}

fn check_layers(sh: &Shell) -> Result<Outcome, String> {
    let found = layers::findings(&Plan::load(&metadata::root())?, &Metadata::load(sh)?);
    clean(&found)
}

/// `tidy`
pub(crate) fn tidy() -> Result<(), String> {
    let sh = metadata::shell()?;
    let mut report = Report::default();
    report.step("tidy", || check_tidy(&sh));
    report.finish()
}

fn check_tidy(sh: &Shell) -> Result<Outcome, String> {
    let root = metadata::root();
    let found = tidy::findings(&root, &Plan::load(&root)?, &Metadata::load(sh)?)?;
    clean(&found)
}

fn clean<T: ToString>(found: &[T]) -> Result<Outcome, String> {
    for finding in found {
        say(&format!("{}\n", finding.to_string()));
    }
    match found.len() {
        0 => Ok(Outcome::Passed),
        count => Err(format!("findings: {count}")),
    }
}

/// All tests except doctests: nextest, which gives each test a process of its own, else plain libtest.
pub(crate) fn tests(sh: &Shell, report: &mut Report, scope: &[String], profile: &str) {
    if works(sh, &["cargo", "nextest"]) {
        nextest(sh, report, "tests", profile, &borrowed(scope));
        return;
    }
    let reason = "cargo-nextest is not installed; plain `cargo test` runs the same tests";
    report.skip("nextest", reason);
    // Without doctests, which are a step of their own.
    let arguments =
        [&["test"], borrowed(scope).as_slice(), &["--tests", "--no-fail-fast"]].concat();
    report.step("tests", || run(sh, "cargo", &arguments));
}

/// Tests by nextest, as a profile of `.config/nextest.toml` says; those that it ran twice are counted.
pub(crate) fn nextest(sh: &Shell, report: &mut Report, name: &str, profile: &str, scope: &[&str]) {
    let told = target().join("nextest").join(profile).join("junit.xml");
    // One of another run says nothing about this one.
    std::fs::remove_file(&told).ok();
    let arguments = [&["nextest", "run", "--profile", profile], scope].concat();
    report.step(name, || run(sh, "cargo", &arguments));
    report.unstable(unstable::names(&std::fs::read_to_string(&told).unwrap_or_default()));
}

/// `loom`
pub(crate) fn loom() -> Result<(), String> {
    let sh = metadata::shell()?;
    let mut report = Report::default();
    report.step("loom", || check_models(&sh));
    report.finish()
}

/// Runs the models, in a target folder of their own: every crate is built with another flag.
pub(crate) fn check_models(sh: &Shell) -> Result<Outcome, String> {
    let _flags = sh.push_env("RUSTFLAGS", "--cfg loom");
    let _folder = sh.push_env("CARGO_TARGET_DIR", target().join("loom"));
    // Half as long to build, and as fast to run.
    let _optimised = sh.push_env("CARGO_PROFILE_RELEASE_LTO", "off");
    let _in_parts = sh.push_env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    let packages = [
        "procession-sys",
        "procession-core",
        "procession-sync",
        "procession-connection",
        "procession-queue",
    ];
    let mut arguments = vec!["test", "--lib", "--release"];
    arguments.extend(packages.iter().flat_map(|package| ["-p", package]));
    // By name, in whichever package they are.
    arguments.extend(["--", "gate::loom", "family", "raw", "ring::loom"]);
    run(sh, "cargo", &arguments)
}

/// Where cargo builds.
fn target() -> PathBuf {
    let folder = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    folder.unwrap_or_else(|| metadata::root().join("target"))
}

fn borrowed(owned: &[String]) -> Vec<&str> {
    owned.iter().map(String::as_str).collect()
}

/// Runs a program whose output goes where ours goes.
pub(crate) fn run(sh: &Shell, program: &str, arguments: &[&str]) -> Result<Outcome, String> {
    say(&format!("$ {program} {}\n", arguments.join(" ")));
    let done = cmd!(sh, "{program} {arguments...}").quiet().run();
    done.map(|()| Outcome::Passed).map_err(|error| error.to_string())
}

/// Runs `check` when the tool answers to `--version`, else says why not.
fn optional(sh: &Shell, tool: &[&str], missing: &str, check: &[&str]) -> Result<Outcome, String> {
    if !works(sh, tool) {
        return Ok(Outcome::Skipped(missing.to_owned()));
    }
    match check {
        [program, arguments @ ..] => run(sh, program, arguments),
        [] => Err("nothing to run".to_owned()),
    }
}

/// Whether a tool is there: `<tool> --version` succeeds.
pub(crate) fn works(sh: &Shell, tool: &[&str]) -> bool {
    let Some((program, arguments)) = tool.split_first() else { return false };
    cmd!(sh, "{program} {arguments...} --version")
        .quiet()
        .ignore_stdout()
        .ignore_stderr()
        .run()
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_find_their_crate() {
        let sh = metadata::shell().expect("a current directory");
        let workspace = Metadata::load(&sh).expect("cargo describes the workspace");
        let name = |short| find(&workspace, short).map(|package| package.name.clone());
        assert_eq!(name("sys"), Ok("procession-sys".to_owned()));
        assert_eq!(name("procession"), Ok("procession".to_owned()));
        assert_eq!(name("xtask"), Ok("xtask".to_owned()));
        assert!(name("nothing").is_err_and(|message| message.contains("`procession-nothing`")));
    }

    #[test]
    fn missing_tool_is_a_skip_and_a_failing_tool_is_not() {
        let sh = metadata::shell().expect("a current directory");
        let missing = optional(&sh, &["no-such-program"], "not here", &["true"]);
        assert_eq!(missing, Ok(Outcome::Skipped("not here".to_owned())));
        assert_eq!(optional(&sh, &["cargo"], "not here", &["true"]), Ok(Outcome::Passed));
        assert!(optional(&sh, &["cargo"], "not here", &["false"]).is_err());
    }
}
