//! Paths at which listeners lie, and their end.

use std::fs::{self, DirBuilder};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use procession_core::Result;
use procession_core::exit::Finalizer;
use procession_sys::net::{self, MAX_NAME_BYTES, SocketName};
use procession_sys::random;

/// What the names of private folders begin with.
const FOLDER: &str = "procession-python-";
/// The name of the socket in such a folder.
const SOCKET: &str = "listener";

/// What has to be removed when a listener is closed: dropping this does it, and so does the end of the process. In a forked child it
/// does nothing.
#[derive(Debug)]
pub(super) struct Place {
    _remove: Option<Finalizer>,
}

/// Listens at `name`.
pub(super) fn listen(name: &SocketName, backlog: u32) -> Result<(OwnedFd, Place)> {
    match name {
        SocketName::Path(path) => listen_at(path, backlog, None),
        name => Ok((net::listen(name, backlog)?, Place { _remove: None })),
    }
}

/// Listens at a path that nobody else knows, in a folder that nobody else can enter.
pub(super) fn listen_privately(backlog: u32) -> Result<(OwnedFd, Place, PathBuf)> {
    let folder = make_folder()?;
    let path = folder.join(SOCKET);
    match listen_at(&path, backlog, Some(folder.clone())) {
        Ok((socket, place)) => Ok((socket, place, path)),
        Err(error) => {
            // It is empty, and nobody knows of it.
            fs::remove_dir(&folder).ok();
            Err(error)
        }
    }
}

fn listen_at(path: &Path, backlog: u32, folder: Option<PathBuf>) -> Result<(OwnedFd, Place)> {
    // Where it lies, also when this process goes to another folder.
    let absolute = std::path::absolute(path)?;
    let socket = net::listen(&SocketName::Path(path.into()), backlog)?;
    let number = fs::symlink_metadata(&absolute)?.ino();
    let remove = move || {
        // Unless somebody has put something else there. What cannot be removed is gone already, or cannot be helped.
        if fs::symlink_metadata(&absolute).is_ok_and(|found| found.ino() == number) {
            fs::remove_file(&absolute).ok();
        }
        if let Some(folder) = folder {
            fs::remove_dir(folder).ok();
        }
    };
    Ok((socket, Place { _remove: Some(Finalizer::new(0, remove)?) }))
}

/// In the folder for temporary files, or in `/tmp` where the path of a socket in that would be too long.
fn make_folder() -> Result<PathBuf> {
    let mut number = [0; 8];
    random::fill(&mut number)?;
    let name = format!("{FOLDER}{:016x}", u64::from_ne_bytes(number));
    let parent = std::env::temp_dir();
    let len = parent.as_os_str().len() + name.len() + SOCKET.len() + 2;
    let parent = if len <= MAX_NAME_BYTES { parent } else { "/tmp".into() };
    let folder = parent.join(name);
    // Not one that is there already.
    DirBuilder::new().mode(0o700).create(&folder)?;
    Ok(folder)
}
