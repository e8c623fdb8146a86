//! Family `queue`, the limits: a ring of slots in shared memory between forks, for many putters and many getters.
//!
//! The argument says how many slots it has. Each slot says by its turn whose it is: at the turn of a position, it is for the putter who claims
//! that position; one later for the getter; as many later as there are slots, for the next putter. Whoever finds that it is
//! not their turn looks some times more, then sleeps. Nobody here notices that another dies: then the ring stands still.
//!
//! A sleeper that was woken may find that somebody else has what it was woken for. So that no item is left while others sleep,
//! whoever has slept and got a turn wakes the next.

use std::error::Error;
use std::hint::{black_box, spin_loop};
use std::io;
use std::num::NonZero;
use std::thread;

use procession_benches::crew::Crew as _;
use procession_benches::forks::{Forks, share};
use procession_benches::futex::Semaphore;
use procession_benches::sync::Bench;
use procession_benches::{board, clock, crew, measure};
use procession_sys::block::SharedBytes;
use procession_sys::futex::{wait_low, wake_low};
use procession_sys::memory::SharedWords;
use procession_sys::prim::Ordering::{Acquire, Relaxed, Release, SeqCst};
use procession_sys::prim::{AtomicU64, fence};
use procession_sys::{Deadline, Result};

#[path = "queue_cells/cells.rs"]
mod cells;

use cells::{Cell, MANY, cells, mixed, run, time_wakes, trips, worth};

/// How one waits before it sleeps.
#[derive(Clone, Copy)]
enum Looks {
    /// Looks so many times, with pauses of the processor: some 2 to 8 µs.
    Pausing(u32),
    /// With one processor nothing changes while one looks; so it lets others run, so many times.
    Yielding(u32),
}

impl Looks {
    fn for_processors(count: usize) -> Self {
        if count > 1 { Self::Pausing(200) } else { Self::Yielding(4) }
    }

    /// Whether it was over by then.
    fn until(self, is_over: impl Fn() -> bool) -> bool {
        let (count, pass): (u32, fn()) = match self {
            Self::Pausing(count) => (count, spin_loop),
            Self::Yielding(count) => (count, thread::yield_now),
        };
        (0..count).any(|_| {
            let over = is_over();
            if !over {
                pass();
            }
            over
        })
    }
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let slots = std::env::args().nth(1).unwrap_or_default().parse::<usize>();
    let slots = slots.ok().filter(|slots| *slots > 1 && slots.is_power_of_two());
    let slots = slots.ok_or("how many slots? a power of two, above 1")?;
    let bench = Bench::forked()?;
    for cell in cells(MANY) {
        through_a_ring(&bench, &cell, cell.room(slots))?;
    }
    wakes(&bench.crew)?;
    Ok(())
}

fn through_a_ring(bench: &Bench<'_, Forks>, cell: &Cell, slots: usize) -> io::Result<()> {
    let ring = &Ring::new(slots, cell.len).map_err(io::Error::other)?;
    let Bench { crew, board } = bench;
    if cell.is_of_numbers() {
        let put = |number| ring.put_word(mixed(number)).map_err(io::Error::other);
        let get = || ring.get_word().map_err(io::Error::other);
        return run(crew, board, cell, |_seat| Ok(put), |_seat| Ok(get));
    }
    let putter = |_seat| {
        let bytes = cell.bytes();
        Ok(move |_number| ring.put(&bytes).map_err(io::Error::other))
    };
    let getter = |_seat| {
        let mut bytes = vec![0; cell.len];
        Ok(move || worth(ring.get(&mut bytes).map_err(io::Error::other)?))
    };
    run(crew, board, cell, putter, getter)
}

/// Two processes that wake each other by bare futexes, with nothing else between them.
fn wakes(crew: &Forks) -> io::Result<()> {
    let (there, back) = (share(Semaphore::default())?, share(Semaphore::default())?);
    let answer = |_seat| {
        for _ in 0..trips() {
            there.acquire();
            back.release();
        }
    };
    let trip = || {
        there.release();
        back.acquire();
        Ok(())
    };
    crew.run(1, answer, || time_wakes(trip))
}

/// Words of a cache line; positions and bells have two, because processors fetch the next one along.
const LINE: usize = 8;
const PUT_AT: usize = 0;
const GET_AT: usize = 2 * LINE;
const FILLED: usize = 4 * LINE;
const EMPTIED: usize = 8 * LINE;
const SLOTS: usize = 12 * LINE;

