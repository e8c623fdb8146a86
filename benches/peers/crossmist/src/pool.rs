//! Family `pool`: crossmist. It has no pool: each worker is a process that answers requests, and a thread asks it. Chunks are made by
//! hand.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crossmist::{Child, Duplex, duplex};

#[expect(dead_code, reason = "clocks of another family")]
#[path = "../../../src/clock.rs"]
mod clock;
#[expect(dead_code, reason = "the loop of another family")]
#[path = "../../../src/measure.rs"]
mod measure;
#[path = "../../../src/pool.rs"]
mod pool;

use pool::{
    CHUNK, WORKERS, children, measure_apply, measure_lives, measure_map, measure_map_into,
    measure_parcels, measure_rest, measure_toils, measure_unordered, square, toil, worth,
};

#[derive(crossmist::Object)]
enum Task {
    Square(Vec<i64>),
    Echo(Vec<u8>),
    Toil,
}

#[derive(crossmist::Object)]
enum Answer {
    Squares(Vec<i64>),
    Bytes(Vec<u8>),
    Done,
}

#[crossmist::func]
fn work(mut tasks: Duplex<Answer, Task>) {
    while let Some(task) = tasks.recv().expect("the parent asks until it ends") {
        let answer = match task {
            Task::Square(numbers) => Answer::Squares(numbers.into_iter().map(square).collect()),
            Task::Echo(bytes) => Answer::Bytes(bytes),
            Task::Toil => {
                toil();
                Answer::Done
            }
        };
        tasks.send(&answer).expect("the parent waits for it");
    }
}

struct Seat {
    tasks: Duplex<Task, Answer>,
    child: Child<()>,
}

struct Team {
    seats: Vec<Seat>,
}

impl Team {
    fn start() -> io::Result<Self> {
        let seat = |_number| {
            let (mine, theirs) = duplex().map_err(io::Error::other)?;
            Ok(Seat { tasks: mine, child: work.spawn(theirs)? })
        };
        Ok(Self { seats: (0..WORKERS).map(seat).collect::<io::Result<_>>()? })
    }

    /// Asks the workers for tasks by number, each for the next one when it has answered; hands over each answer with its number.
    fn ask(
        &mut self,
        count: usize,
        task: impl Fn(usize) -> Task + Sync,
    ) -> io::Result<Vec<(usize, Answer)>> {
        let next = AtomicUsize::new(0);
        let ask = |seat: &mut Seat| {
            let mut answers = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return Ok(answers);
                }
                answers.push((number, request(seat, &task(number))?));
            }
        };
        thread::scope(|scope| {
            let askers: Vec<_> =
                self.seats.iter_mut().map(|seat| scope.spawn(|| ask(seat))).collect();
            let mut answers = Vec::new();
            for asker in askers {
                let part: io::Result<Vec<_>> =
                    asker.join().map_err(|_panic| io::Error::other("a thread panicked"))?;
                answers.extend(part?);
            }
            Ok(answers)
        })
    }

    fn squares(&mut self, numbers: &[i64], chunk: usize) -> io::Result<Vec<(usize, Vec<i64>)>> {
        let chunks: Vec<&[i64]> = numbers.chunks(chunk).collect();
        let answers = self.ask(chunks.len(), |number| Task::Square(chunks[number].to_vec()))?;
        answers.into_iter().map(|(number, answer)| Ok((number, squares_of(answer)?))).collect()
    }

    fn squares_into(&mut self, numbers: &[i64], out: &mut [i64]) -> io::Result<()> {
        for (number, squares) in self.squares(numbers, CHUNK)? {
            out[number * CHUNK..][..squares.len()].copy_from_slice(&squares);
        }
        Ok(())
    }

    fn end(self) -> io::Result<()> {
        self.seats.into_iter().try_for_each(|seat| {
            drop(seat.tasks);
            seat.child.join().map_err(io::Error::other)
        })
    }
}

fn request(seat: &mut Seat, task: &Task) -> io::Result<Answer> {
    seat.tasks.request(task).map_err(io::Error::other)
}

fn squares_of(answer: Answer) -> io::Result<Vec<i64>> {
    match answer {
        Answer::Squares(squares) => Ok(squares),
        _ => Err(io::Error::other("an answer to something else")),
    }
}

#[crossmist::main]
fn main() -> io::Result<()> {
    let mut team = Team::start()?;
    measure_map_into(|numbers, out| team.squares_into(numbers, out))?;
    measure_map(|numbers| {
        let mut out = vec![0; numbers.len()];
        team.squares_into(numbers, &mut out)?;
        Ok(out)
    })?;
    measure_unordered("1", |count| {
        let numbers: Vec<i64> = (0..).take(count).collect();
        let squares = team.squares(&numbers, 1)?;
        Ok(squares
            .iter()
            .flat_map(|(_number, squares)| squares)
            .fold(0, |sum, square| square.wrapping_add(sum)))
    })?;
    measure_apply(|number| {
        let squares = squares_of(request(&mut team.seats[0], &Task::Square(vec![number]))?)?;
        squares.first().copied().ok_or_else(|| io::Error::other("an empty answer"))
    })?;
    measure_parcels(|parcels| {
        let answers = team.ask(parcels.len(), |number| Task::Echo(parcels[number].clone()))?;
        answers.iter().try_fold(0, |total, (_number, answer)| match answer {
            Answer::Bytes(bytes) => Ok(total + worth(bytes)?),
            _ => Err(io::Error::other("an answer to something else")),
        })
    })?;
    measure_toils(|count| Ok(team.ask(count, |_number| Task::Toil)?.len()))?;
    measure_rest(&children()?)?;
    team.end()?;
    measure_lives(|| {
        let mut team = Team::start()?;
        match team.squares(&[1, 2], 1)?.iter().flat_map(|(_number, squares)| squares).sum::<i64>() {
            5 => team.end(),
            other => Err(io::Error::other(format!("1 and 4 are not {other}"))),
        }
    })
}
