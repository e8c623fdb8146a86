//! Family `queue`: ipc-channel between forks. Its receivers cannot be shared: each getter has a channel of its own, and the putters go from
//! one to the next.

use std::io;

use ipc_channel::ipc::{self, IpcReceiver, IpcSender};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_bytes::ByteBuf;

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
#[expect(dead_code, reason = "the loops of another family")]
#[path = "../../../src/sync.rs"]
mod sync;

use cells::{Cell, cells, mixed, run, worth};
use forks::Forks;
use sync::Bench;

// Threads take no part here; an `expect` on their module would not be fulfilled, because they have a trait.
const _: crew::Threads = crew::Threads;

/// How many items go through, by their length.
const COUNTS: [usize; 3] = [80_000, 80_000, 400];

fn main() -> io::Result<()> {
    let bench = Bench::forked()?;
    cells(COUNTS).iter().try_for_each(|cell| match cell.is_of_numbers() {
        true => through_shards(&bench, cell, mixed, Ok),
        false => {
            let bytes = cell.bytes();
            let item = |_number| ByteBuf::from(bytes.clone());
            through_shards(&bench, cell, item, |item: ByteBuf| worth(&item))
        }
    })
}

/// `item` makes the item of a number, `value` says what one is worth.
fn through_shards<T: Serialize + DeserializeOwned>(
    bench: &Bench<'_, Forks>,
    cell: &Cell,
    item: impl Fn(u64) -> T + Sync,
    value: impl Fn(T) -> io::Result<u64> + Sync,
) -> io::Result<()> {
    let shards = (0..cell.pairs).map(|_| ipc::channel()).collect::<io::Result<Vec<_>>>()?;
    let (senders, receivers): (Vec<IpcSender<T>>, Vec<IpcReceiver<T>>) = shards.into_iter().unzip();
    let (senders, receivers) = (Ends(senders), Ends(receivers));
    let (senders, receivers, item, value) = (&senders, &receivers, &item, &value);
    // Each begins at another channel, so that all have the same number at the end.
    let putter = |seat| {
        let mut next = senders.0.iter().cycle().skip(seat);
        Ok(move |number| match next.next() {
            Some(shard) => shard.send(item(number)).map_err(io::Error::other),
            None => Err(io::Error::other("no channel")),
        })
    };
    let getter = |seat: usize| {
        let shard = &receivers.0[seat];
        let failed = |error| io::Error::other(format!("{error:?}"));
        Ok(move || value(shard.recv().map_err(failed)?))
    };
    run(&bench.crew, &bench.board, cell, putter, getter)
}

/// The ends of all channels, which forks have.
struct Ends<E>(Vec<E>);

// SAFETY: the members of the crew are forks: each has a copy of its own, and no thread.
unsafe impl<E> Sync for Ends<E> {}
