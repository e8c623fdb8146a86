//! Family `queue`: what goes through a queue in one measurement, and how that is timed.
//!
//! So many members of a crew put items, and as many get them: [`run`] puts the parts together for forks and threads. A contender
//! that starts processes in its own way has them do [`put_all`] or [`get_all`], and itself [`open`] and [`report`]. The time is
//! that from the beginning, for which all wait, until the last getter has its last item. What was got is added up; if anything
//! is missing there is no figure.
//!
//! The programs of this family include this file by path, those of the peers' workspace too; it stands on `std` and on
//! [`board`](crate::board), [`clock`](crate::clock), [`crew`](crate::crew) and [`measure`](crate::measure).

use std::io;
use std::sync::atomic::Ordering::SeqCst;
use std::thread::yield_now;
use std::time::{Duration, Instant};

use crate::board::{Board, await_value};
use crate::clock::{now_ns, pause};
use crate::crew::Crew;
use crate::measure::{number_from_env, print_figure, quantile_us};

/// Numbers are mixed with this, so that a format which leaves out the zeros of small ones leaves out nothing.
const MIX: u64 = 0x5a5a_5a5a_5a5a_5a5a;
/// What bytes are filled with.
const FILL: u8 = 7;
/// Lengths of items, and what they are called. The first is that of a number.
const LENGTHS: [(usize, &str); 3] = [(8, "8B"), (1 << 10, "1KiB"), (LONG, "1MiB")];
const LONG: usize = 1 << 20;
/// How many put, and as many get.
const PAIRS: [usize; 3] = [1, 2, 4];
/// How many long items a queue has room for, whatever it is for others: more would not fit into any cache.
const LONG_ROOM: usize = 16;
/// Round trips through two queues, of which the first are not counted.
const TRIPS: usize = 10_000;
const EARLY_TRIPS: usize = 100;
/// How long to leave the processor before looking again whether all are ready.
const NAP: Duration = Duration::from_micros(50);

/// How many items go through, by their length: so many that the fastest take a tenth of a second. All have the same, but for those
/// that make system calls for each item.
pub(crate) const MANY: [usize; 3] = [6_000_000, 2_000_000, 5_000];

/// One measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cell {
    /// How long an item is.
    pub(crate) len: usize,
    name: &'static str,
    /// How many put, and as many get.
    pub(crate) pairs: usize,
    /// How many items each of them puts, or gets.
    pub(crate) each: usize,
}

/// What is measured, when so many items go through. `PEERS_DIV` divides their number.
pub(crate) fn cells(counts: [usize; 3]) -> Vec<Cell> {
    let divisor = number_from_env("PEERS_DIV").unwrap_or(1).max(1);
    let of_length = |((len, name), count): ((usize, &'static str), usize)| {
        PAIRS.map(|pairs| Cell { len, name, pairs, each: (count / divisor / pairs).max(1) })
    };
    LENGTHS.into_iter().zip(counts).flat_map(of_length).collect()
}

impl Cell {
    /// Whether an item is a number, not bytes.
    pub(crate) fn is_of_numbers(&self) -> bool {
        self.len == 8
    }

    /// How many items the queue has room for, if it has room for so many short ones.
    pub(crate) fn room(&self, short: usize) -> usize {
        if self.len < LONG { short } else { short.min(LONG_ROOM) }
    }

    /// The bytes that are put.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        filled(self.len)
    }

    /// What all items are worth.
    fn worth(&self) -> u64 {
        let one = match self.is_of_numbers() {
            true => (0..self.each as u64).map(mixed).fold(0, u64::wrapping_add),
            false => (self.each * self.len) as u64,
        };
        one.wrapping_mul(self.pairs as u64)
    }
}

/// The number that is put as the item of this number.
pub(crate) fn mixed(number: u64) -> u64 {
    number ^ MIX
}

/// Bytes of this length, as they are put.
pub(crate) fn filled(len: usize) -> Vec<u8> {
    vec![FILL; len]
}

/// What bytes are worth that were got: their length.
///
/// # Errors
/// They are not those that were put.
pub(crate) fn worth(bytes: &[u8]) -> io::Result<u64> {
    match (bytes.first(), bytes.last()) {
        (Some(&FILL), Some(&FILL)) => Ok(bytes.len() as u64),
        ends => Err(io::Error::other(format!("{} bytes, {ends:?}, were not put", bytes.len()))),
    }
}

/// Measures what the members of a crew do, and prints it. Each is told its number among the putters or the getters, makes ready,
/// and says what it does for an item: one that is put has a number, one that is got is [worth](mixed) [something](worth).
///
/// # Errors
/// A member failed, something was not got, or standard output cannot be written to.
pub(crate) fn run<P, G>(
    crew: &impl Crew,
    board: &Board<'_>,
    cell: &Cell,
    putter: impl Fn(usize) -> io::Result<P> + Sync,
    getter: impl Fn(usize) -> io::Result<G> + Sync,
) -> io::Result<()>
where
    P: FnMut(u64) -> io::Result<()>,
    G: FnMut() -> io::Result<u64>,
{
    board.clear();
    let role = |seat: usize| {
        let done = match seat.checked_sub(cell.pairs) {
            None => putter(seat).and_then(|put| put_all(board, cell.each, put)),
            Some(seat) => getter(seat).and_then(|get| get_all(board, cell.each, get)),
        };
        done.expect("a queue with everybody at work neither ends nor fails");
    };
    let begin = crew.run(2 * cell.pairs, role, || open(board, cell))?;
    report(board, cell, begin)
}

