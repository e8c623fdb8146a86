//! Family `queue`: items through a queue of several putters and as many getters.

use super::family::{Better, Comparison, Contender, Env, Family, Kind, Metric, Source, read_lines};
use super::pipe::{WOULD_SPIN, has_one_processor};

/// `cpus` is the list that all processes are bound to, where one was given.
pub(crate) fn family(cpus: Option<&str>) -> Family {
    let metric = |(name, unit, better)| Metric::new(name, unit, better);
    let compare = |subject, against, metrics: &[&str]| Comparison {
        subject,
        against,
        metrics: metrics.iter().map(|name| (*name).to_owned()).collect(),
    };
    let small = ["msgs[1p1c,8B]", "msgs[2p2c,8B]", "msgs[4p4c,8B]"];
    let kib = ["msgs[1p1c,1KiB]", "msgs[2p2c,1KiB]", "msgs[4p4c,1KiB]"];
    let mib = ["GBps[1p1c,1MiB]", "GBps[2p2c,1MiB]", "GBps[4p4c,1MiB]"];
    Family {
        name: "queue",
        metrics: METRICS.map(metric).into(),
        columns: 6,
        limit: "bare ring",
        contenders: contenders(has_one_processor(cpus)),
        comparisons: vec![
            compare("procession", "bare ring", &small),
            compare("procession", "bare ring", &kib),
            compare("procession", "bare ring", &mib),
            compare("procession", "CPython 3.13 Queue", &small),
            compare("procession", "CPython 3.13 SimpleQueue", &small),
        ],
        tools: &[],
        with_peak: false,
        read: Box::new(read_lines),
        lines: Box::new(|outcome| Ok(outcome.stdout.clone())),
    }
}

const METRICS: [(&str, &str, Better); 12] = [
    ("msgs[1p1c,8B]", "msg/s", Better::Higher),
    ("msgs[2p2c,8B]", "msg/s", Better::Higher),
    ("msgs[4p4c,8B]", "msg/s", Better::Higher),
    ("msgs[1p1c,1KiB]", "msg/s", Better::Higher),
    ("msgs[2p2c,1KiB]", "msg/s", Better::Higher),
    ("msgs[4p4c,1KiB]", "msg/s", Better::Higher),
    ("msgs[1p1c,1MiB]", "msg/s", Better::Higher),
    ("GBps[1p1c,1MiB]", "GB/s", Better::Higher),
    ("msgs[2p2c,1MiB]", "msg/s", Better::Higher),
    ("GBps[2p2c,1MiB]", "GB/s", Better::Higher),
    ("msgs[4p4c,1MiB]", "msg/s", Better::Higher),
    ("GBps[4p4c,1MiB]", "GB/s", Better::Higher),
];

/// Ours runs right beside the limit that it is compared with, so that they see the same machine.
fn contenders(has_one_processor: bool) -> Vec<Contender> {
    use Kind::{Limit, Ours, Peer};
    use Source::{Bin, Nowhere, Python};
    let spinning = |source| if has_one_processor { Nowhere(WOULD_SPIN) } else { source };
    [
        ("bare ring", Limit, Bin("queue_procession"), "ring"),
        ("procession", Ours, Bin("queue_procession"), "adaptive"),
        ("procession sleep", Ours, Bin("queue_procession"), "sleep"),
        ("procession spin", Ours, spinning(Bin("queue_procession")), "spin"),
        ("CPython 3.13 Queue", Peer, Python("queues.py"), "Queue"),
        ("CPython 3.13 SimpleQueue", Peer, Python("queues.py"), "SimpleQueue"),
    ]
    .map(|(name, kind, source, argument)| Contender {
        name,
        kind,
        source,
        args: vec![argument.into()],
        runs: vec![Env::new()],
    })
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_never_sleeps_needs_two_processors() {
        let left_out = |cpus| {
            let contenders = family(Some(cpus)).contenders;
            let is_left_out = |one: &&Contender| matches!(one.source, Source::Nowhere(_));
            contenders.iter().filter(is_left_out).map(|one| one.name).collect::<Vec<_>>()
        };
        assert_eq!(left_out("0"), ["procession spin"]);
        assert!(left_out("0,1").is_empty());
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
