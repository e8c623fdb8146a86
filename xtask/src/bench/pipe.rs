//! Family `pipe`: messages between two processes of one machine.

use super::family::{
    Better, ComparisonRow, ContenderRow, Family, Kind, MetricRow, Source, comparisons, contenders,
    metrics,
};

/// `cpus` is the list that all processes are bound to, where one was given.
pub(crate) fn family(cpus: Option<&str>) -> Family {
    Family {
        name: "pipe",
        metrics: metrics(METRICS),
        columns: 5,
        limit: "adaptive ring",
        contenders: contenders(CONTENDERS, cpus),
        comparisons: comparisons(COMPARISONS),
        ..Family::of_printed_figures()
    }
}

const METRICS: &[MetricRow] = &[
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

/// Ours runs right beside the limits that it is compared with, so that they see the same machine.
const CONTENDERS: &[ContenderRow] = &[
    ("crossbeam threads", Kind::Peer, Source::PeerBin("pipe_crossbeam"), ""),
    ("memcpy", Kind::Limit, Source::Bin("pipe_memcpy"), ""),
    ("adaptive ring", Kind::Limit, Source::Bin("pipe_ring"), "adaptive"),
    ("procession", Kind::Ours, Source::Bin("pipe_procession"), "adaptive"),
    ("framed socketpair", Kind::Limit, Source::Bin("pipe_wire"), "framed"),
    ("futex ring", Kind::Limit, Source::Bin("pipe_ring"), "futex"),
    ("procession sleep", Kind::Ours, Source::Bin("pipe_procession"), "sleep"),
    ("raw socketpair STREAM", Kind::Limit, Source::Bin("pipe_wire"), "stream"),
    ("spinning ring", Kind::Limit, Source::Bin("pipe_ring"), "spin"),
    ("procession spin", Kind::Ours, Source::Bin("pipe_procession"), "spin"),
    ("raw socketpair SEQPACKET", Kind::Limit, Source::Bin("pipe_wire"), "packets"),
    ("raw pipe", Kind::Limit, Source::Bin("pipe_wire"), "pipe"),
    ("ipc-channel typed", Kind::Peer, Source::PeerBin("pipe_ipc_channel"), "typed"),
    ("ipc-channel bytes", Kind::Peer, Source::PeerBin("pipe_ipc_channel"), "bytes"),
    ("CPython 3.13 send", Kind::Peer, Source::Python("pipe.py"), "send"),
    ("CPython 3.13 bytes", Kind::Peer, Source::Python("pipe.py"), "bytes"),
];

const TRIP: &str = "rtt_p50[8B]";
const INTO: &[&str] = &["into[64KiB]", "into[1MiB]", "into[64MiB]"];
const FRESH: &[&str] = &["fresh[64KiB]", "fresh[1MiB]", "fresh[64MiB]"];
const OWNED: &[&str] = &["owned[64KiB]", "owned[1MiB]", "owned[64MiB]"];

const COMPARISONS: &[ComparisonRow] = &[
    ("procession", "adaptive ring", &[TRIP, "rtt_p50[1KiB]", "msgs[8B]"]),
    ("procession", "adaptive ring", INTO),
    ("procession sleep", "raw socketpair STREAM", &[TRIP]),
    ("procession sleep", "futex ring", &[TRIP]),
    ("procession", "memcpy", INTO),
    ("procession", "framed socketpair", INTO),
    ("procession", "framed socketpair", FRESH),
    ("procession", "framed socketpair", OWNED),
    ("procession", "CPython 3.13 send", &[TRIP, "msgs[8B]"]),
    ("procession", "CPython 3.13 bytes", &["msgs[1KiB]", INTO[0], INTO[1]]),
];
