//! What all threads of a round share: its plan, what was done to workers, and what became of the tasks; and what may have become of them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use procession::{Death, ExitStatus, TaskError};
use procession_sys::prim::Ordering::SeqCst;
use procession_sys::prim::{AtomicBool, AtomicUsize, Mutex, lock};
use procession_sys::{fork, signal};

use super::super::waited::{Answer, Waited};
use super::ledger::{Ledger, Note};
use super::plan::Plan;
use super::stage::Tally;
use super::work::{BY_DESIGN, Deed, Done, Place, Way};

/// How a call runs its tasks, and what was done to it.
#[derive(Debug, Default)]
pub(super) struct Terms {
    pub(super) timeout: Option<Duration>,
    pub(super) attempts: u32,
    pub(super) retries_panics: bool,
    /// Somebody may have cancelled it.
    pub(super) is_cancelled: AtomicBool,
    /// It had begun before anybody closed the pool.
    pub(super) is_before_close: AtomicBool,
}

/// Whether the pool ends.
#[derive(Debug, Default)]
pub(super) struct Ending {
    pub(super) closed: AtomicBool,
    pub(super) terminated: AtomicBool,
}

/// The threads that wait for answers, and for how long.
type Waiting = Vec<(u32, Waited)>;

/// What is known of a task whose outcome is there.
#[derive(Debug, Clone, Copy)]
struct Resolved {
    note: Note,
    attempts: u32,
    is_resolved: bool,
    is_ok: bool,
}

/// Where a task ends that is not called, and one whose value goes no further.
const UNREAD: [Place; 3] = [Place::ArgumentWritten, Place::ArgumentRead, Place::ArgumentReadPanics];
const UNWRITTEN: [Place; 4] =
    [Place::ValueWritten, Place::ValueRead, Place::ValueWrittenPanics, Place::ValueReadPanics];

#[derive(Debug)]
pub(super) struct Round {
    pub(super) plan: Plan,
    pub(super) ledger: Ledger,
    next: AtomicUsize,
    /// The workers that were killed, and who waited how since their deaths could be seen.
    killed: Mutex<BTreeMap<u32, Option<Waiting>>>,
    /// The workers whose deaths were given as a reason, and for which item.
    blamed: Mutex<BTreeMap<u32, usize>>,
    tasks: Mutex<Vec<Option<Resolved>>>,
    /// What callbacks and callers were told of an item: whether there is a value. Both are told the same.
    heard: Mutex<BTreeMap<usize, bool>>,
    pub(super) ending: Ending,
    /// Somebody has had too few descriptors.
    pub(super) is_starved: AtomicBool,
    pub(super) tally: Mutex<Tally>,
    /// The threads that wait for answers.
    pub(super) waiting: Mutex<Vec<u32>>,
    /// What each caller is at.
    calls: Mutex<BTreeMap<u32, String>>,
}

impl Round {
    pub(super) fn new(plan: Plan) -> Self {
        let (ledger, tasks) = (Ledger::new(plan.tasks), vec![None; plan.tasks]);
        Self {
            plan,
            ledger,
            next: AtomicUsize::new(0),
            killed: Mutex::default(),
            blamed: Mutex::default(),
            tasks: Mutex::new(tasks),
            heard: Mutex::default(),
            ending: Ending::default(),
            is_starved: AtomicBool::new(false),
            tally: Mutex::default(),
            waiting: Mutex::default(),
            calls: Mutex::default(),
        }
    }

    pub(super) fn saw(&self, what: &'static str, times: usize) {
        lock(&self.tally).saw(what, times);
    }

    pub(super) fn is_over(&self) -> bool {
        self.next.load(SeqCst) >= self.plan.tasks
    }

    /// What this thread calls now.
    pub(super) fn calls(&self, name: &str, items: &Range<usize>, terms: &Terms) {
        let text = format!("{name} of {items:?}, {terms:?}");
        lock(&self.calls).insert(fork::thread_id(), text);
    }

    /// The next few items, for a call that tries each so often; nothing when there are no more.
    pub(super) fn take(&self, count: usize, terms: &Terms) -> Option<Range<usize>> {
        let from = self.next.fetch_add(count, SeqCst).min(self.plan.tasks);
        let to = (from + count).min(self.plan.tasks);
        let task = Resolved {
            note: Note { begun: 0, ended: 0, pid: 0 },
            attempts: terms.attempts,
            is_resolved: false,
            is_ok: false,
        };
        lock(&self.tasks)[from..to].fill(Some(task));
        (from < to).then_some(from..to)
    }

    /// A worker is going to be killed.
    pub(super) fn kills(&self, pid: u32) {
        lock(&self.killed).insert(pid, None);
    }

    /// The death of a worker can be seen from now on.
    pub(super) fn is_dead(&self, pid: u32) {
        let of = |thread: &u32| (*thread, Waited::of(*thread));
        let waiting = lock(&self.waiting).iter().map(of).collect();
        lock(&self.killed).insert(pid, Some(waiting));
    }

