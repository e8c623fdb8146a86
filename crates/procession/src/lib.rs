#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub use procession_connection::{
    Duplex, MAX_MESSAGE_BYTES, Receiver, RecvTimeoutError, Sender, TryRecvError, duplex, pipe,
};
pub use procession_core::{Error, ErrorKind, Handle, OsCode, Result};
pub use procession_pool::{Pool, TaskError};
pub use procession_process::{
    Context, Death, ExitStatus, JoinError, Panic, Process, StartMethod, Target, force_start_method,
    init, parent_args, set_start_method, start_method, start_method_if_set, start_methods,
    test_support,
};

/// Pools: builders and the iterators of streamed results.
pub mod pool {
    #[doc(inline)]
    pub use procession_pool::{Builder, Imap, ImapUnordered};
}

/// Processes: builders.
pub mod process {
    #[doc(inline)]
    pub use procession_process::{Builder, Stream};
}

/// Pipes: iterators of messages.
pub mod connection {
    #[doc(inline)]
    pub use procession_connection::Iter;
}

/// What most programs use: `use procession::prelude::*;`.
pub mod prelude {
    #[doc(no_inline)]
    pub use crate::{
        Context, Duplex, ExitStatus, Handle, JoinError, Pool, Process, Receiver, Sender,
        StartMethod, TaskError, duplex, pipe,
    };
}
