//! Runs a soak: its arguments are a family, the number of rounds, the seed, the number of the first round, and perhaps the
//! only kind of victim. The programs of the families lie beside this one. `cargo xtask soak` builds and starts it.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]

use std::process::ExitCode;

use procession_tests::soak::{FAMILIES, Options};

fn main() -> ExitCode {
    match run() {
        Ok(table) => {
            println!("{table}");
            ExitCode::SUCCESS
        }
        Err(what) => {
            eprintln!("{what}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<String, String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [family, rounds, seed, first, only @ ..] = arguments.as_slice() else {
        return Err("expected: <family> <rounds> <seed> <first round> [<victim>]".to_owned());
    };
    let known = FAMILIES.iter().find(|(name, _)| name == family);
    let (_, soak) = known.ok_or_else(|| {
        let names: Vec<_> = FAMILIES.iter().map(|(name, _)| *name).collect();
        format!("there is no family `{family}`, but: {}", names.join(", "))
    })?;
    let wrong = |error: std::num::ParseIntError| error.to_string();
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let program = own.with_file_name(format!("soak_{family}"));
    let (rounds, seed) = (rounds.parse().map_err(wrong)?, seed.parse().map_err(wrong)?);
    let options = Options::new(rounds, seed, program);
    let (first, only) = (first.parse().map_err(wrong)?, only.first().cloned());
    soak(&Options { first, only, ..options })
}
