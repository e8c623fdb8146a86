#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub use procession_connection::{
    Address, Client, Connection, Duplex, Listener, MAX_MESSAGE_BYTES, Receiver, RecvIntoError,
    RecvTimeoutError, SendTimeoutError, Sender, TryRecvError, TrySendError, Waitable,
    answer_challenge, deliver_challenge, duplex, pipe, wait, wait_deadline,
};
pub use procession_core::authkey::AuthKey;
pub use procession_core::{Deadline, Error, ErrorKind, Handle, OsCode, Result};
pub use procession_manager::{
    ArrayProxy, BarrierProxy, BoundedSemaphoreProxy, ConditionProxy, DictProxy, EventProxy,
    JoinableQueueProxy, ListProxy, LockProxy, Manager, NamespaceProxy, QueueProxy, RLockProxy,
    SemaphoreProxy, SetProxy, ValueProxy, shared,
};
pub use procession_pool::{
    AsyncResult, ContextExt, Pool, ReturnWhen, StatePool, TaskContext, TaskError, ThreadPool,
    as_completed, current_task, current_worker, wait_for,
};
pub use procession_process::{
    Child, Context, CurrentProcess, Death, ExitReason, ExitStatus, JoinError, OnDrop, Panic,
    ParentProcess, Process, Reason, Resource, Run, StartMethod, Stream, Target, Template,
    active_children, after_fork, cpu_count, current_process, drain_on_interrupt, executable, exit,
    exit_on_interrupt, exit_on_terminate, force_start_method, init, parent_args, parent_process,
    preload_fork_server, set_executable, set_start_method, start_method, start_method_if_set,
    start_methods, test_support,
};

pub use procession_queue::{
    GetError, GetTimeoutError, JoinableQueue, Lease, PutError, PutTimeoutError, Queue,
    QueueBuilder, QueueJoinError, QueueJoinTimeoutError, SimpleQueue, TryGetError, TryPutError,
};
/// What may lie in shared memory, and its derive.
pub use procession_shared::Plain;
pub use procession_shared::{
    Array, HugePages, Integer, Item, Number, RawArray, RawValue, ShareableList, SharedMemory,
    SharedMemoryOptions, SharedMemoryScope, SharedSlice, SharedVec, SharedView, Typecode, Value,
    plain,
};
pub use procession_sync::{
    Barrier, BarrierError, BoundedSemaphore, Condition, Event, Lock, LockError, NamedLock, RLock,
    Semaphore, WaitError,
};

pub mod dummy;

/// The end of a process: what is still to be done then.
pub mod finalize {
    #[doc(inline)]
    pub use procession_core::exit::{Finalizer, is_exiting};
}

/// Managers: builders, servers, calls, guards, iterators.
pub mod manager {
    #[doc(hidden)]
    pub use procession_manager::__private;
    #[doc(inline)]
    pub use procession_manager::{
        Addable, Batch, Builder, Call, ConditionGuard, DictCalls, InFlight, Later, LeaseProxy,
        ListCalls, LockProxyGuard, Pages, PermitProxy, Proxy, RLockProxyGuard, Server, SetCalls,
        Shared, Types, ValueCalls, here, share,
    };
}

/// Pools: builders, the iterators of streamed results, and what a pool tells of itself.
pub mod pool {
    #[doc(inline)]
    pub use procession_pool::{
        AsCompleted, Builder, Imap, ImapUnordered, Pin, Progress, StateBuilder, StateTasks, Stats,
        TaskStats, Tasks, ThreadBuilder, ThreadImap, ThreadImapUnordered, ThreadResult,
        ThreadTarget, ThreadTasks, Timeline, WorkerStats,
    };
}

/// Processes: builders.
pub mod process {
    #[doc(inline)]
    pub use procession_process::{Builder, Stream};
}

/// Pipes and connections: builders, iterators, who is at the other side.
pub mod connection {
    #[doc(inline)]
    pub use procession_connection::{
        ClientBuilder, Credentials, Family, Incoming, Iter, ListenerBuilder, ToAddress,
    };
}

/// Locks and their kin: guards, owners, limits.
pub mod sync {
    #[doc(inline)]
    pub use procession_sync::{
        AnyLock, GuardOf, LockGuard, MAX_VALUE, NamedLockGuard, NamedOwner, Owner, Permit,
        RLockGuard,
    };
}

/// Queues: iterators.
pub mod queue {
    #[doc(inline)]
    pub use procession_queue::{Iter, Leases};
}

/// Shared memory: guards, iterators, and what is kept of memory that nobody uses.
pub mod shared {
    #[doc(inline)]
    pub use procession_shared::{ArrayGuard, Iter, ValueGuard, pool};
}

/// How processes wait for what they share.
pub mod waiting {
    #[doc(inline)]
    pub use procession_core::waiting::{Policy, policy, set_policy};
}

/// CPython's processes as peers: pickles, listeners and clients, managers, in both roles.
#[doc(inline)]
pub use procession_python as python;

/// What most programs use: `use procession::prelude::*;`.
pub mod prelude {
    #[doc(no_inline)]
    pub use crate::{
        Array, Barrier, Client, Condition, Connection, Context, ContextExt, Duplex, Event,
        ExitStatus, Handle, JoinError, Listener, Lock, Plain, Pool, Process, Queue, RLock,
        Receiver, Semaphore, Sender, SharedMemory, SharedSlice, SharedVec, StartMethod, TaskError,
        Value, duplex, pipe,
    };
}
