//! What the rows have in common: the ways by which two processes are connected, and how they say where they are.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use procession::prelude::*;
use procession::{Address, AuthKey, ErrorKind, StartMethod, start_method};
use procession_sys::prim::AtomicU32;
use procession_sys::prim::Ordering::Relaxed;
use procession_sys::surroundings::{Resource, limit, set_limit};
use procession_tests::{SOON, skip};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A row: its name, and what it does.
pub(crate) type Row = (&'static str, fn());

/// A time that passes in vain: that of CPython's tests.
pub(crate) const SHORT: Duration = Duration::from_millis(100);
pub(crate) const NOW: Duration = Duration::ZERO;

/// How two processes are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Way {
    Pipe,
    Path,
    Abstract,
    Tcp4,
    Tcp6,
}

/// Through a listener.
pub(crate) const SOCKETS: [Way; 4] = [Way::Path, Way::Abstract, Way::Tcp4, Way::Tcp6];
/// Where handles travel.
pub(crate) const LOCAL: [Way; 3] = [Way::Pipe, Way::Path, Way::Abstract];

/// How a child comes to its end of the connection.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Peer {
    Has(Box<Connection>),
    Connects(Address),
}

impl Peer {
    pub(crate) fn meet(self) -> Connection {
        match self {
            Self::Has(connection) => *connection,
            Self::Connects(address) => connect(&address, None).unwrap(),
        }
    }
}

static PLACES: AtomicU32 = AtomicU32::new(0);

/// A folder for one row, which goes with it.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("procession-{}", unique()));
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A new file to read and write.
    pub(crate) fn file(&self, name: &str) -> File {
        let path = self.path(name);
        File::options().read(true).write(true).create_new(true).open(path).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn unique() -> String {
    format!("rows-{}-{}", std::process::id(), PLACES.fetch_add(1, Relaxed))
}

impl Way {
    /// Where to listen: at an address that nobody else has.
    #[track_caller]
    pub(crate) fn address(self, folder: &Folder) -> Address {
        match self {
            Self::Pipe => panic!("nobody listens at a pipe"),
            Self::Path => Address::Path(folder.path("socket")),
            Self::Abstract => Address::Abstract(unique().into()),
            Self::Tcp4 => "127.0.0.1:0".parse().unwrap(),
            Self::Tcp6 => "[::1]:0".parse().unwrap(),
        }
    }

    /// Starts a child with the other end, and does something with this one; the child has to return then.
    pub(crate) fn with(self, start: impl Fn(Peer) -> Process, check: impl Fn(Connection)) {
        let folder = Folder::new();
        if self == Self::Pipe {
            let (ours, theirs) = Connection::pair().unwrap();
            let child = start(Peer::Has(Box::new(theirs)));
            check(ours);
            value(&child);
        } else {
            let listener = Listener::bind(self.address(&folder)).unwrap();
            let child = start(Peer::Connects(listener.address().clone()));
            let ours = listener.accept_timeout(SOON).unwrap();
            check(ours);
            value(&child);
        }
    }
}

/// The same by each way.
pub(crate) fn by_each_way(start: impl Fn(Peer) -> Process, check: impl Fn(Way, Connection)) {
    [Way::Pipe].into_iter().chain(SOCKETS).for_each(|way| way.with(&start, |end| check(way, end)));
}

pub(crate) fn key(bytes: &[u8]) -> AuthKey {
    AuthKey::from(bytes)
}

pub(crate) fn connect(address: &Address, key: Option<&[u8]>) -> procession::Result<Connection> {
    let builder = Client::builder(address).timeout(SOON);
    match key {
        Some(bytes) => builder.authkey(&self::key(bytes)).connect(),
        None => builder.connect(),
    }
}

#[track_caller]
pub(crate) fn kind<T>(result: procession::Result<T>) -> ErrorKind {
    match result {
        Ok(_) => panic!("it should have failed"),
        Err(error) => error.kind(),
    }
}

/// The next message.
#[track_caller]
pub(crate) fn next<T: Serialize + DeserializeOwned + 'static>(rx: &Receiver<T>) -> T {
    rx.recv_timeout(SOON).unwrap()
}

/// The next value of a connection.
#[track_caller]
pub(crate) fn next_of<T: DeserializeOwned>(connection: &Connection) -> T {
    connection.recv_timeout(SOON).unwrap()
}

/// The next bytes of a connection.
#[track_caller]
pub(crate) fn next_bytes(connection: &Connection) -> Vec<u8> {
    connection.recv_bytes_timeout(SOON).unwrap()
}

/// That the other side is gone, and has left nothing.
#[track_caller]
pub(crate) fn is_over(connection: &Connection) {
    assert!(connection.poll(SOON).unwrap());
    assert_eq!(kind(connection.recv_bytes()), ErrorKind::Closed);
    assert_eq!(kind(connection.recv::<u8>()), ErrorKind::Closed);
    assert!(connection.poll(NOW).unwrap(), "and stays so");
}

/// What a child returned.
#[track_caller]
pub(crate) fn value<R: Serialize + DeserializeOwned + 'static>(child: &Process<R>) -> R {
    let joined = child.join_timeout(SOON).expect("it ends");
    joined.unwrap()
}

/// That this took at least so long.
#[track_caller]
pub(crate) fn takes<T>(least: Duration, call: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = call();
    let passed = start.elapsed();
    assert!(passed >= least, "{passed:?} is less than {least:?}");
    result
}

/// Lets time pass, in which others do what they do too early.
pub(crate) fn pause(time: Duration) {
    let (_tx, rx) = pipe::<()>().unwrap();
    assert!(!rx.poll(time).unwrap());
}

/// Whether threads stand for processes.
pub(crate) fn is_in_threads() -> bool {
    start_method() == StartMethod::Thread
}

/// Bytes that tell where they belong.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    // The length of a turn has no factor in common with those of parts and pages.
    let turn: Vec<u8> = (0..=250).collect();
    let mut bytes = turn.repeat(len / turn.len() + 1);
    bytes.truncate(len);
    bytes
}

/// That bytes are those; says where they begin to differ.
#[track_caller]
pub(crate) fn are(bytes: &[u8], expected: &[u8]) {
    let differs = bytes != expected;
    if differs {
        let at = bytes.iter().zip(expected).position(|(one, other)| one != other);
        panic!("{} bytes for {}, which differ from {at:?} on", bytes.len(), expected.len());
    }
}

/// Has this process be allowed so many descriptors; tells whether it is.
pub(crate) fn has_room_for(descriptors: u64) -> bool {
    let (soft, hard) = limit(Resource::Descriptors);
    if soft.is_none_or(|soft| soft >= descriptors) {
        return true;
    }
    if hard.is_some_and(|hard| hard < descriptors) {
        skip(&format!("{descriptors} descriptors, of which a process may have {hard:?}"));
        return false;
    }
    set_limit(Resource::Descriptors, (Some(descriptors), hard)).unwrap();
    true
}

/// What stands in a file, from its beginning.
pub(crate) fn text_of(file: &mut File) -> String {
    file.rewind().unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    text
}

/// A socket that holds a number.
pub(crate) fn marked(number: u32) -> Handle<UnixStream> {
    let (mut near, far) = UnixStream::pair().unwrap();
    std::io::Write::write_all(&mut near, &number.to_ne_bytes()).unwrap();
    Handle(far)
}

/// The number in it. It is used up.
pub(crate) fn mark_of(handle: &Handle<UnixStream>) -> u32 {
    let mut bytes = [0; 4];
    (&handle.0).read_exact(&mut bytes).unwrap();
    u32::from_ne_bytes(bytes)
}
