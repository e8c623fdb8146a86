//! The command line, and what counts as a failure.

use super::*;

fn parse(line: &str) -> Result<Option<Options>, String> {
    Options::parse(line.split_whitespace().map(OsString::from).collect())
}

fn contender(name: &'static str, kind: Kind) -> Contender {
    Contender { name, kind, source: family::Source::Bin("x"), args: Vec::new(), runs: Vec::new() }
}

#[test]
fn options_have_defaults_and_quick_ones() {
    let options = parse("start").unwrap().unwrap();
    assert_eq!((options.rounds(), options.timeout()), (5, Duration::from_secs(120)));
    let options = parse("start --quick --cpus 0,1 --json out.json").unwrap().unwrap();
    assert_eq!(options.rounds(), 2);
    assert_eq!(options.cpus.as_deref(), Some("0,1"));
    assert_eq!(options.json, Some(PathBuf::from("out.json")));
    assert_eq!(parse("start --quick --rounds 3").unwrap().unwrap().rounds(), 3);
    assert_eq!(parse("--help").unwrap(), None);
    assert!(parse("start --fast").is_err());
    assert!(parse("start wordcount").is_err());
}

#[test]
fn contenders_are_chosen_by_part_of_their_name() {
    let options = parse("start --only posix|ython --no-peers").unwrap().unwrap();
    assert!(options.wants(&contender("posix_spawn", Kind::Limit)));
    assert!(!options.wants(&contender("CPython 3.13", Kind::Peer)));
    assert!(!options.wants(&contender("fork", Kind::Limit)));
    let all = parse("start").unwrap().unwrap();
    assert!(all.wants(&contender("CPython 3.13", Kind::Peer)));
}

#[test]
fn ours_must_take_part_and_go_well() {
    let family = start::family();
    let row = |name, problems| Row {
        name,
        samples: std::collections::BTreeMap::new(),
        problems,
        foreign: Vec::new(),
    };
    let problem = || vec!["signal 9".to_owned()];
    assert!(verdict(&family, &[row("procession", problem())], &Vec::new()).is_err());
    assert!(verdict(&family, &[row("fork", problem())], &Vec::new()).is_err());
    assert!(verdict(&family, &[row("procspawn", problem())], &Vec::new()).is_ok());
    assert!(verdict(&family, &[row("procession", Vec::new())], &Vec::new()).is_ok());
    let missing = vec![("procession", "could not be built".to_owned())];
    assert!(verdict(&family, &[], &missing).is_err());
    assert!(verdict(&family, &[], &vec![("procspawn", "no network".to_owned())]).is_ok());
}

/// A family that depends on the processors.
struct Case {
    family: fn(Option<&str>) -> Family,
    /// The one of ours that another harness gets.
    default: &'static str,
    spinners: &'static [&'static str],
}

const CASES: [Case; 5] = [
    Case { family: sync::family, default: "procession", spinners: &["spin", "procession spin"] },
    Case {
        family: pipe::family,
        default: "procession",
        spinners: &["spinning ring", "procession spin"],
    },
    Case {
        family: sharedmem::family,
        default: "procession blocks",
        spinners: &["procession blocks spin", "procession values spin"],
    },
    Case { family: queue::family, default: "procession", spinners: &["procession spin"] },
    Case { family: pool::family, default: "procession", spinners: &["procession spin"] },
];

#[test]
fn comparisons_are_of_figures_and_rows_that_exist() {
    let others = [start::family(), socket::family()];
    for family in CASES.iter().map(|case| (case.family)(Some("0,1"))).chain(others) {
        let name = family.name;
        let has_row = |name| family.contenders.iter().any(|one| one.name == name);
        let has_figure = |name: &String| family.metrics.iter().any(|metric| metric.name == *name);
        assert!(has_row(family.limit), "{name}");
        assert!(!family.comparisons.is_empty(), "{name}");
        for one in &family.comparisons {
            assert!(has_row(one.subject) && has_row(one.against), "{name}: {}", one.against);
            assert!(!one.metrics.is_empty(), "{name}: {}", one.against);
            assert!(one.metrics.iter().all(has_figure), "{name}: {:?}", one.metrics);
        }
        for bar in &family.bars {
            let others = match &bar.against {
                bar::Against::Nobody => &[],
                bar::Against::One(other) => std::slice::from_ref(other),
                bar::Against::BestOf(_, others) => others,
            };
            assert!(has_row(bar.subject) && others.iter().all(|one| has_row(one)), "{bar:?}");
            assert!(has_figure(&bar.metric.to_owned()), "{bar:?}");
        }
    }
}

#[test]
fn another_harness_gets_the_default() {
    for case in CASES {
        let family = (case.family)(Some("0"));
        let first = family.contenders.iter().find(|one| one.kind == Kind::Ours);
        assert_eq!(first.map(|one| one.name), Some(case.default), "{}", family.name);
    }
}

#[test]
fn who_never_sleeps_needs_two_processors() {
    for case in CASES {
        let left_out = |cpus| {
            let contenders = (case.family)(Some(cpus)).contenders;
            let is_left_out = |one: &&Contender| matches!(one.source, Source::Nowhere(_));
            contenders.iter().filter(is_left_out).map(|one| one.name).collect::<Vec<_>>()
        };
        assert_eq!(left_out("0"), case.spinners);
        assert_eq!(left_out("1, 1"), case.spinners);
        assert!(left_out("0,1").is_empty());
    }
}

#[test]
fn who_was_left_out_on_purpose_is_not_missed() {
    let missing = |name: &'static str| vec![(name, "a reason".to_owned())];
    for Case { family, default, spinners } in CASES {
        for spinner in spinners {
            assert!(verdict(&family(Some("0")), &[], &missing(spinner)).is_ok());
            assert!(verdict(&family(Some("0,1")), &[], &missing(spinner)).is_err());
        }
        for needed in [default, family(None).limit] {
            assert!(verdict(&family(Some("0")), &[], &missing(needed)).is_err());
        }
    }
}
