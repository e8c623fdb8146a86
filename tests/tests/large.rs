//! Messages whose length a signed number of 32 bits cannot say, from another process; and one that is longer than its receiver allows.
//! Queues with as much in them.
//!
//! Two copies of such a message are 4 GiB. The tests take turns, also where each is a process of its own.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]
#![expect(unsafe_code, reason = "an allocator that notes what it is asked for")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::File;

use procession::connection::Family;
use procession::prelude::*;
use procession::{Address, ErrorKind};
use procession_sys::prim::AtomicUsize;
use procession_sys::prim::Ordering::Relaxed;
use procession_tests::{SOON, Watchdog, skip, watchdog};

procession::test_support!();

const GIB: usize = 1 << 30;

/// CPython writes a length in 64 bits from 2 GiB on. No multiple of a page, a row of a ring or a word.
const LARGE: usize = 2 * GIB + 5;

/// What has to be free for a message, for both processes and for others.
const FREE: usize = 8 * GIB;

/// What has to be free for a queue.
const FREE_FOR_A_QUEUE: usize = 4 * GIB;

const PAGE: usize = 4096;

/// Bytes of which each page is another one, so that nothing can be missing, doubled or displaced.
struct Pattern([u8; 2 * PAGE]);

impl Pattern {
    fn new() -> Self {
        // By xorshift (Marsaglia 2003).
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        Self(std::array::from_fn(|_| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed.to_le_bytes()[7]
        }))
    }

    fn page(&self, number: usize) -> [u8; PAGE] {
        let from = number % PAGE;
        let mut page = [0; PAGE];
        page.copy_from_slice(&self.0[from..from + PAGE]);
        page[..8].copy_from_slice(&number.to_le_bytes());
        page
    }

    fn message(&self, len: usize) -> Vec<u8> {
        let mut message = Vec::with_capacity(len);
        for number in 0..len.div_ceil(PAGE) {
            let page = self.page(number);
            message.extend_from_slice(&page[..PAGE.min(len - message.len())]);
        }
        message
    }

    /// The first page that is not as it was sent.
    fn first_difference(&self, message: &[u8]) -> Option<usize> {
        let mut pages = message.chunks(PAGE).enumerate();
        pages.find_map(|(number, page)| {
            let is_whole = *page == self.page(number)[..page.len()];
            (!is_whole).then_some(number)
        })
    }
}

/// Notes the largest piece of memory that was asked for.
struct Noting;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: Hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Noting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Relaxed);
        // SAFETY: As the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Relaxed);
        // SAFETY: As the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LARGEST.fetch_max(size, Relaxed);
        // SAFETY: As the caller promises.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: As the caller promises.
        unsafe { System.dealloc(old, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Noting = Noting;

/// Has the memory to itself, among the tests of this file; the lock goes with the process, however it ends.
struct Turn {
    _dog: Watchdog,
    _file: File,
}

/// `None`, aloud, when there is too little memory for a message.
fn turn() -> Option<Turn> {
    turn_with(FREE, &format!("a message of {LARGE} bytes"))
}

/// `None`, aloud, when less than this is free.
fn turn_with(needed: usize, what: &str) -> Option<Turn> {
    let path = concat!(env!("CARGO_TARGET_TMPDIR"), "/large.lock");
    let file = File::create(path).unwrap();
    file.lock().unwrap();
    let free = free_bytes();
    if free < needed {
        skip(&format!("{what}: {free} bytes of memory are free, not {needed}"));
        return None;
    }
    Some(Turn { _dog: watchdog(100), _file: file })
}

/// How much memory the system could give without swapping. Source: `proc_meminfo(5)`.
fn free_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:")).unwrap();
    let kib = line.trim().strip_suffix(" kB").unwrap();
    kib.parse::<usize>().unwrap() << 10
}

fn send_large(end: Connection) -> procession::Result<()> {
    end.send_bytes(&Pattern::new().message(LARGE))
}

fn send_large_to(address: Address) -> procession::Result<()> {
    send_large(Client::connect(&address)?)
}

/// A message of zeros, which takes no memory until it is written. Larger than the receiver allows, by one.
fn send_too_large(end: Connection) -> Option<ErrorKind> {
    end.send_bytes(&vec![0; GIB + 1]).err().map(|error| error.kind())
}

fn send_too_large_to(address: Address) -> Option<ErrorKind> {
    send_too_large(Client::connect(&address).unwrap())
}

fn socket() -> Listener {
    Listener::builder().family(Family::Unix).bind().unwrap()
}

#[track_caller]
fn receive_large(end: &Connection) {
    let message = end.recv_bytes().unwrap();
    assert_eq!(message.len(), LARGE);
    assert_eq!(Pattern::new().first_difference(&message), None);
}

#[track_caller]
fn refuse_too_large(end: &Connection) {
    LARGEST.store(0, Relaxed);
    let refused = end.recv_bytes_max(GIB as u64);
    let largest = LARGEST.load(Relaxed);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::TooLarge);
    assert!(largest < 2 << 20, "{largest} bytes of memory were taken for it");
    assert!(end.recv_bytes().is_err(), "nothing more can be received");
}

