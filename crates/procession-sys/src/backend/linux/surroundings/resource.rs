//! Limits on what a process uses.

use rustix::process::{Resource as Raw, Rlimit, getrlimit, setrlimit};

use super::super::call;
use crate::Result;

/// A limit: what holds now and what it may be raised to; `None` is without limit.
pub type Limit = (Option<u64>, Option<u64>);

/// What can be limited.
///
/// What happens at a limit is said in `getrlimit(2)`, by the name in parentheses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Resource {
    /// Seconds of processor time (`RLIMIT_CPU`).
    ProcessorTime,
    /// Bytes of a file that the process writes (`RLIMIT_FSIZE`).
    FileSize,
    /// Bytes of data: heap and private writable mappings (`RLIMIT_DATA`).
    Data,
    /// Bytes of the first thread's stack (`RLIMIT_STACK`).
    Stack,
    /// Bytes of a core file (`RLIMIT_CORE`).
    Core,
    /// Bytes in memory; without effect since Linux 2.6 (`RLIMIT_RSS`).
    ResidentMemory,
    /// Processes and threads of the user (`RLIMIT_NPROC`).
    Processes,
    /// Descriptors: one more than the highest number (`RLIMIT_NOFILE`).
    Descriptors,
    /// Bytes that are locked in memory (`RLIMIT_MEMLOCK`).
    LockedMemory,
    /// Bytes of addresses (`RLIMIT_AS`).
    AddressSpace,
    /// Locks on files; without effect since Linux 2.6 (`RLIMIT_LOCKS`).
    FileLocks,
    /// Signals that wait to be delivered to the user's processes (`RLIMIT_SIGPENDING`).
    PendingSignals,
    /// Bytes in the user's message queues (`RLIMIT_MSGQUEUE`).
    MessageQueues,
    /// How far the priority may be raised: 20 minus the nice value (`RLIMIT_NICE`).
    Nice,
    /// The real-time priority (`RLIMIT_RTPRIO`).
    RealTimePriority,
    /// Microseconds of processor time without a wait, at a real-time priority (`RLIMIT_RTTIME`).
    RealTimeLength,
}

impl Resource {
    /// All of them, in the order of their [`index`](Self::index).
    pub const ALL: [Self; 16] = [
        Self::ProcessorTime,
        Self::FileSize,
        Self::Data,
        Self::Stack,
        Self::Core,
        Self::ResidentMemory,
        Self::Processes,
        Self::Descriptors,
        Self::LockedMemory,
        Self::AddressSpace,
        Self::FileLocks,
        Self::PendingSignals,
        Self::MessageQueues,
        Self::Nice,
        Self::RealTimePriority,
        Self::RealTimeLength,
    ];

    /// Its place in [`ALL`](Self::ALL), for a message.
    pub const fn index(self) -> u8 {
        self as u8
    }

    /// The resource with this [`index`](Self::index).
    pub fn from_index(index: u8) -> Option<Self> {
        Self::ALL.get(usize::from(index)).copied()
    }

    fn raw(self) -> Raw {
        match self {
            Self::ProcessorTime => Raw::Cpu,
            Self::FileSize => Raw::Fsize,
            Self::Data => Raw::Data,
            Self::Stack => Raw::Stack,
            Self::Core => Raw::Core,
            Self::ResidentMemory => Raw::Rss,
            Self::Processes => Raw::Nproc,
            Self::Descriptors => Raw::Nofile,
            Self::LockedMemory => Raw::Memlock,
            Self::AddressSpace => Raw::As,
            Self::FileLocks => Raw::Locks,
            Self::PendingSignals => Raw::Sigpending,
            Self::MessageQueues => Raw::Msgqueue,
            Self::Nice => Raw::Nice,
            Self::RealTimePriority => Raw::Rtprio,
            Self::RealTimeLength => Raw::Rttime,
        }
    }
}

/// The limit of this process on `resource`.
///
/// # Source
///
/// `getrlimit(2)`.
pub fn limit(resource: Resource) -> Limit {
    let Rlimit { current, maximum } = getrlimit(resource.raw());
    (current, maximum)
}

/// Sets the limit of this process on `resource`; forked children and executed programs inherit it.
///
/// # Errors
///
/// [`NOT_PERMITTED`](crate::OsCode::NOT_PERMITTED) when it exceeds the present maximum, which only the superuser may raise;
/// [`INVALID`](crate::OsCode::INVALID) when what holds exceeds what it may be raised to.
///
/// # Source
///
/// `setrlimit(2)`.
pub fn set_limit(resource: Resource, limit: Limit) -> Result<()> {
    let (current, maximum) = limit;
    call(
        "change a limit",
        || format!("{resource:?}"),
        || setrlimit(resource.raw(), Rlimit { current, maximum }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    use super::super::super::testing::alone;
    use crate::OsCode;

    #[test]
    fn every_resource_has_its_place() {
        for (index, resource) in (0..).zip(Resource::ALL) {
            assert_eq!(resource.index(), index);
            assert_eq!(Resource::from_index(index), Some(resource));
        }
        assert_eq!(Resource::from_index(16), None);
    }

    #[test]
    fn a_limit_that_is_set_holds() {
        use super::super::working_directory as open;
        alone(|| {
            let (_, maximum) = limit(Resource::Descriptors);
            // The lowest number that is free.
            let free = u64::try_from(std::os::fd::AsRawFd::as_raw_fd(&open().unwrap())).unwrap();
            set_limit(Resource::Descriptors, (Some(free), maximum)).unwrap();
            assert_eq!(limit(Resource::Descriptors), (Some(free), maximum));
            assert_eq!(open().unwrap_err().code(), OsCode::TOO_MANY_OPEN);
            set_limit(Resource::Descriptors, (Some(free + 1), maximum)).unwrap();
            open().unwrap();
        });
    }

    #[test]
    fn a_limit_above_its_maximum_is_refused() {
        let error = set_limit(Resource::Core, (None, Some(5))).unwrap_err();
        assert_eq!(error.code(), OsCode::INVALID);
        assert!(error.to_string().contains("Core"), "{error}");
    }
}
