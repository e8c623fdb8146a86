//! What processes use of the machine.

use std::time::Duration;

use super::{process, stat};
use crate::Result;

/// What a process uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// How many bytes of its memory are resident, shared ones included.
    pub resident: u64,
    /// How long it ran on processors, in steps of the system's clock tick (10 ms, as a rule).
    pub processor_time: Duration,
}

/// What the process `pid` uses; nothing when there is none.
///
/// # Errors
///
/// When this process may open no more descriptors.
///
/// # Source
///
/// `proc(5)`, `/proc/[pid]/stat`.
pub fn of(pid: u32) -> Result<Option<Usage>> {
    let Some(stat) = stat::read(pid)? else { return Ok(None) };
    let ticks = rustix::param::clock_ticks_per_second().max(1);
    Ok(Some(Usage {
        resident: stat.resident_pages.saturating_mul(rustix::param::page_size() as u64),
        processor_time: Duration::from_nanos(
            stat.processor_ticks.saturating_mul(1_000_000_000 / ticks),
        ),
    }))
}

/// How many bytes of this process's memory are resident.
///
/// # Errors
///
/// As [`of`].
///
/// # Source
///
/// `proc(5)`, `/proc/[pid]/stat`.
pub fn resident() -> Result<u64> {
    Ok(of(process::id())?.map_or(0, |usage| usage.resident))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_written_is_resident() {
        let before = resident().unwrap();
        let bytes = std::hint::black_box(vec![1_u8; 32 << 20]);
        let after = resident().unwrap();
        assert!(after >= before + (24 << 20), "{before} {after}");
        drop(bytes);
    }

    #[test]
    fn there_is_nothing_to_tell_of_nobody() {
        assert_eq!(of(u32::MAX >> 2).unwrap(), None);
    }
}
