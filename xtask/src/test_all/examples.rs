//! Example programs are built, run, and their output is looked at.
//!
//! `examples/smoke.toml` says how, one `[[run]]` each: `name`, `args`, and `expect`, a part of standard output. All others are
//! run without arguments, and print what the header of their source says: the first block of `text` there, line by line. A
//! name in it like `<child>` stands for a number, the same one wherever it stands.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde::Deserialize;
use xshell::{Shell, cmd};

use crate::metadata::{self, Metadata};
use crate::report::{Outcome, Report, say};
use crate::tasks;

const PACKAGE: &str = "procession-examples";

/// How long one example may take. An example is a second's work; more means that it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long the output of killed processes may stay open.
const AFTER_KILL: Duration = Duration::from_secs(5);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Smoke {
    run: Vec<Run>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Run {
    name: String,
    #[serde(default)]
    args: Vec<String>,
    expect: String,
}

/// Builds all examples, then runs each with a step of its own.
pub(super) fn steps(sh: &Shell, workspace: &Metadata, report: &mut Report) {
    // With all packages, as the tests: most of it is built by now.
    let build = ["build", "--workspace", "--examples"];
    report.step("build examples", || tasks::run(sh, "cargo", &build));
    let path = metadata::root().join("examples/smoke.toml");
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string());
    let smoke = match text.and_then(|text| parse(&text)) {
        Ok(smoke) => smoke,
        Err(message) => {
            report.step("run examples", || Err(format!("examples/smoke.toml: {message}")));
            return;
        }
    };
    let folder = workspace.target_directory.join("debug/examples");
    for run in &smoke.run {
        let name = format!("example {}", run.name);
        report.step(&name, || check(&folder.join(&run.name), run, PATIENCE));
    }
    let examples = workspace
        .package(PACKAGE)
        .into_iter()
        .flat_map(|package| package.targets_of_kind("example"));
    for name in examples.filter(|name| smoke.run.iter().all(|run| run.name != **name)) {
        report.step(&format!("example {name}"), || {
            let expected = promised_output(name)?;
            compare(&expected, &output_of(&folder.join(name), &[], PATIENCE)?)
        });
    }
}

/// What the header of an example says that it prints.
fn promised_output(name: &str) -> Result<String, String> {
    let folder = metadata::root().join("examples");
    let sources = [folder.join(format!("{name}.rs")), folder.join(name).join("main.rs")];
    let source = sources.iter().find(|path| path.is_file());
    let source = source.ok_or_else(|| format!("`{name}` is neither a file nor a folder"))?;
    let text = std::fs::read_to_string(source).map_err(|error| error.to_string())?;
    block_of_text(&text)
        .ok_or_else(|| format!("the header of {} does not say what it prints", source.display()))
}

/// The first block of `text` in the documentation of a file.
fn block_of_text(source: &str) -> Option<String> {
    let header = source.lines().map_while(|line| line.strip_prefix("//!"));
    let header = header.map(|line| line.strip_prefix(' ').unwrap_or(line));
    let block = header.skip_while(|line| *line != "```text").skip(1);
    let lines: Vec<&str> = block.take_while(|line| *line != "```").collect();
    (!lines.is_empty()).then(|| lines.join("\n") + "\n")
}

/// Whether a program has printed what it should; one that could not do its work says why, and nothing else.
fn compare(expected: &str, output: &str) -> Result<Outcome, String> {
    if let Some(reason) = output.strip_prefix("SKIPPED: ") {
        return Ok(Outcome::Skipped(reason.trim_end().to_owned()));
    }
    let mut numbers = BTreeMap::new();
    let mut printed = output.lines();
    for (at, line) in (1..).zip(expected.lines()) {
        let found = printed.next().unwrap_or_default();
        if !is_alike(line, found, &mut numbers) {
            return Err(format!("line {at} is {found:?} and not {line:?}"));
        }
    }
    match printed.next() {
        Some(more) => Err(format!("{more:?} is more than it should print")),
        None => Ok(Outcome::Passed),
    }
}

/// Whether a line is what was expected, where names like `<child>` stand for `numbers`.
fn is_alike<'a>(
    mut expected: &'a str,
    mut found: &'a str,
    numbers: &mut BTreeMap<&'a str, &'a str>,
) -> bool {
    while let Some((before, (name, behind))) =
        expected.split_once('<').and_then(|(before, rest)| Some((before, rest.split_once('>')?)))
    {
        let Some(rest) = found.strip_prefix(before) else { return false };
        let (number, rest) = rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count());
        if number.is_empty() || *numbers.entry(name).or_insert(number) != number {
            return false;
        }
        (expected, found) = (behind, rest);
    }
    expected == found
}

fn parse(text: &str) -> Result<Smoke, String> {
    let smoke: Smoke = toml::from_str(text).map_err(|error| error.to_string())?;
    match smoke.run.iter().find(|run| run.expect.is_empty()) {
        // Every output contains the empty string: such a run could not fail.
        Some(run) => Err(format!("`{}` expects nothing", run.name)),
        None if smoke.run.is_empty() => Err("no run at all".to_owned()),
        None => Ok(smoke),
    }
}

