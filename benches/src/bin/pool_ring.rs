//! Family `pool`, the limits: two forked workers, each behind two rings in shared memory.
//!
//! There is no codec, no function that is called by reference, nobody who schedules and nobody who notices a death: an operation is
//! a byte, and so many messages are on their way to each worker. The argument says how one waits for a ring: `adaptive` looks some
//! times before it sleeps, `futex` sleeps at once. With one processor nothing changes while one looks, so that both sleep at once.

use std::io;
use std::thread;

use procession_benches::crew::Crew as _;
use procession_benches::forks::Forks;
use procession_benches::pool::{
    CHUNK, WORKERS, measure_apply, measure_lives, measure_map, measure_map_into, measure_parcels,
    measure_rest, measure_toils, measure_unordered, square, toil, worth,
};
use procession_benches::pool_ring::{Receiver, Ring, Sender};

/// How often one looks before it sleeps, who does not sleep at once: for some 2 to 10 µs.
const LOOKS: u32 = 500;
/// How many messages are on their way to a worker and back: numbers one by one, and those of 1 MiB, of which the rings hold them.
const MANY: usize = 256;
const LONG: usize = 2;

/// What a worker does with a message, in the first byte of its first word. The rest of that word comes back unchanged: it says which
/// place the message has among others.
const SQUARE: u64 = 1;
const ECHO: u64 = 2;
const TOIL: u64 = 3;
const WHO: u64 = 4;
const END: u64 = 5;
const WORD: usize = 8;

fn main() -> io::Result<()> {
    let is_alone = thread::available_parallelism().is_ok_and(|processors| processors.get() == 1);
    let looks = match std::env::args().nth(1).as_deref() {
        Some("adaptive") if !is_alone => LOOKS,
        Some("adaptive" | "futex") => 0,
        other => return Err(io::Error::other(format!("{other:?} is neither adaptive nor futex"))),
    };
    with_workers(looks, measure)?;
    measure_lives(|| {
        with_workers(looks, |team| {
            let mut sum = 0;
            team.map(SQUARE, &[1, 2], 1, 1, |_place, squares| sum += numbers(squares).sum::<i64>());
            if sum == 5 { Ok(()) } else { Err(io::Error::other("a worker cannot square")) }
        })
    })
}

fn measure(team: &mut Team<'_>) -> io::Result<()> {
    measure_map_into(|numbers, squares| {
        squares.resize(numbers.len(), 0);
        team.squares(numbers, squares);
        Ok(())
    })?;
    measure_map(|numbers| {
        let mut squares = vec![0; numbers.len()];
        team.squares(numbers, &mut squares);
        Ok(squares)
    })?;
    // There is no other way to give tasks one by one.
    for chunk in ["1", "default"] {
        let mut all = Vec::new();
        measure_unordered(chunk, |count| {
            if all.len() != count {
                all = (0..).take(count).collect();
            }
            let mut sum = 0_i64;
            team.map(SQUARE, &all, 1, MANY, |_place, squares| {
                sum = numbers(squares).fold(sum, i64::wrapping_add);
            });
            Ok(sum)
        })?;
    }
    measure_apply(|number| {
        let mut found = 0;
        team.map(SQUARE, &[number], 1, 1, |_place, squares| found = numbers(squares).sum());
        Ok(found)
    })?;
    measure_parcels(|parcels| team.echo(&parcels))?;
    measure_toils(|count| {
        let mut done = 0;
        team.map(TOIL, &vec![0; count], 1, 1, |_place, _nothing| done += 1);
        Ok(done)
    })?;
    measure_rest(&team.pids())
}

/// Starts two workers, does something with them, ends them and waits for their end.
fn with_workers<T>(looks: u32, lead: impl FnOnce(&mut Team<'_>) -> io::Result<T>) -> io::Result<T> {
    let ring = |_seat| Ring::new(looks);
    let tasks = (0..WORKERS).map(ring).collect::<io::Result<Vec<_>>>()?;
    let answers = (0..WORKERS).map(ring).collect::<io::Result<Vec<_>>>()?;
    let role = |seat: usize| work(tasks[seat].receiver(), answers[seat].sender());
    Forks.run(WORKERS, role, || {
        let seats = tasks.iter().zip(&answers);
        let seats = seats.map(|(tasks, answers)| Seat::new(tasks.sender(), answers.receiver()));
        let mut team = Team { seats: seats.collect(), buffer: Vec::new() };
        let led = lead(&mut team)?;
        team.seats.iter_mut().for_each(|seat| seat.send(&END.to_ne_bytes()));
        Ok(led)
    })
}

/// What a worker does.
fn work(mut tasks: Receiver<'_>, mut answers: Sender<'_>) {
    let (mut message, mut answer) = (Vec::new(), Vec::new());
    loop {
        let len = tasks.recv(&mut message);
        let message = &message[..len];
        let Some((head, body)) = message.split_first_chunk::<WORD>() else { return };
        answer.clear();
        answer.extend_from_slice(head);
        match u64::from_ne_bytes(*head) & 0xff {
            SQUARE => {
                for number in numbers(body) {
                    answer.extend_from_slice(&square(number).to_ne_bytes());
                }
            }
            ECHO => {
                answers.send(message);
                continue;
            }
            TOIL => toil(),
            WHO => answer.extend_from_slice(&u64::from(std::process::id()).to_ne_bytes()),
            _ => return,
        }
        answers.send(&answer);
    }
}

fn numbers(bytes: &[u8]) -> impl Iterator<Item = i64> + '_ {
    bytes.as_chunks().0.iter().map(|word| i64::from_ne_bytes(*word))
}

