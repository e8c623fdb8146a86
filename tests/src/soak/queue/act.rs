//! The acts: an actor does one thing with a queue, one instruction at a time, and is killed at the n-th.
//!
//! `props` has what an act needs and what the actor does; this file plays it, and checks afterwards that what the actor was at is
//! there once, or is lost and counted; that who waited is told; and that the queue is as one that never saw the actor.

use std::collections::BTreeMap;
use std::thread::{self, JoinHandle};

use procession::waiting::{self, Policy};
use procession::{JoinError, Process, Result};
use procession_queue::{GetError, PutError, QueueJoinError};
use procession_sys::prim::Ordering::SeqCst;
use procession_sys::{Deadline, fork};

use super::super::kinds::WIDTH;
use super::super::leak::Leak;
use super::super::random;
use super::super::tracer::Tracer;
use super::super::waited::{Answer, LATE, Waited};
use super::item::{Item, Line};
use super::point::{Point, Slot, Survey, in_use};
use super::props::{self, Board, CROSSED, FIRST, Props, has_handle, len as len_of};
use super::scene::check_as_new;
use crate::{SOON, wait_until};

/// The names of the acts.
pub const NAMES: [&str; 16] = [
    "put-small",
    "put-span",
    "put-large",
    "get-small",
    "get-span",
    "get-large",
    "lease-done",
    "lease-back",
    "task-done",
    "settle",
    "close",
    "put-handle",
    "get-handle",
    "put-bytes",
    "get-bytes",
    "attach-and-retire",
];

/// From so many kills on an act is killed at instructions that are spread over all of it; otherwise near what others can see.
const MANY: usize = 1_000;

/// So much more memory a queue may have than one whose actor was not killed: an extent that is kept for later.
const MORE: u64 = 160 << 10;

/// Plays an act at so many points; returns the row of the table.
pub(super) fn play(name: &str, kills: usize, seed: u64) -> String {
    waiting::set_policy(Policy::Sleep);
    let survey = Stage::set(name).play(Point::Over);
    // Whoever closes a queue leaves one that takes no more, and this is compared to.
    let (memory, in_use) = match name {
        "close" => {
            let other = Stage::set("put-small").play(Point::Over);
            (other.memory, other.in_use)
        }
        _ => (survey.memory, survey.in_use),
    };
    let length = (kills >= MANY).then(|| Stage::set(name).play(Point::Steps(usize::MAX)).steps);
    let mut random = random(seed, 0, 33);
    let kills = kills.min(length.unwrap_or(kills));
    let mut saw = BTreeMap::<&str, Seen>::new();
    for kill in 0..kills {
        let point = match length {
            None => survey.survey.draw(&mut random),
            Some(length) => {
                // Spread, and not always the same.
                let (from, to) = (kill * length / kills, (kill + 1) * length / kills);
                Point::Steps(from + random.below((to - from).max(1)))
            }
        };
        let told = Telling(name, point);
        let played = Stage::set(name).play(point);
        let Played { memory: now, in_use: used, .. } = played;
        assert!(now <= memory + MORE, "{now} bytes of memory, {memory} without a death");
        let is_right = used == in_use || played.seen == "closed";
        assert!(is_right, "{used} extents and chunks, {in_use} without a death");
        drop(told);
        saw.entry(played.seen).or_default().add(point);
    }
    let length = length.map_or_else(|| "-".to_owned(), |length| length.to_string());
    let saw: Vec<_> = saw.iter().map(|(what, seen)| format!("{what} {}", seen.tell())).collect();
    format!("{name:<WIDTH$} | {length:>12} | {kills:>6} | {}", saw.join(", "))
}

/// How often something was seen, and after how many instructions.
#[derive(Debug, Default)]
struct Seen(usize, Option<(usize, usize)>);

impl Seen {
    fn add(&mut self, point: Point) {
        self.0 += 1;
        if let Point::Steps(steps) = point {
            let (from, to) = self.1.unwrap_or((steps, steps));
            self.1 = Some((from.min(steps), to.max(steps)));
        }
    }

