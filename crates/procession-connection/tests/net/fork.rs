//! Listeners in forked processes, and in processes that are killed.

#![expect(unsafe_code, reason = "forks")]

use std::os::fd::OwnedFd;
use std::sync::RwLockWriteGuard;

use procession_core::Deadline;
use procession_sys::fork::{self, Forked};
use procession_sys::pidfd::{self, Ended};
use procession_sys::{poll, process, signal};

use super::*;

/// A forked child; killed when it is dropped before it has ended. There is one at a time.
struct Child {
    process: OwnedFd,
    _alone: RwLockWriteGuard<'static, ()>,
}

impl Child {
    fn run(work: impl FnOnce()) -> Self {
        let alone = FORKS.write().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: The C library makes its own locks free in the child; the work takes no others that threads of this program may
        // hold at this moment.
        match unsafe { fork::fork() }.unwrap() {
            Forked::Child => {
                let _guard = EndOnPanic;
                work();
                process::exit_now(0)
            }
            Forked::Parent { child } => {
                Self { process: pidfd::open(child).unwrap(), _alone: alone }
            }
        }
    }

    #[track_caller]
    fn ended(&self) -> Ended {
        assert!(
            poll::wait_readable(&self.process, Deadline::after(SOON)).unwrap(),
            "the child hangs"
        );
        pidfd::try_reap(&self.process).unwrap().unwrap().ended
    }

    fn kill(&self) {
        assert!(pidfd::signal(&self.process, signal::KILL).unwrap());
        assert!(matches!(self.ended(), Ended::Signaled { .. }));
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // After it has ended there is nobody to kill.
        drop(pidfd::signal(&self.process, signal::KILL));
        drop(poll::wait_readable(&self.process, Deadline::after(SOON)));
        drop(pidfd::try_reap(&self.process));
    }
}

/// A panic in a forked child must not run the rest of the test program a second time.
struct EndOnPanic;

impl Drop for EndOnPanic {
    fn drop(&mut self) {
        process::exit_now(101);
    }
}

/// Runs a check in a process of its own.
#[track_caller]
pub(crate) fn alone(check: impl FnOnce()) {
    assert_eq!(Child::run(check).ended(), Ended::Exited(0), "the reason stands above");
}

/// Waits for ever.
fn wait() -> ! {
    let (_near, far) = UnixStream::pair().unwrap();
    loop {
        drop(poll::wait_readable(&far, Deadline::NEVER));
    }
}

#[test]
fn a_path_whose_listener_was_killed_is_taken_over_and_one_that_lives_is_not() {
    let place = Place::new("killed");
    let path = place.path("socket");
    let (told, tells) = UnixStream::pair().unwrap();
    told.set_read_timeout(Some(SOON)).unwrap();
    let child = Child::run(|| {
        let _listener = Listener::bind(&path).unwrap();
        (&tells).write_all(b"x").unwrap();
        wait();
    });
    (&told).read_exact(&mut [0]).unwrap();
    let refused = Listener::bind(&path).unwrap_err();
    assert_eq!(refused.os_code(), Some(procession_sys::net::ADDRESS_IN_USE), "{refused}");
    child.kill();
    assert!(exists(&path));
    let listener = Listener::bind(&path).unwrap();
    let (server, client) = meet(&listener, None);
    client.send_bytes(b"hello").unwrap();
    assert_eq!(server.recv_bytes().unwrap(), b"hello");
    drop(listener);
    assert_eq!(entries(&place.0), 0);
}

#[test]
fn a_private_folder_whose_listener_was_killed_goes_with_the_next_one() {
    let (told, tells) = UnixStream::pair().unwrap();
    told.set_read_timeout(Some(SOON)).unwrap();
    let child = Child::run(|| {
        let listener = Listener::new().unwrap();
        (&tells).write_all(&frame(listener.address().to_string().as_bytes())).unwrap();
        wait();
    });
    let path = PathBuf::from(String::from_utf8(read_frame(&mut &told).unwrap()).unwrap());
    let folder = path.parent().unwrap();
    drop(Listener::new().unwrap());
    assert!(exists(&path), "its owner lives");
    child.kill();
    // Somebody else of this machine may be at it as well.
    let deadline = Deadline::after(SOON);
    while exists(folder) {
        drop(Listener::new().unwrap());
        assert!(!deadline.has_passed(), "it stays");
    }
}

#[test]
fn the_end_of_a_process_removes_its_path() {
    let place = Place::new("exit");
    let path = place.path("socket");
    let child = Child::run(|| {
        let listener = Listener::bind(&path).unwrap();
        let _kept = Box::leak(Box::new(listener));
        procession_core::exit::run();
    });
    assert_eq!(child.ended(), Ended::Exited(0));
    assert_eq!(entries(&place.0), 0);
}

