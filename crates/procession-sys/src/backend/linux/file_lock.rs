//! Locks on files: what holds one is an open file, neither a process nor a thread, and it ends with the last descriptor.

#![expect(unsafe_code, reason = "rustix has no locks of open files")]

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, fstat, ftruncate, inotify};
use rustix::io::Errno;

use super::fd::above_streams;
use super::{call, checked, poll};
use crate::{Deadline, OsCode, Result};

/// A file that was opened to be locked, and what is written into it.
///
/// The lock belongs to what was opened here, which forks of this process share: whichever of them locks or unlocks, does so for
/// all. The system gives the lock up when the last of them closes the descriptor or ends.
#[derive(Debug)]
pub struct LockFile {
    file: OwnedFd,
    path: PathBuf,
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// Whether it is a file in the narrow sense: no folder, no device, no pipe.
    pub is_regular: bool,
    /// Whether any path still leads to it.
    pub is_linked: bool,
    /// How many bytes it holds.
    pub len_bytes: u64,
}

impl LockFile {
    /// Opens the file at `path` for reading and writing, and makes it if there is none, readable and writable for its owner
    /// only. What it holds stays as it is.
    ///
    /// # Errors
    ///
    /// When there is a folder or a symbolic link at `path`, when the file cannot be opened for writing, or when this process may
    /// open no more descriptors.
    ///
    /// # Source
    ///
    /// `open(2)`: `O_CREAT` with `O_EXCL`, `O_NOFOLLOW`; `O_NONBLOCK` so that a pipe or a device does not wait.
    pub fn open(path: &Path) -> Result<Self> {
        let flags =
            OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let open = |flags| {
            call("open", || shown(path), || rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR))
        };
        // What is there is opened without `O_CREAT`, with which the system may refuse the file of another user
        // (`protected_regular` in `proc_sys_fs(5)`). Whoever has to come round again was overtaken by others who made or
        // removed it.
        let file = loop {
            match open(flags) {
                Err(error) if is(&error, Errno::NOENT) => {}
                other => break other?,
            }
            match open(flags | OFlags::CREATE | OFlags::EXCL) {
                Err(error) if is(&error, Errno::EXIST) => {}
                other => break other?,
            }
        };
        Ok(Self { file: above_streams(file)?, path: path.into() })
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the file is now.
    ///
    /// # Errors
    ///
    /// When the file system fails.
    ///
    /// # Source
    ///
    /// `fstat(2)`.
    pub fn about(&self) -> Result<About> {
        let status = call("look at", || shown(&self.path), || fstat(&self.file))?;
        Ok(About {
            is_regular: FileType::from_raw_mode(status.st_mode).is_file(),
            is_linked: status.st_nlink > 0,
            len_bytes: u64::try_from(status.st_size).unwrap_or(0),
        })
    }

    /// Locks the file, and waits for that however long it takes.
    ///
    /// # Errors
    ///
    /// When the file system knows no locks (`ENOLCK`), or fails.
    ///
    /// # Source
    ///
    /// `fcntl(2)`, `F_OFD_SETLKW`.
    pub fn lock(&self) -> Result<()> {
        self.control("lock", libc::F_OFD_SETLKW, libc::F_WRLCK).map(drop)
    }

