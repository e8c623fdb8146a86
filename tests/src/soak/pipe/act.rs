//! The acts: an actor sends, receives or moves an end, one instruction at a time, and is killed at the n-th.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::thread::{self, JoinHandle};

use procession::waiting::{self, Policy};
use procession::{Error, ErrorKind, Handle, Process, Receiver, Result, Sender};
use procession_sys::prim::Ordering::SeqCst;
use procession_sys::{Deadline, fd, fork};
use serde::{Deserialize, Serialize};

use super::super::kinds::WIDTH;
use super::super::leak::Leak;
use super::super::random;
use super::super::tracer::Tracer;
use super::super::waited::{LATE, Waited};
use super::ends::{self, End, In, Out};
use super::kill::is_killed;
use super::letter::{Book, WHOLE, wait_before_the_next};
use super::plan::{Board, Way, Words};
use super::point::{Point, Rings, Survey};
use super::stage::Left;
use super::travel::Cargo;
use crate::{SOON, wait_until};

/// The names of the acts.
pub const NAMES: [&str; 12] = [
    "send-small",
    "send-waited",
    "send-large",
    "send-handles",
    "give-up",
    "recv-small",
    "recv-large",
    "recv-waited",
    "recv-handles",
    "move-end",
    "move-inlet",
    "take-end",
];

/// What the actor has.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Props {
    end: Option<End>,
    there: Option<Sender<Cargo>>,
    back: Option<Receiver<Cargo>>,
    writer: Option<Handle<OwnedFd>>,
}

/// From so many kills on an act is killed at instructions that are spread over all of it; otherwise near what others can see.
const MANY: usize = 1_000;

