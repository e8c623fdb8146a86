//! Paths at which listeners lie: who has one, and what becomes of it.
//!
//! Whoever listens at a path holds a lock on an empty file beside it (`<path>.listener`) as long as it lives, however it ends. So:
//!
//! - a path whose lock is taken has an owner that lives: nobody else gets it;
//! - a socket at a path whose lock is free is left from an owner that has died, unless some other program listens there without
//!   such a lock: then it answers a connection;
//! - what is done to the path is done under the lock, so that of two who come at once one gets it.
//!
//! The lock file is removed under its own lock. Who has opened it before and locks it afterwards has locked a file without a path,
//! sees that, and begins again.

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use procession_core::exit::Finalizer;
use procession_core::{Deadline, Error, OsError, Result};
use procession_sys::file_lock::LockFile;
use procession_sys::net::{self, ADDRESS_IN_USE, MAX_NAME_BYTES, SocketName};
use procession_sys::random;

/// What the names of private folders begin with.
const FOLDER: &str = "procession-";
/// The name of the socket in such a folder.
const SOCKET: &str = "listener";
/// How often a private folder may be swept away by somebody who takes it for an abandoned one.
const ATTEMPTS: usize = 16;

/// What has to be removed when a listener is closed: dropping this does it, and so does the end of the process. In a forked child
/// it does nothing.
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
    let parent = parent_of_folders();
    sweep(&parent);
    let mut attempt = 1;
    loop {
        let folder = make_folder(&parent)?;
        let path = folder.join(SOCKET);
        match listen_at(&path, backlog, Some(folder.clone())) {
            Ok((socket, place)) => return Ok((socket, place, path)),
            Err(error) => {
                // Somebody may have swept it away before it was locked.
                fs::remove_dir(&folder).ok();
                if attempt == ATTEMPTS {
                    return Err(error);
                }
            }
        }
        attempt += 1;
    }
}

/// Removes the private folders of listeners that were killed.
pub(super) fn sweep_private() {
    sweep(&parent_of_folders());
}

fn listen_at(path: &Path, backlog: u32, folder: Option<PathBuf>) -> Result<(OwnedFd, Place)> {
    // Where it lies, also when this process goes to another folder.
    let absolute = std::path::absolute(path)?;
    let lock = take_lock(&absolute)?;
    match listen_under_lock(path, &absolute, backlog) {
        Ok((socket, number)) => {
            let remove = move || remove(&absolute, number, lock, folder.as_deref());
            Ok((socket, Place { _remove: Some(Finalizer::new(0, remove)?) }))
        }
        Err(error) => {
            remove_file(lock.path());
            Err(error)
        }
    }
}

/// Takes the lock of a path, if nobody has it.
fn take_lock(path: &Path) -> Result<LockFile> {
    loop {
        if let Some(lock) = lock_opened(LockFile::open(&lock_of(path))?, path)? {
            return Ok(lock);
        }
    }
}

/// Locks what was opened; `None` when it was removed before.
fn lock_opened(lock: LockFile, path: &Path) -> Result<Option<LockFile>> {
    let about = lock.about()?;
    // A file of somebody else's, which must not be removed.
    if !about.is_regular || about.len_bytes > 0 || !lock.try_lock()? {
        return Err(in_use(path));
    }
    Ok(lock.about()?.is_linked.then_some(lock))
}

fn lock_of(path: &Path) -> PathBuf {
    let mut lock = OsString::from(path);
    lock.push(".listener");
    lock.into()
}

/// Makes the socket; returns it and the number of its file.
fn listen_under_lock(path: &Path, absolute: &Path, backlog: u32) -> Result<(OwnedFd, u64)> {
    let name = SocketName::Path(path.into());
    let socket = match net::listen(&name, backlog) {
        Err(error) if error.code() == ADDRESS_IN_USE && is_abandoned(path)? => {
            fs::remove_file(absolute)?;
            net::listen(&name, backlog)?
        }
        other => other?,
    };
    Ok((socket, fs::symlink_metadata(absolute)?.ino()))
}

/// Whether there is a socket at `path` that nobody listens to.
fn is_abandoned(path: &Path) -> Result<bool> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Ok(false);
    }
    let now = Deadline::PAST;
    match net::connect(&SocketName::Path(path.into()), now) {
        Err(error) => Ok(error.code() == net::CONNECTION_REFUSED),
        Ok(_somebody) => Ok(false),
    }
}

/// What cannot be removed is not there any more, or cannot be helped.
fn remove(path: &Path, number: u64, lock: LockFile, folder: Option<&Path>) {
    // Unless somebody has put something else there.
    if fs::symlink_metadata(path).is_ok_and(|found| found.ino() == number) {
        remove_file(path);
    }
    remove_file(lock.path());
    drop(lock);
    if let Some(folder) = folder {
        fs::remove_dir(folder).ok();
    }
}

fn remove_file(path: &Path) {
    fs::remove_file(path).ok();
}

fn in_use(path: &Path) -> Error {
    OsError::new("listen at", path.display().to_string(), ADDRESS_IN_USE).into()
}

/// The folder for temporary files, or `/tmp` where the path of a socket in that would be too long.
fn parent_of_folders() -> PathBuf {
    let parent = std::env::temp_dir();
    let len = parent.as_os_str().len() + FOLDER.len() + 16 + SOCKET.len() + 2;
    if len <= MAX_NAME_BYTES { parent } else { "/tmp".into() }
}

fn make_folder(parent: &Path) -> Result<PathBuf> {
    let mut number = [0; 8];
    random::fill(&mut number)?;
    let folder = parent.join(format!("{FOLDER}{:016x}", u64::from_ne_bytes(number)));
    // Not one that is there already.
    DirBuilder::new().mode(0o700).create(&folder)?;
    Ok(folder)
}

/// Removes the private folders of listeners that were killed. Those of other users cannot be entered.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let name = entry.file_name();
        let digits = name.to_str().and_then(|name| name.strip_prefix(FOLDER));
        let is_named = digits.is_some_and(|digits| {
            digits.len() == 16 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        });
        if is_folder && is_named {
            remove_abandoned(&entry.path());
        }
    }
}

/// Removes a private folder if nobody holds its lock.
fn remove_abandoned(folder: &Path) {
    // One that is empty has been made just now, and is made again, or was left by who was killed in between.
    if fs::remove_dir(folder).is_ok() {
        return;
    }
    let path = folder.join(SOCKET);
    // No lock is made where there is none.
    if fs::symlink_metadata(lock_of(&path)).is_err() {
        return;
    }
    if let Ok(lock) = take_lock(&path) {
        remove_file(&path);
        remove_file(lock.path());
        fs::remove_dir(folder).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_was_removed_before_it_was_taken_is_none() {
        let folder = make_folder(&std::env::temp_dir()).unwrap();
        let path = folder.join(SOCKET);
        let first = take_lock(&path).unwrap();
        let second = LockFile::open(&lock_of(&path)).unwrap();
        assert!(take_lock(&path).is_err(), "one at a time");
        remove_file(first.path());
        drop(first);
        // The first one has gone, and a third one has come, before the second gets on.
        let third = take_lock(&path).unwrap();
        assert!(lock_opened(second, &path).unwrap().is_none());
        remove(&path, 0, third, Some(&folder));
        assert!(!folder.exists());
    }
}
