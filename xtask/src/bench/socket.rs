//! Family `socket`: messages between two processes over a Unix socket and over TCP within the machine.

use super::family::{Better, Comparison, Contender, Env, Family, Kind, Metric, Source, read_lines};

pub(crate) fn family() -> Family {
    let metrics = |kind: &str| {
        METRICS.map(|(what, size, unit, better)| {
            Metric::new(format!("{what}[{kind} {size}]"), unit, better)
        })
    };
    let metrics: Vec<Metric> = KINDS.iter().flat_map(|kind| metrics(kind)).collect();
    let compare = |against| Comparison {
        subject: "procession",
        against,
        metrics: metrics.iter().map(|metric| metric.name.clone()).collect(),
    };
    let comparisons = vec![compare("plain frames"), compare("CPython 3.13")];
    // Tails say little of two programs that make the same calls.
    let comparisons = comparisons.into_iter().map(without_tails).collect();
    Family {
        name: "socket",
        columns: METRICS.len(),
        limit: "plain frames",
        contenders: contenders(),
        comparisons,
        metrics,
        tools: &[],
        with_peak: false,
        read: Box::new(read_lines),
        lines: Box::new(|outcome| Ok(outcome.stdout.clone())),
    }
}

const KINDS: [&str; 2] = ["unix", "tcp"];

const METRICS: [(&str, &str, &str, Better); 7] = [
    ("rtt_p50", "8B", "us", Better::Lower),
    ("rtt_p99", "8B", "us", Better::Lower),
    ("rtt_p50", "1KiB", "us", Better::Lower),
    ("rtt_p50", "64KiB", "us", Better::Lower),
    ("msgs", "8B", "msg/s", Better::Higher),
    ("into", "64KiB", "GB/s", Better::Higher),
    ("into", "1MiB", "GB/s", Better::Higher),
];

fn without_tails(mut comparison: Comparison) -> Comparison {
    comparison.metrics.retain(|name| !name.starts_with("rtt_p99"));
    comparison
}

fn contenders() -> Vec<Contender> {
    [
        ("plain frames", Kind::Limit, Source::Bin("socket_frames")),
        ("procession", Kind::Ours, Source::Bin("socket_procession")),
        ("CPython 3.13", Kind::Peer, Source::Python("sockets.py")),
    ]
    .map(|(name, kind, source)| Contender {
        name,
        kind,
        source,
        args: Vec::new(),
        runs: vec![Env::new()],
    })
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_are_of_figures_and_rows_that_exist() {
        let family = family();
        let has_row = |name| family.contenders.iter().any(|one| one.name == name);
        let has_figure = |name: &String| family.metrics.iter().any(|metric| metric.name == *name);
        assert_eq!(family.metrics.len(), 14);
        assert!(has_row(family.limit));
        for one in &family.comparisons {
            assert!(has_row(one.subject) && has_row(one.against), "{}", one.against);
            assert!(one.metrics.len() == 12 && one.metrics.iter().all(has_figure));
        }
    }
}
