//! The command line.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use lexopt::prelude::*;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
Counts the words of files with worker processes.

Usage: wordcount [PATH...] [--workers N | --threads N | --serial] [--top N] [--json] [--quiet]

  PATH         files and folders (default: the current folder)
  --workers N  worker processes (default: one for each usable CPU)
  --threads N  threads instead of processes
  --serial     neither: one file after the other in this process
  --top N      how many of the most frequent words to list (default: 10)
  --json       print one JSON object
  --quiet      no progress bar
  --help       this text

A word is a run of ASCII letters, digits and bytes from 0x80 up, in lower case; of a word with more
than 1024 bytes the first 1024 count. Folders are walked without hidden names, symbolic links and
folders marked by a CACHEDIR.TAG. Files with a NUL byte in their first 8 KiB are binary and not
counted. A file that is reached twice counts twice. A file counts up to the length it had when the
walk saw it.

Exit status: 0; 1 if none of the paths could be read; 2 if the command line is wrong.
";

/// How the work is done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mode {
    Pool(NonZeroUsize),
    Threads(NonZeroUsize),
    Serial,
}

impl Mode {
    /// The word for it in the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pool(_) => "pool",
            Self::Threads(_) => "threads",
            Self::Serial => "serial",
        }
    }

    /// How many count at the same time.
    pub(crate) fn workers(self) -> usize {
        match self {
            Self::Pool(count) | Self::Threads(count) => count.get(),
            Self::Serial => 1,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serial => out.write_str(self.name()),
            _ => write!(out, "{} of {}", self.name(), self.workers()),
        }
    }
}

/// What the user asked for.
#[derive(Debug, PartialEq)]
pub(crate) struct Args {
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) mode: Mode,
    pub(crate) top: usize,
    pub(crate) is_json: bool,
    pub(crate) is_quiet: bool,
    pub(crate) is_help: bool,
}

impl Args {
    pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Self, lexopt::Error> {
        let mut mode = None;
        let mut args = Self {
            paths: Vec::new(),
            mode: Mode::Serial,
            top: 10,
            is_json: false,
            is_quiet: false,
            is_help: false,
        };
        let mut choose_fn = |chosen| match mode.replace(chosen) {
            None => Ok(()),
            Some(_) => Err("give only one of --workers, --threads and --serial"),
        };
        while let Some(arg) = parser.next()? {
            match arg {
                Long("workers") => choose_fn(Mode::Pool(number(&mut parser)?))?,
                Long("threads") => choose_fn(Mode::Threads(number(&mut parser)?))?,
                Long("serial") => choose_fn(Mode::Serial)?,
                Long("top") => args.top = number(&mut parser)?,
                Long("json") => args.is_json = true,
                Long("quiet") | Short('q') => args.is_quiet = true,
                Long("help") | Short('h') => args.is_help = true,
                Value(path) => args.paths.push(path.into()),
                other => return Err(other.unexpected()),
            }
        }
        if args.paths.is_empty() {
            args.paths.push(PathBuf::from("."));
        }
        args.mode = mode.unwrap_or_else(|| Mode::Pool(usable_cpus()));
        Ok(args)
    }
}

fn number<N>(parser: &mut lexopt::Parser) -> Result<N, lexopt::Error>
where
    N: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    parser.value()?.parse()
}

fn usable_cpus() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

#[cfg(test)]
mod tests;