/// Runs one program and looks for the expected text.
fn check(program: &Path, run: &Run, patience: Duration) -> Result<Outcome, String> {
    if output_of(program, &run.args, patience)?.contains(&run.expect) {
        Ok(Outcome::Passed)
    } else {
        Err(format!("the output does not contain {:?}", run.expect))
    }
}

/// Runs one program, which ends well, and returns what it has printed. Standard error goes where ours goes.
fn output_of(program: &Path, arguments: &[String], patience: Duration) -> Result<String, String> {
    say(&format!("$ {} {}\n", program.display(), arguments.join(" ")));
    #[expect(clippy::disallowed_methods, reason = "xshell cannot stop a program that hangs")]
    let mut command = std::process::Command::new(program);
    command
        .args(arguments)
        .current_dir(metadata::root())
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    // A group of its own: what the example started is stopped together with it.
    let child = command.process_group(0).spawn().map_err(|error| error.to_string())?;
    let output = wait(child, patience)?;
    say(&output);
    Ok(output)
}

/// The output of a child that ends well in time. It has not ended while a process holds its output open.
fn wait(mut child: Child, patience: Duration) -> Result<String, String> {
    let group = child.id();
    let (sender, receiver) = mpsc::channel();
    // Never joined: a process that left the group could hold the output open for ever.
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = child.stdout.take().map_or(Ok(0), |mut stdout| stdout.read_to_end(&mut bytes));
        let status = read.and_then(|_length| child.wait());
        // Nobody listens any more when even the kill did not help.
        sender.send((status, String::from_utf8_lossy(&bytes).into_owned())).ok();
    });
    if let Ok((status, output)) = receiver.recv_timeout(patience) {
        let status = status.map_err(|error| error.to_string())?;
        if status.success() {
            return Ok(output);
        }
        say(&output);
        return Err(status.to_string());
    }
    let sh = metadata::shell()?;
    let kill = format!("kill -KILL -{group}");
    // The group may have ended just now.
    cmd!(sh, "sh -c {kill}")
        .quiet()
        .ignore_stderr()
        .ignore_status()
        .run()
        .map_err(|e| e.to_string())?;
    let seconds = patience.as_secs_f64();
    match receiver.recv_timeout(AFTER_KILL) {
        Ok((_, output)) => {
            say(&output);
            Err(format!("stopped after {seconds} s"))
        }
        Err(_still_open) => Err(format!("killed after {seconds} s, but its output is still open")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell_script(script: &str, expect: &str, patience: Duration) -> Result<Outcome, String> {
        let run = Run {
            name: "sh".into(),
            args: vec!["-c".into(), script.into()],
            expect: expect.into(),
        };
        check(Path::new("/bin/sh"), &run, patience)
    }

    #[test]
    fn output_decides() {
        assert_eq!(shell_script("echo one two", "e tw", PATIENCE), Ok(Outcome::Passed));
        assert!(shell_script("echo one two", "three", PATIENCE).is_err());
        assert!(shell_script("echo three >&2", "three", PATIENCE).is_err());
    }

    #[test]
    fn exit_status_decides_too() {
        let failed = shell_script("echo one; exit 3", "one", PATIENCE);
        assert!(failed.is_err_and(|message| message.contains("exit status: 3")));
    }

    #[test]
    fn hang_is_stopped_with_all_that_it_started() {
        // The inner shell holds the output open: only the end of the whole group ends the reading.
        let hung =
            shell_script("sh -c 'sleep 600; true' & sleep 600", "x", Duration::from_millis(200));
        assert_eq!(hung, Err("stopped after 0.2 s".to_owned()));
    }

    #[test]
    fn headers_say_what_is_printed() {
        let source =
            "//! Adds.\n//!\n//! ```text\n//! 1\n//!   2\n//! ```\n\n//! ```text\n//! 3\n//! ```\n";
        assert_eq!(block_of_text(source).as_deref(), Some("1\n  2\n"));
        assert_eq!(block_of_text("//! Adds.\n\nfn main() {}\n"), None);
        assert_eq!(block_of_text("//! ```text\n//! ```\n"), None);
        assert_eq!(promised_output("process_hello").as_deref(), Ok("hello bob\n"));
        assert!(promised_output("no example").is_err());
    }

    #[test]
    fn whole_lines_are_compared_and_names_stand_for_numbers() {
        let expected = "a <x> b\n<y> and <x>\n";
        assert_eq!(compare(expected, "a 12 b\n7 and 12\n"), Ok(Outcome::Passed));
        for other in ["a 12 b\n7 and 13\n", "a 12 b\n", "a  b\n7 and 12\n", "a 12 c\n7 and 12\n"] {
            assert!(compare(expected, other).is_err(), "{other:?}");
        }
        assert!(compare(expected, "a 12 b\n7 and 12\n8\n").is_err());
        assert!(compare("a\n", "a b\n").is_err());
        let skipped = compare(expected, "SKIPPED: no compiler\n");
        assert_eq!(skipped, Ok(Outcome::Skipped("no compiler".to_owned())));
    }

    #[test]
    fn runs_that_cannot_fail_are_refused() {
        assert!(parse("[[run]]\nname = \"a\"\nexpect = \"b\"\n").is_ok());
        assert!(parse("[[run]]\nname = \"a\"\nexpect = \"\"\n").is_err());
        assert!(parse("[[run]]\nname = \"a\"\n").is_err());
        assert!(parse("run = []\n").is_err());
    }
}
