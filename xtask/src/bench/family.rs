//! What a family of benchmarks consists of: contenders, metrics, and what is compared with what.
//!
//! Most families are three tables: [`metrics`], [`contenders`] and [`comparisons`] read them, and [`Family::of_printed_figures`]
//! has the rest.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::num::NonZero;

use serde::Deserialize;

use super::bar::Bar;
use super::cage::Outcome;

/// Environment of one run.
pub(crate) type Env = Vec<(&'static str, String)>;

/// Turns what a run left into something, or says what is wrong with it.
pub(crate) type Reader<T> = Box<dyn Fn(&Outcome) -> Result<T, String>>;

/// Contenders that measure the same things.
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) metrics: Vec<Metric>,
    /// The table is split so that a part has at most this many metrics.
    pub(crate) columns: usize,
    /// The contender that the ratios in the table refer to.
    pub(crate) limit: &'static str,
    pub(crate) contenders: Vec<Contender>,
    pub(crate) comparisons: Vec<Comparison>,
    pub(crate) bars: Vec<Bar>,
    /// Programs of the benchmark package that contenders start.
    pub(crate) tools: &'static [&'static str],
    /// Whether the peak memory of the program itself is watched while it runs.
    pub(crate) with_peak: bool,
    /// Turns what a run left into figures.
    pub(crate) read: Reader<Vec<Sample>>,
    /// Turns what a run left into lines for another harness.
    pub(crate) lines: Reader<String>,
}

impl Family {
    /// Nobody yet, whose programs print their figures line by line and need no tools.
    pub(crate) fn of_printed_figures() -> Self {
        Self {
            name: "",
            metrics: Vec::new(),
            columns: 1,
            limit: "",
            contenders: Vec::new(),
            comparisons: Vec::new(),
            bars: Vec::new(),
            tools: &[],
            with_peak: false,
            read: Box::new(read_lines),
            lines: Box::new(|outcome| Ok(outcome.stdout.clone())),
        }
    }

    /// The runs of a contender, or the one that the environment asks for already: another harness
    /// sets the parent's memory itself.
    pub(crate) fn lines_runs(&self, contender: &Contender) -> Vec<Env> {
        let preset = |env: &Env| env.iter().any(|(name, _)| std::env::var_os(name).is_some());
        if contender.runs.iter().any(preset) {
            return vec![Env::new()];
        }
        contender.runs.clone()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    Higher,
    Lower,
}

impl Better {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Higher => "higher",
            Self::Lower => "lower",
        }
    }
}

/// One figure that every contender of a family gives.
#[derive(Debug, Clone)]
pub(crate) struct Metric {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
}

