//! CPython: _TestPoll.

use super::*;

// test_empty_string
#[test]
fn an_empty_message_can_be_polled_for_again_and_again() {
    for_each_pair("poll-empty", |server, client| {
        assert!(!server.poll(Duration::ZERO).unwrap());
        client.send_bytes(b"").unwrap();
        assert!(server.poll(SOON).unwrap());
        for _ in 0..3 {
            assert!(server.poll(Duration::ZERO).unwrap());
        }
        assert_eq!(server.recv_bytes().unwrap(), b"");
        assert!(!server.poll(Duration::ZERO).unwrap());
    });
}

// test_strings
#[test]
fn messages_arrive_one_by_one_and_in_order() {
    let messages = [&b"hello"[..], b"", b"a", b"b", b"", b"bye", b"", b"lop"];
    for_each_pair("poll-strings", |server, client| {
        thread::scope(|scope| {
            scope.spawn(|| {
                for message in messages {
                    client.send_bytes(message).unwrap();
                    assert!(client.poll(SOON).unwrap());
                    assert_eq!(client.recv_bytes().unwrap(), b"got it");
                }
            });
            for message in messages {
                assert!(server.poll(SOON).unwrap());
                assert_eq!(server.recv_bytes().unwrap(), message);
                server.send_bytes(b"got it").unwrap();
            }
        });
    });
}

// test_boundaries: there, in another process; here, in another thread, for an end has one holder.
#[test]
fn who_polls_takes_no_part_of_a_message() {
    for_each_pair("poll-boundaries", |server, client| {
        thread::scope(|scope| {
            let polls = scope.spawn(|| server.poll(SOON).unwrap());
            client.send_bytes(b"first message").unwrap();
            client.send_bytes(b"second").unwrap();
            assert!(polls.join().unwrap());
            assert_eq!(server.recv_bytes().unwrap(), b"first message");
            assert_eq!(server.recv_bytes().unwrap(), b"second");
        });
    });
}

// test_dont_merge
#[test]
fn messages_that_wait_together_stay_apart() {
    for_each_pair("poll-merge", |server, client| {
        for message in [&b"a"[..], b"b", b"c"] {
            client.send_bytes(message).unwrap();
        }
        for message in [&b"a"[..], b"b", b"c"] {
            assert!(server.poll(SOON).unwrap());
            assert!(server.poll(Duration::ZERO).unwrap());
            assert_eq!(server.recv_bytes().unwrap(), message);
        }
        assert!(!server.poll(Duration::ZERO).unwrap());
    });
}

#[test]
fn the_end_can_be_polled_for() {
    for_each_pair("poll-end", |server, client| {
        drop(client);
        assert!(server.poll(SOON).unwrap());
        assert_eq!(kind(server.recv_bytes()), ErrorKind::Closed);
        assert!(server.poll(Duration::ZERO).unwrap());
    });
}