    pub(super) fn count_killed(&self) -> usize {
        lock(&self.killed).len()
    }

    /// This thread has just been told that a worker died: how late that is, if anybody had killed it.
    pub(super) fn is_told(&self, error: &TaskError) {
        let Some(pid) = error.death().map(|death| death.pid) else { return };
        let now = Answer::now();
        let late = match lock(&self.killed).get(&pid) {
            None => return,
            // Sooner than whoever killed it.
            Some(None) => Duration::ZERO,
            Some(Some(waiting)) => {
                let own = fork::thread_id();
                let waited = waiting.iter().find(|(thread, _)| *thread == own);
                let Some((_, waited)) = waited else { return };
                let elapsed = now.at.saturating_duration_since(waited.start);
                // The dispatcher comes first, and tells this one; each may have stood by in its turn.
                let dispatcher = waiting.first().filter(|(thread, _)| *thread != own);
                let of_dispatcher = dispatcher.map_or(Duration::ZERO, |(_, one)| {
                    one.start.elapsed().saturating_sub(one.end())
                });
                let own = elapsed.saturating_sub(waited.between(now));
                elapsed.saturating_sub(own + of_dispatcher)
            }
        };
        lock(&self.tally).told(late);
    }

    /// A callback was told of an item.
    pub(super) fn hears(&self, item: usize, result: &Result<Done, TaskError>) {
        lock(&self.heard).insert(item, result.is_ok());
    }

    /// The outcome of an item's task is there: checks that it is one that may be.
    pub(super) fn judge(&self, terms: &Terms, item: usize, result: &Result<Done, TaskError>) {
        let note = self.ledger.note(item);
        let resolved = {
            let mut tasks = lock(&self.tasks);
            let task = tasks[item].as_mut().expect("an item of a call");
            let before = *task;
            *task = Resolved { note, is_resolved: true, is_ok: result.is_ok(), ..before };
            before.is_resolved
        };
        assert!(!resolved, "item {item} has two outcomes");
        let deed = self.plan.deed(item);
        let what = match result {
            Ok(done) => {
                let Plan { seed, .. } = self.plan;
                done.check(item, seed, self.plan.len(item), self.plan.handles(item));
                let may_return = match deed {
                    Deed::Return(_) | Deed::Descriptors { .. } | Deed::Die(Way::Dropping) => true,
                    Deed::PanicsAtFirst(times) | Deed::DiesAtFirst(times) => {
                        note.begun > u32::from(times)
                    }
                    _ => false,
                };
                assert!(may_return && note.ended > 0, "item {item} returned: {deed:?}, {note:?}");
                "ok"
            }
            Err(error) => match self.may_fail(terms, item, deed, note, error) {
                Ok(what) => what,
                Err(why) => {
                    panic!("item {item}, {deed:?}, {note:?}, {terms:?}: {error:?}: {why}")
                }
            },
        };
        self.saw(what, 1);
    }

