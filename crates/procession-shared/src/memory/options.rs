//! [`SharedMemoryOptions`].

use procession_core::{Error, ErrorKind, Result};
use procession_sys::block::HugePages;

use super::SharedMemory;
use crate::pool::Content;

/// What a block of shared memory is made like.
///
/// # Examples
///
/// ```
/// # use procession_shared as procession;
/// # fn main() -> procession_core::Result<()> {
/// use procession::{HugePages, SharedMemory};
///
/// let memory = SharedMemory::options().huge_pages(HugePages::Try).make(64 << 20)?;
/// assert_eq!(memory.size(), 64 << 20);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct SharedMemoryOptions {
    name: Option<String>,
    huge: HugePages,
    is_recycled: bool,
}

impl SharedMemoryOptions {
    /// Under a name: see [`SharedMemory::create`].
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// In huge pages. A block that requires them is as long as a whole number of them, and is never one of the
    /// [pool](crate::pool).
    #[must_use]
    pub fn huge_pages(mut self, huge: HugePages) -> Self {
        self.huge = huge;
        self
    }

    /// With whatever is in it: see [`SharedMemory::recycled`].
    #[must_use]
    pub fn recycled(mut self) -> Self {
        self.is_recycled = true;
        self
    }

    /// Makes the block.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] when it has a name and shall have huge pages, which is for whoever mounts `/dev/shm` to say; as
    /// [`SharedMemory::new`] and [`SharedMemory::create`].
    pub fn make(&self, size: usize) -> Result<SharedMemory> {
        let content = if self.is_recycled { Content::Any } else { Content::Zero };
        match (&self.name, self.huge) {
            (None, huge) => SharedMemory::make(size, huge, content),
            (Some(name), HugePages::No) => SharedMemory::create(name, size),
            (Some(_), _) => {
                let text = "a block with a name has the pages that /dev/shm has";
                Err(Error::new(ErrorKind::Unsupported, text))
            }
        }
    }
}
