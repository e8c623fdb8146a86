//! Steps with an outcome each, and the closing lines that count them.
//!
//! Every line of ours is flushed before a child process starts, so that the output reads in the order of events.

use std::io::Write as _;
use std::time::Instant;

/// How a step went when it did not fail.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    /// Not done, and why. Never silent: it is printed at once, in the closing block, and counted.
    Skipped(String),
}

/// The steps of one run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    passed: usize,
    failed: Vec<(String, String)>,
    skipped: Vec<(String, String)>,
    unstable: Vec<String>,
}

impl Report {
    /// Runs one step; a failure is kept for the end, so that later steps still run.
    pub(crate) fn step(&mut self, name: &str, work: impl FnOnce() -> Result<Outcome, String>) {
        say(&format!("\n== {name}\n"));
        let started = Instant::now();
        let outcome = work();
        let seconds = started.elapsed().as_secs_f64();
        match outcome {
            Ok(Outcome::Passed) => {
                say(&format!("== {name}: passed in {seconds:.1} s\n"));
                self.passed += 1;
            }
            Ok(Outcome::Skipped(reason)) => self.skip(name, &reason),
            Err(message) => {
                say(&format!("== {name}: FAILED in {seconds:.1} s: {message}\n"));
                self.failed.push((name.to_owned(), message));
            }
        }
    }

    /// Counts a step that was not done.
    pub(crate) fn skip(&mut self, name: &str, reason: &str) {
        say(&format!("== {name}: SKIPPED: {reason}\n"));
        self.skipped.push((name.to_owned(), reason.to_owned()));
    }

    /// Counts tests that passed only when they were run once more.
    pub(crate) fn unstable(&mut self, tests: Vec<String>) {
        for test in &tests {
            say(&format!("== UNSTABLE: {test}\n"));
        }
        self.unstable.extend(tests);
    }

    /// Prints what was skipped, what was unstable, what failed, and the closing line.
    ///
    /// # Errors
    ///
    /// When any step failed.
    pub(crate) fn finish(self) -> Result<(), String> {
        say(&self.closing());
        if self.failed.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = self.failed.iter().map(|(name, _)| name.as_str()).collect();
        Err(format!("failed: {}", names.join(", ")))
    }

    fn closing(&self) -> String {
        let (passed, failed, skipped) = (self.passed, self.failed.len(), self.skipped.len());
        let mut text = format!("\nSKIPPED: {skipped}\n");
        for (name, reason) in &self.skipped {
            text.push_str(&format!("  {name}: {reason}\n"));
        }
        if !self.unstable.is_empty() {
            text.push_str(&format!("UNSTABLE: {}\n", self.unstable.len()));
        }
        for test in &self.unstable {
            text.push_str(&format!("  {test}\n"));
        }
        if failed > 0 {
            text.push_str(&format!("FAILED: {failed}\n"));
        }
        for (name, message) in &self.failed {
            text.push_str(&format!("  {name}: {}\n", first_line(message)));
        }
        text.push_str(&format!("{passed} passed, {failed} failed, {skipped} skipped\n"));
        text
    }
}

fn first_line(message: &str) -> &str {
    message.lines().next().unwrap_or_default()
}

/// Writes to standard output and flushes. A reader that went away is no failure of the task.
#[cfg(not(test))]
pub(crate) fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    if out.write_all(text.as_bytes()).is_ok() {
        out.flush().ok();
    }
}

/// The tests' twin: libtest keeps what `print!` writes, so that no line of a test looks like a line of a task.
#[cfg(test)]
pub(crate) fn say(text: &str) {
    print!("{text}");
}

/// Writes one line to standard error.
pub(crate) fn complain(line: &str) {
    writeln!(std::io::stderr().lock(), "{line}").ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_count_every_kind() {
        let mut report = Report::default();
        report.step("one", || Ok(Outcome::Passed));
        report.step("two", || Ok(Outcome::Skipped("no tool".into())));
        report.step("three", || Err("broken\nlong story".into()));
        report.step("four", || Ok(Outcome::Passed));
        report.skip("five", "no file");
        assert_eq!(
            report.closing(),
            "\nSKIPPED: 2\n  two: no tool\n  five: no file\nFAILED: 1\n  three: broken\n\
             2 passed, 1 failed, 2 skipped\n"
        );
        assert_eq!(report.finish(), Err("failed: three".to_owned()));
    }

    #[test]
    fn a_skip_alone_is_no_failure() {
        let mut report = Report::default();
        report.skip("fmt", "rustfmt is not installed");
        assert_eq!(report.finish(), Ok(()));
    }
}
