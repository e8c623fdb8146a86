//! The first message to a child: what it is, and what it shall call. The second one holds the arguments.

use serde::{Deserialize, Serialize};

use crate::birth::Birth;
use crate::build_id::BuildId;
use crate::trampoline::FunctionRef;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    /// The process that this is meant for; absent for a fork, which got its end of the socket from nobody else.
    pub(crate) pid: Option<u32>,
    /// The build that the function belongs to.
    pub(crate) build: BuildId,
    /// Whether the child says that it is there before it begins.
    pub(crate) introduce: bool,
    pub(crate) function: FunctionRef,
    pub(crate) birth: Birth,
}
