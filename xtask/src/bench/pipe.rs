//! Family `pipe`: messages between two processes of one machine.

use std::collections::BTreeSet;
use std::num::NonZero;

use super::family::{Better, Comparison, Contender, Env, Family, Kind, Metric, Source, read_lines};

/// Why those that never sleep are left out on one processor.
pub(super) const WOULD_SPIN: &str = "on one processor it spins until it is interrupted";

/// `cpus` is the list that all processes are bound to, where one was given.
pub(crate) fn family(cpus: Option<&str>) -> Family {
    let metric = |(name, unit, better)| Metric::new(name, unit, better);
    let compare = |subject, against, metrics: &[&str]| Comparison {
        subject,
        against,
        metrics: metrics.iter().map(|name| (*name).to_owned()).collect(),
    };
    let trip = "rtt_p50[8B]";
    let into = ["into[64KiB]", "into[1MiB]", "into[64MiB]"];
    let fresh = ["fresh[64KiB]", "fresh[1MiB]", "fresh[64MiB]"];
    let owned = ["owned[64KiB]", "owned[1MiB]", "owned[64MiB]"];
    Family {
        name: "pipe",
        metrics: METRICS.map(metric).into(),
        columns: 5,
        limit: "adaptive ring",
        contenders: contenders(has_one_processor(cpus)),
        comparisons: vec![
            compare("procession", "adaptive ring", &[trip, "rtt_p50[1KiB]", "msgs[8B]"]),
            compare("procession", "adaptive ring", &into),
            compare("procession sleep", "raw socketpair STREAM", &[trip]),
            compare("procession sleep", "futex ring", &[trip]),
            compare("procession", "memcpy", &into),
            compare("procession", "framed socketpair", &into),
            compare("procession", "framed socketpair", &fresh),
            compare("procession", "framed socketpair", &owned),
            compare("procession", "CPython 3.13 send", &[trip, "msgs[8B]"]),
            compare("procession", "CPython 3.13 bytes", &["msgs[1KiB]", into[0], into[1]]),
        ],
        tools: &[],
        with_peak: false,
        read: Box::new(read_lines),
        lines: Box::new(|outcome| Ok(outcome.stdout.clone())),
    }
}

const METRICS: [(&str, &str, Better); 17] = [
    ("rtt_p50[8B]", "us", Better::Lower),
    ("rtt_p99[8B]", "us", Better::Lower),
    ("rtt_p50[1KiB]", "us", Better::Lower),
    ("rtt_p50[64KiB]", "us", Better::Lower),
    ("rtt_p50[1MiB]", "us", Better::Lower),
    ("msgs[8B]", "msg/s", Better::Higher),
    ("msgs[1KiB]", "msg/s", Better::Higher),
    ("into[64KiB]", "GB/s", Better::Higher),
    ("into[1MiB]", "GB/s", Better::Higher),
    ("into[64MiB]", "GB/s", Better::Higher),
    ("fresh[64KiB]", "GB/s", Better::Higher),
    ("fresh[1MiB]", "GB/s", Better::Higher),
    ("fresh[64MiB]", "GB/s", Better::Higher),
    ("owned[64KiB]", "GB/s", Better::Higher),
    ("owned[1MiB]", "GB/s", Better::Higher),
    ("owned[64MiB]", "GB/s", Better::Higher),
    ("cpu_idle", "us/s", Better::Lower),
];

/// Whether two processes never run at once.
pub(super) fn has_one_processor(cpus: Option<&str>) -> bool {
    let usable = match cpus {
        Some(list) => list.split(',').map(str::trim).collect::<BTreeSet<_>>().len(),
        None => std::thread::available_parallelism().map_or(1, NonZero::get),
    };
    usable == 1
}

/// Ours runs right beside the limits that it is compared with, so that they see the same machine.
fn contenders(has_one_processor: bool) -> Vec<Contender> {
    use Kind::{Limit, Ours, Peer};
    use Source::{Bin, Nowhere, PeerBin, Python};
    let spinning = |source| if has_one_processor { Nowhere(WOULD_SPIN) } else { source };
    [
        ("crossbeam threads", Peer, PeerBin("pipe_crossbeam"), ""),
        ("memcpy", Limit, Bin("pipe_memcpy"), ""),
        ("adaptive ring", Limit, Bin("pipe_ring"), "adaptive"),
        ("procession", Ours, Bin("pipe_procession"), "adaptive"),
        ("framed socketpair", Limit, Bin("pipe_wire"), "framed"),
        ("futex ring", Limit, Bin("pipe_ring"), "futex"),
        ("procession sleep", Ours, Bin("pipe_procession"), "sleep"),
        ("raw socketpair STREAM", Limit, Bin("pipe_wire"), "stream"),
        ("spinning ring", Limit, spinning(Bin("pipe_ring")), "spin"),
        ("procession spin", Ours, spinning(Bin("pipe_procession")), "spin"),
        ("raw socketpair SEQPACKET", Limit, Bin("pipe_wire"), "packets"),
        ("raw pipe", Limit, Bin("pipe_wire"), "pipe"),
        ("ipc-channel typed", Peer, PeerBin("pipe_ipc_channel"), "typed"),
        ("ipc-channel bytes", Peer, PeerBin("pipe_ipc_channel"), "bytes"),
        ("CPython 3.13 send", Peer, Python("pipe.py"), "send"),
        ("CPython 3.13 bytes", Peer, Python("pipe.py"), "bytes"),
    ]
    .map(|(name, kind, source, argument)| Contender {
        name,
        kind,
        source,
        args: Some(argument).filter(|text| !text.is_empty()).map(Into::into).into_iter().collect(),
        runs: vec![Env::new()],
    })
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::verdict;

    #[test]
    fn who_never_sleeps_needs_two_processors() {
        let left_out = |cpus| {
            let contenders = family(Some(cpus)).contenders;
            let is_left_out = |one: &&Contender| matches!(one.source, Source::Nowhere(_));
            contenders.iter().filter(is_left_out).map(|one| one.name).collect::<Vec<_>>()
        };
        assert_eq!(left_out("0"), ["spinning ring", "procession spin"]);
        assert_eq!(left_out("1, 1"), ["spinning ring", "procession spin"]);
        assert!(left_out("0,1").is_empty());
    }

    #[test]
    fn who_was_left_out_on_purpose_is_not_missed() {
        let missing = |name| vec![(name, "a reason".to_owned())];
        assert!(verdict(&family(Some("0")), &[], &missing("spinning ring")).is_ok());
        assert!(verdict(&family(Some("0")), &[], &missing("procession spin")).is_ok());
        assert!(verdict(&family(Some("0")), &[], &missing("futex ring")).is_err());
        assert!(verdict(&family(Some("0,1")), &[], &missing("spinning ring")).is_err());
    }

    #[test]
    fn another_harness_gets_the_default() {
        let contenders = family(Some("0")).contenders;
        let first = contenders.iter().find(|one| one.kind == Kind::Ours);
        assert_eq!(first.map(|one| one.name), Some("procession"));
    }

    #[test]
    fn comparisons_are_of_figures_and_rows_that_exist() {
        let family = family(Some("0,1"));
        let has_row = |name| family.contenders.iter().any(|one| one.name == name);
        let has_figure = |name: &String| family.metrics.iter().any(|metric| metric.name == *name);
        assert!(has_row(family.limit));
        for one in &family.comparisons {
            assert!(has_row(one.subject) && has_row(one.against), "{}", one.against);
            assert!(one.metrics.iter().all(has_figure), "{:?}", one.metrics);
        }
    }
}
