//! One of the two that use a pipe is killed, and the other waits for it: kinds `sender`, `receiver`, `handles`, `sibling`.

use std::os::fd::OwnedFd;
use std::time::Duration;

use procession::{ErrorKind, Handle, JoinError, Process, Result};
use procession_sys::prim::Ordering::SeqCst;
use procession_sys::{fd, signal};

use super::super::leak::Leak;
use super::super::waited::{Answer, LATE, Waited};
use super::ends::{self, End, In, Out};
use super::killer::{Killer, stop};
use super::letter::Book;
use super::plan::{Board, Plan, Sibling, Way, Words, idle, nap};
use super::stage::Tally;
use crate::{SOON, Stranger};

/// After so many times that the time was up somebody waits for as long as it takes.
const TRIES: usize = 20;

pub(super) fn play(plan: &Plan, tally: &mut Tally) {
    let board = Board::new();
    let (leak, writer) = Leak::new(plan.with_handles);
    let copy = writer.as_ref().map(|writer| Handle(fd::duplicate(writer).expect("a descriptor")));
    let book = Book::new(plan, writer);
    plan.ours.adopt();
    let (out, inn) = ends::pipe(plan.is_duplex);
    // Before there are threads.
    let mut siblings = Siblings::of_stage(plan.sibling);
    let (theirs, ours) = match plan.is_sender {
        true => (End::Out(out), End::In(inn)),
        false => (End::In(inn), End::Out(out)),
    };
    let victim =
        Process::builder().daemon(true).spawn(work, (plan.clone(), board.words(), copy, theirs));
    let victim = victim.expect("a victim");
    siblings.of_victim(plan.sibling, &board);
    let killer = Killer::start(victim.pid(), plan, &board);
    match &ours {
        End::In(inn) => receive(plan, &book, &board, inn, killer, tally),
        End::Out(out) => send(plan, &book, &board, out, killer, tally),
    }
    is_killed(victim.join());
    siblings.end();
    // The survivor need not give up its end for that.
    drop(book);
    leak.check();
    drop(ours);
    tally.saw("unborn", u64::from(!board.is_ready()));
}

/// That is how a victim ends.
#[track_caller]
pub(super) fn is_killed(ended: std::result::Result<Result<()>, JoinError>) {
    match ended {
        Err(JoinError::Died(death)) => assert_eq!(death.status.signal(), Some(signal::KILL)),
        other => panic!("the victim ended by itself: {other:?}"),
    }
}

/// What whoever is killed does until then.
fn work(plan: Plan, words: Words, writer: Option<Handle<OwnedFd>>, end: End) -> Result<()> {
    plan.theirs.adopt();
    let board = Board::open(words);
    let book = Book::new(&plan, writer.map(Handle::into_inner));
    if plan.sibling == Sibling::OfVictim {
        let forked = Process::builder().outlive_parent().spawn_closure(|| -> () { idle() })?;
        board.sibling().store(forked.pid().into(), SeqCst);
        forked.detach();
    }
    board.ready().store(1, SeqCst);
    match end {
        End::Out(out) => send_on(&plan, &book, &board, &out),
        End::In(inn) => receive_on(&plan, &book, &board, &inn),
    }
}

fn send_on(plan: &Plan, book: &Book, board: &Board, out: &Out) -> Result<()> {
    let mut random = plan.random(12);
    for number in 0.. {
        if !plan.theirs.pause(number, &mut random) {
            idle();
        }
        board.begun().store(number + 1, SeqCst);
        put(out, book, number, plan.theirs.way)?;
        board.done().store(number + 1, SeqCst);
    }
    Ok(())
}

/// Sends a letter, whatever way; tells how often the time was up.
pub(super) fn put(out: &Out, book: &Book, number: u64, way: Way) -> Result<u64> {
    let mut given_up = 0;
    for _ in 0..TRIES {
        if out.put(book.letter(number), way)? {
            return Ok(given_up);
        }
        given_up += 1;
    }
    out.send(book.letter(number)).map(|()| given_up)
}

fn receive_on(plan: &Plan, book: &Book, board: &Board, inn: &In) -> Result<()> {
    let (mut random, mut number) = (plan.random(12), 0);
    loop {
        if !plan.theirs.pause(number, &mut random) {
            idle();
        }
        if let Some(letter) = inn.take(plan.theirs.way)? {
            number += 1;
            board.done().store(number, SeqCst);
            book.check(&letter, number - 1);
        }
    }
}