#[test]
fn a_path_is_removed_where_it_was_made() {
    let place = Place::new("relative");
    // In a process that may go elsewhere.
    alone(|| {
        std::env::set_current_dir(&place.0).unwrap();
        let listener = Listener::bind("unix:socket").unwrap();
        assert_eq!(listener.address().to_string(), "unix:socket");
        drop(connect(listener.address(), None).unwrap());
        std::env::set_current_dir("/").unwrap();
        assert_eq!(entries(&place.0), 2);
        drop(listener);
        assert_eq!(entries(&place.0), 0);
    });
}

#[test]
fn a_forked_copy_closes_nothing_of_its_parents() {
    let place = Place::new("forked");
    let path = place.path("socket");
    for with_key in [false, true] {
        let listener = Listener::builder().address(&path);
        let secret = with_key.then(|| key(b"secret"));
        let listener = match &secret {
            Some(key) => listener.authkey(key),
            None => listener,
        };
        let mut listener = Some(listener.bind().unwrap());
        for close in [false, true] {
            alone(|| {
                let copy = listener.take().unwrap();
                if close {
                    copy.close();
                    copy.close();
                    assert_eq!(kind(copy.accept()), ErrorKind::Closed);
                }
                drop(copy);
                assert!(exists(&path));
            });
            let listener = listener.as_ref().unwrap();
            assert!(listener.try_accept().unwrap().is_none(), "it is open");
            let (server, client) = meet(listener, secret.as_ref());
            client.send_bytes(b"hello").unwrap();
            assert_eq!(server.recv_bytes().unwrap(), b"hello");
        }
        drop(listener);
        assert_eq!(entries(&place.0), 0);
    }
}

#[test]
fn a_forked_copy_accepts_by_itself() {
    let listener = with_key(Family::Unix).bind().unwrap();
    // Somebody is in the handshake with the parent, and stays there.
    let mut silent = raw(listener.address());
    assert!(listener.try_accept().unwrap().is_none());
    read_frame(&mut *silent).unwrap();
    let child = Child::run(|| {
        let server = listener.accept_timeout(SOON).unwrap();
        assert_eq!(server.recv_bytes().unwrap(), b"hello");
        server.send_bytes(b"from the child").unwrap();
        assert_eq!(kind(server.recv_bytes()), ErrorKind::Closed);
    });
    let client = connect(listener.address(), Some(&key(b"secret"))).unwrap();
    client.send_bytes(b"hello").unwrap();
    assert_eq!(client.recv_bytes().unwrap(), b"from the child");
    drop(client);
    assert_eq!(child.ended(), Ended::Exited(0));
    // The parent's stranger is still the parent's.
    silent.write_all(&frame(b"rubbish")).unwrap();
    assert_eq!(kind(listener.accept_timeout(SOON)), ErrorKind::Authentication);
    let (server, client) = meet(&listener, Some(&key(b"secret")));
    client.send_bytes(b"hello").unwrap();
    assert_eq!(server.recv_bytes().unwrap(), b"hello");
}

#[test]
fn parent_and_forked_copy_have_strangers_of_their_own() {
    let listener = with_key(Family::Unix).bind().unwrap();
    let mut of_parent = raw(listener.address());
    assert!(listener.try_accept().unwrap().is_none());
    read_frame(&mut *of_parent).unwrap();
    let mut of_child = raw(listener.address());
    let (told, tells) = UnixStream::pair().unwrap();
    told.set_read_timeout(Some(SOON)).unwrap();
    let _child = Child::run(|| {
        assert!(listener.try_accept().unwrap().is_none());
        (&tells).write_all(b"x").unwrap();
        wait();
    });
    (&told).read_exact(&mut [0]).unwrap();
    // What the child's stranger says wakes nobody here.
    read_frame(&mut *of_child).unwrap();
    of_child.write_all(&[0, 0]).unwrap();
    assert!(!poll::wait_readable(&listener, Deadline::after(Duration::ZERO)).unwrap());
    // When the parent lets its stranger go, the child does not keep the connection.
    of_parent.write_all(&frame(b"rubbish")).unwrap();
    assert_eq!(kind(listener.accept_timeout(SOON)), ErrorKind::Authentication);
    read_frame(&mut *of_parent).unwrap();
    // An end, or an error because it did not read all; but not that nothing has come in time.
    match of_parent.read(&mut [0]) {
        Ok(came) => assert_eq!(came, 0),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
}
