//! Family `queue`: ours, through the public face. The argument says how processes wait: `adaptive` (the default), `sleep` or `spin`.

use std::error::Error;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use procession::process::Builder;
use procession::waiting::{Policy, set_policy};
use procession::{Handle, Process};
use procession_benches::board::{Board, WORDS};
use procession_benches::{board, clock, crew, measure};
use procession_core::Message;
use procession_queue::Queue;
use procession_sys::memory::SharedWords;
use serde::{Deserialize, Serialize};

#[path = "queue_cells/cells.rs"]
#[expect(dead_code, reason = "the loop of those who are a crew")]
mod cells;

use cells::{
    Cell, MANY, cells, filled, get_all, mixed, open, put_all, report, time_wakes, trips, worth,
};

/// How many short items a queue has room for: as many as the ring of 1024 slots.
const ROOM: usize = 1024;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;
type Member = Process<procession::Result<()>>;

fn main() -> Outcome {
    procession::init();
    let policy = std::env::args().nth(1).unwrap_or_else(|| "adaptive".to_owned());
    let bench = Bench { policy, words: SharedWords::create(WORDS)? };
    set_policy(policy_of(&bench.policy)?);
    for cell in cells(MANY) {
        bench.measure(&cell)?;
    }
    bench.wakes()
}

fn policy_of(name: &str) -> io::Result<Policy> {
    match name {
        "adaptive" => Ok(Policy::Adaptive),
        "sleep" => Ok(Policy::Sleep),
        "spin" => Ok(Policy::Spin),
        _ => Err(io::Error::other(format!("unknown way `{name}`; one of adaptive, sleep, spin"))),
    }
}

/// The process that starts the others.
struct Bench {
    policy: String,
    words: SharedWords,
}

/// What every process of a measurement needs to take part.
#[derive(Serialize, Deserialize)]
struct Place {
    policy: String,
    words: Handle<OwnedFd>,
    each: usize,
}

impl Bench {
    fn measure(&self, cell: &Cell) -> Outcome {
        let board = Board::over(|index| self.words.word(index));
        board.clear();
        let crew = if cell.is_of_numbers() { self.numbers(cell)? } else { self.bytes(cell)? };
        let begin = open(&board, cell)?;
        for member in crew {
            member.join()??;
        }
        report(&board, cell, begin)?;
        Ok(())
    }

    fn numbers(&self, cell: &Cell) -> Outcome<Vec<Member>> {
        let queue = Queue::<u64>::bounded(cell.room(ROOM))?;
        let mut crew = Vec::new();
        for _ in 0..cell.pairs {
            crew.push(builder().spawn(put_numbers, (self.place(cell)?, queue.clone()))?);
            crew.push(builder().spawn(get_numbers, (self.place(cell)?, queue.clone()))?);
        }
        Ok(crew)
    }

    fn bytes(&self, cell: &Cell) -> Outcome<Vec<Member>> {
        let queue = Queue::<Vec<u8>>::bounded(cell.room(ROOM))?;
        let borrowed: Queue<&'static [u8]> = Message::encode(&queue)?.decode()?;
        let mut crew = Vec::new();
        for _ in 0..cell.pairs {
            let args = (self.place(cell)?, borrowed.clone(), cell.len);
            crew.push(builder().spawn(put_bytes, args)?);
            crew.push(builder().spawn(get_bytes, (self.place(cell)?, queue.clone()))?);
        }
        Ok(crew)
    }

    /// A number there through one queue, and back through another.
    fn wakes(&self) -> Outcome {
        let (there, back) = (Queue::<u64>::bounded(ROOM)?, Queue::<u64>::bounded(ROOM)?);
        let args = (self.policy.clone(), there.clone(), back.clone());
        let member: Member = builder().spawn(answer, args)?;
        time_wakes(|| {
            there.put(mixed(0)).map_err(io::Error::other)?;
            back.get().map(drop).map_err(io::Error::other)
        })?;
        member.join()??;
        Ok(())
    }

    fn place(&self, cell: &Cell) -> io::Result<Place> {
        let words = Handle(self.words.as_fd().try_clone_to_owned()?);
        Ok(Place { policy: self.policy.clone(), words, each: cell.each })
    }
}

/// One that dies with this process, when that fails.
fn builder() -> Builder {
    Process::builder().daemon(true)
}

impl Place {
    /// Does its part in the process that this was sent to, which is told how many items that is.
    fn play(
        self,
        part: impl FnOnce(&Board<'_>, usize) -> io::Result<()>,
    ) -> procession::Result<()> {
        set_policy(policy_of(&self.policy).expect("the parent understood it"));
        let words = SharedWords::open(self.words.into_inner())?;
        part(&Board::over(|index| words.word(index)), self.each).expect("nobody dies meanwhile");
        Ok(())
    }
}

fn put_numbers(place: Place, queue: Queue<u64>) -> procession::Result<()> {
    place.play(|board, each| {
        put_all(board, each, |number| queue.put(mixed(number)).map_err(io::Error::other))
    })
}

fn get_numbers(place: Place, queue: Queue<u64>) -> procession::Result<()> {
    place.play(|board, each| get_all(board, each, || queue.get().map_err(io::Error::other)))
}

fn put_bytes(place: Place, queue: Queue<&'static [u8]>, len: usize) -> procession::Result<()> {
    // Items are put by value: so that only the queue is measured, they are borrowed.
    let item: &'static [u8] = filled(len).leak();
    place.play(|board, each| {
        put_all(board, each, |_number| queue.put(item).map_err(io::Error::other))
    })
}

fn get_bytes(place: Place, queue: Queue<Vec<u8>>) -> procession::Result<()> {
    place
        .play(|board, each| get_all(board, each, || worth(&queue.get().map_err(io::Error::other)?)))
}

fn answer(policy: String, there: Queue<u64>, back: Queue<u64>) -> procession::Result<()> {
    set_policy(policy_of(&policy).expect("the parent understood it"));
    for _ in 0..trips() {
        back.put(there.get()?)?;
    }
    Ok(())
}
