//! Paths: who may connect, who gets one, and what stays of it.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Barrier};

use super::*;

fn in_use(error: &procession_core::Error) -> bool {
    error.os_code() == Some(procession_sys::net::ADDRESS_IN_USE)
}

fn path_of(listener: &Listener) -> PathBuf {
    match listener.address() {
        Address::Path(path) => path.clone(),
        other => panic!("{other}"),
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_path_is_for_its_owner_only_and_goes_with_the_listener() {
    let _calm = without_forks();
    for close in [true, false] {
        let place = Place::new(if close { "mode-close" } else { "mode-drop" });
        let path = place.path("socket");
        let listener = Listener::bind(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        if close {
            listener.close();
        } else {
            drop(listener);
        }
        assert_eq!(entries(&place.0), 0, "nothing is left");
    }
}

#[test]
fn a_private_address_is_in_a_folder_for_its_owner_only() {
    let _calm = without_forks();
    let listener = Listener::new().unwrap();
    let path = path_of(&listener);
    let folder = path.parent().unwrap().to_owned();
    assert_eq!((mode(&folder), mode(&path)), (0o700, 0o600));
    assert_ne!(Listener::new().unwrap().address(), listener.address());
    drop(listener);
    assert!(!exists(&folder));
}

#[test]
fn a_path_that_a_dead_listener_has_left_is_taken_over() {
    let _calm = without_forks();
    let place = Place::new("stale");
    let path = place.path("socket");
    // As it is after a kill: the socket without anybody, and a lock that nobody holds.
    drop(UnixListener::bind(&path).unwrap());
    for lock_is_left in [false, true] {
        if lock_is_left {
            drop(UnixListener::bind(&path).unwrap());
            std::fs::write(place.path("socket.listener"), b"").unwrap();
        }
        let listener = Listener::bind(&path).unwrap();
        let (server, client) = meet(&listener, None);
        client.send_bytes(b"hello").unwrap();
        assert_eq!(server.recv_bytes().unwrap(), b"hello");
        drop(listener);
        assert_eq!(entries(&place.0), 0);
    }
}

#[test]
fn a_path_where_another_program_listens_is_not() {
    let _calm = without_forks();
    let place = Place::new("foreign");
    let path = place.path("socket");
    let foreign = UnixListener::bind(&path).unwrap();
    let refused = Listener::bind(&path).unwrap_err();
    assert!(in_use(&refused), "{refused}");
    UnixStream::connect(&path).unwrap();
    drop(foreign);
    assert_eq!(entries(&place.0), 1, "no lock is left");
}

#[test]
fn a_file_or_folder_at_a_path_stays() {
    let _calm = without_forks();
    let place = Place::new("file");
    let (file, folder) = (place.path("file"), place.path("folder"));
    std::fs::write(&file, b"precious").unwrap();
    std::fs::create_dir(&folder).unwrap();
    assert!(in_use(&Listener::bind(&file).unwrap_err()));
    assert!(in_use(&Listener::bind(&folder).unwrap_err()));
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    assert_eq!(entries(&place.0), 2);
    // Nor is a file that is called as a lock, but is none.
    std::fs::write(place.path("socket.listener"), b"precious").unwrap();
    assert!(in_use(&Listener::bind(place.path("socket")).unwrap_err()));
    assert_eq!(std::fs::read(place.path("socket.listener")).unwrap(), b"precious");
}

#[test]
fn what_others_have_put_at_the_path_is_not_removed() {
    let _calm = without_forks();
    let place = Place::new("replaced");
    let path = place.path("socket");
    let listener = Listener::bind(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, b"precious").unwrap();
    drop(listener);
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

#[test]
fn of_those_who_race_for_a_stale_path_one_gets_it() {
    let _calm = without_forks();
    let place = Place::new("race");
    for round in 0..50 {
        let path = place.path(&round.to_string());
        drop(UnixListener::bind(&path).unwrap());
        let start = Arc::new(Barrier::new(4));
        let threads = [(); 4].map(|()| {
            let (start, path) = (Arc::clone(&start), path.clone());
            thread::spawn(move || {
                start.wait();
                Listener::bind(&path)
            })
        });
        let bound = threads.map(|thread| thread.join().unwrap());
        assert!(bound.iter().flat_map(|bound| bound.as_ref().err()).all(in_use));
        let [listener] = &bound.iter().flatten().collect::<Vec<_>>()[..] else {
            panic!("{bound:?}")
        };
        let (server, client) = meet(listener, None);
        client.send_bytes(b"hello").unwrap();
        assert_eq!(server.recv_bytes().unwrap(), b"hello");
    }
    assert_eq!(entries(&place.0), 0);
}

#[test]
fn those_who_come_and_go_at_one_path_are_never_two() {
    let _calm = without_forks();
    let place = Place::new("come-and-go");
    let path = place.path("socket");
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let Ok(listener) = Listener::bind(&path) else { continue };
                    // The path leads to this one, and to no other.
                    let _client = connect(listener.address(), None).unwrap();
                    drop(listener.accept_timeout(SOON).unwrap());
                }
            });
        }
    });
    assert_eq!(entries(&place.0), 0);
}
