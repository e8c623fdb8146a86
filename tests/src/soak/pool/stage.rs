//! The stage: plays one round after the other, and counts.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use procession::{Pool, Process, StartMethod};
use procession_sys::fd;
use procession_sys::prim::Ordering::SeqCst;
use procession_sys::prim::{AtomicBool, AtomicUsize, Condvar, Mutex, lock};

use super::super::eyes::Names;
use super::super::figures::{Samples, cells};
use super::super::leak::Leak;
use super::super::random;
use super::super::waited::LATE;
use super::caller::{Caller, Pending};
use super::flat;
use super::plan::Plan;
use super::round::Round;
use super::trouble::Trouble;
use super::work::{self, Entry};
use crate::{Random, children, steady, wait_until};

/// What the names of the kinds end with that have short rounds.
pub(super) const SHORT: &str = "-short";

/// How long a round may take before somebody hangs.
const LONGEST: [Duration; 2] = [Duration::from_secs(40), Duration::from_secs(400)];

/// How many descriptors more than at first the stage may have after a round: the watch keeps its bell.
const MORE: usize = 8;

/// What the names begin with that we make, and those of tests that run beside. Other programs make names as well, at any time.
const OURS: &str = "/dev/shm/procession";
const OF_TESTS: &str = "/dev/shm/procession-test-";

/// How wide the names of kinds are.
pub(super) const WIDTH: usize = 18;

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// How late somebody was told of a death.
    told: Vec<Duration>,
    saw: BTreeMap<&'static str, usize>,
}

impl Tally {
    pub(super) fn saw(&mut self, what: &'static str, times: usize) {
        if times > 0 {
            *self.saw.entry(what).or_default() += times;
        }
    }

    /// The greatest of these.
    pub(super) fn most(&mut self, what: &'static str, count: usize) {
        let most = self.saw.entry(what).or_default();
        *most = count.max(*most);
    }

    /// Somebody was told of a death so late.
    pub(super) fn told(&mut self, late: Duration) {
        self.told.push(late);
    }

    fn row(&self, kind: &str) -> String {
        let saw: Vec<_> = self.saw.iter().map(|(what, times)| format!("{what} {times}")).collect();
        let mut told = Samples::default();
        self.told.iter().for_each(|late| told.add(*late));
        format!("{kind:<WIDTH$}{}  | {}", cells(&told), saw.join(", "))
    }
}

/// Plays so many rounds from `first` on, or for so long; returns the row of figures. What is wrong is a panic.
///
/// # Panics
///
/// When anything is wrong.
pub fn play(kind: &str, method: StartMethod, rounds: usize, seed: u64, first: usize) -> String {
    procession::force_start_method(method);
    let long = kind.strip_suffix(SHORT);
    let (name, is_long) = (long.unwrap_or(kind), long.is_none());
    let mut names = Names::before();
    drop(steady());
    let before = descriptors();
    let mut tally = Tally::default();
    let end = seconds().map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut round = first;
    while end.map_or(round < first + rounds, |end| Instant::now() < end) {
        let again = format!("cargo xtask soak pool --only {kind} --seed {seed} --from {round}");
        let telling = Telling(format!("{again} --rounds 1"));
        let mut draws = random(seed, round, 50);
        match name {
            "flat" => flat::play(is_long, &mut draws, &mut tally),
            name => play_round(Plan::draw(name, is_long, &mut draws), draws, &mut tally),
        }
        if matches!(name, "server" | "all") {
            // A server that was killed after the last start is seen by the next one.
            Process::spawn(|| (), ()).expect("a process").join().expect("it returns");
        }
        wait_until("nobody is left", || children().is_empty());
        let open = descriptors();
        assert!(open <= before + MORE, "{open} descriptors, {before} before");
        names.look(round);
        drop(telling);
        tally.saw("rounds", 1);
        round += 1;
    }
    let is_ours = |name: &str| name.starts_with(OURS) && !name.starts_with(OF_TESTS);
    let left: Vec<_> = names.left().into_iter().filter(|(name, _)| is_ours(name)).collect();
    assert!(left.is_empty(), "names are left, since these rounds: {left:?}");
    tally.row(kind)
}

fn descriptors() -> usize {
    fd::open_descriptors().expect("/proc is mounted").len()
}

/// How long to play, if not a number of rounds.
fn seconds() -> Option<u64> {
    std::env::var(super::SECONDS).ok()?.parse().ok()
}

fn play_round(plan: Plan, mut random: Random, tally: &mut Tally) {
    let round = Arc::new(Round::new(plan));
    let dog = Dog::watch(&round);
    let plan = &round.plan;
    let (leak, writer) = Leak::new(plan.features.descriptors);
    let pool = build(&round);
    lock(&round.waiting).extend(dispatchers().into_iter().take(1));
    let (pending, wanted) = run(&round, &pool, writer.as_ref(), &mut random);
    let is_ending = round.ending.closed.load(SeqCst);
    if !is_ending && !plan.features.starts && !plan.features.descriptors {
        wait_until("the pool has its size", || pool.worker_pids().len() == wanted);
        assert_eq!(pool.workers(), wanted);
    }
    end(&round, pool, is_ending, &mut random);
    for pending in pending {
        pending.settle(&round);
    }
    round.check_calls();
    drop(writer);
    leak.check();
    drop(dog);
    let found = std::mem::take(&mut *lock(&round.tally));
    let late = found.told.iter().max().copied().unwrap_or_default();
    // Who starts workers waits for the server that it needs to be there again, which is a new program.
    let limit = if plan.features.servers { LATE * 5 } else { LATE };
    // Whoever has no descriptors cannot look at clocks either.
    assert!(late <= limit || plan.features.descriptors, "told {late:?} after a death");
    tally.told.extend(found.told);
    for (what, times) in found.saw {
        tally.saw(what, times);
    }
}

