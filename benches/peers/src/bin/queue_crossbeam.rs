//! Family `queue`, for scale: crossbeam-channel, for the threads of one process. A vector moves without being copied.

use std::io;
use std::sync::atomic::AtomicU64;

use crossbeam_channel::bounded;

#[expect(dead_code, reason = "the stages of another family")]
#[path = "../../../src/board.rs"]
mod board;
#[expect(dead_code, reason = "the loops of other contenders")]
#[path = "../../../src/bin/queue_cells/cells.rs"]
mod cells;
#[expect(dead_code, reason = "clocks of another family")]
#[path = "../../../src/clock.rs"]
mod clock;
#[path = "../../../src/crew.rs"]
mod crew;
#[expect(dead_code, reason = "the loop of another family")]
#[path = "../../../src/measure.rs"]
mod measure;

use board::{Board, WORDS};
use cells::{Cell, MANY, cells, mixed, run, worth};
use crew::Threads;

/// Short items on their way: as many as in the ring of 1024 slots.
const ROOM: usize = 1024;

fn main() -> io::Result<()> {
    let words = [const { AtomicU64::new(0) }; WORDS];
    let board = Board::over(|index| &words[index]);
    cells(MANY).iter().try_for_each(|cell| match cell.is_of_numbers() {
        true => numbers(&board, cell),
        false => vectors(&board, cell),
    })
}

fn numbers(board: &Board<'_>, cell: &Cell) -> io::Result<()> {
    let (tx, rx) = bounded::<u64>(cell.room(ROOM));
    let put = |number| tx.send(mixed(number)).map_err(io::Error::other);
    let get = || rx.recv().map_err(io::Error::other);
    run(&Threads, board, cell, |_seat| Ok(put), |_seat| Ok(get))
}

/// As between processes, the putter keeps its bytes: it makes a vector of them for each item.
fn vectors(board: &Board<'_>, cell: &Cell) -> io::Result<()> {
    let (tx, rx) = bounded::<Vec<u8>>(cell.room(ROOM));
    let putter = |_seat| {
        let bytes = cell.bytes();
        let tx = &tx;
        Ok(move |_number| tx.send(bytes.clone()).map_err(io::Error::other))
    };
    let get = || worth(&rx.recv().map_err(io::Error::other)?);
    run(&Threads, board, cell, putter, |_seat| Ok(get))
}
