//! What the report makes of troubles, and how it prints.

use std::num::NonZeroUsize;
use std::path::Path;

use super::*;
use crate::count::count_task;
use crate::walk::Piece;

fn trouble(path: &str, share: Share, kind: TroubleKind) -> Trouble {
    Trouble { path: path.into(), share, kind, reason: "bad luck".to_owned() }
}

fn summary_of(troubles: Vec<Trouble>) -> Summary {
    let mut summary = Summary::new(&[PathBuf::from("a"), PathBuf::from("b")]);
    summary.add(count_task(Task { id: 0, pieces: Vec::new(), troubles }));
    summary.finish();
    summary
}

fn complaints(summary: &Summary) -> Vec<String> {
    let mut out = Vec::new();
    summary.write_complaints(&mut out).unwrap();
    String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_file_that_fails_in_all_its_ranges_is_reported_once() {
    use TroubleKind::{Unreadable, Vanished};
    let summary = summary_of(vec![
        trouble("large", Share::Later, Unreadable),
        trouble("large", Share::First, Unreadable),
        trouble("large", Share::Later, Unreadable),
        trouble("gone", Share::Later, Vanished),
        trouble("gone", Share::First, Vanished),
    ]);
    assert_eq!((summary.unreadable, summary.vanished), (1, 1));
    assert_eq!(complaints(&summary), ["wordcount: large: bad luck"]);
}

#[test]
fn ranges_that_fail_alone_are_not_lost_in_silence() {
    let kinds = [TroubleKind::Unreadable, TroubleKind::Vanished];
    let summary =
        summary_of(kinds.map(|kind| trouble("large", Share::Later, kind)).into_iter().collect());
    assert_eq!((summary.unreadable, summary.vanished), (1, 0));
    let expected = ["wordcount: large: 2 of its ranges are not counted: bad luck"];
    assert_eq!(complaints(&summary), expected);
}

#[test]
fn a_task_that_is_given_up_names_its_files() {
    let mut summary = Summary::new(&[PathBuf::from("a")]);
    let piece = |path: &str, share| Piece { path: path.into(), start: 0, end: 1, share };
    let pieces = vec![piece("x", Share::Whole), piece("y", Share::Whole)];
    let troubles = vec![trouble("z", Share::Whole, TroubleKind::Vanished)];
    summary.give_up(Task { id: 0, pieces, troubles }, "process 1234 was killed");
    summary.finish();
    assert_eq!((summary.unreadable, summary.vanished, summary.files), (2, 1, 0));
    assert_eq!(complaints(&summary)[1], "wordcount: y: process 1234 was killed");
}

#[test]
fn twenty_complaints_are_enough() {
    let troubles = |count: usize| {
        (0..count)
            .map(|n| trouble(&n.to_string(), Share::Whole, TroubleKind::Unreadable))
            .collect::<Vec<_>>()
    };
    assert_eq!(complaints(&summary_of(troubles(20))).len(), 20);
    let lines = complaints(&summary_of(troubles(23)));
    assert_eq!((lines.len(), lines[20].as_str()), (21, "wordcount: and 3 more"));
}

#[test]
fn it_is_a_failure_only_if_every_root_failed() {
    let bad = |path| trouble(path, Share::Whole, TroubleKind::Unreadable);
    assert!(!summary_of(vec![]).is_failure());
    assert!(!summary_of(vec![bad("a"), bad("a/x"), bad("a/y")]).is_failure());
    assert!(summary_of(vec![bad("a"), bad("b")]).is_failure());
}

#[test]
fn names_from_outside_cannot_steer_the_terminal() {
    let printed = Printable("a\u{1b}[2J\n\u{9b}é".as_bytes()).to_string();
    assert_eq!(printed, "a\\u{1b}[2J\\n\\u{9b}é");
    assert_eq!(Printable(b"\xff").to_string(), "\u{fffd}");
}

#[test]
fn json_and_table_hold_the_counts() {
    let path = std::env::temp_dir().join(format!("wordcount-{}-report", std::process::id()));
    std::fs::write(&path, "b a b").unwrap();
    let mut summary = Summary::new(std::slice::from_ref(&path));
    for task in crate::walk::Walk::new(vec![path.clone()], 1) {
        summary.add(count_task(task));
    }
    std::fs::remove_file(Path::new(&path)).unwrap();
    summary.finish();
    let run =
        Run { mode: Mode::Pool(NonZeroUsize::MIN), elapsed: Duration::from_millis(500), top: 1 };
    let mut out = Vec::new();
    summary.write_json(&mut out, &run).unwrap();
    let seen: serde_json::Value = serde_json::from_slice(&out).unwrap();
    let expected = json!({
        "files": 1, "empty": 0, "binary": 0, "unreadable": 0, "vanished": 0, "bytes": 5,
        "words": 3, "distinct": 2, "mode": "pool", "workers": 1, "seconds": 0.5,
        "mb_per_s": 1e-5, "top": [["b", 2]],
    });
    assert_eq!(seen, expected);

    let mut out = Vec::new();
    summary.write_table(&mut out, &run).unwrap();
    let table = String::from_utf8(out).unwrap();
    let rows: Vec<Vec<&str>> = table.lines().map(|row| row.split_whitespace().collect()).collect();
    assert!(rows.contains(&vec!["distinct", "words", "2"]), "{table}");
    assert_eq!(rows.last().unwrap(), &["2", "b"], "{table}");
}
