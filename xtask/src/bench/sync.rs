//! Family `sync`: locks, semaphores, events, conditions and barriers between processes.

use std::collections::BTreeSet;
use std::num::NonZero;

use super::family::{Better, Comparison, Contender, Env, Family, Kind, Metric, Source, read_lines};

/// Why those that never sleep are left out on one processor.
const WOULD_SPIN: &str = "on one processor it spins until it is interrupted";

/// `cpus` is the list that all processes are bound to, where one was given.
pub(crate) fn family(cpus: Option<&str>) -> Family {
    let metric = |(name, unit, better)| Metric::new(name, unit, better);
    let compare = |subject, against, metrics: &[&str]| Comparison {
        subject,
        against,
        metrics: metrics.iter().map(|name| (*name).to_owned()).collect(),
    };
    let wakes = ["event_wake_p50", "cond_wake_p50"];
    let (alone, contended) = ("lock_uncontended", ["lock_contended_2p", "lock_contended_4p"]);
    let lock = [alone, contended[0], contended[1]];
    Family {
        name: "sync",
        metrics: METRICS.map(metric).into(),
        columns: 4,
        limit: "futex",
        contenders: contenders(has_one_processor(cpus)),
        comparisons: vec![
            compare("procession", "futex", &lock),
            compare("procession", "glibc robust", &lock),
            compare("procession sleep", "futex", &wakes),
            compare("procession", "futex adaptive", &["event_spin_p50", "barrier_2p"]),
            compare("procession", "futex", &["barrier_4p"]),
            compare("procession", "CPython 3.13", &lock),
            compare("procession", "CPython 3.13", &["barrier_2p"]),
        ],
        tools: &[],
        with_peak: false,
        read: Box::new(read_lines),
        lines: Box::new(|outcome| Ok(outcome.stdout.clone())),
    }
}

const METRICS: [(&str, &str, Better); 16] = [
    ("lock_uncontended", "ns", Better::Lower),
    ("rlock_uncontended", "ns", Better::Lower),
    ("sem_uncontended", "ns", Better::Lower),
    ("permit_uncontended", "ns", Better::Lower),
    ("lock_contended_2p", "ops/s", Better::Higher),
    ("cpu_contended_2p", "s/s", Better::Lower),
    ("lock_contended_4p", "ops/s", Better::Higher),
    ("cpu_contended_4p", "s/s", Better::Lower),
    ("event_wake_p50", "us", Better::Lower),
    ("event_wake_p99", "us", Better::Lower),
    ("cond_wake_p50", "us", Better::Lower),
    ("cond_wake_p99", "us", Better::Lower),
    ("event_spin_p50", "us", Better::Lower),
    ("cond_spin_p50", "us", Better::Lower),
    ("barrier_2p", "rounds/s", Better::Higher),
    ("barrier_4p", "rounds/s", Better::Higher),
];

/// Whether two processes never run at once.
fn has_one_processor(cpus: Option<&str>) -> bool {
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
        ("parking_lot threads", Peer, PeerBin("sync_parking_lot"), ""),
        ("std threads", Limit, Bin("sync_threads"), ""),
        ("POSIX sem_t", Limit, Bin("sync_glibc"), "semaphore"),
        ("glibc", Limit, Bin("sync_glibc"), "plain"),
        ("spin", Limit, spinning(Bin("sync_futex")), "spin"),
        ("glibc robust", Limit, Bin("sync_glibc"), "robust"),
        ("futex adaptive", Limit, Bin("sync_futex"), "adaptive"),
        ("procession", Ours, Bin("sync_procession"), "adaptive"),
        ("futex", Limit, Bin("sync_futex"), "plain"),
        ("procession sleep", Ours, Bin("sync_procession"), "sleep"),
        ("procession spin", Ours, spinning(Bin("sync_procession")), "spin"),
        ("CPython 3.13", Peer, Python("sync.py"), ""),
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

    /// The names of those that cannot take part with these processors.
    fn left_out(cpus: &str) -> Vec<&'static str> {
        let contenders = family(Some(cpus)).contenders;
        let is_left_out = |one: &&Contender| matches!(one.source, Source::Nowhere(_));
        contenders.iter().filter(is_left_out).map(|one| one.name).collect()
    }

    #[test]
    fn who_never_sleeps_needs_two_processors() {
        assert_eq!(left_out("0"), ["spin", "procession spin"]);
        assert_eq!(left_out("1, 1"), ["spin", "procession spin"]);
        assert!(left_out("0,1").is_empty());
    }

    #[test]
    fn who_was_left_out_on_purpose_is_not_missed() {
        let missing = |name| vec![(name, "a reason".to_owned())];
        assert!(verdict(&family(Some("0")), &[], &missing("spin")).is_ok());
        assert!(verdict(&family(Some("0")), &[], &missing("procession spin")).is_ok());
        assert!(verdict(&family(Some("0")), &[], &missing("futex")).is_err());
        assert!(verdict(&family(Some("0,1")), &[], &missing("spin")).is_err());
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
