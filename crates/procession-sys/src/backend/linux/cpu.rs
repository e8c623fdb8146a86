//! How many processors this process may use.

use std::num::NonZeroUsize;
use std::path::Path;

use super::{cgroup, surroundings};
use crate::Result;

/// The number of processors that this process may use: those that the calling thread may run on, but no more than the time
/// that control groups grant, rounded up.
///
/// It is read anew each time, because both can change.
///
/// # Errors
///
/// None in practice. Where there are no control groups, or they cannot be read, they grant all.
///
/// # Source
///
/// `sched_getaffinity(2)`; `cgroups(7)`; the kernel's `admin-guide/cgroup-v2.rst`, `cpu.max`, and `scheduler/sched-bwc.rst`.
pub fn usable() -> Result<NonZeroUsize> {
    let affinity = surroundings::affinity()?.len();
    let granted = cgroup::processors(Path::new("/")).unwrap_or(usize::MAX);
    Ok(NonZeroUsize::new(affinity.min(granted)).unwrap_or(NonZeroUsize::MIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_usable_than_the_thread_may_run_on() {
        let affinity = surroundings::affinity().unwrap().len();
        assert!((1..=affinity).contains(&usable().unwrap().get()));
    }
}