    /// Locks the file if nobody has locked it by another opening; tells whether it is locked now.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock).
    ///
    /// # Source
    ///
    /// `fcntl(2)`, `F_OFD_SETLK`.
    pub fn try_lock(&self) -> Result<bool> {
        match self.control("lock", libc::F_OFD_SETLK, libc::F_WRLCK) {
            Ok(_) => Ok(true),
            // The standard leaves it open which.
            Err(error) if is(&error, Errno::AGAIN) || is(&error, Errno::ACCESS) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Gives the lock up, if this has it.
    ///
    /// # Errors
    ///
    /// When the file system fails.
    ///
    /// # Source
    ///
    /// `fcntl(2)`, `F_OFD_SETLK` with `F_UNLCK`.
    pub fn unlock(&self) -> Result<()> {
        self.control("unlock", libc::F_OFD_SETLK, libc::F_UNLCK).map(drop)
    }

    /// Whether somebody has locked the file by another opening of it.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock).
    ///
    /// # Source
    ///
    /// `fcntl(2)`, `F_OFD_GETLK`.
    pub fn is_locked_elsewhere(&self) -> Result<bool> {
        let found = self.control("ask who locks", libc::F_OFD_GETLK, libc::F_WRLCK)?;
        Ok(found != libc::F_UNLCK)
    }

    /// Reads the beginning of the file; tells how many bytes of `buffer` it has filled.
    ///
    /// # Errors
    ///
    /// When the file system fails.
    ///
    /// # Source
    ///
    /// `pread(2)`.
    pub fn read(&self, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            let rest = &mut buffer[filled..];
            let read = || rustix::io::pread(&self.file, &mut *rest, filled as u64);
            match call("read", || shown(&self.path), read)? {
                0 => break,
                more => filled += more,
            }
        }
        Ok(filled)
    }

    /// Overwrites the beginning of the file. A kill finds that done or not begun, as long as it is less than a page and the file
    /// system is one of this machine.
    ///
    /// # Errors
    ///
    /// When the file system is full, or fails: the first bytes may have been written.
    ///
    /// # Source
    ///
    /// `pwrite(2)`.
    pub fn write(&self, content: &[u8]) -> Result<()> {
        let mut written = 0;
        while written < content.len() {
            let rest = &content[written..];
            let write = || match rustix::io::pwrite(&self.file, rest, written as u64) {
                Ok(0) => Err(Errno::IO),
                other => other,
            };
            written += call("write", || shown(&self.path), write)?;
        }
        Ok(())
    }

    /// Cuts the file off behind `len_bytes`.
    ///
    /// # Errors
    ///
    /// When the file system fails.
    ///
    /// # Source
    ///
    /// `ftruncate(2)`.
    pub fn cut(&self, len_bytes: u64) -> Result<()> {
        call("cut", || shown(&self.path), || ftruncate(&self.file, len_bytes))
    }

    /// Has a command for locks done on the whole file; returns the kind of lock that the system answers with.
    fn control(&self, operation: &'static str, command: i32, kind: i32) -> Result<i32> {
        call(
            operation,
            || shown(&self.path),
            || {
                let mut range = libc::flock {
                    #[expect(clippy::cast_possible_truncation, reason = "three small constants")]
                    l_type: kind as libc::c_short,
                    #[expect(clippy::cast_possible_truncation, reason = "a small constant")]
                    l_whence: libc::SEEK_SET as libc::c_short,
                    l_start: 0,
                    // To the end of the file, wherever that will be.
                    l_len: 0,
                    // What the system wants for locks of this kind.
                    l_pid: 0,
                };
                // SAFETY: The descriptor is open, and each of the commands takes a pointer to such a range, which is a local.
                checked(unsafe { libc::fcntl(self.file.as_raw_fd(), command, &raw mut range) })?;
                Ok(range.l_type.into())
            },
        )
    }
}

/// Tells of changes of files.
///
/// A process's user may have some 128 of these at a time, in all processes together; and closing one may take the system
/// 20 ms: it waits until no processor can still be looking at it.
#[derive(Debug)]
pub struct Changes(OwnedFd);

impl Changes {
    /// Watches nothing yet.
    ///
    /// # Errors
    ///
    /// When this process may open no more descriptors, or its user has as many of these as the system allows.
    ///
    /// # Source
    ///
    /// `inotify_init1(2)`; `inotify(7)` on `max_user_instances`.
    pub fn new() -> Result<Self> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let changes = call("watch files", String::new, || inotify::init(flags))?;
        above_streams(changes).map(Self)
    }

