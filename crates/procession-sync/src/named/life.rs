//! Which process this is, for what forks copy.

use procession_core::Result;
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::Relaxed;
use procession_sys::process;
use procession_sys::wipe::WipedWord;

use super::record::NamedOwner;

/// Another number in this process than in any that it was forked from, or that those were. Process numbers will not do: an
/// ancestor that is gone may have had the same.
///
/// # Errors
///
/// When the system has no memory that forks wipe; never after it has succeeded once.
pub(super) fn number() -> Result<u64> {
    // A fork inherits the counter, and not the word: so it counts on.
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    static NUMBER: WipedWord = WipedWord::new();
    let word = NUMBER.get()?;
    // ORDERING: Relaxed, as below: the number stands for itself.
    let known = word.load(Relaxed);
    if known != 0 {
        return Ok(known);
    }
    let new = COUNTER.fetch_add(1, Relaxed) + 1;
    Ok(word.compare_exchange(0, new, Relaxed, Relaxed).map_or_else(|first| first, |_zero| new))
}

/// How this process signs.
///
/// # Errors
///
/// As [`number`].
pub(super) fn owner() -> Result<NamedOwner> {
    // Read once: it takes ten times as long as the rest of locking.
    static START: WipedWord = WipedWord::new();
    let (pid, word) = (process::id(), START.get()?);
    // ORDERING: Relaxed, as below: every thread would store the same.
    let mut start = word.load(Relaxed);
    if start == 0 {
        // Where `/proc` is not mounted, the record goes without.
        start = process::identity(pid).map_or(0, |identity| identity.start_ticks);
        word.store(start, Relaxed);
    }
    Ok(NamedOwner { pid, start_ticks: (start != 0).then_some(start) })
}
