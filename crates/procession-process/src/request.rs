//! The first message to a child: what it is, and what it shall call. The second one holds the arguments.

use std::os::fd::OwnedFd;

use procession_core::Handle;
use serde::{Deserialize, Serialize};

use crate::build_id::BuildId;
use crate::current::Parent;
use crate::start::StartMethod;
use crate::trampoline::FunctionRef;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    /// The process that this is meant for; absent for a fork, which got its end of the socket from nobody else.
    pub(crate) pid: Option<u32>,
    /// The build that the function belongs to.
    pub(crate) build: BuildId,
    pub(crate) function: FunctionRef,
    /// What the child is called.
    pub(crate) name: String,
    /// Its place in the family: `[1, 2]` is the second child of the first child of the root.
    pub(crate) path: Vec<u32>,
    pub(crate) parent: Parent,
    /// How it starts processes of its own when it does not say how.
    pub(crate) start_method: StartMethod,
    /// The signals that its main thread blocks.
    pub(crate) signal_mask: u64,
    pub(crate) lifeline: Handle<OwnedFd>,
    /// Its working directory, where it is another than its parent's.
    pub(crate) directory: Option<Vec<u8>>,
    /// Its standard streams, where they are other than those that it has.
    pub(crate) input: Option<Handle<OwnedFd>>,
    pub(crate) output: Option<Handle<OwnedFd>>,
    pub(crate) error_output: Option<Handle<OwnedFd>>,
}
