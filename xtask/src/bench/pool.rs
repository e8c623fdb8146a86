//! Family `pool`: tasks for two workers.

use super::bar::{Against, BarRow, bars};
use super::family::{
    Better, ComparisonRow, ContenderRow, Family, Kind, MetricRow, Source, comparisons, contenders,
    has_one_processor, metrics,
};

/// `cpus` is the list that all processes are bound to, where one was given.
pub(crate) fn family(cpus: Option<&str>) -> Family {
    let by_processors = if has_one_processor(cpus) { ON_ONE_PROCESSOR } else { ON_SEVERAL };
    Family {
        name: "pool",
        metrics: metrics(METRICS),
        columns: 6,
        limit: RING,
        contenders: contenders(CONTENDERS, cpus),
        comparisons: comparisons(COMPARISONS),
        bars: bars(&[BARS, by_processors].concat()),
        ..Family::of_printed_figures()
    }
}

const METRICS: &[MetricRow] = &[
    ("map[10M]", "tasks/s", Better::Higher),
    ("map[1M]", "tasks/s", Better::Higher),
    (SINGLE[0], "tasks/s", Better::Higher),
    (SINGLE[1], "tasks/s", Better::Higher),
    ("apply_p50", "us", Better::Lower),
    ("apply_p99", "us", Better::Lower),
    ("bytes[1MiB]", "GB/s", Better::Higher),
    ("efficiency", "ratio", Better::Higher),
    ("start_stop", "ms", Better::Lower),
    ("worker_rss", "MiB", Better::Lower),
    ("worker_pss", "MiB", Better::Lower),
    ("cpu_idle", "us/s", Better::Lower),
];

/// One task at a time; what was said about chunks.
const SINGLE: [&str; 2] = ["unordered[1]", "unordered[default]"];

const RING: &str = "ring-pool";
const PROCSPAWN: &str = "procspawn";

/// Ours runs between the limits that it is compared with, so that they see the same machine.
const CONTENDERS: &[ContenderRow] = &[
    ("rayon threads", Kind::Peer, Source::PeerBin("pool_rayon"), ""),
    (RING, Kind::Limit, Source::Bin("pool_ring"), "adaptive"),
    ("procession", Kind::Ours, Source::Bin("pool_procession"), "adaptive"),
    (PROCSPAWN, Kind::Peer, Source::PeerBin("pool_procspawn"), ""),
    ("procession sleep", Kind::Ours, Source::Bin("pool_procession"), "sleep"),
    ("ring-pool-futex", Kind::Limit, Source::Bin("pool_ring"), "futex"),
    ("procession spin", Kind::Ours, Source::Bin("pool_procession"), "spin"),
    ("procession spawn", Kind::Ours, Source::Bin("pool_procession"), "spawn"),
    ("crossmist", Kind::Peer, Source::PeerBin("pool_crossmist"), ""),
    (CPYTHON[0], Kind::Peer, Source::Python("pool.py"), "fork"),
    (CPYTHON[1], Kind::Peer, Source::Python("pool.py"), "spawn"),
    (CPYTHON[2], Kind::Peer, Source::Python("pool.py"), "executor"),
    ("loky", Kind::Peer, Source::PythonWith("pool.py", "loky"), "loky"),
    ("joblib", Kind::Peer, Source::PythonWith("pool.py", "joblib"), "joblib"),
    ("mpire", Kind::Peer, Source::PythonWith("pool.py", "mpire"), "mpire"),
    ("billiard", Kind::Peer, Source::PythonWith("pool.py", "billiard"), "billiard"),
];

const CPYTHON: &[&str] =
    &["CPython 3.13 Pool fork", "CPython 3.13 Pool spawn", "CPython 3.13 executor"];
const PYTHON: &[&str] =
    &[CPYTHON[0], CPYTHON[1], CPYTHON[2], "loky", "joblib", "mpire", "billiard"];
/// Those that take one item at a time unless they are told how many.
const SINGLY: &[&str] = &[CPYTHON[0], CPYTHON[1], CPYTHON[2], "loky", "billiard"];

const COMPARISONS: &[ComparisonRow] = &[
    ("procession", "ring-pool-futex", &["map[10M]", "bytes[1MiB]"]),
    ("procession", "rayon threads", &["map[10M]", "map[1M]"]),
    ("procession", RING, &["apply_p99"]),
    ("procession", PROCSPAWN, &["bytes[1MiB]", "apply_p50"]),
    ("procession", CPYTHON[0], &["apply_p50", "apply_p99", "bytes[1MiB]", "start_stop"]),
];

const BARS: &[BarRow] = &[
    ("procession", Against::One(RING), "map[10M]", 0.5),
    ("procession", Against::Nobody, "map[1M]", 25e6),
    ("procession", Against::BestOf("CPython's", CPYTHON), "map[1M]", 8.0),
    ("procession", Against::One(PROCSPAWN), "map[1M]", 1.0),
    ("procession", Against::One(RING), SINGLE[0], 0.2),
    ("procession", Against::One(RING), SINGLE[1], 0.2),
    ("procession", Against::BestOf("Python's", PYTHON), SINGLE[0], 50.0),
    ("procession", Against::BestOf("Python's that take single items", SINGLY), SINGLE[1], 50.0),
    ("procession", Against::One(RING), "apply_p50", 3.0),
    ("procession", Against::One(RING), "bytes[1MiB]", 0.5),
    ("procession", Against::Nobody, "worker_pss", 1.5),
    ("procession", Against::Nobody, "start_stop", 3.0),
    ("procession spawn", Against::Nobody, "start_stop", 4.5),
    // Whoever measures takes a fifth of this.
    ("procession", Against::Nobody, "cpu_idle", 100.0),
];

/// What the wake of a sleeper costs differs too much from one processor to another.
const ON_ONE_PROCESSOR: &[BarRow] =
    &[("procession sleep", Against::One("ring-pool-futex"), "apply_p50", 1.3)];

/// One processor is half of two.
const ON_SEVERAL: &[BarRow] = &[("procession", Against::Nobody, "efficiency", 0.96)];
