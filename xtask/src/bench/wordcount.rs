//! Family `wordcount`: a whole program that reads much and says little, with two workers.

use std::ffi::OsString;

use serde::Deserialize;

use super::build::Workshop;
use super::cage::Outcome;
use super::corpus::{self, Corpus};
use super::family::{Better, Comparison, Contender, Env, Family, Kind, Metric, Sample, Source};

/// How much text is counted, in millions of bytes.
const CORPUS_MB: u64 = 2400;
const QUICK_CORPUS_MB: u64 = 60;

/// What the programs print, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Counts {
    bytes: u64,
    words: u64,
    distinct: u64,
}

pub(crate) fn family(workshop: &Workshop, quick: bool) -> Result<Family, String> {
    let megabytes = if quick { QUICK_CORPUS_MB } else { CORPUS_MB };
    let corpus = corpus::prepare(workshop.target(), megabytes)?;
    let against =
        |subject, against| Comparison { subject, against, metrics: vec!["throughput".to_owned()] };
    let contenders = contenders(&corpus);
    let for_lines = corpus.clone();
    Ok(Family {
        name: "wordcount",
        metrics: vec![
            Metric::new("throughput", "MB/s", Better::Higher),
            Metric::new("seconds", "s", Better::Lower),
            Metric::new("cpu_s", "s", Better::Lower),
            Metric::new("parent_peak_rss[MB]", "MB", Better::Lower),
        ],
        columns: 4,
        limit: "threads 2",
        contenders,
        comparisons: vec![
            against("procession", "one worker"),
            against("procession", "threads 2"),
            against("procession", "CPython 3.13 Pool"),
        ],
        bars: Vec::new(),
        tools: &[],
        with_peak: true,
        read: Box::new(move |outcome| figures(outcome, &corpus)),
        lines: Box::new(move |outcome| Ok(lines(&figures(outcome, &for_lines)?))),
    })
}

fn contenders(corpus: &Corpus) -> Vec<Contender> {
    use Kind::{Limit, Ours, Peer};
    use Source::{Example, Python};
    [
        ("serial", Limit, Example("wordcount"), &["--serial"][..]),
        ("threads 2", Limit, Example("wordcount"), &["--threads", "2"]),
        ("procession", Ours, Example("wordcount"), &["--workers", "2"]),
        ("one worker", Limit, Example("wordcount"), &["--workers", "1"]),
        ("CPython 3.13 Pool", Peer, Python("wordcount.py"), &["--workers", "2"]),
    ]
    .map(|(name, kind, source, args)| Contender {
        name,
        kind,
        source,
        args: args
            .iter()
            .map(OsString::from)
            .chain(["--json".into(), corpus.folder.clone().into()])
            .collect(),
        runs: vec![Env::new()],
    })
    .into()
}

/// Whoever counts wrong has no figures.
fn figures(outcome: &Outcome, corpus: &Corpus) -> Result<Vec<Sample>, String> {
    let counts: Counts = serde_json::from_str(outcome.stdout.trim())
        .map_err(|error| format!("its report cannot be read: {error}"))?;
    let [found, expected] = [
        [counts.bytes, counts.words, counts.distinct],
        [corpus.bytes, corpus.words, corpus.distinct],
    ];
    if found != expected {
        return Err(format!("counted bytes, words, distinct {found:?} instead of {expected:?}"));
    }
    let seconds = outcome.account.wall_s;
    #[expect(clippy::cast_precision_loss, reason = "far below the 53 bits that are exact")]
    let megabytes = counts.bytes as f64 / 1e6;
    Ok([
        ("throughput", "MB/s", megabytes / seconds),
        ("seconds", "s", seconds),
        ("cpu_s", "s", outcome.account.cpu_s),
        ("parent_peak_rss[MB]", "MB", outcome.account.peak_kib * 1024.0 / 1e6),
    ]
    .map(|(metric, unit, value)| Sample { metric: metric.to_owned(), unit: unit.to_owned(), value })
    .into())
}

fn lines(samples: &[Sample]) -> String {
    let line = |sample: &Sample| {
        let Sample { metric, unit, value } = sample;
        serde_json::json!({ "m": metric, "v": value, "u": unit }).to_string() + "\n"
    };
    samples.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::cage::Account;

    fn outcome(stdout: &str) -> Outcome {
        let account = Account {
            ok: true,
            end: "exit 0".to_owned(),
            wall_s: 2.0,
            cpu_s: 3.5,
            peak_kib: 1000.0,
            strays: 0,
        };
        Outcome { stdout: stdout.to_owned(), complaint: String::new(), account }
    }

    fn corpus() -> Corpus {
        Corpus { folder: "x".into(), files: 1, bytes: 8_000_000, words: 20, distinct: 5 }
    }

    #[test]
    fn figures_come_from_the_wall_clock_and_the_account() {
        let counted = outcome(r#"{"bytes": 8000000, "words": 20, "distinct": 5, "seconds": 1.0}"#);
        let figures = figures(&counted, &corpus()).unwrap();
        let values: Vec<f64> = figures.iter().map(|sample| sample.value).collect();
        assert_eq!(values, [4.0, 2.0, 3.5, 1.024]);
        assert!(lines(&figures).starts_with("{\"m\":\"throughput\",\"u\":\"MB/s\",\"v\":4.0}\n"));
    }

    #[test]
    fn a_wrong_count_is_no_figure() {
        let counted = outcome(r#"{"bytes": 8000000, "words": 21, "distinct": 5}"#);
        assert!(figures(&counted, &corpus()).unwrap_err().contains("[8000000, 21, 5]"));
        assert!(figures(&outcome("no JSON"), &corpus()).is_err());
    }
}
