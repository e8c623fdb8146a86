//! Whether the system has killed a process for want of memory.
//!
//! The system does not say so to the parent of the process. It counts such kills for each control group; a `SIGKILL` that
//! nobody here has sent, while the count grew, is taken for one.

use procession_sys::oom;
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::Relaxed;

/// One more than the count that is known; zero when none is.
static KNOWN: AtomicU64 = AtomicU64::new(0);

/// Notes the count, when the first process is started.
pub(crate) fn note() {
    if KNOWN.load(Relaxed) == 0 {
        KNOWN.store(count(), Relaxed);
    }
}

/// Whether the count has grown since this was called last.
pub(crate) fn has_killed() -> bool {
    let now = count();
    let before = KNOWN.swap(now, Relaxed);
    before != 0 && now > before
}

/// One where nobody counts.
fn count() -> u64 {
    oom::kills().map_or(1, |count| count.saturating_add(1))
}