#[test]
fn a_message_above_2_gib_goes_through_shared_memory() {
    let Some(_turn) = turn() else { return };
    let (ours, theirs) = Connection::pair().unwrap();
    let child = Process::spawn(send_large, (theirs,)).unwrap();
    receive_large(&ours);
    child.join().unwrap().unwrap();
}

#[test]
fn a_message_above_2_gib_goes_through_a_socket() {
    let Some(_turn) = turn() else { return };
    let listener = socket();
    let child = Process::spawn(send_large_to, (listener.address().clone(),)).unwrap();
    receive_large(&listener.accept_timeout(SOON).unwrap());
    child.join().unwrap().unwrap();
}

#[test]
fn a_message_that_is_too_large_is_refused_before_it_takes_memory() {
    let Some(_turn) = turn() else { return };
    let (ours, theirs) = Connection::pair().unwrap();
    let child = Process::spawn(send_too_large, (theirs,)).unwrap();
    refuse_too_large(&ours);
    drop(ours);
    assert_eq!(child.join().unwrap(), Some(ErrorKind::Closed));

    let listener = socket();
    let child = Process::spawn(send_too_large_to, (listener.address().clone(),)).unwrap();
    let end = listener.accept_timeout(SOON).unwrap();
    refuse_too_large(&end);
    drop(end);
    assert_eq!(child.join().unwrap(), Some(ErrorKind::Closed));
}

/// Fills a queue with `count` items of `len` bytes, and drains it: all are there, in order, and their memory is given back.
#[track_caller]
fn fill_and_drain(queue: &Queue<Vec<u8>>, count: usize, len: usize) {
    let pattern = Pattern::new();
    let head = |number: usize| pattern.page(number)[..64].to_vec();
    let mut item = vec![7; len];
    for number in 0..count {
        item[..64].copy_from_slice(&head(number));
        item[len - 64..].copy_from_slice(&head(number));
        queue.put(item.clone()).unwrap();
    }
    assert_eq!(queue.len().unwrap(), count);
    assert!(queue.memory_bytes().unwrap() >= (count * len) as u64);
    for number in 0..count {
        let item = queue.try_get().unwrap();
        assert_eq!(item.len(), len);
        assert!(item[..64] == head(number) && item[len - 64..] == head(number), "{number}");
    }
    assert!(queue.is_empty().unwrap());
}

/// After that it takes what it took before, when little had been in it.
#[track_caller]
fn gives_back(count: usize, len: usize) {
    let what = format!("a queue with {} bytes in it", count * len);
    let Some(_turn) = turn_with(FREE_FOR_A_QUEUE, &what) else { return };
    let queue = Queue::new().unwrap();
    fill_and_drain(&queue, 4, len);
    let before = queue.memory_bytes().unwrap();
    fill_and_drain(&queue, count, len);
    let after = queue.memory_bytes().unwrap();
    assert!(after <= before + (1 << 20), "{after} bytes of memory, {before} before");
}

#[test]
fn a_queue_with_2_gib_of_large_items_in_it_gives_the_memory_back() {
    gives_back(2048, 1 << 20);
}

#[test]
fn a_queue_with_256_mib_of_small_items_in_it_gives_the_memory_back() {
    gives_back(256 << 10, 1 << 10);
}

#[test]
fn what_is_checked_is_every_byte() {
    let pattern = Pattern::new();
    let message = pattern.message(3 * PAGE + 5);
    assert_eq!(message.len(), 3 * PAGE + 5);
    assert_eq!(pattern.first_difference(&message), None);
    for at in 0..message.len() {
        let mut other = message.clone();
        other[at] ^= 1;
        assert_eq!(pattern.first_difference(&other), Some(at / PAGE));
    }
}

/// How many items go through: `PROCESSION_ITEMS`, or as many as take a second in a build that is not optimized.
fn items() -> u64 {
    std::env::var("PROCESSION_ITEMS").map_or(1_000_000, |count| count.parse().unwrap())
}

fn put_numbers(queue: Queue<u64>, count: u64) -> procession::Result<()> {
    for number in 0..count {
        queue.put(number)?;
    }
    Ok(())
}

#[test]
fn millions_of_items_leave_memory_flat() {
    let _dog = watchdog(300);
    let (queue, count) = (Queue::bounded(1000).unwrap(), items());
    let builder = Process::builder().daemon(true);
    let child = builder.spawn(put_numbers, (queue.clone(), count)).unwrap();
    for number in 0..count {
        assert_eq!(queue.get().unwrap(), number);
        if number % 100_000 == 50_000 {
            // A thousand items take five chunks, and the books some pages.
            let memory = queue.memory_bytes().unwrap();
            assert!(memory <= 256 << 10, "{memory} bytes after {number} items");
        }
    }
    child.join().unwrap().unwrap();
    assert!(queue.is_empty().unwrap());
}