    fn tell(&self) -> String {
        match self.1 {
            Some((from, to)) => format!("{} ({from} to {to})", self.0),
            None => self.0.to_string(),
        }
    }
}

/// Says where the actor was killed when something was wrong then.
struct Telling<'a>(&'a str, Point);

impl Drop for Telling<'_> {
    #[expect(clippy::print_stderr, reason = "the last words of a program")]
    fn drop(&mut self) {
        if thread::panicking() {
            let Self(name, point) = self;
            eprintln!("`{name}`, killed at {point:?}");
        }
    }
}

/// What came of a play.
struct Played {
    steps: usize,
    survey: Survey,
    seen: &'static str,
    memory: u64,
    /// Chunks and extents.
    in_use: u32,
}

/// What somebody who waited was told.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    /// An item with this number.
    Item(u64),
    Closed,
    Done,
    Abandoned,
    Attempt(u32),
}

struct Stage {
    name: &'static str,
    board: Board,
    line: Line,
    actor: Process<Result<()>>,
    waiter: Option<(u32, JoinHandle<(Told, Answer)>)>,
    leak: Leak,
}

impl Stage {
    fn set(name: &str) -> Self {
        let name = NAMES.into_iter().find(|known| *known == name).expect("an act");
        let board = Board::new();
        let (leak, writer) = Leak::new(has_handle(name));
        let line = props::shape(name).make();
        let props = Props::new(name, &board, &line, writer.as_ref());
        props::prepare(name, &line, writer.as_ref());
        let actor = Process::builder().daemon(true).spawn(props::act, (props,));
        let actor = actor.expect("an actor");
        wait_until("the actor is ready", || board.ready().load(SeqCst) == 1);
        if name == "settle" {
            // Not before, or the actor would have the number of the debtor, and its death would be the debtor's once more.
            props::leave_debts(&line);
        }
        let mut stage = Self { name, board, line, actor, waiter: None, leak };
        stage.waiter = stage.waiter();
        stage
    }

    /// Who waits for the actor.
    fn waiter(&self) -> Option<(u32, JoinHandle<(Told, Answer)>)> {
        let line = self.line.clone();
        Some(match (self.name, line) {
            (
                "put-small" | "put-span" | "put-large" | "put-handle" | "put-bytes" | "close",
                Line::Plain(queue),
            ) => {
                let name = self.name;
                asleep(move || match queue.get() {
                    Ok(item) => {
                        item.check(len_of(name), has_handle(name));
                        Told::Item(item.number)
                    }
                    Err(GetError::Closed) => Told::Closed,
                    Err(other) => panic!("{other}"),
                })
            }
            ("get-bytes", Line::Plain(queue)) => {
                let name = self.name;
                // That one fills it.
                queue.put(props::item(name, FIRST + 1, None)).expect("there is room");
                asleep(move || match queue.put(props::item(name, FIRST + 2, None)) {
                    Ok(()) => Told::Done,
                    Err(PutError::Closed(_)) => Told::Closed,
                    Err(other) => panic!("{other}"),
                })
            }
            ("lease-done" | "task-done", line) => {
                asleep(move || match line.joinable().expect("it can be joined").join() {
                    Ok(()) => Told::Done,
                    Err(QueueJoinError::Abandoned) => Told::Abandoned,
                    Err(other) => panic!("{other}"),
                })
            }
            ("lease-back", Line::Leases(queue)) => asleep(move || {
                let lease = queue.lease().expect("it comes back");
                let told = Told::Attempt(lease.attempt());
                lease.done().expect("it is there");
                told
            }),
            _ => return None,
        })
    }

