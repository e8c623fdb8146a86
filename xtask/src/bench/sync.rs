//! Family `sync`: locks, semaphores, events, conditions and barriers between processes.

use super::family::{
    Better, ComparisonRow, ContenderRow, Family, Kind, MetricRow, Source, comparisons, contenders,
    metrics,
};

/// `cpus` is the list that all processes are bound to, where one was given.
pub(crate) fn family(cpus: Option<&str>) -> Family {
    Family {
        name: "sync",
        metrics: metrics(METRICS),
        columns: 4,
        limit: "futex",
        contenders: contenders(CONTENDERS, cpus),
        comparisons: comparisons(COMPARISONS),
        ..Family::of_printed_figures()
    }
}

const METRICS: &[MetricRow] = &[
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

/// Ours runs right beside the limits that it is compared with, so that they see the same machine.
const CONTENDERS: &[ContenderRow] = &[
    ("parking_lot threads", Kind::Peer, Source::PeerBin("sync_parking_lot"), ""),
    ("std threads", Kind::Limit, Source::Bin("sync_threads"), ""),
    ("POSIX sem_t", Kind::Limit, Source::Bin("sync_glibc"), "semaphore"),
    ("glibc", Kind::Limit, Source::Bin("sync_glibc"), "plain"),
    ("spin", Kind::Limit, Source::Bin("sync_futex"), "spin"),
    ("glibc robust", Kind::Limit, Source::Bin("sync_glibc"), "robust"),
    ("futex adaptive", Kind::Limit, Source::Bin("sync_futex"), "adaptive"),
    ("procession", Kind::Ours, Source::Bin("sync_procession"), "adaptive"),
    ("futex", Kind::Limit, Source::Bin("sync_futex"), "plain"),
    ("procession sleep", Kind::Ours, Source::Bin("sync_procession"), "sleep"),
    ("procession spin", Kind::Ours, Source::Bin("sync_procession"), "spin"),
    ("CPython 3.13", Kind::Peer, Source::Python("sync.py"), ""),
];

const LOCK: &[&str] = &["lock_uncontended", "lock_contended_2p", "lock_contended_4p"];

const COMPARISONS: &[ComparisonRow] = &[
    ("procession", "futex", LOCK),
    ("procession", "glibc robust", LOCK),
    ("procession sleep", "futex", &["event_wake_p50", "cond_wake_p50"]),
    ("procession", "futex adaptive", &["event_spin_p50", "barrier_2p"]),
    ("procession", "futex", &["barrier_4p"]),
    ("procession", "CPython 3.13", LOCK),
    ("procession", "CPython 3.13", &["barrier_2p"]),
];
