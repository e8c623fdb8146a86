//! Family `python`: managers of CPython's protocol, and clients of them, of Rust and of CPython 3.13.

use super::bar::{Against, BarRow, bars};
use super::family::{
    Better, ComparisonRow, ContenderRow, Family, Kind, MetricRow, Source, comparisons, contenders,
    metrics,
};

/// `cpus` is the list that all processes are bound to, where one was given.
pub(crate) fn family(cpus: Option<&str>) -> Family {
    Family {
        name: "python",
        metrics: metrics(METRICS),
        columns: METRICS.len(),
        limit: PLAIN,
        contenders: contenders(CONTENDERS, cpus),
        comparisons: comparisons(COMPARISONS),
        bars: bars(BARS),
        ..Family::of_printed_figures()
    }
}

const PLAIN: &str = "Python of Python";
const RUST_CLIENT: &str = "Rust of Python";
const RUST_MANAGER: &str = "Python of Rust";

const METRICS: &[MetricRow] = &[
    ("get", "op/s", Better::Higher),
    ("set", "op/s", Better::Higher),
    ("put_get", "op/s", Better::Higher),
    ("get[1000 ints]", "op/s", Better::Higher),
    ("get[1 MiB]", "op/s", Better::Higher),
    ("create_drop", "op/s", Better::Higher),
];

const ALL: &[&str] = &["get", "set", "put_get", "get[1000 ints]", "get[1 MiB]", "create_drop"];

/// One program starts both sides.
const PROGRAM: Source = Source::Bin("python_managers");

const CONTENDERS: &[ContenderRow] = &[
    (PLAIN, Kind::Limit, PROGRAM, "python-python"),
    (RUST_CLIENT, Kind::Ours, PROGRAM, "rust-python"),
    (RUST_MANAGER, Kind::Ours, PROGRAM, "python-rust"),
];

const COMPARISONS: &[ComparisonRow] = &[(RUST_CLIENT, PLAIN, ALL), (RUST_MANAGER, PLAIN, ALL)];

/// A client of ours is no slower than Python's own; a manager of ours is worth having (on one core, where both share it).
const BARS: &[BarRow] = &[
    (RUST_CLIENT, Against::One(PLAIN), "get", 1.0),
    (RUST_CLIENT, Against::One(PLAIN), "put_get", 1.0),
    (RUST_MANAGER, Against::One(PLAIN), "get", 1.3),
    (RUST_MANAGER, Against::One(PLAIN), "put_get", 1.3),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_are_compared_in_all_figures() {
        let family = family(None);
        assert_eq!(family.comparisons.len(), 2);
        assert!(family.comparisons.iter().all(|one| one.metrics.len() == METRICS.len()));
        assert_eq!(family.bars.len(), BARS.len());
    }
}