    /// Plays until the actor is there, and kills it.
    fn play(mut self, point: Point) -> Played {
        let pid = self.actor.pid();
        let mut actor = Tracer::stop(pid).expect("a trace");
        self.board.go().store(1, SeqCst);
        // Not `SOON`: it may be a million instructions.
        let deadline = Deadline::after(6 * SOON);
        let is_over = || {
            assert!(!deadline.has_passed(), "the act does not end");
            self.board.over().load(SeqCst) == 1
        };
        let (steps, survey) = point.run(&mut actor, pid, &is_over).expect("a trace");
        // It is stopped, and nobody has seen anything of its death yet.
        let slot = match self.name {
            "close" | "attach-and-retire" => Slot::Done,
            name => Slot::read(props::position(name)).expect("a slot"),
        };
        actor.kill().expect("it dies");
        let told = self.waiter.take().map(|(thread, waiter)| {
            let waited = Waited::of(thread);
            let (told, answer) = waiter.join().expect("it is told");
            let late = waited.between(answer);
            assert!(late <= LATE, "told {late:?} late");
            told
        });
        // Whoever died over the books does not hold up others.
        let waited = Waited::begin();
        self.line.lost();
        assert!(waited.end() <= LATE, "counted {:?} late", waited.end());
        if ["get", "attach"].iter().any(|counted| self.name.starts_with(counted)) {
            // Nobody waits for the dead, so nobody knows before that.
            self.bury();
        }
        let seen = self.check(slot, told);
        self.bury();
        self.check_queue();
        self.leak.check();
        let in_use = in_use().expect("the books");
        Played { steps, survey, seen, memory: self.line.memory(), in_use }
    }

    /// Learns how the actor ended.
    fn bury(&self) {
        let ended = self.actor.join();
        assert!(matches!(ended, Err(JoinError::Died(_))), "{ended:?}");
    }

