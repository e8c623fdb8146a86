//! Family `queue`: ours, through the public face, and a bare ring between processes as the limit. The argument says which, and how
//! processes wait: `adaptive` (the default), `sleep`, `spin`, or `ring`.

use std::error::Error;
use std::hint::{black_box, spin_loop};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Instant;

use procession::waiting::{Policy, set_policy};
use procession::{Handle, Process, Result};
use procession_benches::measure::{number_from_env, print_figure};
use procession_core::Message;
use procession_queue::Queue;
use procession_sys::block::SharedBytes;
use procession_sys::memory::SharedWords;
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::{Acquire, Relaxed, Release, SeqCst};

/// How many items there may be: so many slots has the ring that the bars were taken from.
const BOUND: usize = 1024;

/// Lengths of items, how they are called, and how many go through.
const SIZES: [(usize, &str, usize); 3] =
    [(8, "8B", 2_000_000), (1024, "1KiB", 400_000), (1 << 20, "1MiB", 2_000)];

/// How many put, and as many get.
const PAIRS: [usize; 3] = [1, 2, 4];

/// The words of the board: how many have arrived, and whether they may begin.
const ARRIVED: usize = 0;
const GO: usize = 16;
const BOARD: usize = 32;

type Words = Handle<OwnedFd>;

fn main() -> std::result::Result<(), Box<dyn Error>> {
    procession::init();
    let how = std::env::args().nth(1).unwrap_or_else(|| "adaptive".to_owned());
    let divisor = number_from_env("PEERS_DIV").unwrap_or(1).max(1);
    for (len, name, count) in SIZES {
        for pairs in PAIRS {
            let each = (count / divisor / pairs).max(1);
            let seconds = measure(&how, len, pairs, each)?;
            let items = f64::from(u32::try_from(each * pairs)?);
            let tag = format!("[{pairs}p{pairs}c,{name}]");
            print_figure(&format!("msgs{tag}"), items / seconds, "msg/s")?;
            if len >= 1 << 20 {
                let bytes = items * f64::from(u32::try_from(len)?);
                print_figure(&format!("GBps{tag}"), bytes / seconds / 1e9, "GB/s")?;
            }
        }
    }
    Ok(())
}

/// How many seconds it takes that each of the putters puts so many items, and each of the getters gets as many.
fn measure(
    how: &str,
    len: usize,
    pairs: usize,
    each: usize,
) -> std::result::Result<f64, Box<dyn Error>> {
    let board = SharedWords::create(BOARD)?;
    let arg = || -> std::io::Result<Words> { Ok(Handle(board.as_fd().try_clone_to_owned()?)) };
    let mut crew: Vec<Process<Result<()>>> = Vec::new();
    let builder = || Process::builder().daemon(true);
    if how == "ring" {
        let slots = if len < 1 << 20 { BOUND } else { 16 };
        let ring = SharedWords::create(Ring::words(slots, len))?;
        Ring::over(&ring, slots, len).begin();
        for _ in 0..pairs {
            let args = || -> std::io::Result<_> {
                let words: Words = Handle(ring.as_fd().try_clone_to_owned()?);
                Ok((arg()?, words, slots, len, each))
            };
            crew.push(builder().spawn(ring_put, args()?)?);
            crew.push(builder().spawn(ring_get, args()?)?);
        }
    } else if len == 8 {
        let queue = Queue::<u64>::bounded(BOUND)?;
        for _ in 0..pairs {
            let args =
                || -> std::io::Result<_> { Ok((arg()?, how.to_owned(), queue.clone(), each)) };
            crew.push(builder().spawn(put_number, args()?)?);
            crew.push(builder().spawn(get_number, args()?)?);
        }
    } else {
        let queue = Queue::<Vec<u8>>::bounded(if len < 1 << 20 { BOUND } else { 16 })?;
        let borrowed: Queue<&'static [u8]> = Message::encode(&queue)?.decode()?;
        for _ in 0..pairs {
            let args = (arg()?, how.to_owned(), borrowed.clone(), len, each);
            crew.push(builder().spawn(put_bytes, args)?);
            let args = (arg()?, how.to_owned(), queue.clone(), len, each);
            crew.push(builder().spawn(get_bytes, args)?);
        }
    }
    while board.word(ARRIVED).load(SeqCst) < crew.len() as u64 {
        std::thread::yield_now();
    }
    let begin = Instant::now();
    board.word(GO).store(1, SeqCst);
    for member in crew {
        member.join()??;
    }
    Ok(begin.elapsed().as_secs_f64())
}

