//! Buffers that are used again. Where many words go through, each row of them needs one for a moment; memory that is taken and given back at
//! that pace goes to the system and comes back as new pages.

use std::cell::RefCell;

/// How long a buffer is: for as many words as the longest row in an outbox has, with something to spare. And the longest that is kept.
const LEN: usize = (32 << 10) + 64;
const LONGEST: usize = 64 << 10;

/// How many a thread keeps: as many rows as two outboxes hold, and as many again. That is a megabyte.
const MOST: usize = 32;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer for some words.
pub(crate) fn take() -> Vec<u8> {
    // The thread may be ending.
    let spare = SPARE.try_with(|spare| spare.borrow_mut().pop()).ok().flatten();
    spare.unwrap_or_else(|| Vec::with_capacity(LEN))
}

/// Takes a buffer back that is not needed any more.
#[inline]
pub(crate) fn give(mut buffer: Vec<u8>) {
    if (LEN..=LONGEST).contains(&buffer.capacity()) {
        buffer.clear();
        keep(buffer);
    }
}

#[inline(never)]
fn keep(buffer: Vec<u8>) {
    // As above; then it is dropped.
    let _kept = SPARE.try_with(|spare| {
        let mut spare = spare.borrow_mut();
        if spare.len() < MOST {
            spare.push(buffer);
        }
    });
}