impl Metric {
    pub(crate) fn new(name: impl Into<String>, unit: &'static str, better: Better) -> Self {
        Self { name: name.into(), unit, better }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The library, by its public face.
    Ours,
    /// What the machine gives at best, or ours in another setting.
    Limit,
    /// Somebody else's library.
    Peer,
}

/// Where a contender's program comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// A binary of the benchmark package.
    Bin(&'static str),
    /// A binary of the peers' own workspace.
    PeerBin(&'static str),
    /// The same, which starts a program that may not be installed.
    PeerBinWith(&'static str, &'static str),
    /// An example program.
    Example(&'static str),
    /// A script of the peers, for CPython 3.13.
    Python(&'static str),
    /// The same, which imports a package that may not be there.
    PythonWith(&'static str, &'static str),
    /// None: for this reason it cannot be measured in this setting.
    Nowhere(&'static str),
}

/// One row of the table.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) source: Source,
    pub(crate) args: Vec<OsString>,
    /// The program runs once with each of these in a round.
    pub(crate) runs: Vec<Env>,
}

/// Two rows whose ratio is printed below the table, from figures of the same round.
pub(crate) struct Comparison {
    pub(crate) subject: &'static str,
    pub(crate) against: &'static str,
    pub(crate) metrics: Vec<String>,
}

/// A metric as a family's table has it: its name, its unit, and which way it gets better.
pub(crate) type MetricRow = (&'static str, &'static str, Better);

/// A contender as a family's table has it: its name, its kind, where its program comes from, and that one's argument, or nothing.
pub(crate) type ContenderRow = (&'static str, Kind, Source, &'static str);

/// A comparison as a family's table has it: subject, what it is compared with, and in what.
pub(crate) type ComparisonRow = (&'static str, &'static str, &'static [&'static str]);

/// The argument of those that never sleep.
const SPIN: &str = "spin";
/// Why they are left out on one processor.
const WOULD_SPIN: &str = "on one processor it spins until it is interrupted";

pub(crate) fn metrics(rows: &[MetricRow]) -> Vec<Metric> {
    rows.iter().map(|&(name, unit, better)| Metric::new(name, unit, better)).collect()
}

/// `cpus` is the list that all processes are bound to, where one was given. On one processor those that never sleep are left out.
pub(crate) fn contenders(rows: &[ContenderRow], cpus: Option<&str>) -> Vec<Contender> {
    let is_alone = has_one_processor(cpus);
    let contender = |&(name, kind, source, argument): &ContenderRow| Contender {
        name,
        kind,
        source: if is_alone && argument == SPIN { Source::Nowhere(WOULD_SPIN) } else { source },
        args: Some(argument).filter(|text| !text.is_empty()).map(Into::into).into_iter().collect(),
        runs: vec![Env::new()],
    };
    rows.iter().map(contender).collect()
}

pub(crate) fn comparisons(rows: &[ComparisonRow]) -> Vec<Comparison> {
    let comparison = |&(subject, against, metrics): &ComparisonRow| Comparison {
        subject,
        against,
        metrics: metrics.iter().map(|name| (*name).to_owned()).collect(),
    };
    rows.iter().map(comparison).collect()
}

/// Whether two processes never run at once.
pub(crate) fn has_one_processor(cpus: Option<&str>) -> bool {
    let usable = match cpus {
        Some(list) => list.split(',').map(str::trim).collect::<BTreeSet<_>>().len(),
        None => std::thread::available_parallelism().map_or(1, NonZero::get),
    };
    usable == 1
}

/// One figure of one run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub(crate) metric: String,
    pub(crate) unit: String,
    pub(crate) value: f64,
}

/// A line that a contender prints.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Line {
    Figure { m: String, v: f64, u: String },
    Cpu { cpu: String, outside_s: f64, ops: f64 },
}

/// Reads the lines of a contender; lines that are none of ours are passed over.
pub(crate) fn read_lines(outcome: &Outcome) -> Result<Vec<Sample>, String> {
    let lines = outcome.stdout.lines().filter(|line| line.starts_with('{'));
    lines
        .map(|line| match serde_json::from_str(line) {
            Ok(Line::Figure { m, v, u }) => Ok(Sample { metric: m, unit: u, value: v }),
            // What the whole tree used, less setting up the parent, for each start.
            Ok(Line::Cpu { cpu, outside_s, ops }) => Ok(Sample {
                metric: cpu,
                unit: "us".to_owned(),
                value: (outcome.account.cpu_s - outside_s).max(0.0) / ops * 1e6,
            }),
            Err(error) => Err(format!("a line that is no figure: {line}: {error}")),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::cage::Account;

    fn read(stdout: &str) -> Result<Vec<Sample>, String> {
        let account = Account {
            ok: true,
            end: "exit 0".to_owned(),
            wall_s: 1.0,
            cpu_s: 3.0,
            peak_kib: 0.0,
            strays: 0,
        };
        read_lines(&Outcome { stdout: stdout.to_owned(), complaint: String::new(), account })
    }

    #[test]
    fn lines_become_figures_and_processor_time_is_shared_out() {
        let figures = read(concat!(
            "{\"m\":\"a[1MB]\",\"v\":1.5,\"u\":\"us\"}\nchatter\n",
            "{\"cpu\":\"cpu[1MB]\",\"outside_s\":1.0,\"ops\":4}\n"
        ));
        let figure = |metric: &str, value| Sample {
            metric: metric.to_owned(),
            unit: "us".to_owned(),
            value,
        };
        assert_eq!(figures.unwrap(), [figure("a[1MB]", 1.5), figure("cpu[1MB]", 500_000.0)]);
    }

    #[test]
    fn a_line_that_is_cut_short_is_an_error() {
        assert!(read("{\"m\":\"a\",\"v\":").is_err());
    }
}