/// A worker, as its parent sees it.
struct Seat<'a> {
    tasks: Sender<'a>,
    answers: Receiver<'a>,
    /// How many messages it was sent and has not answered.
    owes: usize,
}

impl<'a> Seat<'a> {
    fn new(tasks: Sender<'a>, answers: Receiver<'a>) -> Self {
        Self { tasks, answers, owes: 0 }
    }

    fn send(&mut self, message: &[u8]) {
        self.tasks.send(message);
        self.owes += 1;
    }

    /// Waits for an answer; returns its first word and the rest.
    fn take<'b>(&mut self, buffer: &'b mut Vec<u8>) -> (u64, &'b [u8]) {
        let len = self.answers.recv(buffer);
        self.owes -= 1;
        let (head, body) = buffer[..len].split_at(WORD);
        (head.first_chunk().map_or(0, |head| u64::from_ne_bytes(*head)), body)
    }
}

struct Team<'a> {
    seats: Vec<Seat<'a>>,
    buffer: Vec<u8>,
}

impl Team<'_> {
    /// Sends numbers in chunks, so many to each worker before it has answered, and hands over the answers with their places, as they
    /// come.
    fn map(
        &mut self,
        operation: u64,
        all: &[i64],
        chunk: usize,
        window: usize,
        mut take: impl FnMut(usize, &[u8]),
    ) {
        let mut message = vec![0; WORD * (1 + chunk)];
        let mut chunks = all.chunks(chunk).enumerate();
        let mut taken = |(head, body): (u64, &[u8])| {
            take(usize::try_from(head >> 8).unwrap_or_default(), body);
        };
        let (mut open, total) = (0, chunks.len());
        while open < total {
            let mut is_any = false;
            for seat in &mut self.seats {
                while seat.owes < window
                    && let Some((place, numbers)) = chunks.next()
                {
                    let head = operation | (place as u64) << 8;
                    message[..WORD].copy_from_slice(&head.to_ne_bytes());
                    let words = message[WORD..].as_chunks_mut::<WORD>().0;
                    for (word, number) in words.iter_mut().zip(numbers) {
                        *word = number.to_ne_bytes();
                    }
                    seat.send(&message[..WORD * (1 + numbers.len())]);
                }
                while seat.owes > 0 && seat.answers.is_ready() {
                    taken(seat.take(&mut self.buffer));
                    open += 1;
                    is_any = true;
                }
            }
            // Sleeps for the first that owes something.
            if !is_any && let Some(seat) = self.seats.iter_mut().find(|seat| seat.owes > 0) {
                taken(seat.take(&mut self.buffer));
                open += 1;
            }
        }
    }

    fn squares(&mut self, all: &[i64], squares: &mut [i64]) {
        self.map(SQUARE, all, CHUNK, LONG, |place, body| {
            let room = squares[place * CHUNK..].iter_mut();
            room.zip(numbers(body)).for_each(|(room, square)| *room = square);
        });
    }

    /// Sends parcels there and back, and tells how many bytes came back.
    fn echo(&mut self, parcels: &[Vec<u8>]) -> io::Result<usize> {
        let (mut total, mut open) = (0, 0);
        // The first word says what is to be done.
        let mut parcel = parcels.first().cloned().unwrap_or_default();
        parcel[..WORD].copy_from_slice(&ECHO.to_ne_bytes());
        let mut left = parcels.len();
        while open < parcels.len() {
            for seat in &mut self.seats {
                while left > 0 && seat.owes < LONG {
                    seat.send(&parcel);
                    left -= 1;
                }
                if seat.owes > 0 {
                    let (_head, body) = seat.take(&mut self.buffer);
                    total += WORD + worth(body)?;
                    open += 1;
                }
            }
        }
        Ok(total)
    }

    fn pids(&mut self) -> Vec<u32> {
        let mut pids = Vec::new();
        for seat in &mut self.seats {
            seat.send(&WHO.to_ne_bytes());
            let (_head, body) = seat.take(&mut self.buffer);
            pids.extend(numbers(body).filter_map(|pid| u32::try_from(pid).ok()));
        }
        pids
    }
}
