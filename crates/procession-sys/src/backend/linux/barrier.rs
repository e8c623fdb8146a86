//! A memory barrier in all processes at once, so that those who do not wait need none.

use rustix::thread::{MembarrierCommand, membarrier};

use super::call;
use crate::Result;
use crate::prim::Ordering::Relaxed;
use crate::wipe::WipedWord;

/// Has this process take part in [`everywhere`], from now on.
///
/// # Errors
///
/// When the system has no such barriers: before Linux 4.16, or where a filter forbids the call.
///
/// # Source
///
/// `membarrier(2)`, `MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED`.
pub fn take_part() -> Result<()> {
    static TAKES_PART: WipedWord = WipedWord::new();
    let takes_part = TAKES_PART.get()?;
    if takes_part.load(Relaxed) == 0 {
        call("take part in memory barriers", String::new, || {
            membarrier(MembarrierCommand::RegisterGlobalExpedited)
        })?;
        takes_part.store(1, Relaxed);
    }
    Ok(())
}

/// A full memory barrier in every running thread of every process that [takes part](take_part), before this returns. It interrupts the
/// processors that such threads run on.
///
/// # Errors
///
/// When the system has no such barriers.
///
/// # Source
///
/// `membarrier(2)`, `MEMBARRIER_CMD_GLOBAL_EXPEDITED`: who takes part and does not run passes a barrier before it runs again.
pub fn everywhere() -> Result<()> {
    call("make a memory barrier", String::new, || membarrier(MembarrierCommand::GlobalExpedited))
}

/// Has this process take part in [`all_threads`], from now on.
///
/// # Errors
///
/// When the system has no such barriers: before Linux 4.14, or where a filter forbids the call.
///
/// # Source
///
/// `membarrier(2)`, `MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED`.
pub fn take_part_with_threads() -> Result<()> {
    static TAKES_PART: WipedWord = WipedWord::new();
    let takes_part = TAKES_PART.get()?;
    if takes_part.load(Relaxed) == 0 {
        call("take part in memory barriers", String::new, || {
            membarrier(MembarrierCommand::RegisterPrivateExpedited)
        })?;
        takes_part.store(1, Relaxed);
    }
    Ok(())
}

/// A full memory barrier in every running thread of this process, before this returns.
///
/// # Errors
///
/// When the system has no such barriers, or this process [takes no part](take_part_with_threads).
///
/// # Source
///
/// `membarrier(2)`, `MEMBARRIER_CMD_PRIVATE_EXPEDITED`: what does not run passes a barrier before it runs again.
pub fn all_threads() -> Result<()> {
    call("make a memory barrier", String::new, || membarrier(MembarrierCommand::PrivateExpedited))
}