/// Plays an act at so many points; returns the row of the table.
pub(super) fn play(name: &str, kills: usize, seed: u64) -> String {
    let mut left = Left::default();
    let (survey, _) = Stage::set(name).survey();
    let length = (kills >= MANY).then(|| Stage::set(name).play(Point::Steps(usize::MAX)).0);
    let mut random = random(seed, 0, 3);
    let kills = kills.min(length.unwrap_or(kills));
    let mut saw = BTreeMap::<&str, usize>::new();
    for kill in 0..kills {
        let point = match length {
            None => survey.draw(&mut random),
            Some(length) => {
                // Spread, and not always the same.
                let (from, to) = (kill * length / kills, (kill + 1) * length / kills);
                Point::Steps(from + random.below((to - from).max(1)))
            }
        };
        let told = Telling(name, point);
        let (_, seen) = Stage::set(name).play(point);
        left.check();
        drop(told);
        *saw.entry(seen).or_default() += 1;
    }
    let length = length.map_or_else(|| "-".to_owned(), |length| length.to_string());
    let saw: Vec<_> = saw.iter().map(|(what, times)| format!("{what} {times}")).collect();
    format!("{name:<WIDTH$} | {length:>12} | {kills:>6} | {}", saw.join(", "))
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

/// How many bytes and handles a letter of an act has.
fn letters(name: &str) -> (usize, usize) {
    match name {
        "send-small" | "send-waited" | "recv-small" => (100, 0),
        "send-large" | "recv-large" => (WHOLE + 64, 0),
        // Three of these and a short one leave room for the beginning of one that streams, and not for its end.
        "give-up" | "recv-waited" => (WHOLE - 64, 0),
        "send-handles" | "recv-handles" => (100, 2),
        _ => (8, 0),
    }
}

/// How many letters there are before one is given up.
const PREPARED: u64 = 4;

fn book(name: &str, writer: Option<OwnedFd>) -> Book {
    let (len, handles) = letters(name);
    // What is sent after one was given up has to fit in beside it.
    let last = if name == "give-up" { PREPARED } else { u64::MAX };
    Book::of(1..last, len, handles, writer)
}

/// What the actor does; alone, and killed somewhere on the way.
fn act(name: String, words: Words, props: Props) -> Result<()> {
    // Spinning is many instructions of which one is like the other.
    waiting::set_policy(Policy::Sleep);
    let board = Board::open(words);
    let Props { end, there, back, writer } = props;
    let book = book(&name, writer.map(Handle::into_inner));
    match end {
        Some(End::Out(out)) if there.is_none() => send(&name, &book, &board, &out)?,
        Some(End::In(inn)) if there.is_none() => {
            inn.take(Way::Plain)?;
            board.wait_for_go();
            let letter = inn.take(Way::Plain)?.expect("without a timeout");
            board.done().store(1, SeqCst);
            book.check(&letter, 1);
        }
        Some(end) => {
            if let End::In(inn) = &end {
                inn.take(Way::Plain)?;
            }
            board.wait_for_go();
            there.expect("a way to send it").send(Cargo { end, number: 0 })?;
            board.done().store(1, SeqCst);
        }
        None => {
            board.wait_for_go();
            let cargo = back.expect("a way to receive it").recv()?;
            board.done().store(1, SeqCst);
            if let End::Out(out) = &cargo.end {
                out.send(book.letter(0))?;
            }
        }
    }
    board.over().store(1, SeqCst);
    loop {
        std::hint::spin_loop();
    }
}

fn send(name: &str, book: &Book, board: &Board, out: &Out) -> Result<()> {
    let prepared = if name == "give-up" { PREPARED } else { 1 };
    for number in 0..prepared {
        out.send(book.letter(number))?;
    }
    let long = Book::of(prepared..u64::MAX, 2 * WHOLE, 0, None);
    // What is prepared costs no instructions.
    let (letter, long) = (book.letter(prepared), long.letter(prepared));
    wait_before_the_next(Board::open(board.words()));
    if name == "give-up" {
        assert!(!out.put(long, Way::Try)?, "there is no room for it");
        board.begun().store(1, SeqCst);
    }
    out.send(letter)?;
    board.done().store(1, SeqCst);
    Ok(())
}

struct Stage {
    name: &'static str,
    board: Board,
    book: Book,
    actor: Process<Result<()>>,
    /// The other end.
    end: Option<End>,
    back: Option<Receiver<Cargo>>,
    there: Option<Sender<Cargo>>,
    waiter: Option<JoinHandle<(In, Result<()>)>>,
    sender: Option<JoinHandle<(Out, Result<()>)>>,
    leak: Leak,
    rings: Rings,
}

impl Stage {
    fn set(name: &str) -> Self {
        let name = NAMES.into_iter().find(|known| *known == name).expect("an act");
        waiting::set_policy(Policy::Sleep);
        let board = Board::new();
        let others = Rings::all().expect("/proc is mounted");
        let (leak, writer) = Leak::new(letters(name).1 > 0);
        let copy = |fd: &OwnedFd| Handle(fd::duplicate(fd).expect("a descriptor"));
        let mut props = Props { writer: writer.as_ref().map(copy), ..Props::default() };
        let book = book(name, writer);
        let (out, inn) = ends::pipe(false);
        let (mut there, mut back) = (None, None);
        let end = match name {
            "move-end" | "move-inlet" => {
                let (to, from) = procession::pipe().expect("a pipe");
                (props.there, back) = (Some(to), Some(from));
                if name == "move-end" {
                    props.end = Some(End::Out(out));
                    End::In(inn)
                } else {
                    props.end = Some(End::In(inn));
                    with_two_letters(&book, out)
                }
            }
            "take-end" => {
                let (to, from) = procession::pipe().expect("a pipe");
                props.back = Some(from);
                to.send(Cargo { end: End::Out(out), number: 0 }).expect("there is room");
                there = Some(to);
                End::In(inn)
            }
            other if other.starts_with("recv") => {
                props.end = Some(End::In(inn));
                with_two_letters(&book, out)
            }
            _ => {
                props.end = Some(End::Out(out));
                End::In(inn)
            }
        };
        let actor =
            Process::builder().daemon(true).spawn(act, (name.to_owned(), board.words(), props));
        let actor = actor.expect("an actor");
        wait_until("the actor is ready", || board.is_ready());
        let (waiter, sender) = (None, None);
        let rings = Rings::all().expect("/proc is mounted").without(&others);
        let mut stage = Self {
            name,
            board,
            book,
            actor,
            end: Some(end),
            back,
            there,
            waiter,
            sender,
            leak,
            rings,
        };
        stage.prepare();
        stage
    }

    /// What is done before the actor acts.
    fn prepare(&mut self) {
        match self.name {
            "send-waited" => {
                let inn = self.inlet();
                self.check_letter(&inn, 0);
                let book = book(self.name, None);
                self.waiter = Some(asleep(move || {
                    let received = inn.take(Way::Plain).map(|letter| {
                        book.check(&letter.expect("without a timeout"), 1);
                    });
                    (inn, received)
                }));
            }
            "recv-waited" => {
                let out = self.outlet();
                for number in 2..5 {
                    out.send(self.book.letter(number)).expect("there is room");
                }
                let letter = self.book.letter(5);
                self.sender = Some(asleep(move || {
                    let sent = out.send(letter);
                    (out, sent)
                }));
            }
            name if name.starts_with("send") => {
                let inn = self.inlet();
                self.check_letter(&inn, 0);
                self.end = Some(End::In(inn));
            }
            _ => {}
        }
    }

    fn inlet(&mut self) -> In {
        match self.end.take() {
            Some(End::In(inn)) => inn,
            other => panic!("{other:?}"),
        }
    }

    fn outlet(&mut self) -> Out {
        match self.end.take() {
            Some(End::Out(out)) => out,
            other => panic!("{other:?}"),
        }
    }

    fn check_letter(&self, inn: &In, number: u64) {
        let letter = inn.take(Way::Plain).expect("a letter");
        self.book.check(&letter.expect("without a timeout"), number);
    }

    /// Plays to the end; tells what others can see of it.
    fn survey(self) -> (Survey, &'static str) {
        let rings = self.rings.again();
        let before = rings.snapshot();
        let (calls, seen) = self.play(Point::Over);
        (Survey::new(calls, &before, &rings.snapshot()), seen)
    }

    /// Plays until the actor is there, and kills it; tells how many instructions it had run, and what became of what it did.
    fn play(mut self, point: Point) -> (usize, &'static str) {
        let pid = self.actor.pid();
        let mut actor = Tracer::stop(pid).expect("a trace");
        self.board.go().store(1, SeqCst);
        // Not `SOON`: it may be a million instructions.
        let deadline = Deadline::after(6 * SOON);
        let is_over = || {
            assert!(!deadline.has_passed(), "the act does not end");
            self.board.over().load(SeqCst) == 1
        };
        let steps = point.run(&mut actor, pid, &self.rings, &is_over).expect("a trace");
        actor.kill().expect("it dies");
        let seen = self.check();
        is_killed(self.actor.join());
        let Self { book, leak, .. } = self;
        drop(book);
        leak.check();
        (steps, seen)
    }

    /// What must be true after the death of the actor; before its parent has buried it.
    fn check(&mut self) -> &'static str {
        let waited = Waited::begin();
        match self.name {
            "send-waited" => {
                let (inn, received) = self.waiter.take().expect("a waiter").join().expect("it");
                let came = u64::from(received.is_ok());
                if let Err(error) = received {
                    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
                }
                self.check_letters(&inn, 1, came, &waited)
            }
            "recv-waited" => {
                let (out, sent) = self.sender.take().expect("a sender").join().expect("it");
                let sent = match sent {
                    Ok(()) => 6,
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
                        5
                    }
                };
                self.check_count(&out, sent, &waited)
            }
            "move-end" | "move-inlet" => self.check_cargo(&waited),
            "take-end" => {
                let inn = self.inlet();
                let seen = self.check_letters(&inn, 0, 0, &waited);
                // It does not matter for that one whether this one has the way there.
                self.there = None;
                seen
            }
            "give-up" => {
                let inn = self.inlet();
                for number in 0..PREPARED {
                    self.check_letter(&inn, number);
                }
                self.check_letters(&inn, PREPARED, 0, &waited)
            }
            name if name.starts_with("send") => {
                let inn = self.inlet();
                let seen = self.check_letters(&inn, 1, 0, &waited);
                // Nothing is left although it is kept.
                self.end = Some(End::In(inn));
                seen
            }
            _ => {
                let out = self.outlet();
                self.check_count(&out, 2, &waited)
            }
        }
    }

    /// What there is from the letter `first` on, of which so many `came` already: one at most, then the end.
    fn check_letters(&self, inn: &In, first: u64, came: u64, waited: &Waited) -> &'static str {
        let mut next = first + came;
        let error = loop {
            match inn.take(Way::Plain) {
                Ok(letter) => {
                    self.book.check(&letter.expect("without a timeout"), next);
                    next += 1;
                }
                Err(error) => break error,
            }
        };
        let late = waited.end();
        assert!(late <= LATE, "told {late:?} late");
        let has_sent = self.name != "take-end" && self.board.done().load(SeqCst) == 1;
        assert!(next <= first + 1, "{next} letters came");
        assert!(!has_sent || next == first + 1, "what was sent did not come");
        self.is_end(&error);
        let again = inn.take(Way::Plain).expect_err("nobody is there");
        assert_eq!(again.kind(), ErrorKind::Closed, "{again}");
        match (next == first, error.kind()) {
            (true, ErrorKind::Torn) => "torn",
            (true, _) => "closed",
            (false, _) => "came",
        }
    }

    fn is_end(&self, error: &Error) {
        let has_given_up = self.board.begun().load(SeqCst) == 1;
        match (error.kind(), self.name) {
            (ErrorKind::Closed, _) | (ErrorKind::Torn, "send-large") => {}
            (ErrorKind::Torn, "give-up") if !has_given_up => {}
            _ => panic!("{error}"),
        }
    }

    /// Sends on until the end is told.
    fn check_count(&self, out: &Out, mut sent: u64, waited: &Waited) -> &'static str {
        let error = loop {
            match out.send(self.book.letter(0)) {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
        };
        let late = waited.end();
        assert!(late <= LATE, "told {late:?} late");
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
        let received = sent.checked_sub(out.unread()).expect("no more came than were sent");
        let has_received = self.board.done().load(SeqCst) == 1;
        // One before, one perhaps.
        let least = if has_received { 2 } else { 1 };
        assert!((least..=2).contains(&received), "{received} received, {has_received}");
        if received == 2 { "received" } else { "unread" }
    }

    /// The end has come, or is gone.
    fn check_cargo(&mut self, waited: &Waited) -> &'static str {
        let cargo = self.back.take().expect("a way back").recv();
        let had = self.board.done().load(SeqCst) == 1;
        let (end, cargo) = (self.end.take().expect("an end"), cargo.map(|cargo| cargo.end));
        match (end, cargo) {
            (End::In(inn), Ok(End::Out(out))) => {
                out.send(self.book.letter(0)).expect("the other side is here");
                self.check_letter(&inn, 0);
                drop(out);
                assert_eq!(inn.take(Way::Plain).expect_err("dropped").kind(), ErrorKind::Closed);
                "moved"
            }
            (End::Out(out), Ok(End::In(inn))) => {
                out.send(self.book.letter(2)).expect("the other side is here");
                // The first one was received before.
                self.check_letter(&inn, 1);
                self.check_letter(&inn, 2);
                drop(inn);
                let error = out.send(self.book.letter(0)).expect_err("dropped");
                assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
                "moved"
            }
            (end, Err(error)) => {
                assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
                assert!(!had, "what was sent did not come");
                let error = match end {
                    End::In(inn) => inn.take(Way::Plain).expect_err("nobody is there"),
                    End::Out(out) => loop {
                        if let Err(error) = out.send(self.book.letter(0)) {
                            break error;
                        }
                    },
                };
                assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
                let late = waited.end();
                // First the one, then the other is waited for.
                assert!(late <= 2 * LATE, "told {late:?} late");
                "closed"
            }
            (_, Ok(end)) => panic!("{end:?}"),
        }
    }
}

/// The end, when two letters were sent.
fn with_two_letters(book: &Book, out: Out) -> End {
    for number in 0..2 {
        out.send(book.letter(number)).expect("there is room");
    }
    End::Out(out)
}

/// A thread that does something; it sleeps in `poll`, so it has waited for a while.
fn asleep<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let (tx, rx) = std::sync::mpsc::channel();
    let thread = thread::spawn(move || {
        tx.send(fork::thread_id()).expect("somebody listens");
        f()
    });
    let id = rx.recv().expect("it begins");
    wait_until("it sleeps", || {
        let call = std::fs::read_to_string(format!("/proc/self/task/{id}/syscall"));
        let numbers = [libc::SYS_poll, libc::SYS_ppoll].map(|number| number.to_string());
        call.is_ok_and(|call| {
            call.split(' ').next().is_some_and(|first| numbers.iter().any(|one| one == first))
        })
    });
    thread
}