/// Puts so many items, when all may begin.
///
/// # Errors
/// The others do not come; what `put` returns.
pub(crate) fn put_all(
    board: &Board<'_>,
    each: usize,
    mut put: impl FnMut(u64) -> io::Result<()>,
) -> io::Result<()> {
    arrive(board)?;
    (0..each as u64).try_for_each(&mut put)
}

/// Gets so many items, when all may begin, and adds up what they are worth.
///
/// # Errors
/// The others do not come; what `get` returns.
pub(crate) fn get_all(
    board: &Board<'_>,
    each: usize,
    mut get: impl FnMut() -> io::Result<u64>,
) -> io::Result<()> {
    arrive(board)?;
    let mut sum = 0_u64;
    for _ in 0..each {
        sum = sum.wrapping_add(get()?);
    }
    board.woken_at.fetch_max(now_ns(), SeqCst);
    board.total.fetch_add(sum, SeqCst);
    Ok(())
}

fn arrive(board: &Board<'_>) -> io::Result<()> {
    board.arrived.fetch_add(1, SeqCst);
    await_value(board.stage, Board::RUNNING, yield_now)
}

/// Lets all begin, once they have come, and returns when that was.
///
/// # Errors
/// Somebody does not come.
pub(crate) fn open(board: &Board<'_>, cell: &Cell) -> io::Result<u64> {
    await_value(board.arrived, 2 * cell.pairs as u64, || pause(NAP))?;
    let begin = now_ns();
    board.stage.store(Board::RUNNING, SeqCst);
    Ok(begin)
}

/// Prints what a measurement gave, once all have left.
///
/// # Errors
/// Something was not got, or got twice; standard output cannot be written to.
pub(crate) fn report(board: &Board<'_>, cell: &Cell, begin: u64) -> io::Result<()> {
    let (got, expected) = (board.total.load(SeqCst), cell.worth());
    let Cell { len, name, pairs, each } = cell;
    if got != expected {
        let problem = format!("items of {name} are worth {got}, not {expected}");
        return Err(io::Error::other(problem));
    }
    let took = Duration::from_nanos(board.woken_at.load(SeqCst).saturating_sub(begin));
    let rate = (each * pairs) as f64 / took.as_secs_f64();
    let tag = format!("[{pairs}p{pairs}c,{name}]");
    print_figure(&format!("msgs{tag}"), rate, "msg/s")?;
    if *len >= LONG {
        print_figure(&format!("GBps{tag}"), rate * *len as f64 / 1e9, "GB/s")?;
    }
    Ok(())
}

/// How many round trips there are, for the one who answers.
pub(crate) fn trips() -> usize {
    EARLY_TRIPS + (TRIPS / number_from_env("PEERS_DIV").unwrap_or(1).max(1)).max(1)
}

/// Times round trips between two processes each of which waits for the other. With everybody on one core who waits sleeps, and
/// half a trip is the way from a call that wakes to the return of the wait.
///
/// # Errors
/// What `trip` returns; standard output cannot be written to.
pub(crate) fn time_wakes(mut trip: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let mut times = Vec::with_capacity(trips());
    for _ in 0..trips() {
        let begin = Instant::now();
        trip()?;
        times.push(begin.elapsed());
    }
    print_figure(
        "wake_us",
        quantile_us(times.split_off(EARLY_TRIPS).as_mut_slice(), 50) / 2.0,
        "us",
    )
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::sync::mpsc::sync_channel;
    use std::sync::{Mutex, PoisonError};

    use super::*;
    use crate::board::WORDS;
    use crate::crew::Threads;

    /// Numbers from two to two, of which the getters see what `seen` makes.
    fn numbers(seen: fn(u64) -> u64) -> io::Result<()> {
        let words = [const { AtomicU64::new(0) }; WORDS];
        let board = Board::over(|index| &words[index]);
        let cell = Cell { len: 8, name: "8B", pairs: 2, each: 100 };
        let (tx, rx) = sync_channel(4);
        let rx = Mutex::new(rx);
        let put = |number| tx.send(mixed(number)).map_err(io::Error::other);
        let get = || {
            let got = rx.lock().unwrap_or_else(PoisonError::into_inner).recv();
            got.map(seen).map_err(io::Error::other)
        };
        run(&Threads, &board, &cell, |_seat| Ok(put), |_seat| Ok(get))
    }

    #[test]
    fn an_item_that_is_not_the_one_that_was_put_gives_no_figure() {
        assert!(numbers(|number| number).is_ok());
        let problem = numbers(|number| if number == mixed(7) { mixed(8) } else { number });
        let problem = problem.unwrap_err().to_string();
        assert!(problem.starts_with("items of 8B are worth"), "{problem}");
    }

    #[test]
    fn bytes_that_nobody_put_are_worth_an_error() {
        assert_eq!(worth(&filled(1 << 10)).unwrap(), 1 << 10);
        let mut torn = filled(1 << 10);
        torn[1023] = 0;
        assert!(worth(&torn).is_err());
        assert!(worth(&[]).is_err());
    }

    #[test]
    fn as_many_are_got_as_are_put_whatever_the_number_of_members() {
        let cells = cells([4000, 400, 8]);
        assert_eq!(cells.len(), 9);
        let items = |cell: &Cell| cell.each * cell.pairs;
        let by_length: Vec<_> =
            cells.chunks(3).map(|cells| cells.iter().map(items).max()).collect();
        let fewest: Vec<_> = cells.chunks(3).map(|cells| cells.iter().map(items).min()).collect();
        assert_eq!(by_length, fewest);
        assert!(
            cells.iter().all(|cell| cell.room(1024) == if cell.len == 1 << 20 { 16 } else { 1024 })
        );
    }
}
