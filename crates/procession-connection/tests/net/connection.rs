//! CPython: _TestConnection, over each kind of socket.

use std::fs::File;
use std::io::Seek;
use std::os::fd::AsRawFd;

use procession_core::Handle;

use super::fork::alone;
use super::*;

// test_connection
#[test]
fn values_and_bytes_come_back_from_an_echo() {
    for_each_pair("connection", |server, client| {
        thread::scope(|scope| {
            scope.spawn(|| {
                while let Ok(bytes) = server.recv_bytes() {
                    server.send_bytes(&bytes).unwrap();
                }
            });
            let value = (vec![1u32, 2], "text".to_owned(), None::<u8>);
            client.send(value.clone()).unwrap();
            assert_eq!(client.recv::<(Vec<u32>, String, Option<u8>)>().unwrap(), value);
            for bytes in [&b"hello"[..], b"", &[7; 16 << 20]] {
                client.send_bytes(bytes).unwrap();
                assert!(client.recv_bytes().unwrap() == bytes);
            }
            assert!(!client.poll(Duration::ZERO).unwrap());
            assert!(!client.poll(Duration::from_millis(2)).unwrap());
            client.close();
        });
        drop(server);
        assert_eq!(kind(client.recv_bytes()), ErrorKind::Closed);
    });
}

// test_context
#[test]
fn a_closed_connection_is_closed() {
    for_each_pair("closed", |server, client| {
        client.send_bytes(b"last").unwrap();
        client.close();
        assert_eq!(kind(client.recv_bytes()), ErrorKind::Closed);
        assert_eq!(kind(client.send_bytes(b"more")), ErrorKind::Closed);
        assert_eq!(server.recv_bytes().unwrap(), b"last");
        assert_eq!(kind(server.recv_bytes()), ErrorKind::Closed);
    });
}

/// A file that has no path any more.
fn file() -> File {
    let path = std::env::temp_dir().join(format!("procession-fd-{}", std::process::id()));
    let file = File::options().read(true).write(true).create(true).truncate(true).open(&path);
    let file = file.unwrap();
    std::fs::remove_file(&path).unwrap();
    file
}

// test_fd_transfer, test_large_fd_transfer
#[test]
fn an_open_file_is_sent_and_written_through() {
    // In a process of its own, in which nobody else closes files.
    alone(|| {
        let listener = Listener::new().unwrap();
        let client = connect(listener.address(), None).unwrap();
        let server = listener.accept_timeout(SOON).unwrap();
        let mut filling = Vec::new();
        for large in [false, true] {
            // So many that the number of the one that comes is large.
            while large && filling.len() < 300 {
                filling.push(File::open("/dev/null").unwrap());
            }
            let mut file = file();
            client.send(Handle(file.try_clone().unwrap())).unwrap();
            let mut same: Handle<File> = server.recv().unwrap();
            assert!(!large || same.as_raw_fd() >= 256);
            same.write_all(b"foo").unwrap();
            file.rewind().unwrap();
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            assert_eq!(text, "foo");
        }
    });
}

// test_missing_fd_transfer
#[test]
fn a_handle_that_did_not_come_is_an_error() {
    let listener = Listener::new().unwrap();
    let mut client = raw(listener.address());
    let server = listener.accept_timeout(SOON).unwrap();
    // What a message with one handle looks like, whatever its first bytes are for.
    for bytes in [&[1, 0][..], &[0], &[1]] {
        client.write_all(&frame(bytes)).unwrap();
        assert_eq!(kind(server.recv::<Handle<File>>()), ErrorKind::Decode);
    }
}

#[test]
fn handles_do_not_travel_by_tcp() {
    let listener = Listener::bind("127.0.0.1:0").unwrap();
    let (server, client) = meet(&listener, None);
    assert_eq!(kind(client.send(Handle(file()))), ErrorKind::Unsupported);
    client.send(7u8).unwrap();
    assert_eq!(server.recv::<u8>().unwrap(), 7);
}
