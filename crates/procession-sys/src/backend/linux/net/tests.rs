//! Sockets of this system and of TCP, within one process.

use std::time::Duration;

use super::super::testing::{Child, alone, soon};
use super::*;

fn now() -> Deadline {
    Deadline::PAST
}

fn abstract_name(test: &str) -> SocketName {
    SocketName::Abstract(format!("procession-sys-{test}-{}", std::process::id()).into())
}

fn loopback() -> SocketName {
    SocketName::Inet(([127, 0, 0, 1], 0).into())
}

#[track_caller]
fn refusal<T>(result: Result<T>) -> OsCode {
    match result {
        Ok(_) => panic!("it should have been refused"),
        Err(error) => error.code(),
    }
}

#[test]
fn what_listens_is_connected_to_and_tells_who_is_there() {
    for name in [abstract_name("connect"), loopback()] {
        let listener = listen(&name, 8).unwrap();
        let name = local_name(&listener).unwrap();
        assert!(accept(&listener).unwrap().is_none());
        let client = connect(&name, soon()).unwrap();
        assert!(poll::wait_readable(&listener, soon()).unwrap());
        let (server, from) = accept(&listener).unwrap().unwrap();
        assert_eq!(from, local_name(&client).unwrap());
        assert!(send_at_once(&client, b"hello").unwrap());
        let mut bytes = Vec::with_capacity(16);
        assert_eq!(recv_behind(&server, &mut bytes, 5, Block::Yes).unwrap(), 5);
        assert_eq!(bytes, b"hello");
        assert_eq!(refusal(recv_into(&server, &mut [0; 4], Block::No)), OsCode::WOULD_BLOCK);
        match stream_kind(&server).unwrap() {
            StreamKind::Local => {
                let pid = std::process::id();
                assert_eq!(peer_credentials(&server).unwrap().pid, pid);
                assert_eq!(peer_credentials(&client).unwrap().pid, pid);
            }
            StreamKind::Tcp => {
                assert_eq!(sockopt::tcp_nodelay(&client), Ok(true));
                assert_eq!(sockopt::tcp_nodelay(&server), Ok(true));
            }
        }
    }
}

#[test]
fn a_name_that_nobody_has_is_refused() {
    assert_eq!(refusal(connect(&abstract_name("nobody"), now())), CONNECTION_REFUSED);
    let listener = listen(&abstract_name("twice"), 1).unwrap();
    assert_eq!(refusal(listen(&abstract_name("twice"), 1)), ADDRESS_IN_USE);
    drop(listener);
    for name in [
        SocketName::Unnamed,
        SocketName::Abstract(vec![]),
        SocketName::Abstract(vec![1; MAX_NAME_BYTES + 1]),
        SocketName::Path("x".repeat(MAX_NAME_BYTES + 1).into()),
    ] {
        assert!(listen(&name, 1).is_err());
        assert!(connect(&name, now()).is_err());
    }
}

#[test]
fn a_socket_does_not_connect_to_itself() {
    // The port of a listener that is gone is one that the system may choose for who connects. It chooses at random; so it is
    // told: a socket that is bound to its port and connects to it is what is refused.
    let free = local_name(listen(&loopback(), 1).unwrap()).unwrap();
    let SocketName::Inet(address) = free else { panic!("no port") };
    let socket = open(&free, SocketFlags::CLOEXEC).unwrap();
    sockopt::set_socket_reuseaddr(&socket, true).unwrap();
    rustix::net::bind(&socket, &address).unwrap();
    rustix::net::connect(&socket, &address).unwrap();
    assert!(is_connected_to_itself(&socket, address).unwrap());
    let listener = listen(&loopback(), 1).unwrap();
    let name = local_name(&listener).unwrap();
    let SocketName::Inet(address) = name else { panic!("no port") };
    assert!(!is_connected_to_itself(connect(&name, soon()).unwrap(), address).unwrap());
}

