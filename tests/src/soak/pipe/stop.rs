//! One of the two that use a pipe is stopped, and goes on: kind `stopped`.

use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use procession::{ErrorKind, Process, Result};
use procession_sys::prim::Ordering::SeqCst;

use super::ends::{self, End, In, Out};
use super::kill::put;
use super::killer::{go_on, hangs, is_stopped, pause, stop};
use super::letter::Book;
use super::plan::{Board, Plan, Way, Words, nap};
use super::stage::Tally;
use crate::SOON;

/// How long whoever waits for one that is stopped waits.
const SHORT: Way = Way::Timeout(3_000);

pub(super) fn play(plan: &Plan, tally: &mut Tally) {
    let mut random = plan.random(14);
    let board = Board::new();
    let book = Book::new(plan, None);
    let letters = 8 + random.below(16) as u64;
    plan.ours.adopt();
    let (out, inn) = ends::pipe(plan.is_duplex);
    let (theirs, ours) = match plan.is_sender {
        true => (End::Out(out), End::In(inn)),
        false => (End::In(inn), End::Out(out)),
    };
    let victim =
        Process::builder().daemon(true).spawn(work, (plan.clone(), board.words(), letters, theirs));
    let victim = victim.expect("a process");
    let stopper = Stopper::start(plan, victim.pid(), &board);
    let timed_out = match ours {
        End::In(inn) => receive(plan, &book, &inn, letters),
        End::Out(out) => send(plan, &book, &out, letters),
    };
    let done = victim.join().expect("it ends").expect("its end works");
    assert_eq!(done, letters);
    tally.saw("letters", letters);
    tally.saw("timed out", timed_out);
    tally.saw("stops", stopper.end());
}

/// What whoever is stopped does, to the end; returns how many letters it was.
fn work(plan: Plan, words: Words, letters: u64, end: End) -> Result<u64> {
    let manner = plan.theirs.awake();
    manner.adopt();
    let board = Board::open(words);
    let book = Book::new(&plan, None);
    let mut random = plan.random(12);
    board.ready().store(1, SeqCst);
    match end {
        End::Out(out) => {
            for number in 0..letters {
                manner.pause(number, &mut random);
                put(&out, &book, number, manner.way)?;
            }
            Ok(letters)
        }
        End::In(inn) => {
            let mut next = 0;
            loop {
                manner.pause(next, &mut random);
                match inn.take(manner.way) {
                    Ok(Some(letter)) => {
                        book.check(&letter, next);
                        next += 1;
                    }
                    Ok(None) => {}
                    Err(error) if error.kind() == ErrorKind::Closed => return Ok(next),
                    Err(error) => return Err(error),
                }
            }
        }
    }
}

/// Receives all letters, and then that there are no more; tells how often the time was up.
fn receive(plan: &Plan, book: &Book, inn: &In, letters: u64) -> u64 {
    let mut random = plan.random(13);
    let (mut next, mut timed_out) = (0, 0);
    loop {
        // Now and then for as long as it takes.
        let way = if random.below(3) > 0 { SHORT } else { plan.ours.way };
        match inn.take(way) {
            Ok(Some(letter)) => {
                book.check(&letter, next);
                next += 1;
                plan.ours.pause(next, &mut random);
            }
            Ok(None) => timed_out += 1,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
                assert_eq!(next, letters, "letters are lost");
                return timed_out;
            }
        }
    }
}

/// Sends all letters; tells how often one was taken back.
fn send(plan: &Plan, book: &Book, out: &Out, letters: u64) -> u64 {
    let mut random = plan.random(13);
    let mut given_up = 0;
    for number in 0..letters {
        let way = if random.below(3) > 0 { SHORT } else { plan.ours.way };
        given_up += put(out, book, number, way).expect("the other side lives");
        plan.ours.pause(number, &mut random);
    }
    given_up
}

/// A thread that stops a process now and then.
struct Stopper {
    thread: JoinHandle<u64>,
    told: mpsc::Sender<()>,
}

impl Stopper {
    fn start(plan: &Plan, pid: u32, board: &Board) -> Self {
        let (told, end) = mpsc::channel();
        let (mut random, plan) = (plan.random(15), plan.clone());
        let board = Board::open(board.words());
        let work = move || {
            let mut stops = 0;
            crate::wait_until("it begins", || board.is_ready());
            for _ in 0..=random.below(2) {
                pause(Duration::from_micros(random.below(2_000) as u64));
                stop(pid);
                stops += u64::from(is_stopped(pid));
                nap(Duration::from_millis(random.below(15) as u64));
                go_on(pid);
            }
            if end.recv_timeout(SOON) == Err(mpsc::RecvTimeoutError::Timeout) {
                hangs(&plan, "it was stopped, and nothing goes on");
            }
            stops
        };
        let thread = thread::Builder::new().name("stopper".into()).spawn(work).expect("a thread");
        Self { thread, told }
    }

    /// Tells how often it was stopped.
    fn end(self) -> u64 {
        // It may have given up, which is told below.
        self.told.send(()).unwrap_or_default();
        self.thread.join().expect("the stopper")
    }
}
