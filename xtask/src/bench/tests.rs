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
