//! Family `socket`: messages between two processes over a Unix socket and over TCP within the machine.

use super::family::{Better, Comparison, ContenderRow, Family, Kind, Metric, Source, contenders};

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
        contenders: contenders(CONTENDERS, None),
        comparisons,
        metrics,
        ..Family::of_printed_figures()
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

const CONTENDERS: &[ContenderRow] = &[
    ("plain frames", Kind::Limit, Source::Bin("socket_frames"), ""),
    ("procession", Kind::Ours, Source::Bin("socket_procession"), ""),
    ("CPython 3.13", Kind::Peer, Source::Python("sockets.py"), ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_sockets_have_all_figures_and_tails_are_not_compared() {
        let family = family();
        assert_eq!(family.metrics.len(), 14);
        assert!(family.comparisons.iter().all(|one| one.metrics.len() == 12));
    }
}
