//! What a child does with a first message that is not what it should be: from another build, for another process, or
//! nonsense. The child is started by hand and talked to in bytes.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};

use procession::{Error, ErrorKind};
use procession_core::family::Family;
use procession_core::{Courier, Deadline, Handle, Message};
use procession_sys::pidfd::{self, Ended};
use procession_sys::{image, poll, signal, spawn};
use procession_tests::{SOON, watchdog};
use serde::Serialize;

/// The build of the helper program, as it would name it: by what its linker wrote into it.
#[derive(Clone, Serialize)]
enum BuildId {
    Linked(Vec<u8>),
}

#[derive(Clone, Serialize)]
struct Request {
    pid: Option<u32>,
    build: BuildId,
    introduce: bool,
    function: (i64, u64),
    name: &'static str,
    path: Vec<u32>,
    is_daemon: bool,
    parent: (u32, &'static str, Vec<Vec<u8>>),
    authkey: Vec<u8>,
}

/// What follows in the message, up to the tie.
#[derive(Clone, Serialize)]
struct Rest {
    start_method: procession::StartMethod,
    signal_mask: u64,
    interrupt: OnInterrupt,
}

#[derive(Clone, Serialize)]
enum OnInterrupt {
    Default,
}

/// Nothing is other than in the parent: seven settings that are absent, and no limits.
const SETTINGS: [u8; 8] = [0; 8];

struct Child {
    pid: u32,
    pidfd: OwnedFd,
    courier: Courier,
}

impl Child {
    fn start() -> Self {
        let (courier, theirs) = Courier::pair().unwrap();
        let program = OsStr::new(env!("CARGO_BIN_EXE_probe"));
        let pid = spawn::spawn(&spawn::Spec {
            program,
            arguments: &[program, OsStr::new("procession-child")],
            bootstrap: theirs.as_fd(),
            mask: signal::thread_mask().unwrap(),
            environment: &[],
            discard_output: true,
        })
        .unwrap();
        Self { pid, pidfd: pidfd::open(pid).unwrap(), courier }
    }

    fn send(&self, request: &Request) {
        let none = || None::<Handle<OwnedFd>>;
        let family = Family::current().unwrap();
        let invitation = family.reserve().unwrap().invitation().unwrap();
        let (start_method, signal_mask) = (procession::StartMethod::Spawn, 0);
        let rest = Rest { start_method, signal_mask, interrupt: OnInterrupt::Default };
        let tie = Some(signal::KILL);
        let whole = (request, invitation, rest, tie, none(), none(), none(), SETTINGS);
        self.courier.send(&Message::encode(&whole).unwrap()).unwrap();
        // The arguments. It may have made up its mind already.
        drop(self.courier.send(&Message::encode(&()).unwrap()));
    }

    /// Waits until it has ended, as one that has called nothing and has said why.
    #[track_caller]
    fn refuses_with(&self, expected: ErrorKind) {
        assert!(poll::wait_readable(&self.pidfd, Deadline::after(SOON)).unwrap(), "it hangs");
        assert_eq!(pidfd::try_reap(&self.pidfd).unwrap().unwrap().ended, Ended::Exited(1));
        let said = self.courier.recv().unwrap().expect("it says why");
        let (kind, error) = said.bytes().split_first().unwrap();
        let error: Error = Message::decode_parts(error, Vec::new()).unwrap();
        assert_eq!((*kind, error.kind()), (NOT_STARTED, expected));
    }
}

const NOT_STARTED: u8 = 2;

fn request(child: &Child, build: Vec<u8>) -> Request {
    Request {
        pid: Some(child.pid),
        build: BuildId::Linked(build),
        introduce: false,
        function: (0, 0),
        name: "by hand",
        path: vec![1],
        is_daemon: false,
        parent: (std::process::id(), "test", Vec::new()),
        authkey: vec![1; 32],
    }
}

/// What the linker wrote into the helper program.
fn build_of_probe() -> Vec<u8> {
    let bytes = std::fs::read(env!("CARGO_BIN_EXE_probe")).unwrap();
    let head = [4u32, 20, 3].map(u32::to_ne_bytes).concat();
    let note = [&head[..], b"GNU\0"].concat();
    let at = bytes.windows(note.len()).position(|window| window == note).unwrap() + note.len();
    bytes[at..at + 20].to_vec()
}

#[test]
fn another_build_is_refused_before_anything_is_called() {
    let _dog = watchdog(60);
    let child = Child::start();
    let own = image::find(build_of_probe as fn() -> Vec<u8> as usize).unwrap().build_id.unwrap();
    child.send(&request(&child, own));
    child.refuses_with(ErrorKind::BuildMismatch);
}

#[test]
fn a_function_that_is_none_is_refused() {
    let _dog = watchdog(60);
    for distance in [0, 8, -4096, 1 << 20, i64::MAX] {
        let child = Child::start();
        child.send(&Request { function: (distance, 7), ..request(&child, build_of_probe()) });
        child.refuses_with(ErrorKind::Decode);
    }
}

#[test]
fn a_message_for_another_process_is_refused() {
    let _dog = watchdog(60);
    let child = Child::start();
    child.send(&Request { pid: Some(child.pid + 1), ..request(&child, build_of_probe()) });
    child.refuses_with(ErrorKind::InvalidInput);
}

#[test]
fn nonsense_is_another_build() {
    let _dog = watchdog(60);
    let child = Child::start();
    child.courier.send(&Message::from_parts(vec![255; 100], Vec::new())).unwrap();
    child.refuses_with(ErrorKind::BuildMismatch);
}

#[test]
fn a_child_whose_parent_goes_before_the_first_message_ends() {
    let _dog = watchdog(60);
    let Child { pidfd, courier, .. } = Child::start();
    drop(courier);
    assert!(poll::wait_readable(&pidfd, Deadline::after(SOON)).unwrap(), "it hangs");
    assert_eq!(pidfd::try_reap(&pidfd).unwrap().unwrap().ended, Ended::Exited(1));
}
