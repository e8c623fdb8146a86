//! Family `queue`: items through a queue of several putters and as many getters.

use super::family::{
    Better, ComparisonRow, ContenderRow, Family, Kind, MetricRow, Source, comparisons, contenders,
    metrics,
};

/// `cpus` is the list that all processes are bound to, where one was given.
pub(crate) fn family(cpus: Option<&str>) -> Family {
    Family {
        name: "queue",
        metrics: metrics(METRICS),
        columns: 7,
        limit: "lf-ring-1024",
        contenders: contenders(CONTENDERS, cpus),
        comparisons: comparisons(COMPARISONS),
        ..Family::of_printed_figures()
    }
}

const METRICS: &[MetricRow] = &[
    (SMALL[0], "msg/s", Better::Higher),
    (SMALL[1], "msg/s", Better::Higher),
    (SMALL[2], "msg/s", Better::Higher),
    ("wake_us", "us", Better::Lower),
    (KIB[0], "msg/s", Better::Higher),
    (KIB[1], "msg/s", Better::Higher),
    (KIB[2], "msg/s", Better::Higher),
    ("msgs[1p1c,1MiB]", "msg/s", Better::Higher),
    ("msgs[2p2c,1MiB]", "msg/s", Better::Higher),
    ("msgs[4p4c,1MiB]", "msg/s", Better::Higher),
    (MIB[0], "GB/s", Better::Higher),
    (MIB[1], "GB/s", Better::Higher),
    (MIB[2], "GB/s", Better::Higher),
];

const SMALL: &[&str] = &["msgs[1p1c,8B]", "msgs[2p2c,8B]", "msgs[4p4c,8B]"];
const KIB: &[&str] = &["msgs[1p1c,1KiB]", "msgs[2p2c,1KiB]", "msgs[4p4c,1KiB]"];
const MIB: &[&str] = &["GBps[1p1c,1MiB]", "GBps[2p2c,1MiB]", "GBps[4p4c,1MiB]"];

/// Ours runs between the limits that it is compared with, so that they see the same machine.
const CONTENDERS: &[ContenderRow] = &[
    ("crossbeam threads", Kind::Peer, Source::PeerBin("queue_crossbeam"), ""),
    ("lf-ring", Kind::Limit, Source::Bin("queue_ring"), "64"),
    ("procession", Kind::Ours, Source::Bin("queue_procession"), "adaptive"),
    ("lf-ring-1024", Kind::Limit, Source::Bin("queue_ring"), "1024"),
    ("procession sleep", Kind::Ours, Source::Bin("queue_procession"), "sleep"),
    ("procession spin", Kind::Ours, Source::Bin("queue_procession"), "spin"),
    ("ipc-channel sharded", Kind::Peer, Source::PeerBin("queue_ipc_channel"), ""),
    ("Redis lists", Kind::Peer, Source::PeerBinWith("queue_redis", "redis-server"), ""),
    ("CPython 3.13 Queue", Kind::Peer, Source::Python("queues.py"), "Queue"),
    ("CPython 3.13 SimpleQueue", Kind::Peer, Source::Python("queues.py"), "SimpleQueue"),
];

/// The wake is that of a sleeper, and means something with `--cpus 0` only.
const COMPARISONS: &[ComparisonRow] = &[
    ("procession", "lf-ring-1024", SMALL),
    ("procession", "lf-ring", KIB),
    ("procession", "lf-ring-1024", MIB),
    ("procession sleep", "lf-ring-1024", &["wake_us"]),
    ("procession", "CPython 3.13 Queue", SMALL),
    ("procession", "CPython 3.13 SimpleQueue", SMALL),
    ("procession", "Redis lists", SMALL),
    ("procession", "ipc-channel sharded", SMALL),
];
