//! The pidfds of processes that were asked about, so that the next question costs one `poll`.

use std::os::fd::OwnedFd;

use procession_sys::memory::SharedWords;
use procession_sys::wipe::PerProcess;

use super::oracle::{Life, Oracle, System, life};
use super::stamp::ProcessId;
use super::table::Table;
use crate::Result;

/// How many are kept: a descriptor each, for as many owners as a process has to do with at a time.
const MOST: usize = 16;

/// Oldest first.
static PIDFDS: PerProcess<Vec<(ProcessId, OwnedFd)>> = PerProcess::new();

/// Whether `id` lives, which has said who it is.
pub(super) fn is_alive(table: &Table<SharedWords>, id: ProcessId) -> Result<bool> {
    let mut kept = PIDFDS.lock()?;
    if let Some(at) = kept.iter().position(|(kept, _)| *kept == id) {
        let has_ended = System.has_ended(&kept[at].1)?;
        if has_ended {
            kept.remove(at);
        }
        return Ok(!has_ended);
    }
    match life(table, &System, id)? {
        Life::Dead => Ok(false),
        Life::Alive { process, known: true } => {
            if kept.len() == MOST {
                kept.remove(0);
            }
            kept.push((id, process));
            Ok(true)
        }
        Life::Alive { known: false, .. } | Life::Pending => Ok(true),
    }
}

/// Lets go of the pidfd of a process that has ended.
pub(super) fn forget(id: ProcessId) {
    // Without the memory for the lock there is nothing to forget.
    if let Ok(mut kept) = PIDFDS.lock() {
        kept.retain(|(kept, _)| *kept != id);
    }
}