    /// Watches whether somebody writes into the file or closes it, until the returned value is dropped.
    ///
    /// # Errors
    ///
    /// When the user of this process watches as many files as the system allows, when it may not read the file, or when `/proc`
    /// is not mounted.
    ///
    /// # Source
    ///
    /// `inotify_add_watch(2)`: `IN_MODIFY`, `IN_CLOSE_WRITE`, on `/proc/self/fd`: this very file, whatever its path leads to by
    /// now.
    pub fn watch(&self, file: &LockFile) -> Result<Watch<'_>> {
        self.forget();
        let path = format!("/proc/self/fd/{}", file.file.as_raw_fd());
        let flags = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CLOSE_WRITE;
        let add = || inotify::add_watch(&self.0, &path, flags);
        let number = call("watch", || shown(&file.path), add)?;
        Ok(Watch { changes: self, number })
    }

    /// Forgets what has happened so far.
    fn forget(&self) {
        // Until there is nothing more, which is an error. What an event says is of no interest: each is a reason to look.
        while rustix::io::read(&self.0, &mut [0; 1024]).is_ok() {}
    }
}

/// A file that is being watched.
#[derive(Debug)]
pub struct Watch<'changes> {
    changes: &'changes Changes,
    number: i32,
}

impl Watch<'_> {
    /// Waits until somebody has written into the file or closed it since the last wait; tells whether that came before the
    /// deadline.
    ///
    /// # Errors
    ///
    /// When the system is out of memory.
    ///
    /// # Source
    ///
    /// `poll(2)`, `inotify(7)`.
    pub fn wait(&self, deadline: Deadline) -> Result<bool> {
        let changed = poll::wait_readable(&self.changes.0, deadline)?;
        if changed {
            self.changes.forget();
        }
        Ok(changed)
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        // Refused when the file system is gone, and the watch with it.
        inotify::remove_watch(&self.changes.0, self.number).ok();
    }
}