#[test]
fn a_full_backlog_ends_with_the_deadline() {
    let name = abstract_name("backlog");
    let _listener = listen(&name, 0).unwrap();
    let short = Duration::from_millis(10);
    let mut connected = Vec::new();
    loop {
        let start = std::time::Instant::now();
        match connect(&name, Deadline::after(short)) {
            Ok(socket) => connected.push(socket),
            Err(error) => {
                assert_eq!(error.code(), OsCode::TIMED_OUT);
                assert!(start.elapsed() >= short);
                break;
            }
        }
        assert!(connected.len() < 10);
    }
}

#[test]
fn a_crowd_tells_which_of_it_are_ready() {
    let crowd = Crowd::new().unwrap();
    let pairs = [(); 100].map(|()| super::super::socket::stream_pair().unwrap());
    for (number, (_, far)) in (0..).zip(&pairs) {
        crowd.add(far, number).unwrap();
    }
    assert!(crowd.wait(now()).unwrap().is_empty());
    assert!(send_at_once(&pairs[7].0, b"x").unwrap());
    assert_eq!(crowd.wait(soon()).unwrap(), [7]);
    assert!(poll::wait_readable(&crowd, now()).unwrap());
    crowd.remove(&pairs[7].1).unwrap();
    assert!(!poll::wait_readable(&crowd, now()).unwrap());
    // More than are told of at once: none is forgotten.
    let mut seen = std::collections::BTreeSet::new();
    pairs.iter().for_each(|(near, _)| assert!(send_at_once(near, b"x").unwrap()));
    while seen.len() < 99 {
        let ready = crowd.wait(soon()).unwrap();
        assert!(!ready.is_empty());
        seen.extend(ready);
    }
    assert!(!seen.contains(&7));
}

#[test]
fn a_timer_interrupts_nothing() {
    // In a process of its own, whose only thread gets all the signals.
    alone(|| {
        interrupt_every_100_us();
        let deadline = Duration::from_millis(20);
        for name in [abstract_name("timer"), loopback()] {
            let listener = listen(&name, 0).unwrap();
            let name = local_name(&listener).unwrap();
            let client = connect(&name, soon()).unwrap();
            let (server, _) = accept(&listener).unwrap().unwrap();
            let start = std::time::Instant::now();
            let crowd = Crowd::new().unwrap();
            crowd.add(&server, 1).unwrap();
            assert!(crowd.wait(Deadline::after(deadline)).unwrap().is_empty());
            assert!(start.elapsed() >= deadline);
            // More than is in the socket at any time.
            let sent = Child::run(|| {
                let bytes = vec![7; 4 << 20];
                let mut gone = 0;
                while gone < bytes.len() {
                    gone += super::super::socket::send(&client, &[&bytes[gone..]], &[], Block::Yes)
                        .unwrap();
                }
                0
            });
            let mut bytes = Vec::with_capacity(4 << 20);
            while bytes.len() < 4 << 20 {
                let missing = (4 << 20) - bytes.len();
                assert!(recv_behind(&server, &mut bytes, missing, Block::Yes).unwrap() > 0);
            }
            assert_eq!(sent.ended(), super::super::pidfd::Ended::Exited(0));
        }
        // A connection that has to wait keeps its deadline.
        let name = abstract_name("timer-full");
        let _listener = listen(&name, 0).unwrap();
        let start = std::time::Instant::now();
        let mut connected = Vec::new();
        while let Ok(socket) = connect(&name, Deadline::after(deadline)) {
            connected.push(socket);
        }
        assert!(start.elapsed() >= deadline);
    });
}

fn interrupt_every_100_us() {
    extern "C" fn nothing(_signal: libc::c_int) {}
    let handler: extern "C" fn(libc::c_int) = nothing;
    // SAFETY: Zeros are an action: no flags, so that calls that it interrupts fail, instead of being repeated by the system.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = handler as libc::sighandler_t;
    // SAFETY: The pointer is to a local, and the handler does nothing; no old action is asked for.
    let set = unsafe { libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut()) };
    assert_eq!(set, 0);
    let time = libc::timeval { tv_sec: 0, tv_usec: 100 };
    let every = libc::itimerval { it_interval: time, it_value: time };
    let none = std::ptr::null_mut();
    // SAFETY: The pointer is to a local; no old value is asked for.
    let set = unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const every, none) };
    assert_eq!(set, 0);
}
