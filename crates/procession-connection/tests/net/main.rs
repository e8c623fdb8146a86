//! Sockets: listeners, clients, and who may connect.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

mod auth;
mod connection;
mod fork;
mod hostile;
mod listener;
mod path;
mod poll;
mod storm;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::thread;
use std::time::Duration;

use procession_connection::{Address, Client, Connection, Family, Listener, ListenerBuilder};
use procession_core::ErrorKind;
use procession_core::authkey::AuthKey;

/// Long enough for any step of a test on a machine that is busy.
const SOON: Duration = Duration::from_secs(20);

/// Held for writing while there is a forked child, which has copies of all sockets of all tests that run.
static FORKS: RwLock<()> = RwLock::new(());

/// For tests in which what is closed has to be gone at once.
fn without_forks() -> RwLockReadGuard<'static, ()> {
    FORKS.read().unwrap_or_else(PoisonError::into_inner)
}

/// A folder for one test, which goes with it.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let name = format!("procession-net-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Runs a check for each kind of address.
fn for_each_kind(name: &str, check: impl Fn(fn() -> ListenerBuilder, Address)) {
    let _calm = without_forks();
    let place = Place::new(name);
    let abstract_name = format!("procession-{name}-{}", std::process::id());
    check(Listener::builder, Address::Path(place.path("socket")));
    check(Listener::builder, Address::Abstract(abstract_name.into()));
    check(Listener::builder, "127.0.0.1:0".parse().unwrap());
    check(Listener::builder, "[::1]:0".parse().unwrap());
}

/// Runs a check with the two ends of a connection of each kind; the first end is the listener's.
fn for_each_pair(name: &str, check: impl Fn(Connection, Connection)) {
    for_each_kind(name, |builder, address| {
        let listener = builder().address(&address).bind().unwrap();
        let (server, client) = meet(&listener, None);
        check(server, client);
    });
}

/// The two ends of a connection; the first is the listener's.
#[track_caller]
fn meet(listener: &Listener, key: Option<&AuthKey>) -> (Connection, Connection) {
    thread::scope(|scope| {
        let client = scope.spawn(|| connect(listener.address(), key).unwrap());
        let server = listener.accept_timeout(SOON).unwrap();
        (server, client.join().unwrap())
    })
}

fn connect(address: &Address, key: Option<&AuthKey>) -> procession_core::Result<Connection> {
    let builder = Client::builder(address).timeout(SOON);
    match key {
        Some(key) => builder.authkey(key).connect(),
        None => builder.connect(),
    }
}

fn key(bytes: &[u8]) -> AuthKey {
    AuthKey::from(bytes)
}

/// A listener of a kind, with the key `secret`.
fn with_key(family: Family) -> ListenerBuilder {
    Listener::builder().family(family).authkey(&key(b"secret"))
}

#[track_caller]
fn kind<T>(result: procession_core::Result<T>) -> ErrorKind {
    match result {
        Ok(_) => panic!("it should have failed"),
        Err(error) => error.kind(),
    }
}

/// Somebody who connects and speaks for itself.
trait Raw: Read + Write + Send {
    /// Says that nothing more comes.
    fn finish(&self);
}

impl Raw for UnixStream {
    fn finish(&self) {
        self.shutdown(std::net::Shutdown::Write).unwrap();
    }
}

impl Raw for TcpStream {
    fn finish(&self) {
        self.shutdown(std::net::Shutdown::Write).unwrap();
    }
}

fn raw(address: &Address) -> Box<dyn Raw> {
    match address {
        Address::Path(path) => raw_local(UnixStream::connect(path)),
        Address::Abstract(name) => {
            raw_local(UnixStream::connect_addr(&SocketAddr::from_abstract_name(name).unwrap()))
        }
        Address::Tcp(address) => {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(SOON)).unwrap();
            Box::new(stream)
        }
        Address::Host { .. } => panic!("a host has to be looked up"),
    }
}

fn raw_local(stream: std::io::Result<UnixStream>) -> Box<dyn Raw> {
    let stream = stream.unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    Box::new(stream)
}

/// A frame of these bytes.
fn frame(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

/// The next frame; `None` when the other side is gone.
fn read_frame(stream: &mut (impl Read + ?Sized)) -> Option<Vec<u8>> {
    let mut len = [0; 4];
    stream.read_exact(&mut len).ok()?;
    let mut bytes = vec![0; u32::from_be_bytes(len) as usize];
    stream.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

fn exists(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

fn entries(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}
