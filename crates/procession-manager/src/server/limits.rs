//! How much a server takes upon itself.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How much a server takes upon itself. Beyond that, whoever asks for more gets an error, and nobody else notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// How many clients it serves at once.
    pub(crate) connections: usize,
    /// How many objects it keeps.
    pub(crate) objects: usize,
    /// How many bytes the values in all objects have.
    pub(crate) bytes: u64,
    /// How long an object is kept for the sake of a message whose sender has ended.
    pub(crate) lease: Duration,
    /// Whether clients of this machine get memory.
    pub(crate) memory: bool,
    /// How many bytes of answers wait for one client that does not read them.
    pub(crate) unread: u64,
}

impl Default for Limits {
    fn default() -> Self {
        // A client costs a thread and, locally, five descriptors: so many are below usual limits on both, with room to spare. The others
        // are there so that a mistake is an error before it is a machine without memory.
        Self {
            connections: 2000,
            objects: 10_000_000,
            bytes: 64 << 30,
            lease: Duration::from_secs(60),
            memory: true,
            unread: 64 << 20,
        }
    }
}
