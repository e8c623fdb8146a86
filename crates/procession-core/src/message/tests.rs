//! What goes into a message comes out of it.

use std::fs::File;
use std::io::Write;

use serde::{Serialize, Serializer, ser};

use super::*;
use crate::Handle;

fn temporary_file() -> File {
    let (here, there) = std::os::unix::net::UnixStream::pair().unwrap();
    drop(there);
    File::from(OwnedFd::from(here))
}

/// Encodes another message while it is being encoded.
struct Nested(File);

impl Serialize for Nested {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let first = crate::attach(&self.0).map_err(ser::Error::custom)?;
        let inner = Message::encode(&Handle(temporary_file())).map_err(ser::Error::custom)?;
        assert_eq!(inner.handles().len(), 1);
        let second = crate::attach(&self.0).map_err(ser::Error::custom)?;
        (first, second).serialize(serializer)
    }
}

#[test]
fn nested_encodings_keep_their_tables_apart() {
    let message = Message::encode(&Nested(temporary_file())).unwrap();
    assert_eq!(message.handles().len(), 2);
    assert_eq!(message.decode::<(Handle<File>, Handle<File>)>().map(|_| ()).unwrap(), ());
}

#[test]
fn handles_are_refused_outside_of_messages() {
    let error = postcard::to_allocvec(&Handle(temporary_file())).unwrap_err();
    assert_eq!(error, postcard::Error::SerdeSerCustom);
    assert!(crate::claim(0).is_err());
}

#[test]
fn left_over_bytes_and_handles_are_errors() {
    let message = Message::encode(&(1u8, 2u8)).unwrap();
    assert_eq!(message.decode::<u8>().unwrap_err().kind(), ErrorKind::Decode);
    let message = Message::from_parts(vec![7], vec![temporary_file().into()]);
    assert_eq!(message.decode::<u8>().unwrap_err().kind(), ErrorKind::Decode);
}

#[test]
fn a_handle_claimed_twice_is_an_error() {
    let message = Message::from_parts(vec![0, 0], vec![temporary_file().into()]);
    let twice = message.decode::<(Handle<File>, Handle<File>)>();
    assert_eq!(twice.unwrap_err().kind(), ErrorKind::Decode);
}

#[test]
fn a_handle_is_another_descriptor_for_the_same_file() {
    let (here, mut there) = std::os::unix::net::UnixStream::pair().unwrap();
    let message = Message::encode(&Handle(here)).unwrap();
    let mut arrived: Handle<std::os::unix::net::UnixStream> = message.decode().unwrap();
    arrived.write_all(b"x").unwrap();
    let mut got = [0];
    std::io::Read::read_exact(&mut there, &mut got).unwrap();
    assert_eq!(&got, b"x");
}
