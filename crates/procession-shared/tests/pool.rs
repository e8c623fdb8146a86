//! The pool and the quota. They are of the whole process: a program of its own, lest other tests see it.

use procession_core::{ErrorKind, Message};
use procession_shared::{SharedMemory, SharedVec, pool};

/// A size that no other test of this program uses.
const SIZE: usize = 12_345_678;
const WHOLE: u64 = (SIZE as u64).next_multiple_of(4096);

#[test]
fn blocks_are_used_again_when_nobody_has_them_and_the_quota_holds() {
    let first = SharedMemory::new(SIZE).unwrap();
    first.fill(0xAA).unwrap();
    assert!(pool::usage().unwrap().live_bytes >= WHOLE);
    drop(first);
    assert!(pool::usage().unwrap().idle_bytes >= WHOLE, "it is kept");

    // Its old content is there for who asks for it, and for nobody else.
    let again = SharedMemory::recycled(SIZE - 100).unwrap();
    assert_eq!(again.read_vec(0..3).unwrap(), [0xAA; 3]);
    let message = Message::encode(&again).unwrap();
    drop(again);
    let other = SharedMemory::new(SIZE).unwrap();
    other.write(0, b"other").unwrap();
    let received: SharedMemory = message.decode().unwrap();
    assert_eq!(received.read_vec(0..5).unwrap(), [0xAA; 5], "what is on its way is not used again");
    assert_eq!(received.size(), SIZE - 100);
    drop((received, other));
    let zero = SharedMemory::new(SIZE).unwrap();
    assert!(zero.read_vec(0..SIZE).unwrap().iter().all(|byte| *byte == 0));

    // One that comes back after it was dropped is not used again while it is here.
    zero.write(0, b"back").unwrap();
    let message = Message::encode(&zero).unwrap();
    drop(zero);
    let back: SharedMemory = message.decode().unwrap();
    let other = SharedMemory::new(SIZE).unwrap();
    other.write(0, b"other").unwrap();
    assert_eq!(back.read_vec(0..4).unwrap(), b"back");
    drop((back, other));
    let zero = SharedMemory::new(SIZE).unwrap();

    // A message that is destroyed unread gives the block back.
    let message = Message::encode(&zero).unwrap();
    drop(zero);
    drop(message);
    assert!(pool::usage().unwrap().idle_bytes >= 2 * WHOLE);
    let idle = pool::usage().unwrap().idle_bytes;
    let (one, two) = (SharedMemory::new(SIZE).unwrap(), SharedMemory::new(SIZE).unwrap());
    assert!(pool::usage().unwrap().idle_bytes <= idle - 2 * WHOLE, "both are used again");
    drop((one, two));

    // A single writer's block is not: whoever has it could not write it.
    pool::trim().unwrap();
    let idle = pool::usage().unwrap().idle_bytes;
    assert!(idle < WHOLE, "{idle} of others");
    drop(SharedMemory::new(SIZE).unwrap().into_single_writer().unwrap());
    assert!(pool::usage().unwrap().idle_bytes < WHOLE);

    // The oldest goes when too many are kept.
    pool::set_kept(2 * WHOLE).unwrap();
    drop([0; 3].map(|_| SharedMemory::new(SIZE).unwrap()));
    assert_eq!(pool::usage().unwrap().idle_bytes, 2 * WHOLE);

    // What is retired makes room for what is new, where that is no use of it.
    let before = pool::quota().unwrap();
    pool::set_quota(pool::usage().unwrap().live_bytes + 3 * WHOLE).unwrap();
    let large = SharedMemory::new(2 * SIZE).unwrap();
    assert_eq!(pool::usage().unwrap().idle_bytes, WHOLE);
    drop(large);
    pool::set_quota(before).unwrap();
    pool::trim().unwrap();

    // Beyond the quota is an error.
    pool::set_kept(4 * WHOLE).unwrap();
    assert_eq!(pool::kept().unwrap(), 4 * WHOLE);
    drop(SharedMemory::new(SIZE).unwrap());
    pool::set_quota(pool::usage().unwrap().live_bytes + 2 * WHOLE).unwrap();
    let (one, two) = (SharedMemory::new(SIZE).unwrap(), SharedMemory::new(SIZE).unwrap());
    for refused in [SharedMemory::new(SIZE).map(drop), SharedVec::<u8>::zeroed(SIZE).map(drop)] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::OutOfMemory);
    }
    drop(one);
    drop(SharedVec::<u8>::zeroed(SIZE).unwrap().freeze().unwrap());
    SharedMemory::new(SIZE).unwrap();
    pool::set_quota(before).unwrap();
    drop(two);

    // Nothing is kept beyond the limit.
    pool::set_kept(WHOLE - 1).unwrap();
    drop(SharedMemory::new(SIZE).unwrap());
    assert!(pool::usage().unwrap().idle_bytes < WHOLE);
    pool::set_kept(0).unwrap();
    assert_eq!(pool::usage().unwrap().idle_bytes, 0);
}
