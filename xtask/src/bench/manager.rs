//! Family `manager`: values of 32 bytes, put into and got from a dictionary behind a server.

use super::bar::{Against, BarRow, bars};
use super::family::{
    Better, ComparisonRow, ContenderRow, Family, Kind, MetricRow, Source, comparisons, contenders,
    has_one_processor, metrics,
};

/// `cpus` is the list that all processes are bound to, where one was given.
pub(crate) fn family(cpus: Option<&str>) -> Family {
    let by_processors = if has_one_processor(cpus) { ON_ONE_PROCESSOR } else { ON_SEVERAL };
    Family {
        name: "manager",
        metrics: metrics(METRICS),
        columns: 6,
        limit: UNIX,
        contenders: contenders(CONTENDERS, cpus),
        comparisons: comparisons(COMPARISONS),
        bars: bars(&[BARS, by_processors].concat()),
        ..Family::of_printed_figures()
    }
}

const METRICS: &[MetricRow] = &[
    ("set", "op/s", Better::Higher),
    ("get", "op/s", Better::Higher),
    ("get[2]", "op/s", Better::Higher),
    ("get[4]", "op/s", Better::Higher),
    ("batched", "op/s", Better::Higher),
    ("pipelined", "op/s", Better::Higher),
    ("make_drop", "trips", Better::Lower),
    ("objects_100k", "MiB", Better::Lower),
    ("cpu_idle", "us/s", Better::Lower),
];

const UNIX: &str = "Unix socket echo";
const TCP: &str = "TCP echo";
const REDIS: &str = "Redis";
const CPYTHON: &str = "CPython 3.13 Manager";

/// Ours runs beside the limits that it is compared with, so that they see the same machine.
const CONTENDERS: &[ContenderRow] = &[
    ("procession", Kind::Ours, Source::Bin("manager_procession"), "adaptive"),
    ("procession sleep", Kind::Ours, Source::Bin("manager_procession"), "sleep"),
    (UNIX, Kind::Limit, Source::Bin("manager_echo"), "unix"),
    ("procession unix", Kind::Ours, Source::Bin("manager_procession"), "unix"),
    (TCP, Kind::Limit, Source::Bin("manager_echo"), "tcp"),
    ("procession tcp", Kind::Ours, Source::Bin("manager_procession"), "tcp"),
    ("procession spin", Kind::Ours, Source::Bin("manager_procession"), "spin"),
    (REDIS, Kind::Peer, Source::PeerBinWith("manager_redis", "redis-server"), ""),
    (CPYTHON, Kind::Peer, Source::Python("managers.py"), ""),
];

const COMPARISONS: &[ComparisonRow] = &[
    ("procession", REDIS, &["set", "get", "get[4]", "batched", "pipelined"]),
    ("procession", CPYTHON, &["set", "get", "get[2]", "get[4]"]),
    ("procession sleep", UNIX, &["set", "get"]),
    ("procession unix", UNIX, &["set", "get"]),
    ("procession tcp", TCP, &["set", "get"]),
];

const BARS: &[BarRow] = &[
    ("procession unix", Against::One(UNIX), "get", 0.9),
    ("procession tcp", Against::One(TCP), "get", 0.9),
    ("procession", Against::One(REDIS), "get[4]", 3.0),
    ("procession", Against::One(REDIS), "batched", 2.0),
    ("procession", Against::Nobody, "make_drop", 2.0),
    ("procession", Against::Nobody, "objects_100k", 64.0),
    // Whoever measures takes a fifth of this.
    ("procession", Against::Nobody, "cpu_idle", 100.0),
];

/// What the wake of a sleeper costs differs too much from one processor to another.
const ON_ONE_PROCESSOR: &[BarRow] = &[("procession sleep", Against::One(UNIX), "get", 1.3)];

/// Who answers while the other waits awake needs a processor of its own.
const ON_SEVERAL: &[BarRow] = &[
    ("procession", Against::One(CPYTHON), "get", 50.0),
    ("procession", Against::One(CPYTHON), "set", 50.0),
    ("procession", Against::One(REDIS), "get", 25.0),
    ("procession", Against::One(REDIS), "set", 25.0),
];