    /// Whether a task may have failed so, and what that is called.
    fn may_fail(
        &self,
        terms: &Terms,
        item: usize,
        deed: Deed,
        note: Note,
        error: &TaskError,
    ) -> Result<&'static str, String> {
        let is_starved = self.is_starved();
        let is_terminated = self.ending.terminated.load(SeqCst);
        let is_broken_at = |places: &[Place]| match deed {
            Deed::Broken(place) => places.contains(&place),
            _ => false,
        };
        let (what, is_plausible) = match error {
            TaskError::Panicked { panic, .. } => {
                let by_deed = match deed {
                    Deed::Panic => true,
                    Deed::PanicsAtFirst(times) => note.begun <= u32::from(times),
                    _ => is_broken_at(&[Place::ArgumentReadPanics, Place::ValueWrittenPanics]),
                };
                ("panicked", by_deed && panic.message == BY_DESIGN)
            }
            TaskError::WorkerDied { death, ended_by_pool, .. } => {
                if let Some(other) = lock(&self.blamed).insert(death.pid, item) {
                    return Err(format!("so is item {other}: one death, two tasks"));
                }
                self.saw("said to be ended", usize::from(ended_by_pool.is_some()));
                let may_die = self.may_die(deed, note, death, ended_by_pool.is_some());
                ("died", may_die || is_starved)
            }
            TaskError::TimedOut { ran_for, .. } => {
                ("timed out", terms.timeout.is_some_and(|timeout| *ran_for >= timeout))
            }
            TaskError::Cancelled { .. } => ("cancelled", terms.is_cancelled.load(SeqCst)),
            TaskError::PoolClosed { .. } => {
                let is_early = terms.is_before_close.load(SeqCst);
                let is_closed = self.ending.closed.load(SeqCst) && !is_early;
                ("closed", is_terminated || is_closed)
            }
            TaskError::NotCalled { .. } => {
                let by_deed = is_broken_at(&UNREAD);
                ("not called", by_deed && note.begun == 0 || is_starved)
            }
            TaskError::Value { .. } => {
                let by_deed = is_broken_at(&UNWRITTEN);
                ("value lost", by_deed && note.ended > 0 || is_starved)
            }
            TaskError::PoolBroken { .. } => ("broken", self.plan.features.starts || is_starved),
            _ => ("new", false),
        };
        match is_plausible {
            false => Err("that is not plausible".to_owned()),
            true if self.has_attempts_left(terms, deed, note, error) => {
                Err("it was to be tried again".to_owned())
            }
            true => Ok(what),
        }
    }

    /// Whether nobody needs a reason for what he lacks.
    fn is_starved(&self) -> bool {
        self.is_starved.load(SeqCst) || self.plan.features.descriptors
    }

    /// Whether a task that failed so was to be tried again, surely.
    fn has_attempts_left(&self, terms: &Terms, deed: Deed, note: Note, error: &TaskError) -> bool {
        let is_retried = match error {
            TaskError::Panicked { .. } => terms.retries_panics,
            TaskError::WorkerDied { .. } | TaskError::TimedOut { .. } => true,
            _ => false,
        };
        // Who is killed, stopped or has no processor right before it calls a function has not called it.
        let is_disturbed = terms.is_cancelled.load(SeqCst)
            || self.ending.terminated.load(SeqCst)
            || self.count_killed() > 0
            || terms.timeout.is_some()
            || self.is_starved();
        // What has not come to its function is counted by nobody.
        let is_uncounted = match deed {
            Deed::Die(Way::Reading) => true,
            Deed::Broken(place) => UNREAD.contains(&place),
            _ => false,
        };
        is_retried && note.begun < terms.attempts && !is_disturbed && !is_uncounted
    }

    /// Whether a worker may have died when it ran a task that does this.
    fn may_die(&self, deed: Deed, note: Note, death: &Death, ended_by_pool: bool) -> bool {
        let Death { pid, status, .. } = *death;
        let killed = matches!(status, ExitStatus::Signaled { signal: signal::KILL, .. });
        let is_unknown = status == ExitStatus::Unknown && self.plan.features.servers;
        let by_deed = match deed {
            Deed::Die(way) => way.shows(status),
            Deed::DiesAtFirst(times) => note.begun <= u32::from(times) && killed,
            // It has a limit; and what cannot be sent, received or held then is anybody's guess.
            _ => self.plan.memory.is_some() && (!killed || ended_by_pool),
        };
        let by_hand = (killed || is_unknown) && lock(&self.killed).contains_key(&pid);
        let is_called = note.begun == 0 || note.pid == pid;
        by_hand || (by_deed || is_unknown) && is_called
    }

    /// The pool has ended: nobody can call anything any more. Checks what was called, and how often.
    pub(super) fn check_calls(&self) {
        for (item, task) in lock(&self.tasks).iter().enumerate() {
            let (now, Some(task)) = (self.ledger.note(item), task) else { continue };
            let Resolved { note, attempts, is_resolved, is_ok } = task;
            let heard = lock(&self.heard).get(&item).copied();
            let is_heard = heard.is_none_or(|heard| !is_resolved || heard == *is_ok);
            assert!(is_heard, "item {item}: its callback and its caller heard different things");
            assert!(now.begun <= *attempts, "item {item}: called too often, {now:?}, {attempts}");
            let is_same = !is_resolved || now == *note;
            assert!(is_same, "item {item} was called after its outcome: {note:?}, then {now:?}");
        }
    }

    /// Each item of these has its outcome.
    pub(super) fn check_all(&self, items: Range<usize>) {
        for (item, task) in items.clone().zip(&lock(&self.tasks)[items]) {
            let is_resolved = task.is_some_and(|task| task.is_resolved);
            assert!(is_resolved, "item {item} has no outcome");
        }
    }

    /// How many have one.
    pub(super) fn count_resolved(&self) -> usize {
        lock(&self.tasks).iter().flatten().filter(|task| task.is_resolved).count()
    }

    /// How things stand, for whoever looks for what hangs.
    pub(super) fn describe(&self, since: Instant) -> String {
        let resolved = self.count_resolved();
        let (calls, starts) = (self.ledger.calls(), self.ledger.starts());
        let killed = self.count_killed();
        let mut text = format!(
            "{:?}: {resolved} resolved, {calls} calls, {starts} starts, {killed} killed, {:?}, {:?}\n",
            since.elapsed(),
            self.ending,
            self.plan
        );
        for (thread, call) in lock(&self.calls).iter() {
            text += &format!("thread {thread} calls {call}\n");
        }
        let tasks = lock(&self.tasks);
        let open = tasks.iter().enumerate();
        let open = open.filter(|(_, task)| task.is_some_and(|task| !task.is_resolved));
        for (item, _) in open.take(100) {
            let (deed, note) = (self.plan.deed(item), self.ledger.note(item));
            text += &format!("item {item}, {} bytes, {deed:?}: {note:?}\n", self.plan.len(item));
        }
        text
    }
}
