//! Running the contenders in turn, A B C A B C, so that a slow minute of the machine hurts all.

use std::collections::BTreeMap;
use std::time::Instant;

use super::Entry;
use super::cage::{Cage, Outcome};
use super::family::{Env, Family, Sample};
use super::machine::{Ticks, wait_until_calm};
use crate::report::complain;

/// A run in which other work took more of the machine than this is done again.
const MOST_FOREIGN: f64 = 0.12;
/// How often a run is done again before the calmest counts.
const REPEATS: usize = 2;
/// A contender that failed this often without a figure is left alone.
const GIVE_UP_AFTER: usize = 2;

/// What one contender gave.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// By metric, one place for each round.
    pub(crate) samples: BTreeMap<String, Vec<Option<f64>>>,
    pub(crate) problems: Vec<String>,
    /// Share of the machine that other work took, for each run.
    pub(crate) foreign: Vec<f64>,
}

pub(crate) fn run(
    family: &Family,
    entries: Vec<Entry<'_>>,
    cage: &Cage,
    rounds: usize,
) -> Vec<Row> {
    let begin = Instant::now();
    let mut rows: Vec<Row> = entries.iter().map(|entry| Row::new(entry, family, rounds)).collect();
    for round in 0..rounds {
        for (entry, row) in entries.iter().zip(&mut rows) {
            for env in &entry.contender.runs {
                if !row.is_hopeless() {
                    row.add(round, env, family, measure(entry, env, family, cage));
                }
            }
        }
        let seconds = begin.elapsed().as_secs();
        complain(&format!("# {}: round {} of {rounds}, {seconds} s", family.name, round + 1));
    }
    rows
}

/// One run on a calm machine, or the calmest of a few.
fn measure(
    entry: &Entry<'_>,
    env: &Env,
    family: &Family,
    cage: &Cage,
) -> Result<(Outcome, f64), String> {
    let mut calmest: Option<(Outcome, f64)> = None;
    for _ in 0..=REPEATS {
        wait_until_calm();
        let before = Ticks::now();
        let outcome = cage.run(&entry.argv, env, family.with_peak)?;
        let foreign = Ticks::now().foreign_share_since(before, outcome.account.cpu_s);
        let failed = !outcome.account.ok;
        if calmest.as_ref().is_none_or(|(_, least)| foreign < *least) {
            calmest = Some((outcome, foreign));
        }
        if failed || foreign <= MOST_FOREIGN {
            break;
        }
    }
    calmest.ok_or_else(|| "nothing was run".to_owned())
}

impl Row {
    fn new(entry: &Entry<'_>, family: &Family, rounds: usize) -> Self {
        let empty = |metric: &super::family::Metric| (metric.name.clone(), vec![None; rounds]);
        Self {
            name: entry.contender.name,
            samples: family.metrics.iter().map(empty).collect(),
            problems: Vec::new(),
            foreign: Vec::new(),
        }
    }

    fn is_hopeless(&self) -> bool {
        self.problems.len() >= GIVE_UP_AFTER && self.samples.values().flatten().all(Option::is_none)
    }

    /// Takes the figures of a run that went well, and notes what went wrong with any other.
    fn add(
        &mut self,
        round: usize,
        env: &Env,
        family: &Family,
        run: Result<(Outcome, f64), String>,
    ) {
        let figures = run.and_then(|(outcome, foreign)| {
            outcome.check()?;
            self.foreign.push(foreign);
            (family.read)(&outcome)
        });
        let added = figures.and_then(|samples| {
            samples.iter().try_for_each(|sample| self.add_sample(round, family, sample))
        });
        if let Err(problem) = added {
            let with: String =
                env.iter().map(|(name, value)| format!(", {name}={value}")).collect();
            let problem = format!("{}: round {}{with}: {problem}", self.name, round + 1);
            complain(&format!("# {problem}"));
            self.problems.push(problem);
        }
    }

    fn add_sample(&mut self, round: usize, family: &Family, sample: &Sample) -> Result<(), String> {
        let (name, unit) = (&sample.metric, &sample.unit);
        let known = family.metrics.iter().any(|metric| metric.name == *name && metric.unit == unit);
        let place = self.samples.get_mut(name).and_then(|values| values.get_mut(round));
        match place {
            Some(place) if known && sample.value.is_finite() => {
                *place = Some(sample.value);
                Ok(())
            }
            _ => Err(format!("a figure that the family does not know: {sample:?}")),
        }
    }
}
