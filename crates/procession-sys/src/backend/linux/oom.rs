//! What the system killed to get memory back.

use std::path::Path;

use super::cgroup;

/// How many processes of this process's control group the system has killed for want of memory; `None` where it does not
/// tell, as in the root group.
///
/// When it has grown, a process that died by [`KILL`](super::signal::KILL) meanwhile may be one of them.
///
/// # Source
///
/// The kernel's `admin-guide/cgroup-v2.rst`, `memory.events`, and `cgroup-v1/memory.rst`, `memory.oom_control`.
pub fn kills() -> Option<u64> {
    cgroup::oom_kills(Path::new("/"))
}
