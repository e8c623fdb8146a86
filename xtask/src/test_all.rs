//! `test-all`: what README and CI run, on a machine that has nothing but the toolchain.
//!
//! All steps run, whatever fails on the way; each skip is printed with its reason and counted.

mod examples;

use xshell::Shell;

use crate::fuzz;
use crate::metadata::{self, Metadata};
use crate::report::{Outcome, Report};
use crate::storm;
use crate::tasks;

/// The release that CI installs; a newer one may ask for a newer toolchain than ours.
const NEXTEST: &str = "cargo-nextest@0.9.143";

/// `strict`: a test that fails is not run once more.
pub(crate) fn run(strict: bool) -> Result<(), String> {
    let sh = metadata::shell()?;
    let workspace = Metadata::load(&sh)?;
    let mut report = Report::default();
    tasks::lint_steps(&sh, &mut report);
    if std::env::var_os("CI").is_some_and(|value| !value.is_empty())
        && !tasks::works(&sh, &["cargo", "nextest"])
    {
        report.step("install nextest", || install_nextest(&sh));
    }
    let profile = if strict { "default" } else { "test-all" };
    tasks::tests(&sh, &mut report, &["--workspace".to_owned()], profile);
    by_spawn(&sh, &mut report, profile);
    report.step("doctests", || tasks::run(&sh, "cargo", &["test", "--doc", "--workspace"]));
    report.step("plain libtest", || plain_libtest(&sh, &workspace));
    report.step("loom", || tasks::check_models(&sh));
    report.step("storm", || storm::step(&sh));
    fuzz::steps(&sh, &mut report);
    examples::steps(&sh, &workspace, &mut report);
    report.step("docs", || tasks::check_docs(&sh));
    report.finish()
}

/// A failure to install is no failure of ours: the tests then run without it, and that is counted.
fn install_nextest(sh: &Shell) -> Result<Outcome, String> {
    let installed = tasks::run(sh, "cargo", &["install", "--locked", NEXTEST]);
    installed.or_else(|message| Ok(Outcome::Skipped(message)))
}

/// What starts processes is tested once more under the start method that is not the default. Without nextest, tests of one
/// program share a process, and the method with it; the plain step below covers that.
fn by_spawn(sh: &Shell, report: &mut Report, profile: &str) {
    let name = "processes by spawn";
    if !tasks::works(sh, &["cargo", "nextest"]) {
        report.skip(name, "cargo-nextest is not installed");
        return;
    }
    let _method = sh.push_env("PROCESSION_TEST_METHOD", "spawn");
    // CPython's rows name their methods themselves; and who is killed over a lock, a pipe or a block is killed the same way, however
    // it was started.
    let tests = "package(procession-tests) and not binary(wordcount) and not binary(compile_fail) and not binary(panic_abort) \
                 and not binary(/^python_/) and not binary(/^(sync|pipe|shared|value|queue)_/) \
                 and not binary(fuzz_corpus) and not binary(large)";
    // All packages, as in the step before: of one alone, everything would be built anew with fewer features.
    tasks::nextest(sh, report, name, profile, &["--workspace", "-E", tests]);
}

/// Children start under plain libtest too, where all tests of a program share one process.
fn plain_libtest(sh: &Shell, workspace: &Metadata) -> Result<Outcome, String> {
    let (package, target) = ("procession-tests", "harness");
    let exists = workspace
        .package(package)
        .is_some_and(|package| package.targets_of_kind("test").any(|name| name == target));
    if !exists {
        return Ok(Outcome::Skipped(format!("`{package}` has no test target `{target}`")));
    }
    tasks::run(sh, "cargo", &["test", "--package", package, "--test", target])
}
