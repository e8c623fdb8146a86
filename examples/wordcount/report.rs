//! Adds partial results up and prints them.

use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use crate::args::Mode;
use crate::count::Partial;
use crate::table::Table;
use crate::walk::{Share, Task, Trouble, TroubleKind};

/// Complaints that are printed one by one.
const MAX_COMPLAINTS: usize = 20;

/// Everything counted so far.
#[derive(Debug)]
pub(crate) struct Summary {
    files: u64,
    empty: u64,
    binary: u64,
    unreadable: u64,
    vanished: u64,
    bytes: u64,
    words: u64,
    table: Table,
    /// The first few, for the report.
    complaints: Vec<String>,
    /// Roots that nothing bad was heard of.
    good_roots: HashSet<OsString>,
    /// Large files whose first range failed: nothing more is said of their other ranges.
    failed_files: HashSet<OsString>,
    /// Other ranges that failed: how many, and why the first of them did.
    failed_ranges: BTreeMap<OsString, (u64, String)>,
}

impl Summary {
    pub(crate) fn new(roots: &[PathBuf]) -> Self {
        Self {
            files: 0,
            empty: 0,
            binary: 0,
            unreadable: 0,
            vanished: 0,
            bytes: 0,
            words: 0,
            table: Table::new(),
            complaints: Vec::new(),
            good_roots: roots.iter().map(|root| root.clone().into_os_string()).collect(),
            failed_files: HashSet::new(),
            failed_ranges: BTreeMap::new(),
        }
    }

    /// Bytes of text counted so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds the result of one task.
    pub(crate) fn add(&mut self, partial: Partial) {
        self.words += partial.add_words_to(&mut self.table);
        self.files += partial.files;
        self.empty += partial.empty;
        self.binary += partial.binary;
        self.bytes += partial.bytes;
        for trouble in partial.troubles {
            self.note(trouble);
        }
    }

    /// Puts a task on record that nobody could carry out.
    pub(crate) fn give_up(&mut self, task: Task, reason: &str) {
        for trouble in task.troubles {
            self.note(trouble);
        }
        for piece in task.pieces {
            self.note(Trouble::unreadable(piece.path, piece.share, reason.to_owned()));
        }
    }

    fn note(&mut self, trouble: Trouble) {
        if trouble.share == Share::Later {
            let ranges = self.failed_ranges.entry(trouble.path).or_insert((0, trouble.reason));
            ranges.0 += 1;
            return;
        }
        self.good_roots.remove(&trouble.path);
        match trouble.kind {
            TroubleKind::Unreadable => self.complain(&trouble.path, &trouble.reason),
            TroubleKind::Vanished => self.vanished += 1,
        }
        if trouble.share == Share::First {
            self.failed_files.insert(trouble.path);
        }
    }

    fn complain(&mut self, path: &OsStr, reason: &str) {
        self.unreadable += 1;
        if self.complaints.len() < MAX_COMPLAINTS {
            self.complaints.push(format!("{}: {reason}", Printable(path.as_encoded_bytes())));
        }
    }

    /// Closes the account once all tasks are in.
    pub(crate) fn finish(&mut self) {
        for (path, (count, reason)) in std::mem::take(&mut self.failed_ranges) {
            if !self.failed_files.contains(&path) {
                self.complain(&path, &format!("{count} of its ranges are not counted: {reason}"));
            }
        }
    }

    /// Whether there were roots and none of them could be read.
    pub(crate) fn is_failure(&self) -> bool {
        self.files == 0 && self.good_roots.is_empty()
    }

    /// Says what could not be read.
    pub(crate) fn write_complaints(&self, out: &mut impl Write) -> io::Result<()> {
        for complaint in &self.complaints {
            writeln!(out, "wordcount: {complaint}")?;
        }
        let more = self.unreadable - self.complaints.len() as u64;
        if more > 0 {
            writeln!(out, "wordcount: and {more} more")?;
        }
        Ok(())
    }

    /// Prints the table for people.
    pub(crate) fn write_table(&self, out: &mut impl Write, run: &Run) -> io::Result<()> {
        let rows = [
            ("files", self.files),
            ("empty", self.empty),
            ("binary", self.binary),
            ("unreadable", self.unreadable),
            ("vanished", self.vanished),
            ("bytes", self.bytes),
            ("words", self.words),
            ("distinct words", self.table.distinct() as u64),
        ];
        for (name, value) in rows {
            writeln!(out, "{name:<15}{value:>15}")?;
        }
        writeln!(out, "{:<15}{:>15}", "mode", run.mode.to_string())?;
        writeln!(out, "{:<15}{:>15.3}", "seconds", run.elapsed.as_secs_f64())?;
        writeln!(out, "{:<15}{:>15.1}", "MB/s", self.mb_per_s(run))?;
        let top = self.table.top(run.top);
        if !top.is_empty() {
            writeln!(out)?;
        }
        for (word, count) in top {
            writeln!(out, "{count:>15}  {}", Printable(word))?;
        }
        out.flush()
    }

    /// Prints one JSON object.
    pub(crate) fn write_json(&self, out: &mut impl Write, run: &Run) -> io::Result<()> {
        let top: Vec<_> = self
            .table
            .top(run.top)
            .into_iter()
            .map(|(word, count)| (String::from_utf8_lossy(word), count))
            .collect();
        let object = json!({
            "files": self.files,
            "empty": self.empty,
            "binary": self.binary,
            "unreadable": self.unreadable,
            "vanished": self.vanished,
            "bytes": self.bytes,
            "words": self.words,
            "distinct": self.table.distinct(),
            "mode": run.mode.name(),
            "workers": run.mode.workers(),
            "seconds": run.elapsed.as_secs_f64(),
            "mb_per_s": self.mb_per_s(run),
            "top": top,
        });
        writeln!(out, "{object}")?;
        out.flush()
    }

    fn mb_per_s(&self, run: &Run) -> f64 {
        // Precise up to 2^53 bytes.
        self.bytes as f64 / 1e6 / run.elapsed.as_secs_f64().max(1e-9)
    }
}

/// What the report says about the run itself.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) mode: Mode,
    pub(crate) elapsed: Duration,
    /// How many words to list.
    pub(crate) top: usize,
}

/// Bytes of a file as text that cannot move the cursor or start a new line.
struct Printable<'a>(&'a [u8]);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in String::from_utf8_lossy(self.0).chars() {
            if c.is_control() {
                write!(out, "{}", c.escape_default())?;
            } else {
                write!(out, "{c}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
