//! `cargo xtask soak <family>`: kills members of a family at random, for long (`docs/soak.md`).
//!
//! The harness is `soak_run` in `tests/`, and what it kills is `soak_<family>` beside it. Both are built with optimizations.

use std::ffi::OsString;

use lexopt::prelude::*;
use xshell::cmd;

use crate::metadata::{self, Metadata};
use crate::report::say;

const HELP: &str = "\
cargo xtask soak <family> [options]

families
  process           a root, parents, fork servers and children, one of which is killed in each round
  sync              eight processes that hammer a lock or one of its kin, killed one after the other
  step              an actor that does something with a lock or its kin, killed at its n-th instruction
  pipe              two processes with a pipe, one of which is killed or stopped, or killed at its n-th instruction
  shared            whoever makes blocks of shared memory, uses them, or writes them under a lock, killed
  pool              the workers of a pool, killed and stopped while tasks fail, time out and are cancelled, memory or descriptors run
                    out, and the pool is resized and closed; 100,000 tasks a round
  queue             those who put into a queue, get and lease from it, close it and settle what the dead leave, killed alone, one
                    after the other or at their n-th instruction
  idle              a hundred processes that wait, and the processor time that they use; 5 s a round

options
  --rounds N        rounds (2000)
  --only KIND       kill only those: root, parent, server or child; or hammer only that: lock, rlock, permits,
                    raw-permits, condition, event or barrier; or an act of `step`; or in `pipe`: sender, receiver, stopped,
                    handles, moved, sibling, or an act; or `kinds`, or `acts`;
                    or in `shared`: creator, attacher, writer; or in `pool`: kill, deeds, stop, timeout, cancel, memory,
                    descriptors, resize, close, start, server, all, flat, or one of them with `-short` for rounds of some 40 tasks,
                    or `short`; or in `queue`: putter, getter, both, alone,
                    lease, tasks, settler, bytes, handles, closed, or an act; or `kinds`, or `acts`
  --seed S          what all random choices follow from; another one each time unless given
  --minutes M       in `pool`: as many rounds of each kind as take so long in all
  --from R          the number of the first round (0); a failure says how to play its round again
";

const PACKAGE: &str = "procession-tests";

/// What says to a family for how long it shall be soaked.
const MINUTES: &str = "PROCESSION_SOAK_MINUTES";

/// What the command line asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    family: String,
    rounds: usize,
    seed: u64,
    from: usize,
    only: Option<String>,
    minutes: Option<u64>,
}

pub(crate) fn run(args: Vec<OsString>) -> Result<(), String> {
    let Some(options) = Options::parse(args).map_err(|error| error.to_string())? else {
        say(HELP);
        return Ok(());
    };
    let Options { family, rounds, seed, from, only, minutes } = options;
    if family.is_empty() {
        return Err(format!("which family?\n\n{HELP}"));
    }
    let sh = metadata::shell()?;
    let workspace = Metadata::load(&sh)?;
    let members = format!("soak_{family}");
    let mut programs =
        workspace.package(PACKAGE).into_iter().flat_map(|one| one.targets_of_kind("bin"));
    if family == "run" || !programs.any(|name| name == members) {
        return Err(format!("there is no family `{family}`\n\n{HELP}"));
    }
    cmd!(sh, "cargo build --release --package {PACKAGE} --bin soak_run --bin {members}")
        .quiet()
        .run()
        .map_err(|error| error.to_string())?;
    let program = workspace.target_directory.join("release/soak_run");
    let _minutes = minutes.map(|minutes| sh.push_env(MINUTES, minutes.to_string()));
    let numbers = [rounds.to_string(), seed.to_string(), from.to_string()];
    cmd!(sh, "{program} {family} {numbers...} {only...}").run().map_err(|error| error.to_string())
}

impl Options {
    /// Nothing if help was asked for.
    fn parse(args: Vec<OsString>) -> Result<Option<Self>, lexopt::Error> {
        let clock = std::time::UNIX_EPOCH.elapsed().map_or(1, |time| time.as_secs());
        let mut options =
            Self { family: String::new(), rounds: 2000, seed: clock, ..Self::default() };
        let mut parser = lexopt::Parser::from_args(args);
        while let Some(argument) = parser.next()? {
            match argument {
                Short('h') | Long("help") => return Ok(None),
                Long("rounds") => options.rounds = parser.value()?.parse()?,
                Long("seed") => options.seed = parser.value()?.parse()?,
                Long("only") => options.only = Some(parser.value()?.string()?),
                Long("minutes") => options.minutes = Some(parser.value()?.parse()?),
                Long("from") => options.from = parser.value()?.parse()?,
                Value(name) if options.family.is_empty() => options.family = name.string()?,
                other => return Err(other.unexpected()),
            }
        }
        Ok(Some(options))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_have_defaults() {
        let parse =
            |line: &str| Options::parse(line.split_whitespace().map(OsString::from).collect());
        let wanted = parse("process --only root --seed 7 --from 12 --rounds 1");
        let wanted = wanted.expect("options").expect("no help");
        let only = Some("root".to_owned());
        assert_eq!(
            wanted,
            Options { family: "process".into(), rounds: 1, seed: 7, from: 12, only, minutes: None }
        );
        let defaults = parse("process").expect("no options").expect("no help");
        assert_eq!((defaults.rounds, defaults.from, defaults.only), (2000, 0, None));
        let long = parse("pool --minutes 30").expect("options").expect("no help");
        assert_eq!((long.family.as_str(), long.minutes), ("pool", Some(30)));
        assert_eq!(parse("--help").expect("an option"), None);
        assert!(parse("process --fast").is_err());
        assert!(parse("process pool").is_err());
    }
}
