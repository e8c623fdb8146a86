//! Terminals that a program makes for another one.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::call;
use crate::Result;

/// Makes a terminal: the end at which somebody types and reads, and the path of the end that a program has.
///
/// The process that opens that path becomes its owner, if it leads a [session](super::process::new_session) without a terminal: then
/// what is typed as Ctrl-C is a `SIGINT` for its foreground group.
///
/// # Errors
///
/// When this process may open no more descriptors, or the system has no more terminals.
///
/// # Source
///
/// `posix_openpt(3)`, `pty(7)`.
pub fn open() -> Result<(OwnedFd, PathBuf)> {
    let none = String::new;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = call("open a terminal", none, || openpt(flags))?;
    call("open a terminal", none, || grantpt(&master))?;
    call("open a terminal", none, || unlockpt(&master))?;
    let name = call("open a terminal", none, || ptsname(&master, Vec::new()))?;
    Ok((master, PathBuf::from(OsStr::from_bytes(name.as_bytes()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_at_one_end_is_read_at_the_other() {
        use std::io::{Read, Write};
        let (master, path) = open().unwrap();
        let mut other = std::fs::File::options().read(true).write(true).open(path).unwrap();
        other.write_all(b"hello\n").unwrap();
        let mut text = [0; 7];
        std::fs::File::from(master).read_exact(&mut text).unwrap();
        assert_eq!(&text, b"hello\r\n");
    }
}
