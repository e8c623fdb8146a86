//! Family `queue`: a list of Redis, by `LPUSH` and `BRPOP` over its Unix socket, between forks.
//!
//! The server is started here, keeps nothing on a disk, and is stopped at the end.

use std::io;
use std::path::Path;

#[path = "../../../src/board.rs"]
mod board;
#[expect(dead_code, reason = "the loops of other contenders")]
#[path = "../../../src/bin/queue_cells/cells.rs"]
mod cells;
#[path = "../../../src/clock.rs"]
mod clock;
#[path = "../../../src/crew.rs"]
mod crew;
#[path = "../../../src/forks.rs"]
mod forks;
#[expect(dead_code, reason = "the loop of another family")]
#[path = "../../../src/measure.rs"]
mod measure;
#[path = "../redis.rs"]
mod redis;
#[expect(dead_code, reason = "the loops of another family")]
#[path = "../../../src/sync.rs"]
mod sync;

use cells::{Cell, cells, mixed, run, worth};
use redis::{Client, Server, unfit};
use sync::Bench;

// Threads take no part here; an `expect` on their module would not be fulfilled, because they have a trait.
const _: crew::Threads = crew::Threads;

/// How many items go through, by their length.
const COUNTS: [usize; 3] = [20_000, 20_000, 400];

fn main() -> io::Result<()> {
    let server = Server::start()?;
    let bench = Bench::forked()?;
    // Each measurement has a list of its own.
    for (number, cell) in cells(COUNTS).iter().enumerate() {
        through_a_list(&bench, cell, &server.socket, &format!("q{number}"))?;
    }
    server.stop()
}

fn through_a_list<C: crew::Crew>(
    bench: &Bench<'_, C>,
    cell: &Cell,
    socket: &Path,
    key: &str,
) -> io::Result<()> {
    let putter = |_seat| {
        let (mut client, mut item) = (Client::connect(socket)?, cell.bytes());
        Ok(move |number| {
            if cell.is_of_numbers() {
                item.copy_from_slice(&mixed(number).to_ne_bytes());
            }
            push(&mut client, key, &item)
        })
    };
    let getter = |_seat| {
        let mut client = Client::connect(socket)?;
        Ok(move || {
            let item = pop(&mut client, key)?;
            match item.as_slice().try_into() {
                Ok(number) if cell.is_of_numbers() => Ok(u64::from_ne_bytes(number)),
                _ => worth(&item),
            }
        })
    };
    run(&bench.crew, &bench.board, cell, putter, getter)
}

fn push(client: &mut Client, key: &str, item: &[u8]) -> io::Result<()> {
    client.call(&[b"LPUSH", key.as_bytes(), item])?;
    client.number(':').map(drop)
}

/// Waits for an item.
fn pop(client: &mut Client, key: &str) -> io::Result<Vec<u8>> {
    client.call(&[b"BRPOP", key.as_bytes(), b"0"])?;
    match client.number('*')? {
        2 => {}
        parts => return Err(unfit(&format!("{parts} parts"))),
    }
    let mut item = Vec::new();
    client.read_string(&mut item)?;
    client.read_string(&mut item)?;
    Ok(item)
}
