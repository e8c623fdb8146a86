//! Bars: what a figure of ours, or its ratio to somebody else's, shall be. They are printed beside what it is.
//!
//! A ratio is taken round by round, as in the comparisons of [`table`](super::table). A bar that is missed is told, and no failure: a
//! machine with other work misses some.

use serde_json::{Value, json};

use super::family::{Better, Family, Metric};
use super::rounds::Row;
use super::table::{median_of, range, short};

/// What one figure shall be.
#[derive(Debug, Clone)]
pub(crate) struct Bar {
    pub(crate) subject: &'static str,
    pub(crate) against: Against,
    pub(crate) metric: &'static str,
    /// The least that is good, or the most where less is better.
    pub(crate) at: f64,
}

/// What a figure is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Against {
    /// Nothing: the figure itself is meant.
    Nobody,
    /// The same figure of another row.
    One(&'static str),
    /// The best of several rows in the same round, with what these are called together.
    BestOf(&'static str, &'static [&'static str]),
}

/// A bar as a family's table has it: subject, what it is compared with, in what, and the bar.
pub(crate) type BarRow = (&'static str, Against, &'static str, f64);

pub(crate) fn bars(rows: &[BarRow]) -> Vec<Bar> {
    let bar = |&(subject, against, metric, at): &BarRow| Bar { subject, against, metric, at };
    rows.iter().map(bar).collect()
}

impl Bar {
    /// Who is compared with whom.
    fn title(&self) -> String {
        match self.against {
            Against::Nobody => self.subject.to_owned(),
            Against::One(other) => format!("{} / {other}", self.subject),
            Against::BestOf(together, _) => format!("{} / best of {together}", self.subject),
        }
    }

    /// What is judged, in each round in which there is something.
    fn values(&self, metric: &Metric, rows: &[Row]) -> Vec<Option<f64>> {
        let samples = |name: &str| {
            rows.iter().find(|row| row.name == name)?.samples.get(&metric.name).map(Vec::as_slice)
        };
        let mine = samples(self.subject).unwrap_or_default();
        let others = match self.against {
            Against::Nobody => return mine.to_vec(),
            Against::One(ref other) => std::slice::from_ref(other),
            Against::BestOf(_, others) => others,
        };
        let best_in = |round: usize| {
            let there = others.iter().filter_map(|name| *samples(name)?.get(round)?);
            match metric.better {
                Better::Higher => there.max_by(f64::total_cmp),
                Better::Lower => there.min_by(f64::total_cmp),
            }
        };
        let ratio = |(round, value): (usize, &Option<f64>)| {
            Some((*value)? / best_in(round)?).filter(|ratio| ratio.is_finite())
        };
        mine.iter().enumerate().map(ratio).collect()
    }

    fn is_met_by(&self, metric: &Metric, value: f64) -> bool {
        match metric.better {
            Better::Higher => value >= self.at,
            Better::Lower => value <= self.at,
        }
    }
}

/// One line for each bar whose subject took part.
pub(crate) fn lines(family: &Family, rows: &[Row]) -> String {
    let takes_part = |bar: &&Bar| rows.iter().any(|row| row.name == bar.subject);
    let judged = family.bars.iter().filter(takes_part);
    judged.filter_map(|bar| line(bar, metric_of(family, bar)?, rows)).collect()
}

fn line(bar: &Bar, metric: &Metric, rows: &[Row]) -> Option<String> {
    let values = bar.values(metric, rows);
    let side = if metric.better == Better::Lower { "at most" } else { "at least" };
    let (title, name, at) = (bar.title(), &metric.name, short(bar.at));
    let Some(median) = median_of(&values) else {
        return Some(format!("{title}: {name}: nothing to judge; bar: {side} {at}\n"));
    };
    let (least, most) = range(&values)?;
    let is_figure = bar.against == Against::Nobody;
    let (unit, kind) =
        if is_figure { (metric.unit, "round(s)") } else { ("", "per-round ratio(s)") };
    let gap = if is_figure { " " } else { "" };
    let verdict = if bar.is_met_by(metric, median) { "met" } else { "MISSED" };
    let count = values.iter().flatten().count();
    Some(format!(
        "{title}: {name} {}{gap}{unit} (median of {count} {kind}, {}..{}); bar: {side} {at}: {verdict}\n",
        short(median),
        short(least),
        short(most),
    ))
}

/// One object for each ratio that could be judged; figures that are judged themselves have theirs already.
pub(crate) fn entries(family: &Family, rows: &[Row]) -> Vec<Value> {
    let entry = |bar: &Bar| {
        let metric = metric_of(family, bar)?;
        let values = bar.values(metric, rows);
        let median = median_of(&values)?;
        Some(json!({
            "family": family.name,
            "case": metric.name,
            "contender": bar.title(),
            "unit": "ratio",
            "better": metric.better.name(),
            "median": median,
            "rounds": values,
            "bar": bar.at,
        }))
    };
    let ratios = family.bars.iter().filter(|bar| bar.against != Against::Nobody);
    ratios.filter_map(entry).collect()
}

fn metric_of<'a>(family: &'a Family, bar: &Bar) -> Option<&'a Metric> {
    family.metrics.iter().find(|metric| metric.name == bar.metric)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHERS: &[&str] = &["first", "second", "nobody"];

    fn row(name: &'static str, time: [Option<f64>; 3], rate: [Option<f64>; 3]) -> Row {
        let samples = [("time".to_owned(), time.to_vec()), ("rate".to_owned(), rate.to_vec())];
        Row { name, samples: samples.into(), problems: Vec::new(), foreign: Vec::new() }
    }

    fn text(against: Against, metric: &'static str, at: f64) -> String {
        let family = Family {
            metrics: vec![
                Metric::new("time", "us", Better::Lower),
                Metric::new("rate", "MB/s", Better::Higher),
            ],
            bars: bars(&[("ours", against, metric, at)]),
            ..Family::of_printed_figures()
        };
        let rows = [
            row("ours", [Some(3.0); 3], [Some(8.0), Some(6.0), Some(4.0)]),
            row("first", [Some(1.0), Some(2.0), None], [Some(2.0), None, Some(8.0)]),
            row("second", [Some(2.0), Some(1.0), None], [Some(4.0), Some(2.0), Some(1.0)]),
        ];
        lines(&family, &rows)
    }

    #[test]
    fn a_figure_is_judged_by_itself() {
        let line =
            "ours: rate 6.00 MB/s (median of 3 round(s), 4.00..8.00); bar: at least 6.00: met\n";
        assert_eq!(text(Against::Nobody, "rate", 6.0), line);
        assert!(text(Against::Nobody, "rate", 6.1).ends_with("at least 6.10: MISSED\n"));
        assert!(text(Against::Nobody, "time", 3.0).ends_with("at most 3.00: met\n"));
        assert!(text(Against::Nobody, "time", 2.9).ends_with("at most 2.90: MISSED\n"));
    }

    #[test]
    fn a_ratio_is_taken_round_by_round() {
        let line = "ours / first: rate 2.25 (median of 2 per-round ratio(s), 0.500..4.00); bar: at least 2.00: met\n";
        assert_eq!(text(Against::One("first"), "rate", 2.0), line);
    }

    #[test]
    fn the_best_of_several_is_that_of_each_round() {
        let all = |metric| text(Against::BestOf("all", OTHERS), metric, 1.0);
        // 8/4, 6/2, 4/8; then 3/1, 3/1.
        assert!(
            all("rate").starts_with("ours / best of all: rate 2.00 (median of 3"),
            "{}",
            all("rate")
        );
        assert!(
            all("time").starts_with("ours / best of all: time 3.00 (median of 2"),
            "{}",
            all("time")
        );
    }

    #[test]
    fn a_bar_against_somebody_who_is_missing_is_told_and_not_met() {
        let line = "ours / nobody: rate: nothing to judge; bar: at least 1.00\n";
        assert_eq!(text(Against::One("nobody"), "rate", 1.0), line);
    }
}