fn build(round: &Round) -> Pool {
    let plan = &round.plan;
    let entry = Entry {
        ledger: round.ledger.send(),
        seed: plan.seed,
        memory: plan.memory,
        descriptors: plan.descriptors,
        dying: plan.dying,
    };
    let workers = NonZeroUsize::new(plan.workers).expect("some");
    let mut builder = Pool::builder().workers(workers);
    if let Some(tasks) = plan.tasks_per_worker {
        builder = builder.tasks_per_worker(tasks);
    }
    let builder = builder.initializer(work::enter, (entry,)).expect("a function of this program");
    builder.build().expect("a pool")
}

/// Has the callers call and the trouble made, until all callers are done; what is to come, and how many workers there shall be.
fn run(
    round: &Arc<Round>,
    pool: &Pool,
    writer: Option<&OwnedFd>,
    draws: &mut Random,
) -> (Vec<Pending>, usize) {
    let is_done = AtomicBool::new(false);
    let seeds: Vec<_> = (0..=round.plan.callers).map(|_| draws.below(usize::MAX) as u64).collect();
    let trouble = Trouble::new(round, pool, random(seeds[0], 0, 51));
    thread::scope(|scope| {
        let trouble = scope.spawn(|| trouble.run(&is_done));
        let callers: Vec<_> = seeds[1..]
            .iter()
            .map(|seed| {
                let caller = Caller::new(round, pool, writer, random(*seed, 0, 52));
                scope.spawn(|| caller.run())
            })
            .collect();
        let results: Vec<_> = callers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        is_done.store(true, SeqCst);
        let wanted = trouble.join();
        let mut pending = Vec::new();
        for result in results {
            pending.extend(result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        (pending, wanted.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// Ends the pool in one of the ways there are.
fn end(round: &Round, pool: Pool, is_ending: bool, random: &mut Random) {
    round.ending.closed.store(true, SeqCst);
    match random.below(4) {
        0 => pool.close(),
        1 => {
            round.ending.terminated.store(true, SeqCst);
            pool.terminate();
        }
        _ if !is_ending => {
            round.ending.terminated.store(true, SeqCst);
            return drop(pool);
        }
        _ => {}
    }
    pool.join().expect("it is closed");
    assert_eq!(pool.worker_pids(), [0; 0], "workers of a pool that has ended");
}

/// The threads that own workers.
fn dispatchers() -> Vec<u32> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let numbers = tasks.filter_map(|task| task.file_name().to_str()?.parse().ok());
    let name = |thread: &u32| std::fs::read_to_string(format!("/proc/self/task/{thread}/comm"));
    numbers
        .filter(|thread| name(thread).is_ok_and(|name| name.trim() == "procession-pool"))
        .collect()
}

/// Says which round it was when something was wrong in it.
struct Telling(String);

impl Drop for Telling {
    #[expect(clippy::print_stderr, reason = "the last words of a program")]
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.0);
        }
    }
}

/// Ends this program when a round does not end, and says what it was at.
struct Dog(Arc<(Mutex<bool>, Condvar)>);

impl Dog {
    fn watch(round: &Arc<Round>) -> Self {
        let shared = Arc::new((Mutex::new(false), Condvar::new()));
        let (watched, round) = (Arc::clone(&shared), Arc::clone(round));
        let start = Instant::now();
        let limit = LONGEST[usize::from(round.plan.is_long)];
        let watch = move || {
            let (done, changed) = &*watched;
            let waited = changed.wait_timeout_while(lock(done), limit, |done| !*done);
            if waited.map_or(true, |(_, timeout)| timeout.timed_out()) {
                hang(&round, start);
            }
        };
        thread::Builder::new().name("dog".into()).spawn(watch).expect("a thread");
        Self(shared)
    }
}

impl Drop for Dog {
    fn drop(&mut self) {
        *lock(&self.0.0) = true;
        self.0.1.notify_all();
    }
}

/// Which memory the first argument of a system call points into: whether a thread sleeps over something that is shared.
fn memory_of(call: &str) -> Option<String> {
    let argument = call.split(' ').nth(1)?.strip_prefix("0x")?;
    let address = u64::from_str_radix(argument, 16).ok()?;
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let holds = |line: &&str| {
        let range = line.split(' ').next().and_then(|range| range.split_once('-'));
        let ends = range.map(|(from, to)| [from, to].map(|end| u64::from_str_radix(end, 16)));
        matches!(ends, Some([Ok(from), Ok(to)]) if (from..to).contains(&address))
    };
    maps.lines().find(holds).map(str::to_owned)
}

#[expect(clippy::print_stderr, reason = "the last words of a program")]
fn hang(round: &Round, start: Instant) {
    static TOLD: AtomicUsize = AtomicUsize::new(0);
    if TOLD.fetch_add(1, SeqCst) > 0 {
        return;
    }
    eprintln!("somebody hangs. {}", round.describe(start));
    for task in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let read = |name| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let number = task.file_name();
        let (name, place, call) = (read("comm"), read("wchan"), read("syscall"));
        let memory = memory_of(&call).unwrap_or_default();
        eprintln!("thread {} {} in `{place}`, {memory}", number.display(), name.trim());
    }
    for child in children() {
        eprintln!("{}", super::super::eyes::describe(child));
    }
    std::process::abort();
}
