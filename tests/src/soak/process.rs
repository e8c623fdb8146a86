//! The family of processes: a root, two parents, their children, and the fork servers between them.
//!
//! `plan` says what a family does and who is killed when; `line` is what its members write into the harness's
//! pipe; `member` is what they do, and the only part that runs in processes of ours. `round` runs one round and
//! `ledger` keeps what was heard; `judge` compares that with what must have happened.

mod judge;
mod ledger;
mod line;
pub mod member;
mod plan;
mod round;

use std::collections::BTreeMap;
use std::time::Duration;

use procession::{StartMethod, start_methods};
use procession_sys::Deadline;

use super::Options;
use super::eyes::{Home, Names};
use super::figures::{self, Samples};
use ledger::Leftover;
use line::Role;
use plan::{Plan, Victim};

use round::{Outcome, Round};

/// How long after a death nothing may be left, and everybody must have an answer.
const LIMIT: Duration = Duration::from_secs(1);

/// Kills a random member in each round, or one of the [only kind](Options::only) that is wanted; returns the table of figures.
///
/// # Errors
///
/// As [`Soak`](super::Soak).
pub fn soak(options: &Options) -> Result<String, String> {
    let victims = match &options.only {
        None => Victim::ALL.to_vec(),
        Some(name) => vec![name.parse()?],
    };
    let home = Home::new(&options.program)?;
    let mut names = Names::before();
    let methods = methods(options.method);
    let mut usual = BTreeMap::new();
    for method in &methods {
        usual.insert(method.to_string(), Usual::learn(&home, options, *method)?);
    }
    let mut table = Table::default();
    let before = descriptors();
    for number in options.first..options.first + options.rounds {
        let plan = Plan::of_round(options, number, &methods, &victims)?;
        let (victim, method) = (plan.victim(), plan.method.to_string());
        let round = Round::new(&home, plan);
        let (outcome, _) = round.run(usual.get(&method).ok_or("an unknown method")?)?;
        table.add(victim, &outcome);
        names.look(number);
        let now = descriptors();
        if now != before {
            return Err(format!("round {number} left descriptors: {before:?}, now {now:?}"));
        }
    }
    let deadline = Deadline::after(LIMIT);
    while !names.left().is_empty() && !deadline.has_passed() {
        std::thread::yield_now();
        names.look(options.first + options.rounds);
    }
    match names.left().as_slice() {
        [] => table.check(&victims).map(|()| table.render(options)),
        left => {
            let (count, some) = (left.len(), &left[..left.len().min(5)]);
            Err(format!(
                "seed {}: {count} names are left (after which round): {some:?}",
                options.seed
            ))
        }
    }
}

/// What an undisturbed round was like, by method.
#[derive(Debug, Default)]
struct Usual {
    /// What root and parents still have at their end; empty when nothing is known yet.
    leftovers: BTreeMap<Role, Leftover>,
    /// From the start of the root until everybody was there.
    build_up: Duration,
}

impl Usual {
    /// Runs a few rounds in which nobody is killed.
    fn learn(home: &Home, options: &Options, method: StartMethod) -> Result<Self, String> {
        let mut this = Self::default();
        for number in 0..3 {
            let plan = Plan::undisturbed(options, number, method);
            let (outcome, leftovers) = Round::new(home, plan).run(&this)?;
            // The first one has pages to load.
            let quickest = if number == 0 { outcome.build_up } else { this.build_up };
            this = Self { leftovers, build_up: outcome.build_up.min(quickest) };
        }
        Ok(this)
    }
}

/// Whether fork servers can be killed.
pub fn has_servers(options: &Options) -> bool {
    methods(options.method).into_iter().any(plan::has_server)
}

fn methods(only: Option<StartMethod>) -> Vec<StartMethod> {
    match only {
        Some(method) => vec![method],
        None => start_methods().to_vec(),
    }
}

/// The descriptors of the harness.
fn descriptors() -> Vec<i32> {
    procession_sys::fd::open_descriptors().expect("/proc is mounted")
}

/// The figures of one kind of victim.
#[derive(Debug, Default)]
struct Row {
    rounds: usize,
    /// Rounds in which somebody was killed who had not ended.
    killed: usize,
    /// Rounds in which that one was killed before it had run a line of its function.
    unborn: usize,
    answers: Samples,
    gone: Samples,
}

#[derive(Debug, Default)]
struct Table(BTreeMap<Victim, Row>);

impl Table {
    fn add(&mut self, victim: Option<Victim>, outcome: &Outcome) {
        let Some(victim) = victim else { return };
        let row = self.0.entry(victim).or_default();
        row.rounds += 1;
        row.killed += usize::from(outcome.in_time);
        row.unborn += usize::from(outcome.unborn);
        for answer in &outcome.answers {
            row.answers.add(*answer);
        }
        if let Some(gone) = outcome.gone {
            row.gone.add(gone);
        }
    }

    /// A soak that kills too few shows nothing.
    fn check(&self, victims: &[Victim]) -> Result<(), String> {
        for victim in victims {
            match self.0.get(victim) {
                Some(row) if row.rounds > 20 && row.killed * 2 < row.rounds => {
                    let Row { rounds, killed, .. } = row;
                    let text = format!("{victim}: killed in time in {killed} of {rounds} rounds");
                    return Err(text);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn render(&self, options: &Options) -> String {
        let head = ["victim", "rounds", "killed", "unborn"];
        let mut text = format!("seed {}, times in ms\n{}", options.seed, cells(head));
        text += &figures::heading("answers");
        text += &figures::heading("gone");
        for (victim, row) in &self.0 {
            let counts = [row.rounds, row.killed, row.unborn].map(|count| count.to_string());
            let [rounds, killed, unborn] = counts.each_ref().map(String::as_str);
            text += &format!("\n{}", cells([&victim.to_string(), rounds, killed, unborn]));
            text += &figures::cells(&row.answers);
            text += &figures::cells(&row.gone);
        }
        text.push('\n');
        text
    }
}

fn cells([victim, rounds, killed, unborn]: [&str; 4]) -> String {
    format!("{victim:<12} {rounds:>6} {killed:>6} {unborn:>6}")
}
