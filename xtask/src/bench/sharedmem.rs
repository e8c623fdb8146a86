//! Family `sharedmem`: blocks, values and arrays that processes share.
//!
//! Blocks and values are measured by programs of their own, and have rows of their own.

use super::family::{
    Better, ComparisonRow, ContenderRow, Family, Kind, MetricRow, Source, comparisons, contenders,
    metrics,
};

/// `cpus` is the list that all processes are bound to, where one was given.
pub(crate) fn family(cpus: Option<&str>) -> Family {
    Family {
        name: "sharedmem",
        metrics: metrics(&[BLOCK_METRICS, VALUE_METRICS].concat()),
        columns: 4,
        limit: "memfd",
        contenders: contenders(&[BLOCK_CONTENDERS, VALUE_CONTENDERS].concat(), cpus),
        comparisons: comparisons(&[BLOCK_COMPARISONS, VALUE_COMPARISONS].concat()),
        ..Family::of_printed_figures()
    }
}

const COPIES: &[&str] = &["read[64KiB]", "write[64KiB]", "read[64MiB]", "write[64MiB]"];

const BLOCK_METRICS: &[MetricRow] = &[
    ("copyin[256MiB]", "ms", Better::Lower),
    ("handle[256MiB]", "ms", Better::Lower),
    ("touch[256MiB]", "ms", Better::Lower),
    ("refill[256MiB]", "ms", Better::Lower),
    (COPIES[0], "GB/s", Better::Higher),
    (COPIES[1], "GB/s", Better::Higher),
    (COPIES[2], "GB/s", Better::Higher),
    (COPIES[3], "GB/s", Better::Higher),
];

/// Ours runs right beside the limits that it is compared with, so that they see the same machine.
const BLOCK_CONTENDERS: &[ContenderRow] = &[
    ("memcpy", Kind::Limit, Source::Bin("sharedmem_memfd"), "memcpy"),
    ("procession blocks", Kind::Ours, Source::Bin("sharedmem_procession"), "adaptive"),
    ("memfd", Kind::Limit, Source::Bin("sharedmem_memfd"), ""),
    ("procession blocks sleep", Kind::Ours, Source::Bin("sharedmem_procession"), "sleep"),
    ("procession blocks spin", Kind::Ours, Source::Bin("sharedmem_procession"), "spin"),
    ("iceoryx2", Kind::Peer, Source::PeerBin("sharedmem_iceoryx2"), ""),
    ("CPython 3.13 blocks", Kind::Peer, Source::Python("sharedmem.py"), "blocks"),
];

const BLOCK_COMPARISONS: &[ComparisonRow] = &[
    ("procession blocks", "memcpy", COPIES),
    ("procession blocks", "CPython 3.13 blocks", &["copyin[256MiB]", "handle[256MiB]"]),
    ("procession blocks", "iceoryx2", &["copyin[256MiB]", "handle[256MiB]"]),
    ("procession blocks", "memfd", &["refill[256MiB]"]),
];

// Values and arrays.
const VALUE_METRICS: &[MetricRow] = &[
    (INCREMENTS[0], "ns", Better::Lower),
    (INCREMENTS[1], "ops/s", Better::Higher),
    ("fetch_add", "ns", Better::Lower),
    ("array_write[locked]", "ns", Better::Lower),
    ("array_write[raw]", "ns", Better::Lower),
];

const INCREMENTS: &[&str] = &["value_incr[1p]", "value_incr[2p]"];

/// Ours is between the two that it is compared with.
const VALUE_CONTENDERS: &[ContenderRow] = &[
    ("atomic", Kind::Limit, Source::Bin("value_futex"), "atomic"),
    ("procession values", Kind::Ours, Source::Bin("value_procession"), "adaptive"),
    ("futex", Kind::Limit, Source::Bin("value_futex"), "futex"),
    ("procession values sleep", Kind::Ours, Source::Bin("value_procession"), "sleep"),
    ("procession values spin", Kind::Ours, Source::Bin("value_procession"), "spin"),
    ("CPython 3.13 values", Kind::Peer, Source::Python("value.py"), ""),
];

const VALUE_COMPARISONS: &[ComparisonRow] = &[
    ("procession values", "futex", INCREMENTS),
    ("procession values", "futex", &["array_write[locked]"]),
    ("procession values", "atomic", &["fetch_add", "array_write[raw]"]),
    ("procession values", "CPython 3.13 values", INCREMENTS),
    ("procession values", "CPython 3.13 values", &["array_write[locked]", "array_write[raw]"]),
];
