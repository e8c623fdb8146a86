//! Limits on what a process may use.

use procession_core::{Error, ErrorKind, Result};
use procession_sys::surroundings;
use serde::{Deserialize, Serialize};

pub use procession_sys::surroundings::Resource;

/// A limit on a resource, as it travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limit {
    resource: u8,
    soft: Option<u64>,
    hard: Option<u64>,
}

impl Limit {
    pub(crate) fn new(resource: Resource, soft: Option<u64>, hard: Option<u64>) -> Self {
        Self { resource: resource.index(), soft, hard }
    }

    pub(crate) fn apply(self) -> Result<()> {
        let resource = Resource::from_index(self.resource)
            .ok_or_else(|| Error::new(ErrorKind::Decode, "a limit on an unknown resource"))?;
        Ok(surroundings::set_limit(resource, (self.soft, self.hard))?)
    }
}
