//! Which build of a program a process runs.

use std::os::unix::fs::MetadataExt;

use procession_core::{Error, ErrorKind, Result};
use procession_sys::image;
use procession_sys::prim::OnceLock;
use procession_sys::spawn::THIS_PROGRAM;
use serde::{Deserialize, Serialize};

/// The identity of a build. Two processes with the same one have the same functions at the same distances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum BuildId {
    /// What the linker wrote into the program.
    Linked(Vec<u8>),
    /// The file that is executed, for linkers that write nothing. It stays the same one when the path is replaced while
    /// the program runs: the running process holds the old file.
    File { device: u64, inode: u64, size: u64, modified: (i64, i64) },
}

impl BuildId {
    /// The build that this process runs.
    pub(crate) fn current() -> Result<&'static Self> {
        static CURRENT: OnceLock<BuildId> = OnceLock::new();
        if let Some(current) = CURRENT.get() {
            return Ok(current);
        }
        let found = Self::find()?;
        Ok(CURRENT.get_or_init(|| found))
    }

    fn find() -> Result<Self> {
        static HERE: u8 = 0;
        let image = image::find(std::ptr::from_ref(&HERE).addr());
        if let Some(linked) = image.and_then(|image| image.build_id) {
            return Ok(Self::Linked(linked));
        }
        let file = std::fs::metadata(THIS_PROGRAM).map_err(|error| {
            Error::new(ErrorKind::Os, "could not find out which build this is").caused_by(&error)
        })?;
        Ok(Self::File {
            device: file.dev(),
            inode: file.ino(),
            size: file.len(),
            modified: (file.mtime(), file.mtime_nsec()),
        })
    }
}
