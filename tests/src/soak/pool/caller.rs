//! A thread that calls the pool in every way there is, and checks what comes of it.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use procession::pool::Tasks;
use procession::{AsyncResult, Pool, TaskError, as_completed};
use procession_sys::prim::Ordering::SeqCst;
use procession_sys::prim::{AtomicUsize, lock};
use procession_sys::{fd, fork};

use super::round::{Round, Terms};
use super::work::{Done, Work, spin, work};
use crate::Random;

/// A worker has less than so many milliseconds to end by itself.
pub(super) const GRACE: usize = 8;

pub(super) struct Caller<'a> {
    round: &'a Arc<Round>,
    pool: &'a Pool,
    /// What the handles of arguments are copies of.
    writer: Option<&'a OwnedFd>,
    random: Random,
    /// How many callbacks were called.
    called: Arc<AtomicUsize>,
    /// How many shall be.
    callbacks: usize,
}

/// A call of one task whose result nobody has taken.
pub(super) struct Pending {
    item: usize,
    terms: Terms,
    result: AsyncResult<Done>,
    has_callback: bool,
}

impl Pending {
    /// It has an outcome, now that there is no pool.
    pub(super) fn settle(self, round: &Round) {
        let Self { item, terms, result, .. } = self;
        assert!(result.is_ready(), "item {item} has no outcome, and there is no pool");
        round.judge(&terms, item, &result.get());
    }
}

fn chunk(items: usize) -> NonZeroUsize {
    NonZeroUsize::new(items).expect("some")
}

impl<'a> Caller<'a> {
    pub(super) fn new(
        round: &'a Arc<Round>,
        pool: &'a Pool,
        writer: Option<&'a OwnedFd>,
        random: Random,
    ) -> Self {
        Self { round, pool, writer, random, called: Arc::default(), callbacks: 0 }
    }

    /// Calls until there are no more tasks, or no pool; returns what is still to come.
    pub(super) fn run(mut self) -> Vec<Pending> {
        lock(&self.round.waiting).push(fork::thread_id());
        let mut pending = Vec::new();
        while !self.round.is_over() && !self.is_ending() {
            match self.random.below(12) {
                0 => self.apply(),
                1 | 2 => self.one_by_one(&mut pending),
                3 | 4 => self.as_they_come(),
                5 => self.map(),
                6 | 7 => self.try_map(),
                8 => self.map_async(),
                9 => self.imap(),
                _ => self.imap_unordered(),
            }
        }
        if !self.round.is_over() {
            // Whoever comes too late is told so.
            self.apply();
            self.try_map();
        }
        let to_come = pending.iter().filter(|call| call.has_callback).count();
        let all = self.callbacks - to_come;
        crate::wait_until("the callbacks were called", || self.called.load(SeqCst) >= all);
        pending
    }

    fn is_ending(&self) -> bool {
        let ending = &self.round.ending;
        ending.closed.load(SeqCst) || ending.terminated.load(SeqCst)
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.random.below(count) == 0
    }

    fn terms(&mut self) -> Terms {
        let features = self.round.plan.features;
        let attempts = match features.kills || features.deeds || features.stuck || features.stops {
            true => [1, 1, 2, 4][self.random.below(4)],
            false => 1,
        };
        let retries_panics = self.one_in(3);
        Terms { timeout: self.round.plan.timeout, attempts, retries_panics, ..Terms::default() }
    }

