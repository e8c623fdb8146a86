//! Counts the words of files with worker processes: `wordcount --help`.
//!
//! `walk` turns paths into tasks, `count` turns a task into a partial result, `report` adds those
//! up. How tasks and results travel is the only difference between the three modes: a loop here,
//! threads in `threaded`, worker processes in `pooled`.

mod args;
mod bytes;
mod count;
mod pooled;
mod report;
mod table;
mod threaded;
mod walk;

use std::io::{self, BufWriter, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::args::{Args, HELP, Mode};
use crate::count::count_task;
use crate::pooled::Outcome;
use crate::report::{Run, Summary};
use crate::walk::Walk;

fn main() -> ExitCode {
    procession::init();
    let args = match Args::parse(lexopt::Parser::from_env()) {
        Ok(args) => args,
        Err(error) => {
            complain(&format_args!("{error}; --help tells more"));
            return ExitCode::from(2);
        }
    };
    match run(args) {
        Ok(code) => code,
        // Whoever reads our output has enough of it, as in `wordcount | head -1`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> io::Result<ExitCode> {
    let mut out = BufWriter::new(io::stdout().lock());
    if args.is_help {
        out.write_all(HELP.as_bytes())?;
        out.flush()?;
        return Ok(ExitCode::SUCCESS);
    }
    let started = Instant::now();
    let mut summary = Summary::new(&args.paths);
    let bar = progress_bar(&args);
    let walk = Walk::new(args.paths, args.mode.workers());
    if let Err(error) = count_all(args.mode, walk, &mut summary, &bar) {
        complain(&error);
        return Ok(ExitCode::FAILURE);
    }
    summary.finish();
    let run = Run { mode: args.mode, elapsed: started.elapsed(), top: args.top };
    bar.finish_and_clear();
    // Nothing can be done if standard error is closed, and the exit status tells the essence.
    drop(summary.write_complaints(&mut io::stderr().lock()));
    if args.is_json {
        summary.write_json(&mut out, &run)?;
    } else {
        summary.write_table(&mut out, &run)?;
    }
    Ok(if summary.is_failure() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn count_all(
    mode: Mode,
    walk: Walk,
    summary: &mut Summary,
    bar: &ProgressBar,
) -> procession::Result<()> {
    let mut done_fn = |outcome| {
        match outcome {
            Outcome::Counted(partial) => summary.add(partial),
            Outcome::GivenUp(task, reason) => summary.give_up(task, &reason),
        }
        bar.set_position(summary.bytes());
    };
    match mode {
        Mode::Serial => walk.map(count_task).map(Outcome::Counted).for_each(done_fn),
        Mode::Threads(count) => {
            threaded::count(walk, count, |partial| done_fn(Outcome::Counted(partial)));
        }
        Mode::Pool(workers) => pooled::count(walk, workers, done_fn)?,
    }
    Ok(())
}

/// A bar on a terminal, else one that nobody sees.
fn progress_bar(args: &Args) -> ProgressBar {
    if args.is_quiet || args.is_json || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    // How much there is to do is not known before the walk has ended.
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style =
        ProgressStyle::with_template("{spinner} {bytes} counted, {bytes_per_sec}, {elapsed}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
    bar.with_style(style).with_elapsed(Duration::ZERO)
}

fn complain(what: &dyn std::fmt::Display) {
    // There is no third place to say that standard error is closed.
    drop(writeln!(io::stderr().lock(), "wordcount: {what}"));
}