    /// What must be true after the death of the actor; where somebody waited for it, before its parent has buried it.
    fn check(&self, slot: Slot, told: Option<Told>) -> &'static str {
        let had = self.board.done().load(SeqCst) == 1;
        match (self.name, told) {
            ("close", told) => {
                assert_eq!(told, Some(Told::Closed));
                let Line::Plain(queue) = &self.line else { panic!("a plain queue") };
                let is_closed = queue.is_closed().expect("a look");
                assert!(is_closed || !had, "it was closed");
                if is_closed { "closed" } else { "open" }
            }
            ("lease-done", told) => {
                self.check_counts(0, 0);
                match (slot, told) {
                    (Slot::Done, Some(Told::Done)) => "done",
                    (Slot::Leased, Some(Told::Abandoned)) if !had => {
                        self.check_lease(2);
                        "back"
                    }
                    other => panic!("{other:?}, had: {had}"),
                }
            }
            ("lease-back", told) => {
                assert_eq!(told, Some(Told::Attempt(2)));
                self.check_counts(0, 0);
                "back"
            }
            ("task-done", told) => {
                assert_eq!(told, Some(Told::Done));
                let lost = self.line.lost();
                let is_right = lost == usize::from(slot == Slot::Held);
                assert!(is_right && (lost == 0 || !had), "lost {lost}, {slot:?}, had: {had}");
                if lost == 0 { "done" } else { "lost" }
            }
            ("settle", _) => {
                self.check_counts(1, 1);
                // What the debtor put is whole.
                props::take_debts(&self.line);
                if slot == Slot::Done { "settled" } else { "not yet" }
            }
            ("attach-and-retire", _) => self.check_crossing(),
            ("get-bytes", Some(told)) => {
                // There is room when it is not there any more.
                let is_there = slot == Slot::Published;
                assert_eq!(told, if is_there { Told::Closed } else { Told::Done });
                let seen = self.check_got(slot, had, 1 + usize::from(!is_there));
                for number in 1..=self.line.len() as u64 {
                    assert_eq!(self.line.take(SOON).expect("it is there").number, FIRST + number);
                }
                seen
            }
            (_, Some(Told::Item(number))) => {
                assert!(number == FIRST && slot != Slot::Unborn, "{number}, {slot:?}");
                "put"
            }
            (_, Some(told)) => {
                assert_eq!((told, slot), (Told::Closed, Slot::Unborn));
                assert!(!had, "what was put did not come");
                "nothing"
            }
            (_, None) => self.check_got(slot, had, 0),
        }
    }

    fn check_counts(&self, lost: usize, exhausted: usize) {
        assert_eq!((self.line.lost(), self.line.exhausted()), (lost, exhausted));
    }

    fn check_lease(&self, attempt: u32) {
        let Line::Leases(queue) = &self.line else { panic!("a queue with leases") };
        let lease = queue.lease_timeout(SOON).expect("it comes back");
        assert_eq!((lease.number, lease.attempt()), (FIRST, attempt));
        lease.done().expect("it is there");
    }

    /// The item is there, or was got, or is lost, just as its slot said when the actor died; there are so many others.
    fn check_got(&self, slot: Slot, had: bool, others: usize) -> &'static str {
        let (lost, len) = (self.line.lost(), self.line.len() - others);
        let text = format!("lost {lost}, {len} there, {slot:?}, had: {had}");
        match slot {
            Slot::Published => {
                assert!(lost == 0 && len == 1 && !had, "{text}");
                let item = self.line.take(SOON).expect("it is there");
                assert_eq!(item.number, FIRST);
                item.check(len_of(self.name), has_handle(self.name));
                "there"
            }
            Slot::Taken => {
                assert!(lost == 1 && len == 0 && !had, "{text}");
                "lost"
            }
            Slot::Done => {
                assert!(lost == 0 && len == 0, "{text}");
                if had { "got" } else { "in hand" }
            }
            _ => panic!("{text}"),
        }
    }

    /// Of those that the actor has put, those that it has not got are there, in order.
    fn check_crossing(&self) -> &'static str {
        let count = |word: usize| self.board.count(word).load(SeqCst);
        let (begun, put, getting, got) = (count(0), count(1), count(2), count(3));
        let lost = self.line.lost() as u64;
        let mut numbers = Vec::new();
        while self.line.len() > 0 {
            let item = self.line.take(SOON).expect("it is there");
            item.check(len_of(self.name), false);
            numbers.push(item.number - FIRST);
        }
        let text = format!("{begun} {put} {getting} {got}, lost {lost}, {numbers:?}");
        let next = numbers.first().copied().unwrap_or(if got == put { put } else { CROSSED });
        let last = numbers.last().map_or(next, |last| last + 1);
        assert!(numbers.iter().copied().eq(next..last), "a gap: {text}");
        assert!(numbers.is_empty() || (got..=getting).contains(&next), "{text}");
        assert!(numbers.is_empty() || (put..=begun).contains(&last), "{text}");
        assert!(!numbers.is_empty() || put - got <= getting - got, "missing in silence: {text}");
        assert!(lost <= getting - got, "{text}");
        if lost == 1 { "lost" } else { "whole" }
    }

    /// It goes on as if nothing had happened.
    fn check_queue(&self) {
        if let Line::Plain(queue) = &self.line
            && queue.is_closed().expect("a look")
        {
            return;
        }
        let shape = props::shape(self.name);
        if shape.bytes.is_some() {
            return check_as_new(&self.line, shape);
        }
        for number in 0..300 {
            let len = if number % 50 == 0 { 100_000 } else { number % 3 * 400 };
            self.line.put(Item::new(0, number, len)).expect("there is room");
        }
        assert_eq!(self.line.len(), 300);
        for number in 0..300 {
            let item = self.line.take(SOON).expect("it is there");
            assert_eq!(item.number, number);
        }
        if let Some(queue) = self.line.joinable() {
            queue.join_timeout(SOON).expect("all is done");
        }
    }
}

/// A thread that waits for something; it sleeps when this comes back.
fn asleep(wait: impl FnOnce() -> Told + Send + 'static) -> (u32, JoinHandle<(Told, Answer)>) {
    let (tx, rx) = std::sync::mpsc::channel();
    let thread = thread::spawn(move || {
        tx.send(fork::thread_id()).expect("somebody listens");
        let told = wait();
        (told, Answer::now())
    });
    let id = rx.recv().expect("it begins");
    let number = libc::SYS_futex.to_string();
    wait_until("it sleeps", || {
        let call = std::fs::read_to_string(format!("/proc/self/task/{id}/syscall"));
        call.is_ok_and(|call| call.split(' ').next() == Some(&number))
    });
    (id, thread)
}