/// Receives until the death is told.
fn receive(plan: &Plan, book: &Book, board: &Board, inn: &In, killer: Killer, tally: &mut Tally) {
    let (mut random, mut next) = (plan.random(13), 0);
    let error = loop {
        match inn.take(plan.ours.way) {
            Ok(Some(letter)) => {
                book.check(&letter, next);
                next += 1;
            }
            Ok(None) => {}
            Err(error) => break error,
        }
        if !killer.has_killed() {
            plan.ours.pause(next, &mut random);
        }
    };
    tally.late(killer.judge(Answer::now(), None));
    is_end(book, board, &error, next);
    tally.saw("letters", next);
    tally.saw("torn", u64::from(error.kind() == ErrorKind::Torn));
    let again = inn.take(Way::Timeout(5_000_000)).expect_err("nobody is there");
    assert_eq!(again.kind(), ErrorKind::Closed, "{again}");
    if let In::Both(both) = inn {
        let waited = Waited::begin();
        let error = loop {
            if let Err(error) = both.send(book.letter(0)) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
        assert!(waited.end() <= LATE, "the other way is closed late: {:?}", waited.end());
    }
}

/// Whoever has received the first `next` letters may be told this then, and has missed nothing.
#[track_caller]
pub(super) fn is_end(book: &Book, board: &Board, error: &procession::Error, next: u64) {
    let (begun, done) = (board.begun().load(SeqCst), board.done().load(SeqCst));
    assert!((done..=begun).contains(&next), "{next} came, of {done} that were sent, {begun} begun");
    match error.kind() {
        ErrorKind::Closed => {}
        ErrorKind::Torn if next < begun && book.streams(next) => {}
        _ => panic!("{error}, when {next} came, of {done} that were sent, {begun} begun"),
    }
}

/// Sends until the death is told.
fn send(plan: &Plan, book: &Book, board: &Board, out: &Out, killer: Killer, tally: &mut Tally) {
    let mut random = plan.random(13);
    let (mut sent, mut given_up) = (0, 0);
    let error = loop {
        match put(out, book, sent, plan.ours.way) {
            Ok(tries) => {
                sent += 1;
                given_up += tries;
            }
            Err(error) => break error,
        }
        if !killer.has_killed() {
            plan.ours.pause(sent, &mut random);
        }
    };
    tally.late(killer.judge(Answer::now(), None));
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    is_count(out, sent, board);
    tally.saw("letters", sent);
    tally.saw("given up", given_up);
    if let Out::Both(both) = out {
        let waited = Waited::begin();
        let error = procession::Error::from(both.recv_timeout(SOON).expect_err("nobody is there"));
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
        assert!(waited.end() <= LATE, "the other way is closed late: {:?}", waited.end());
    }
}

/// The sender knows how many of its letters were not received; whoever received the last one may have died before it said so.
#[track_caller]
pub(super) fn is_count(out: &Out, sent: u64, board: &Board) {
    let (received, unread) = (board.done().load(SeqCst), out.unread());
    let lost = sent.checked_sub(received).expect("no more came than were sent");
    let is_right = unread == lost || unread + 1 == lost;
    assert!(is_right, "{unread} unread, of {sent} that were sent and {received} received");
}

/// Those who have copies and do not use them.
struct Siblings(Vec<Stranger>, Option<Process<()>>);

impl Siblings {
    fn of_stage(kind: Sibling) -> Self {
        let pause = match kind {
            Sibling::OfStage => Duration::MAX,
            Sibling::Short => Duration::from_micros(500),
            Sibling::Nobody | Sibling::OfVictim => return Self(Vec::new(), None),
        };
        let sibling = Process::builder().daemon(true).spawn_closure(move || nap(pause));
        let sibling = sibling.expect("a fork");
        Self(Vec::new(), Some(sibling))
    }

    fn of_victim(&mut self, kind: Sibling, board: &Board) {
        if kind == Sibling::OfVictim {
            crate::wait_until("the victim forks", || board.is_ready());
            let pid = u32::try_from(board.sibling().load(SeqCst)).expect("a number");
            stop(pid);
            self.0.push(Stranger::new(pid));
        }
    }

    /// Ends them; nobody did before.
    fn end(self) {
        for stranger in self.0 {
            assert!(stranger.signal(signal::KILL), "it is there");
            assert!(stranger.ends_soon(), "it ends");
        }
        if let Some(sibling) = self.1 {
            drop(sibling.kill());
            drop(sibling.join());
        }
    }
}
