//! Family `sharedmem`: blocks, values and arrays that processes share.
//!
//! Blocks and values are measured by programs of their own, and have rows of their own.

use super::family::{Better, Comparison, Contender, Env, Family, Kind, Metric, Source, read_lines};
use super::pipe::{WOULD_SPIN, has_one_processor};

/// `cpus` is the list that all processes are bound to, where one was given.
pub(crate) fn family(cpus: Option<&str>) -> Family {
    let is_alone = has_one_processor(cpus);
    let metric = |(name, unit, better)| Metric::new(name, unit, better);
    Family {
        name: "sharedmem",
        metrics: BLOCK_METRICS.iter().chain(VALUE_METRICS).copied().map(metric).collect(),
        columns: 4,
        limit: "memfd",
        contenders: BLOCK_CONTENDERS
            .iter()
            .chain(VALUE_CONTENDERS)
            .map(|row| contender(row, is_alone))
            .collect(),
        comparisons: BLOCK_COMPARISONS.iter().chain(VALUE_COMPARISONS).map(comparison).collect(),
        tools: &[],
        with_peak: false,
        read: Box::new(read_lines),
        lines: Box::new(|outcome| Ok(outcome.stdout.clone())),
    }
}

type Row = (&'static str, Kind, Source, &'static str);
type Ratio = (&'static str, &'static str, &'static [&'static str]);

const COPIES: &[&str] = &["read[64KiB]", "write[64KiB]", "read[64MiB]", "write[64MiB]"];

const BLOCK_METRICS: &[(&str, &str, Better)] = &[
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
const BLOCK_CONTENDERS: &[Row] = &[
    ("memcpy", Kind::Limit, Source::Bin("sharedmem_memfd"), "memcpy"),
    ("procession blocks", Kind::Ours, Source::Bin("sharedmem_procession"), "adaptive"),
    ("memfd", Kind::Limit, Source::Bin("sharedmem_memfd"), ""),
    ("procession blocks sleep", Kind::Ours, Source::Bin("sharedmem_procession"), "sleep"),
    ("procession blocks spin", Kind::Ours, Source::Bin("sharedmem_procession"), "spin"),
    ("iceoryx2", Kind::Peer, Source::PeerBin("sharedmem_iceoryx2"), ""),
    ("CPython 3.13 blocks", Kind::Peer, Source::Python("sharedmem.py"), "blocks"),
];

const BLOCK_COMPARISONS: &[Ratio] = &[
    ("procession blocks", "memcpy", COPIES),
    ("procession blocks", "CPython 3.13 blocks", &["copyin[256MiB]", "handle[256MiB]"]),
    ("procession blocks", "iceoryx2", &["copyin[256MiB]", "handle[256MiB]"]),
    ("procession blocks", "memfd", &["refill[256MiB]"]),
];

// Values and arrays.
const VALUE_METRICS: &[(&str, &str, Better)] = &[
    (INCREMENTS[0], "ns", Better::Lower),
    (INCREMENTS[1], "ops/s", Better::Higher),
    ("fetch_add", "ns", Better::Lower),
    ("array_write[locked]", "ns", Better::Lower),
    ("array_write[raw]", "ns", Better::Lower),
];

const INCREMENTS: &[&str] = &["value_incr[1p]", "value_incr[2p]"];

/// Ours is between the two that it is compared with.
const VALUE_CONTENDERS: &[Row] = &[
    ("atomic", Kind::Limit, Source::Bin("value_futex"), "atomic"),
    ("procession values", Kind::Ours, Source::Bin("value_procession"), "adaptive"),
    ("futex", Kind::Limit, Source::Bin("value_futex"), "futex"),
    ("procession values sleep", Kind::Ours, Source::Bin("value_procession"), "sleep"),
    ("procession values spin", Kind::Ours, Source::Bin("value_procession"), "spin"),
    ("CPython 3.13 values", Kind::Peer, Source::Python("value.py"), ""),
];

const VALUE_COMPARISONS: &[Ratio] = &[
    ("procession values", "futex", INCREMENTS),
    ("procession values", "futex", &["array_write[locked]"]),
    ("procession values", "atomic", &["fetch_add", "array_write[raw]"]),
    ("procession values", "CPython 3.13 values", INCREMENTS),
    ("procession values", "CPython 3.13 values", &["array_write[locked]", "array_write[raw]"]),
];

/// On one processor those that never sleep are left out: their argument says so.
fn contender(&(name, kind, source, argument): &Row, is_alone: bool) -> Contender {
    let source = match argument {
        "spin" if is_alone => Source::Nowhere(WOULD_SPIN),
        _ => source,
    };
    let args = Some(argument).filter(|text| !text.is_empty()).map(Into::into).into_iter().collect();
    Contender { name, kind, source, args, runs: vec![Env::new()] }
}

fn comparison((subject, against, metrics): &Ratio) -> Comparison {
    let metrics = metrics.iter().map(|name| (*name).to_owned()).collect();
    Comparison { subject, against, metrics }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn who_never_sleeps_needs_two_processors() {
        let left_out = |cpus| {
            let contenders = family(Some(cpus)).contenders;
            let is_left_out = |one: &&Contender| matches!(one.source, Source::Nowhere(_));
            contenders.iter().filter(is_left_out).map(|one| one.name).collect::<Vec<_>>()
        };
        assert!(left_out("0").contains(&"procession blocks spin"));
        assert!(left_out("0,1").is_empty());
    }

    #[test]
    fn another_harness_gets_the_default() {
        let contenders = family(Some("0,1")).contenders;
        let first = contenders.iter().find(|one| one.kind == Kind::Ours);
        assert_eq!(first.map(|one| one.name), Some("procession blocks"));
    }
}
