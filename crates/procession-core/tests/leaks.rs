//! A failed encode attaches nothing and leaks nothing.
//!
//! A binary of its own with one test, because it counts the descriptors of the whole process.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

use std::fs::File;
use std::os::fd::OwnedFd;

use procession_core::{ErrorKind, Handle, Message, Result};
use procession_sys::fd::open_descriptors;
use serde::{Serialize, Serializer, ser};

fn open_file() -> File {
    let (here, _there) = std::os::unix::net::UnixStream::pair().unwrap();
    File::from(OwnedFd::from(here))
}

/// Attaches a handle, then refuses to be encoded.
struct Refuses(File);

impl Serialize for Refuses {
    fn serialize<S: Serializer>(&self, _serializer: S) -> Result<S::Ok, S::Error> {
        procession_core::attach(&self.0).map_err(ser::Error::custom)?;
        Err(ser::Error::custom("not today"))
    }
}

/// Attaches a handle, then panics.
struct Panics(File);

impl Serialize for Panics {
    fn serialize<S: Serializer>(&self, _serializer: S) -> Result<S::Ok, S::Error> {
        procession_core::attach(&self.0).map_err(ser::Error::custom)?;
        panic!("while encoding")
    }
}

#[test]
fn failed_encodings_attach_nothing_and_leak_nothing() {
    let before = open_descriptors().unwrap();

    let error = Message::encode(&(Handle(open_file()), Refuses(open_file()))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Encode);
    assert_eq!(Message::encode(&1u8).unwrap().handles().len(), 0, "nothing rides along");
    assert_eq!(open_descriptors().unwrap(), before);

    let panicked = std::panic::catch_unwind(|| {
        drop(Message::encode(&(Handle(open_file()), Panics(open_file()))));
    });
    assert!(panicked.is_err());
    assert_eq!(Message::encode(&1u8).unwrap().handles().len(), 0, "nothing rides along");
    assert_eq!(open_descriptors().unwrap(), before);

    let message = Message::encode(&(Handle(open_file()), 1u8)).unwrap();
    assert!(message.decode::<(Handle<File>, String)>().is_err());
    assert_eq!(open_descriptors().unwrap(), before);
}