/// The words of a slot.
const TURN: usize = 0;
const LEN: usize = 1;
const BODY: usize = LINE;

/// A ring for this process and its forks.
struct Ring {
    words: SharedWords,
    mask: u64,
    /// How many words a slot has.
    step: usize,
    looks: Looks,
}

/// What those sleep on who wait for a slot to be filled, or to be emptied.
struct Bell<'a> {
    rings: &'a AtomicU64,
    sleepers: &'a AtomicU64,
}

impl Ring {
    fn new(slots: usize, len: usize) -> Result<Self> {
        let step = BODY + len.div_ceil(8).next_multiple_of(LINE);
        let words = SharedWords::create(SLOTS + slots * step)?;
        // Writing them makes the pages, so that none is new when it is needed.
        words.words(0, words.len()).iter().for_each(|word| word.store(0, Relaxed));
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        let looks = Looks::for_processors(processors);
        let ring = Self { words, mask: slots as u64 - 1, step, looks };
        (0..slots as u64).for_each(|at| ring.slot(at)[TURN].store(at, Relaxed));
        Ok(ring)
    }

    #[inline]
    fn slot(&self, at: u64) -> &[AtomicU64] {
        let index = usize::try_from(at & self.mask).unwrap_or_default();
        self.words.words(SLOTS + index * self.step, self.step)
    }

    fn bell(&self, index: usize) -> Bell<'_> {
        Bell { rings: self.words.word(index), sleepers: self.words.word(index + 2 * LINE) }
    }

    #[inline]
    fn put_with(&self, fill: impl FnOnce(&[AtomicU64])) -> Result<()> {
        let (at, slot, slept) = self.claim(PUT_AT, 0, EMPTIED)?;
        fill(slot);
        // ORDERING: Release, so that who sees the turn (Acquire in `claim`) sees the item.
        slot[TURN].store(at + 1, Release);
        self.ring(FILLED, EMPTIED, slept)
    }

    #[inline]
    fn get_with<T>(&self, empty: impl FnOnce(&[AtomicU64]) -> T) -> Result<T> {
        let (at, slot, slept) = self.claim(GET_AT, 1, FILLED)?;
        let got = empty(slot);
        // ORDERING: Release, so that who sees the turn (Acquire in `claim`) writes after this has read.
        slot[TURN].store(at + self.mask + 1, Release);
        self.ring(EMPTIED, FILLED, slept)?;
        Ok(got)
    }

    /// Rings for the other side, and on for one's own if one has slept.
    #[inline]
    fn ring(&self, theirs: usize, own: usize, slept: bool) -> Result<()> {
        self.bell(theirs).ring()?;
        if slept { self.bell(own).ring() } else { Ok(()) }
    }

    #[inline]
    fn put_word(&self, word: u64) -> Result<()> {
        self.put_with(|slot| {
            slot[LEN].store(8, Relaxed);
            slot[BODY].store(word, Relaxed);
        })
    }

    #[inline]
    fn get_word(&self) -> Result<u64> {
        self.get_with(|slot| black_box(slot[BODY].load(Relaxed)))
    }

    fn put(&self, bytes: &[u8]) -> Result<()> {
        self.put_with(|slot| {
            slot[LEN].store(bytes.len() as u64, Relaxed);
            SharedBytes::of_words(&slot[BODY..]).write(0, bytes);
        })
    }

    /// The item, which `room` is long enough for.
    fn get<'a>(&self, room: &'a mut [u8]) -> Result<&'a [u8]> {
        let len = self.get_with(|slot| {
            let len = usize::try_from(slot[LEN].load(Relaxed)).unwrap_or(usize::MAX);
            SharedBytes::of_words(&slot[BODY..]).read(0, &mut room[..len]);
            len
        })?;
        Ok(&room[..len])
    }

    /// The next position whose slot has its turn, `ahead` of the position itself; and whether one has slept for it.
    #[inline]
    fn claim(&self, position: usize, ahead: u64, bell: usize) -> Result<(u64, &[AtomicU64], bool)> {
        let position = self.words.word(position);
        let (mut at, mut slept) = (position.load(Relaxed), false);
        loop {
            let slot = self.slot(at);
            let turn = slot[TURN].load(Acquire);
            if turn == at + ahead {
                match position.compare_exchange_weak(at, at + 1, Relaxed, Relaxed) {
                    Ok(_) => return Ok((at, slot, slept)),
                    Err(moved) => at = moved,
                }
                continue;
            }
            if turn < at + ahead {
                let is_over =
                    || position.load(Relaxed) != at || slot[TURN].load(Acquire) == at + ahead;
                slept |= self.bell(bell).wait(self.looks, is_over)?;
            }
            at = position.load(Relaxed);
        }
    }
}

