//! Which build of a program a process runs.

use std::fs::File;
use std::os::unix::fs::MetadataExt;

use procession_core::{Error, ErrorKind, Result};
use procession_sys::image;
use procession_sys::spawn::THIS_PROGRAM;
use procession_sys::wipe::SetOnce;
use serde::{Deserialize, Serialize};

use crate::executable;

/// The identity of a build. Two processes with the same one have the same functions at the same distances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum BuildId {
    /// What the linker wrote into the program.
    Linked(Vec<u8>),
    /// The file that is executed, for linkers that write nothing. It stays the same one when the path is replaced while
    /// the program runs: the running process holds the old file.
    File { device: u64, inode: u64, size: u64, modified: (i64, i64) },
    /// The BLAKE3 hash of that file, where children execute a copy of it.
    Contents([u8; 32]),
}

impl BuildId {
    /// The build that this process runs, for a child that executes the same file.
    pub(crate) fn current() -> Result<&'static Self> {
        static CURRENT: SetOnce<BuildId> = SetOnce::new();
        match CURRENT.get() {
            Some(current) => Ok(current),
            None => Ok(CURRENT.set(Self::linked().map_or_else(Self::of_file, Ok)?)),
        }
    }

    /// The build that this process runs, for a child that executes another file.
    fn for_another_file() -> Result<Self> {
        Self::linked().map_or_else(Self::of_contents, Ok)
    }

    /// The build that this process runs, for children that execute what is set to be executed.
    pub(crate) fn for_child() -> Result<Self> {
        match executable::current() {
            Some(_) => Self::for_another_file(),
            None => Self::current().cloned(),
        }
    }

    /// Whether this process runs that build.
    pub(crate) fn is_here(&self) -> Result<bool> {
        Ok(match self {
            Self::Contents(_) => *self == Self::for_another_file()?,
            Self::Linked(_) | Self::File { .. } => self == Self::current()?,
        })
    }

    fn linked() -> Option<Self> {
        static HERE: u8 = 0;
        let image = image::find(std::ptr::from_ref(&HERE).addr())?;
        image.build_id.map(Self::Linked)
    }

    fn of_file() -> Result<Self> {
        let file = std::fs::metadata(THIS_PROGRAM).map_err(|error| unknown(&error))?;
        Ok(Self::File {
            device: file.dev(),
            inode: file.ino(),
            size: file.len(),
            modified: (file.mtime(), file.mtime_nsec()),
        })
    }

    fn of_contents() -> Result<Self> {
        let file = File::open(THIS_PROGRAM).map_err(|error| unknown(&error))?;
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(file).map_err(|error| unknown(&error))?;
        Ok(Self::Contents(hasher.finalize().into()))
    }
}

fn unknown(error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Os, "could not find out which build this is").caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_knows_itself_by_each_of_its_names() {
        assert!(BuildId::current().unwrap().is_here().unwrap());
        assert!(BuildId::for_another_file().unwrap().is_here().unwrap());
        assert_eq!(BuildId::of_file().unwrap(), BuildId::of_file().unwrap());
        let contents = BuildId::of_contents().unwrap();
        assert_eq!(contents, BuildId::of_contents().unwrap());
        assert!(!BuildId::Contents([0; 32]).is_here().unwrap());
        assert!(!BuildId::Linked(vec![1]).is_here().unwrap());
    }
}
