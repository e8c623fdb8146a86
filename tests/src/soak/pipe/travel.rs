//! An end of a pipe goes to and fro between two processes, one of which is killed: kind `moved`. So the end is destroyed with its
//! holder, in a message that nobody reads, or not at all.

use std::time::Instant;

use procession::{ErrorKind, Process, Receiver, Result, Sender};
use procession_sys::prim::Ordering::SeqCst;
use serde::{Deserialize, Serialize};

use super::super::waited::Answer;
use super::ends::{self, End, In, Out};
use super::kill::{is_count, is_end, is_killed};
use super::killer::Killer;
use super::letter::Book;
use super::plan::{Board, Pace, Plan, Way, Words, idle};
use super::stage::Tally;
use crate::Random;

/// An end that travels.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Cargo {
    pub(super) end: End,
    /// How many letters went through it.
    pub(super) number: u64,
}

/// For how long who receives waits for a letter before it sends the end on.
const GLANCE: Way = Way::Timeout(200);

pub(super) fn play(plan: &Plan, tally: &mut Tally) {
    let board = Board::new();
    let book = Book::new(plan, None);
    plan.ours.adopt();
    let (out, inn) = ends::pipe(plan.is_duplex);
    let (there, from) = procession::pipe().expect("a pipe");
    let (to, back) = procession::pipe().expect("a pipe");
    let victim =
        Process::builder().daemon(true).spawn(work, (plan.clone(), board.words(), from, to));
    let victim = victim.expect("a victim");
    let killer = Killer::start(victim.pid(), plan, &board);
    std::thread::scope(|scope| {
        let (travels, stays) = match plan.is_sender {
            true => (End::Out(out), End::In(inn)),
            false => (End::In(inn), End::Out(out)),
        };
        let mover = scope.spawn(|| bounce(plan, &book, &board, travels, &there, &back));
        match stays {
            End::In(inn) => {
                let (error, next) = receive(&book, &inn);
                let (answer, last) = (Answer::now(), mover.join().expect("the mover"));
                tally.late(killer.judge(answer, Some(last)));
                is_end(&book, &board, &error, next);
                tally.saw("letters", next);
                tally.saw("torn", u64::from(error.kind() == ErrorKind::Torn));
            }
            End::Out(out) => {
                let (error, sent) = send(&book, &out);
                let (answer, last) = (Answer::now(), mover.join().expect("the mover"));
                tally.late(killer.judge(answer, Some(last)));
                assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
                is_count(&out, sent, &board);
                tally.saw("letters", sent);
            }
        }
    });
    is_killed(victim.join());
    tally.saw("journeys", board.journeys().load(SeqCst));
}

/// What whoever is killed does until then.
fn work(plan: Plan, words: Words, from: Receiver<Cargo>, to: Sender<Cargo>) -> Result<()> {
    plan.theirs.adopt();
    let board = Board::open(words);
    let book = Book::new(&plan, None);
    let mut random = plan.random(12);
    board.ready().store(1, SeqCst);
    for journey in 0.. {
        // Before or after it has got the end.
        if plan.theirs.pace == Pace::Idle(journey) {
            idle();
        }
        let cargo = use_it(&book, &board, from.recv()?, &mut random)?;
        if plan.theirs.pace == Pace::Idle(journey + 1) && random.below(2) == 0 {
            idle();
        }
        to.send(cargo)?;
    }
    Ok(())
}

/// Uses the end as long as the other lives; tells until when it had it.
fn bounce(
    plan: &Plan,
    book: &Book,
    board: &Board,
    end: End,
    there: &Sender<Cargo>,
    back: &Receiver<Cargo>,
) -> Instant {
    let mut random = plan.random(16);
    let mut cargo = Cargo { end, number: 0 };
    loop {
        // It stays with this process, so that it can be used.
        cargo = use_it(book, board, cargo, &mut random).expect("the other side lives");
        let sent = there.send(cargo);
        let last = Instant::now();
        if let Err(error) = sent {
            assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
            return last;
        }
        board.journeys().fetch_add(1, SeqCst);
        cargo = match back.recv() {
            Ok(cargo) => cargo,
            Err(error) => {
                // An end that takes a part of a letter along is a long message.
                let is_long = !plan.is_sender && error.kind() == ErrorKind::Torn;
                assert!(is_long || error.kind() == ErrorKind::Closed, "{error}");
                return last;
            }
        };
    }
}

/// Sends or receives a few letters.
fn use_it(book: &Book, board: &Board, cargo: Cargo, random: &mut Random) -> Result<Cargo> {
    let Cargo { end, mut number } = cargo;
    for _ in 0..random.below(4) {
        match &end {
            End::Out(out) => {
                board.begun().store(number + 1, SeqCst);
                out.send(book.letter(number))?;
                number += 1;
            }
            End::In(inn) => {
                if let Some(letter) = inn.take(GLANCE)? {
                    number += 1;
                    board.done().store(number, SeqCst);
                    book.check(&letter, number - 1);
                }
            }
        }
        board.done().store(number, SeqCst);
    }
    Ok(Cargo { end, number })
}

/// Receives until nobody has the other end.
fn receive(book: &Book, inn: &In) -> (procession::Error, u64) {
    for next in 0.. {
        match inn.take(Way::Plain) {
            Ok(letter) => book.check(&letter.expect("without a timeout"), next),
            Err(error) => return (error, next),
        }
    }
    panic!("no end");
}

/// Sends until nobody has the other end.
fn send(book: &Book, out: &Out) -> (procession::Error, u64) {
    for sent in 0.. {
        if let Err(error) = out.send(book.letter(sent)) {
            return (error, sent);
        }
    }
    panic!("no end");
}
