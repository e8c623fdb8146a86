//! Family `sharedmem`: the loops that measure values and arrays in shared memory.
//!
//! Who takes part are two processes, or this one alone; [`sync`](crate::sync) has the loops of both. A contender says what one step is.

use std::cell::Cell;
use std::io;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use crate::board::Board;
use crate::measure::print_figure;
use crate::sync::uncontended;

/// How many items the arrays have.
pub const ITEMS: usize = 1000;
/// How many processes increment one value.
pub const PROCESSES: usize = 2;

/// Times one increment of a value under its lock, by this process alone.
///
/// # Errors
/// Standard output cannot be written to.
pub fn increment(one: impl FnMut()) -> io::Result<()> {
    uncontended("value_incr[1p]", one)
}

/// Times one atomic addition, by this process alone.
///
/// # Errors
/// Standard output cannot be written to.
pub fn fetch_add(one: impl FnMut()) -> io::Result<()> {
    uncontended("fetch_add", one)
}

/// Times one write of an item of an array under its lock. It is given the index.
///
/// # Errors
/// Standard output cannot be written to.
pub fn write_locked(one: impl FnMut(usize)) -> io::Result<()> {
    uncontended("array_write[locked]", in_turn(one))
}

/// Times one write of an item of an array that has no lock. It is given the index.
///
/// # Errors
/// Standard output cannot be written to.
pub fn write_raw(one: impl FnMut(usize)) -> io::Result<()> {
    uncontended("array_write[raw]", in_turn(one))
}

fn in_turn(mut one: impl FnMut(usize)) -> impl FnMut() {
    let next = Cell::new(0);
    move || {
        let index = next.get();
        next.set(if index + 1 == ITEMS { 0 } else { index + 1 });
        one(index);
    }
}

/// Prints what a contest of [`PROCESSES`] gave, once all have left it, of whom `counted` is what the value is then.
///
/// # Errors
/// An increment was lost; standard output cannot be written to.
pub fn report_contended(board: &Board<'_>, counted: u64, length: Duration) -> io::Result<()> {
    let total = board.total.load(SeqCst);
    if total != counted || total == 0 {
        let problem = format!("increments are lost: {counted} counted in {total} turns");
        return Err(io::Error::other(problem));
    }
    print_figure("value_incr[2p]", total as f64 / length.as_secs_f64(), "ops/s")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::board::WORDS;

    #[test]
    fn lost_increments_give_no_figure() {
        let words = [const { AtomicU64::new(0) }; WORDS];
        let board = Board::over(|index| &words[index]);
        board.total.store(7, SeqCst);
        let error = report_contended(&board, 6, Duration::from_secs(1)).unwrap_err();
        assert_eq!(error.to_string(), "increments are lost: 6 counted in 7 turns");
        assert!(report_contended(&board, 7, Duration::from_secs(1)).is_ok());
    }

    #[test]
    fn items_are_written_in_turn() {
        let mut written = Vec::new();
        let mut step = in_turn(|index| written.push(index));
        (0..=ITEMS).for_each(|_| step());
        drop(step);
        assert!(written.into_iter().eq((0..ITEMS).chain([0])));
    }
}
