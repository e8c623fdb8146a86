//! Command lines, good and bad.

use super::*;

fn parse(line: &str) -> Result<Args, String> {
    let words = line.split_whitespace();
    Args::parse(lexopt::Parser::from_args(words)).map_err(|error| error.to_string())
}

#[test]
fn defaults_are_the_current_folder_and_a_pool() {
    let args = parse("").unwrap();
    assert_eq!(args.paths, [PathBuf::from(".")]);
    assert!(matches!(args.mode, Mode::Pool(_)));
    assert_eq!((args.top, args.is_json, args.is_quiet, args.is_help), (10, false, false, false));
}

#[test]
fn everything_can_be_chosen() {
    let args = parse("a --threads=3 --top 0 --json -- --serial").unwrap();
    assert_eq!(args.paths, [PathBuf::from("a"), PathBuf::from("--serial")]);
    assert_eq!(args.mode, Mode::Threads(NonZeroUsize::new(3).unwrap()));
    assert_eq!((args.top, args.is_json), (0, true));
    assert_eq!(parse("--serial -q").unwrap().mode, Mode::Serial);
    assert_eq!(parse("--workers 1").unwrap().mode.workers(), 1);
}

#[test]
fn nonsense_is_refused() {
    for line in ["--workers 0", "--workers", "--threads x", "--top -1", "--what", "--json=1"] {
        assert!(parse(line).is_err(), "{line}");
    }
    for line in ["--serial --threads 2", "--workers 2 --workers 2", "--workers 1 --serial"] {
        assert!(parse(line).unwrap_err().contains("only one of"), "{line}");
    }
}