impl Bell<'_> {
    /// Looks whether it is over, and sleeps until somebody rings if it is not; tells whether it slept.
    #[cold]
    fn wait(&self, looks: Looks, is_over: impl Fn() -> bool) -> Result<bool> {
        if looks.until(&is_over) {
            return Ok(false);
        }
        #[expect(clippy::cast_possible_truncation, reason = "who sleeps compares the lower half")]
        let heard = self.rings.load(SeqCst) as u32;
        self.sleepers.fetch_add(1, SeqCst);
        // ORDERING: either this sees what was done before `ring`, or that one, behind its fence, sees the sleeper.
        fence(SeqCst);
        let sleeps = !is_over();
        if sleeps {
            wait_low(self.rings, heard, Deadline::NEVER)?;
        }
        self.sleepers.fetch_sub(1, SeqCst);
        Ok(sleeps)
    }

    #[inline]
    fn ring(&self) -> Result<()> {
        // ORDERING: pairs with the fence in `wait`.
        fence(SeqCst);
        if self.sleepers.load(Relaxed) > 0 {
            self.rings.fetch_add(1, SeqCst);
            wake_low(self.rings, 1)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::array;

    use procession_benches::board::{Board, WORDS, await_value};
    use procession_benches::crew::Threads;

    use super::*;

    /// Several of each at a ring that is full or empty nearly always; whoever is not woken waits for ever.
    fn through(ring: &Ring, cell: &Cell) -> io::Result<()> {
        let words: [AtomicU64; WORDS] = array::from_fn(|_| AtomicU64::new(0));
        let board = Board::over(|index| &words[index]);
        let put = |number| ring.put_word(mixed(number)).map_err(io::Error::other);
        let get = || ring.get_word().map_err(io::Error::other);
        run(&Threads, &board, cell, |_seat| Ok(put), |_seat| Ok(get))
    }

    #[test]
    fn each_item_comes_out_once_however_one_waits() {
        for looks in [Looks::Pausing(0), Looks::Pausing(200), Looks::Yielding(4)] {
            let ring = Ring { looks, ..Ring::new(2, 8).unwrap() };
            for cell in cells([8000, 0, 0]).iter().filter(|cell| cell.is_of_numbers()) {
                through(&ring, cell).unwrap();
            }
        }
    }

    #[test]
    fn bytes_come_out_as_they_went_in_and_in_order() {
        let ring = Ring::new(4, 1 << 10).unwrap();
        let mut room = vec![0; 1 << 10];
        for turn in 0..10_u8 {
            ring.put(&[turn; 1 << 10]).unwrap();
            ring.put(&[turn + 100; 3]).unwrap();
            assert_eq!(ring.get(&mut room).unwrap(), [turn; 1 << 10]);
            assert_eq!(ring.get(&mut room).unwrap(), [turn + 100; 3]);
        }
    }
    #[test]
    fn nobody_sleeps_beside_an_item_when_putters_end_in_another_order_than_they_began() {
        let ring = Ring { looks: Looks::Pausing(0), ..Ring::new(4, 8).unwrap() };
        let (bell, got) = (ring.bell(FILLED), AtomicU64::new(0));
        let (at, slot, _) = ring.claim(PUT_AT, 0, EMPTIED).unwrap();
        let outcome = thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| ring.get_word().map(|word| got.fetch_add(word, SeqCst)));
            }
            await_value(bell.sleepers, 2, thread::yield_now).unwrap();
            ring.put_word(1).unwrap();
            // Whom that woke finds nothing at its position, and sleeps again.
            (0..1000).for_each(|_| thread::yield_now());
            slot[BODY].store(1, Relaxed);
            slot[TURN].store(at + 1, Release);
            bell.ring().unwrap();
            let outcome = await_value(&got, 2, thread::yield_now);
            // Lets them end in any case.
            bell.ring().unwrap();
            outcome
        });
        outcome.unwrap();
    }
}