    fn tasks(&mut self, terms: &Terms) -> Tasks<'a> {
        let backoff = Duration::from_millis(self.random.below(4) as u64);
        let mut tasks = self.pool.tasks().attempts(terms.attempts).backoff(backoff);
        if terms.retries_panics {
            tasks = tasks.retry_panics();
        }
        if let Some(timeout) = terms.timeout {
            let grace = Duration::from_millis(self.random.below(GRACE) as u64);
            tasks = tasks.timeout(timeout).grace(grace);
        }
        match self.random.below(5) {
            0 => tasks = tasks.chunk(chunk(1)),
            1 => tasks = tasks.chunk(chunk(1 + self.random.below(40))),
            _ => {}
        }
        if self.one_in(5) {
            tasks = tasks.window(chunk(1 + self.random.below(60)));
        }
        tasks
    }

    fn take(&mut self, terms: &Terms) -> Option<Range<usize>> {
        let most = if self.round.plan.is_long { 3_000 } else { 25 };
        let count = 1 + self.random.below(most);
        self.round.take(count, terms)
    }

    /// The arguments of these items.
    fn items(&self, items: Range<usize>) -> impl Iterator<Item = Work> + use<'a> {
        let (plan, writer) = (&self.round.plan, self.writer);
        items.map(move |item| {
            let mut handles = Vec::new();
            while let Some(writer) = writer.filter(|_| handles.len() < plan.handles(item)) {
                // In a moment, if there are too few now.
                match fd::duplicate(writer) {
                    Ok(fd) => handles.push(fd),
                    Err(_full) => std::thread::yield_now(),
                }
            }
            Work::new(item, plan.seed, plan.deed(item), plan.len(item), handles)
        })
    }

    fn item(&self, item: usize) -> Work {
        self.items(item..item + 1).next().expect("one")
    }

    fn judge(
        &self,
        terms: &Terms,
        items: &Range<usize>,
        place: usize,
        result: &Result<Done, TaskError>,
    ) {
        if let Err(error) = result {
            assert_eq!(error.index(), place, "{error:?}");
        }
        self.round.judge(terms, items.start + place, result);
    }

    fn apply(&mut self) {
        let terms = self.terms();
        let Some(items) = self.round.take(1, &terms) else { return };
        let item = self.item(items.start);
        self.round.calls("apply", &items, &terms);
        let result = self.tasks(&terms).apply(work, (item,));
        if let Err(error) = &result
            && terms.attempts == 1
        {
            self.round.is_told(error);
        }
        self.judge(&terms, &items, 0, &result);
    }

    /// Calls of one task each.
    fn calls(&mut self) -> Option<Vec<Pending>> {
        let shared = self.terms();
        let count = 1 + self.random.below(12);
        let items = self.round.take(count, &shared)?;
        self.round.calls("apply_async", &items, &shared);
        let mut calls = Vec::new();
        for item in items {
            let Terms { timeout, attempts, retries_panics, .. } = shared;
            let terms = Terms { timeout, attempts, retries_panics, ..Terms::default() };
            let mut result = self.tasks(&terms).apply_async(work, (self.item(item),));
            terms.is_before_close.store(!self.is_ending(), SeqCst);
            let has_callback = attempts == 1 || self.one_in(2);
            if has_callback {
                let (called, round) = (Arc::clone(&self.called), Arc::clone(self.round));
                self.callbacks += 1;
                result = result.on_done(move |result| {
                    if let (1, Err(error)) = (attempts, result) {
                        round.is_told(error);
                    }
                    round.hears(item, result);
                    called.fetch_add(1, SeqCst);
                });
            }
            calls.push(Pending { item, terms, result, has_callback });
        }
        if self.round.plan.features.cancels && self.one_in(2) {
            self.pause();
            for call in &calls {
                if self.one_in(3) {
                    call.terms.is_cancelled.store(true, SeqCst);
                    call.result.cancel();
                }
            }
        }
        Some(calls)
    }

    fn one_by_one(&mut self, pending: &mut Vec<Pending>) {
        let Some(calls) = self.calls() else { return };
        for Pending { item, terms, result, has_callback } in calls {
            // The first one comes long before the end of the round, or is dropped with the pool.
            if self.round.plan.features.closes && self.one_in(3) {
                pending.push(Pending { item, terms, result, has_callback });
                continue;
            }
            let result = result.get();
            if let Err(error) = &result {
                assert_eq!(error.index(), 0, "{error:?}");
            }
            self.round.judge(&terms, item, &result);
        }
    }

    fn as_they_come(&mut self) {
        let Some(calls) = self.calls() else { return };
        let (known, results): (Vec<_>, Vec<_>) =
            calls.into_iter().map(|call| ((call.item, call.terms), call.result)).unzip();
        for (place, result) in as_completed(results) {
            let (item, terms) = &known[place];
            self.round.judge(terms, *item, &result);
        }
        for (item, _) in known {
            self.round.check_all(item..item + 1);
        }
    }

    fn map(&mut self) {
        let terms = self.terms();
        let Some(items) = self.take(&terms) else { return };
        self.round.calls("map", &items, &terms);
        let results = self.tasks(&terms).map(work, self.items(items.clone()));
        self.judge_values(&terms, &items, results);
    }

    /// Of all, or the first error.
    fn judge_values(
        &self,
        terms: &Terms,
        items: &Range<usize>,
        results: Result<Vec<Done>, TaskError>,
    ) {
        match results {
            Ok(values) => {
                assert_eq!(values.len(), items.len());
                for (place, value) in values.into_iter().enumerate() {
                    self.judge(terms, items, place, &Ok(value));
                }
            }
            Err(error) => self.round.judge(terms, items.start + error.index(), &Err(error)),
        }
    }

    fn try_map(&mut self) {
        let terms = self.terms();
        let Some(items) = self.take(&terms) else { return };
        self.round.calls("try_map", &items, &terms);
        let results = self.tasks(&terms).try_map(work, self.items(items.clone()));
        assert_eq!(results.len(), items.len());
        for (place, result) in results.iter().enumerate() {
            self.judge(&terms, &items, place, result);
        }
        self.round.check_all(items);
    }

    fn map_async(&mut self) {
        let terms = self.terms();
        let Some(items) = self.take(&terms) else { return };
        self.round.calls("map_async", &items, &terms);
        let results = self.tasks(&terms).map_async(work, self.items(items.clone()));
        terms.is_before_close.store(!self.is_ending(), SeqCst);
        if self.round.plan.features.cancels && self.one_in(2) {
            self.pause();
            terms.is_cancelled.store(true, SeqCst);
            results.cancel();
        }
        let results = results.get();
        self.judge_values(&terms, &items, results);
    }

    /// After how many results nobody wants more.
    fn enough(&mut self, items: &Range<usize>) -> usize {
        match self.round.plan.features.cancels && self.one_in(2) {
            true => self.random.below(items.len()),
            false => items.len(),
        }
    }

    fn imap(&mut self) {
        let terms = self.terms();
        let Some(items) = self.take(&terms) else { return };
        self.round.calls("imap", &items, &terms);
        let enough = self.enough(&items);
        let mut results = self.tasks(&terms).imap(work, self.items(items.clone()));
        for place in 0..enough {
            let result = results.next().expect("a result for each item");
            self.judge(&terms, &items, place, &result);
        }
        if enough == items.len() {
            assert!(results.next().is_none(), "more results than items");
            self.round.check_all(items);
        }
    }

    fn imap_unordered(&mut self) {
        let terms = self.terms();
        let Some(items) = self.take(&terms) else { return };
        self.round.calls("imap_unordered", &items, &terms);
        let enough = self.enough(&items);
        let mut results = self.tasks(&terms).imap_unordered(work, self.items(items.clone()));
        for _ in 0..enough {
            let result = results.next().expect("a result for each item");
            let item = match &result {
                Ok(done) => done.item,
                Err(error) => {
                    if terms.attempts == 1 {
                        self.round.is_told(error);
                    }
                    items.start + error.index()
                }
            };
            assert!(items.contains(&item), "{item} is an item of another call");
            self.round.judge(&terms, item, &result);
        }
        if enough == items.len() {
            assert!(results.next().is_none(), "more results than items");
            self.round.check_all(items);
        }
    }

    fn pause(&mut self) {
        let most = [20, 300, 2_000][self.random.below(3)];
        spin(Duration::from_micros(self.random.below(most) as u64));
    }
}