fn arrive(board: Words, how: &str) -> Result<()> {
    set_policy(match how {
        "sleep" => Policy::Sleep,
        "spin" => Policy::Spin,
        _ => Policy::Adaptive,
    });
    let board = SharedWords::open(board.into_inner())?;
    board.word(ARRIVED).fetch_add(1, SeqCst);
    while board.word(GO).load(SeqCst) == 0 {
        std::thread::yield_now();
    }
    Ok(())
}

fn put_number(board: Words, how: String, queue: Queue<u64>, each: usize) -> Result<()> {
    arrive(board, &how)?;
    for number in 0..each as u64 {
        queue.put(number)?;
    }
    Ok(())
}

fn get_number(board: Words, how: String, queue: Queue<u64>, each: usize) -> Result<()> {
    arrive(board, &how)?;
    for _ in 0..each {
        black_box(queue.get()?);
    }
    Ok(())
}

fn put_bytes(
    board: Words,
    how: String,
    queue: Queue<&'static [u8]>,
    len: usize,
    each: usize,
) -> Result<()> {
    arrive(board, &how)?;
    // Items are put by value: so that only the queue is measured, they are borrowed.
    let item: &'static [u8] = vec![7; len].leak();
    for _ in 0..each {
        queue.put(item)?;
    }
    Ok(())
}

fn get_bytes(
    board: Words,
    how: String,
    queue: Queue<Vec<u8>>,
    _len: usize,
    each: usize,
) -> Result<()> {
    arrive(board, &how)?;
    for _ in 0..each {
        black_box(queue.get()?);
    }
    Ok(())
}

/// A bounded ring by Vyukov: a turn and the bytes in each slot. Nobody may die.
struct Ring<'a> {
    words: &'a SharedWords,
    slots: usize,
    len: usize,
}

const HEADS: usize = 32;

impl<'a> Ring<'a> {
    fn over(words: &'a SharedWords, slots: usize, len: usize) -> Self {
        Self { words, slots, len }
    }

    /// Words of a slot: whole lines of the cache.
    fn step(len: usize) -> usize {
        (1 + len.div_ceil(8)).next_multiple_of(8)
    }

    fn words(slots: usize, len: usize) -> usize {
        HEADS + slots * Self::step(len)
    }

    fn begin(&self) {
        for at in 0..self.slots {
            self.slot(at as u64)[0].store(at as u64, Relaxed);
        }
    }

    fn slot(&self, at: u64) -> &[AtomicU64] {
        let index = usize::try_from(at).unwrap_or_default() % self.slots;
        let step = Self::step(self.len);
        self.words.words(HEADS + index * step, step)
    }

    /// The next slot that has its turn, `ahead` of its position.
    fn claim(&self, head: &AtomicU64, ahead: u64) -> (u64, &[AtomicU64]) {
        let mut idle = 0;
        loop {
            let at = head.load(Relaxed);
            let slot = self.slot(at);
            if slot[0].load(Acquire) == at + ahead {
                if head.compare_exchange_weak(at, at + 1, Relaxed, Relaxed).is_ok() {
                    return (at, slot);
                }
                continue;
            }
            idle += 1;
            if idle % 64 == 0 { std::thread::yield_now() } else { spin_loop() }
        }
    }

    fn put(&self, bytes: &[u8]) {
        let (at, slot) = self.claim(self.words.word(0), 0);
        SharedBytes::of_words(&slot[1..]).write(0, bytes);
        slot[0].store(at + 1, Release);
    }

    fn get(&self, bytes: &mut [u8]) {
        let (at, slot) = self.claim(self.words.word(16), 1);
        SharedBytes::of_words(&slot[1..]).read(0, bytes);
        slot[0].store(at + self.slots as u64, Release);
    }
}

fn ring_put(board: Words, ring: Words, slots: usize, len: usize, each: usize) -> Result<()> {
    arrive(board, "spin")?;
    let words = SharedWords::open(ring.into_inner())?;
    let ring = Ring::over(&words, slots, len);
    let bytes = vec![7; len];
    (0..each).for_each(|_| ring.put(&bytes));
    Ok(())
}

fn ring_get(board: Words, ring: Words, slots: usize, len: usize, each: usize) -> Result<()> {
    arrive(board, "spin")?;
    let words = SharedWords::open(ring.into_inner())?;
    let ring = Ring::over(&words, slots, len);
    let mut bytes = vec![0; len];
    (0..each).for_each(|_| ring.get(black_box(&mut bytes)));
    Ok(())
}
