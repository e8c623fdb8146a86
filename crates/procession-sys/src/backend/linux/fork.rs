//! Copies this process.

#![expect(unsafe_code, reason = "fork is not safe in general")]

use rustix::io::Errno;

use super::{call, fail, stat};
use crate::Result;

/// Which of the two this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forked {
    /// The copy.
    Child,
    /// The process that called.
    Parent {
        /// The number of the copy, which is this process's child.
        child: u32,
    },
}

/// Copies this process; returns in both.
///
/// The copy has the calling thread only, and all descriptors. The C library's handlers (`pthread_atfork`) run.
///
/// # Safety
///
/// This process has no other thread that could hold a lock of the allocator, the standard library or the program at this
/// moment: nobody would ever release it in the copy.
///
/// # Errors
///
/// When the system has no room for another process.
///
/// # Source
///
/// `fork(2)`.
pub unsafe fn fork() -> Result<Forked> {
    // SAFETY: The caller answers for other threads.
    match unsafe { libc::fork() } {
        0 => Ok(Forked::Child),
        -1 => {
            let code = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EAGAIN);
            Err(fail("fork", String::new(), Errno::from_raw_os_error(code)))
        }
        child => Ok(Forked::Parent { child: child.cast_unsigned() }),
    }
}

/// How many threads this process has. One that has been joined counts until the system has taken it down, a moment later.
///
/// # Errors
///
/// When `/proc` is not mounted.
///
/// # Source
///
/// `stat(2)` of `/proc/self/task`: a folder has two links and one for each folder in it, which the system counts from the
/// number of threads (`proc_task_getattr` in the kernel's `fs/proc/base.c`). The list itself may lack some: see [`threads`].
pub fn thread_count() -> Result<usize> {
    let status = call("count the threads in", || TASKS.into(), || rustix::fs::stat(TASKS))?;
    match usize::try_from(status.st_nlink) {
        Ok(links) if links > 2 => Ok(links - 2),
        // File systems need not count links. The other number is as good, and takes five times as long.
        _ => match stat::read(super::process::id())? {
            Some(stat) => Ok(stat.threads),
            None => Err(fail("count the threads in", TASKS.into(), Errno::NOENT)),
        },
    }
}

/// A thread of this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// Its number; that of the first thread is the number of the process.
    pub id: u32,
    /// Its name: at most 15 bytes, the beginning of the program's name unless somebody gave it one.
    pub name: String,
}

/// The threads of this process, in ascending order of their numbers.
///
/// One that starts or ends meanwhile may be among them or not. While threads come and go all the time, others may be missing.
///
/// # Errors
///
/// When `/proc` is not mounted, or this process may open no more descriptors.
///
/// # Source
///
/// `proc(5)`, `/proc/self/task/[tid]/comm`.
pub fn threads() -> Result<Vec<Thread>> {
    let mut lists = 0;
    loop {
        let before = thread_count()?;
        let mut listed = list_threads()?;
        lists += 1;
        // When a thread ends, the system may leave the one behind it out of the list, or all the rest (`proc_task_readdir`
        // in the kernel's `fs/proc/base.c`). So a list counts when nothing changed meanwhile.
        if lists == MOST_LISTS || (before == listed.len() && before == thread_count()?) {
            listed.sort_unstable_by_key(|thread| thread.id);
            return Ok(listed);
        }
    }
}

/// Enough while a thread ends in each millisecond: a list of ten takes a tenth of one.
const MOST_LISTS: usize = 20;

fn list_threads() -> Result<Vec<Thread>> {
    let mut threads = Vec::new();
    for task in std::fs::read_dir(TASKS).map_err(|error| failed(&error))? {
        let task = task.map_err(|error| failed(&error))?;
        let Some(id) = task.file_name().to_str().and_then(|id| id.parse().ok()) else { continue };
        match std::fs::read(task.path().join("comm")) {
            Ok(name) => {
                let name = String::from_utf8_lossy(name.strip_suffix(b"\n").unwrap_or(&name));
                threads.push(Thread { id, name: name.into_owned() });
            }
            // It has ended: the file is gone, or its content is.
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(failed(&error)),
        }
    }
    Ok(threads)
}

/// The number of the calling thread; in the first thread of a process, that of the process.
///
/// # Source
///
/// `gettid(2)`.
pub fn thread_id() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned()
}

const TASKS: &str = "/proc/self/task";

fn is_gone(error: &std::io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::SRCH))
}

fn failed(error: &std::io::Error) -> crate::OsError {
    fail("list the threads in", TASKS.into(), Errno::from_io_error(error).unwrap_or(Errno::IO))
}

#[cfg(test)]
mod tests {
    use super::*;

    use super::super::process;

    #[test]
    fn threads_are_listed_by_number_and_name() {
        let (ready, end) = (std::sync::mpsc::channel(), std::sync::mpsc::channel::<()>());
        let thread = std::thread::Builder::new().name("a (b) \u{fc} c".into());
        let thread = thread.spawn(move || {
            ready.0.send(thread_id()).unwrap();
            end.1.recv().unwrap_err();
        });
        let id = ready.1.recv().unwrap();
        let threads = threads().unwrap();
        assert!(threads.contains(&Thread { id, name: "a (b) \u{fc} c".into() }), "{threads:?}");
        assert!(threads.iter().any(|thread| thread.id == thread_id()));
        assert!(threads.iter().any(|thread| thread.id == process::id()));
        assert!(threads.is_sorted_by_key(|thread| thread.id));
        assert_ne!(id, thread_id());
        drop(end.0);
        thread.unwrap().join().unwrap();
    }

    #[test]
    fn the_thread_of_a_forked_child_is_alone_and_has_its_number() {
        super::super::testing::alone(|| {
            let threads = threads().unwrap();
            assert_eq!(threads.len(), 1);
            assert_eq!(thread_count(), Ok(1));
            assert_eq!(stat::read(process::id()).unwrap().unwrap().threads, 1);
            assert_eq!((threads[0].id, thread_id()), (process::id(), process::id()));
        });
    }

    #[test]
    fn threads_that_stay_are_listed_while_others_end() {
        use std::sync::mpsc::channel;
        for _ in 0..40 {
            std::thread::scope(|scope| {
                let start = |name: &str| {
                    let (end, ended) = channel::<()>();
                    let (id, has_id) = channel();
                    let body = move || {
                        id.send(thread_id()).unwrap();
                        ended.recv().unwrap_err();
                    };
                    let thread = std::thread::Builder::new().name(name.into());
                    thread.spawn_scoped(scope, body).unwrap();
                    (has_id.recv().unwrap(), end)
                };
                let (mut stay, mut go) = (Vec::new(), Vec::new());
                for _ in 0..24 {
                    go.push(start("goes"));
                    stay.push(start("stays"));
                }
                scope.spawn(move || drop(go));
                let counts = (thread_count(), stat::read(process::id()).unwrap().unwrap().threads);
                let listed = threads().unwrap();
                let has = |id| listed.iter().any(|thread| thread.id == id);
                let missing = stay.iter().find(|(id, _)| !has(*id)).map(|(id, _)| *id);
                drop(stay);
                assert_eq!(missing, None, "{listed:?}");
                assert!(counts.0.unwrap() > 24 && counts.1 > 24);
            });
        }
    }
}
