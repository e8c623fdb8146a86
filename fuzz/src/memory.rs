//! How much memory a thread takes.

#![expect(unsafe_code, reason = "only an allocator sees all allocations")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    /// What this thread has taken and not given back, in bytes. Below zero when it gives back what others have taken.
    static LIVE: Cell<isize> = const { Cell::new(0) };
    /// The most of that since the last call of [`peak`].
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, and a count per thread.
struct Counting;

fn count(change: isize) {
    let live = LIVE.get() + change;
    LIVE.set(live);
    PEAK.set(PEAK.get().max(live));
}

// SAFETY: the system's allocator does it all; what is counted lies in plain cells that are no memory of this allocator's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: the caller's promise is the same, and the memory came from there.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size.cast_signed() - layout.size().cast_signed());
        // SAFETY: the caller's promise is the same, and the memory came from there.
        unsafe { System.realloc(memory, layout, size) }
    }
}

/// Runs `work`, and tells how many bytes it had taken at most, beyond what was taken before.
pub fn peak<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.get();
    PEAK.set(before);
    let done = work();
    (done, (PEAK.get() - before).cast_unsigned())
}
