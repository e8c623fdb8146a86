//! Medians, ratios and layout, on figures whose answers are known.

use std::collections::BTreeMap;

use super::*;
use crate::bench::family::read_lines;

fn family() -> Family {
    Family {
        name: "example",
        metrics: vec![
            Metric::new("time", "us", Better::Lower),
            Metric::new("rate", "MB/s", Better::Higher),
        ],
        columns: 4,
        limit: "floor",
        contenders: Vec::new(),
        comparisons: vec![Comparison {
            subject: "ours",
            against: "floor",
            metrics: vec!["time".to_owned(), "rate".to_owned()],
        }],
        bars: Vec::new(),
        tools: &[],
        with_peak: false,
        read: Box::new(read_lines),
        lines: Box::new(|_| Ok(String::new())),
    }
}

fn row(name: &'static str, time: &[Option<f64>], rate: &[Option<f64>]) -> Row {
    Row {
        name,
        samples: BTreeMap::from([
            ("time".to_owned(), time.to_vec()),
            ("rate".to_owned(), rate.to_vec()),
        ]),
        problems: Vec::new(),
        foreign: vec![0.01],
    }
}

fn rows() -> [Row; 2] {
    let floor = row("floor", &[Some(10.0), Some(20.0), Some(10.0)], &[Some(4.0), Some(4.0), None]);
    let ours =
        row("ours", &[Some(30.0), Some(30.0), Some(30.0)], &[Some(2.0), Some(8.0), Some(8.0)]);
    [floor, ours]
}

#[test]
fn a_median_is_the_middle_or_the_mean_of_the_middle_two() {
    assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
    assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    assert_eq!(median(&[]), None);
}

#[test]
fn a_table_has_medians_marks_and_times_the_limit() {
    let text = render(&family(), &rows());
    // 10..20 around 10 is a spread of 100 %, 2..8 around 8 one of 75 %.
    assert!(text.contains("| floor     | 10.0~ (limit) |    4.00 (limit) |\n"), "{text}");
    assert!(text.contains("| ours      | 30.0 (3.00 x) | 8.00~ (0.500 x) |\n"), "{text}");
}

#[test]
fn a_comparison_is_made_round_by_round() {
    let text = render(&family(), &rows());
    let time = "ours / floor: time 3.000 (median of 3 per-round ratio(s), 1.500..3.000; below 1 is \
                better)\n";
    let rate = "ours / floor: rate 1.250 (median of 2 per-round ratio(s), 0.500..2.000; above 1 is \
                better)\n";
    assert!(text.contains(time) && text.contains(rate), "{text}");
}

#[test]
fn the_file_lists_contenders_and_comparisons() {
    let list: Vec<Value> = serde_json::from_str(&json(&family(), &rows())).unwrap();
    assert_eq!(list.len(), 6);
    assert_eq!(
        list[1],
        json!({"family": "example", "case": "rate", "contender": "floor", "unit": "MB/s",
               "better": "higher", "median": 4.0, "rounds": [4.0, 4.0, null]})
    );
    assert_eq!(
        list[4],
        json!({"family": "example", "case": "time", "contender": "ours / floor", "unit": "ratio",
               "better": "lower", "median": 3.0, "rounds": [3.0, 1.5, 3.0]})
    );
}

#[test]
fn a_metric_nobody_gave_leaves_no_trace() {
    let rows = [row("ours", &[Some(1.0)], &[None])];
    let text = render(&family(), &rows);
    assert!(text.contains("| ours      |    1.00 |         - |\n"), "{text}");
    assert!(!text.contains("ours / floor"));
    assert!(!json(&family(), &rows).contains("rate"));
}

#[test]
fn numbers_are_short() {
    let all = [0.0123, 1.234, 12.34, 123.4, 1234.0, 12_340.0, 1_234_000.0].map(short);
    assert_eq!(all, ["0.012", "1.23", "12.3", "123", "1234", "12.3k", "1.23M"]);
}