fn is(error: &crate::OsError, code: Errno) -> bool {
    error.code() == OsCode::from_raw(code.raw_os_error())
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {

    use super::super::doorbell::Doorbell;
    use super::super::testing::{Child, alone, first_failed, pause, soon};
    use super::*;

    /// A path for one test, in a folder that goes with it.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let name = format!("procession-file-lock-{name}-{}", std::process::id());
            let folder = std::env::temp_dir().join(name);
            std::fs::create_dir(&folder).unwrap();
            Self(folder)
        }

        fn path(&self) -> PathBuf {
            self.0.join("lock")
        }

        fn open(&self) -> LockFile {
            LockFile::open(&self.path()).unwrap()
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn now() -> Deadline {
        Deadline::PAST
    }

    #[test]
    fn two_openings_exclude_each_other_also_in_one_process() {
        // In a process of its own: a fork of another test would hold open what this one closes.
        alone(|| {
            let place = Place::new("exclude");
            let (first, second) = (place.open(), place.open());
            assert!(first.try_lock().unwrap());
            assert!(!second.try_lock().unwrap());
            assert!(second.is_locked_elsewhere().unwrap());
            assert!(!first.is_locked_elsewhere().unwrap(), "its own lock does not count");
            first.unlock().unwrap();
            assert!(!second.is_locked_elsewhere().unwrap());
            second.lock().unwrap();
            assert!(!first.try_lock().unwrap());
            drop(second);
            assert!(first.try_lock().unwrap());
        });
    }

    #[test]
    fn a_file_is_made_for_its_owner_and_keeps_what_it_holds() {
        use std::os::unix::fs::PermissionsExt as _;
        let place = Place::new("keep");
        drop(place.open());
        let mode = std::fs::metadata(place.path()).unwrap().permissions().mode();
        // Whoever runs the tests may forbid more.
        assert_eq!(mode & 0o077, 0);
        std::fs::write(place.path(), b"content").unwrap();
        let file = place.open();
        let mut buffer = [0; 16];
        assert_eq!(file.read(&mut buffer), Ok(7));
        assert_eq!(&buffer[..7], b"content");
        file.write(b"CON").unwrap();
        file.cut(5).unwrap();
        assert_eq!(std::fs::read(place.path()).unwrap(), b"CONte");
        let about = About { is_regular: true, is_linked: true, len_bytes: 5 };
        assert_eq!(file.about(), Ok(about));
        std::fs::remove_file(place.path()).unwrap();
        assert_eq!(file.about(), Ok(About { is_linked: false, ..about }));
    }

    #[test]
    fn what_cannot_be_locked_is_refused_or_told_apart() {
        let place = Place::new("refuse");
        let code = |path: &Path| {
            let error = LockFile::open(path).unwrap_err();
            assert!(error.to_string().contains(&path.display().to_string()), "{error}");
            error.code().raw()
        };
        assert_eq!(code(&place.0), Errno::ISDIR.raw_os_error());
        assert_eq!(code(&place.0.join("no/lock")), Errno::NOENT.raw_os_error());
        for target in ["there", "nowhere"] {
            let link = place.0.join(format!("to {target}"));
            std::fs::write(place.0.join("there"), b"").unwrap();
            std::os::unix::fs::symlink(target, &link).unwrap();
            assert_eq!(code(&link), Errno::LOOP.raw_os_error());
        }
        assert!(!place.0.join("nowhere").exists());
        let null = LockFile::open(Path::new("/dev/null")).unwrap();
        assert!(!null.about().unwrap().is_regular);
    }

    #[test]
    fn a_killed_process_gives_its_lock_up_and_wakes_who_waits() {
        let place = Place::new("kill");
        let (file, ready) = (place.open(), Doorbell::new().unwrap());
        let holder = Child::run(|| {
            let file = place.open();
            file.lock().unwrap();
            ready.ring().unwrap();
            pause()
        });
        assert!(poll::wait_readable(&ready, soon()).unwrap());
        assert!(!file.try_lock().unwrap());
        let waiter = Child::run(|| {
            place.open().lock().unwrap();
            0
        });
        waiter.wait_until_asleep();
        drop(holder);
        assert_eq!(waiter.ended(), super::super::pidfd::Ended::Exited(0));
        assert!(file.try_lock().unwrap());
    }

    #[test]
    fn a_fork_shares_what_was_opened_and_keeps_the_lock() {
        alone(|| {
            let place = Place::new("fork");
            let (other, ready) = (place.open(), Doorbell::new().unwrap());
            let file = place.open();
            assert!(file.try_lock().unwrap());
            let child = Child::run(|| {
                let checks = [file.try_lock().unwrap(), !other.try_lock().unwrap()];
                ready.ring().unwrap();
                if checks == [true; 2] { pause() } else { first_failed(&checks) }
            });
            assert!(poll::wait_readable(&ready, soon()).unwrap());
            drop(file);
            assert!(!other.try_lock().unwrap(), "the child has it open");
            drop(child);
            assert!(other.try_lock().unwrap());
        });
    }

    #[test]
    fn writing_and_closing_are_told_and_nothing_else() {
        alone(|| {
            let place = Place::new("changes");
            let (file, other) = (place.open(), place.open());
            let changes = Changes::new().unwrap();
            for _ in 0..2 {
                let watch = changes.watch(&file).unwrap();
                assert!(!watch.wait(now()).unwrap());
                assert!(other.try_lock().unwrap());
                other.read(&mut [0; 4]).unwrap();
                other.unlock().unwrap();
                assert!(!watch.wait(now()).unwrap());
                other.write(b"1").unwrap();
                assert!(watch.wait(now()).unwrap());
                assert!(!watch.wait(now()).unwrap(), "once");
                drop(place.open());
                assert!(watch.wait(soon()).unwrap());
                drop(watch);
                other.write(b"2").unwrap();
            }
            // Its path is of no interest.
            std::fs::rename(place.path(), place.0.join("moved")).unwrap();
            let watch = changes.watch(&file).unwrap();
            other.write(b"3").unwrap();
            assert!(watch.wait(now()).unwrap());
        });
    }
}
