//! Messages arrive whole, whatever their size, or an error says why not.

use std::os::fd::OwnedFd;

use super::*;

fn handles(count: usize) -> Vec<Handle<OwnedFd>> {
    let (one, _other) = socket::stream_pair().unwrap();
    (0..count).map(|_| Handle(procession_sys::fd::duplicate(&one).unwrap())).collect()
}

fn round_trip(message: &Message) -> Message {
    let (left, right) = Courier::pair().unwrap();
    left.send(message).unwrap();
    right.recv().unwrap().unwrap()
}

#[test]
fn sizes_around_the_inline_limit_arrive() {
    for len in [0, 1, INLINE - 1, INLINE, INLINE + 1, 3 << 20] {
        let bytes: Vec<u8> = (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let got = round_trip(&Message::from_parts(bytes.clone(), Vec::new()));
        assert_eq!(got.bytes(), bytes, "{len} bytes");
    }
}

#[test]
fn any_number_of_handles_arrives() {
    for count in [0, 1, 251, 252, 253, 254, 600] {
        let message = Message::encode(&handles(count)).unwrap();
        let got: Vec<Handle<OwnedFd>> = round_trip(&message).decode().unwrap();
        assert_eq!(got.len(), count);
    }
}

#[test]
fn many_handles_and_a_large_content_arrive_together() {
    let content = vec![7u8; INLINE + 1];
    let message = Message::encode(&(handles(300), content)).unwrap();
    let got: (Vec<Handle<OwnedFd>>, Vec<u8>) = round_trip(&message).decode().unwrap();
    assert_eq!((got.0.len(), got.1.len()), (300, INLINE + 1));
}

#[test]
fn what_was_sent_before_the_end_is_received_before_the_end() {
    let (left, right) = Courier::pair().unwrap();
    left.send(&Message::encode(&1u8).unwrap()).unwrap();
    // Unread at the end that goes: the other end is told "connection reset" first.
    right.send(&Message::encode(&2u8).unwrap()).unwrap();
    drop(left);
    assert_eq!(right.recv().unwrap().unwrap().decode::<u8>().unwrap(), 1);
    assert!(right.recv().unwrap().is_none());
    let error = right.send(&Message::encode(&3u8).unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
}

#[test]
fn a_full_socket_takes_nothing_and_a_waiting_one_all() {
    let (left, right) = Courier::pair().unwrap();
    let message = Message::from_parts(vec![7; INLINE], Vec::new());
    let went = (0..).take_while(|_| left.try_send(&message).unwrap()).count();
    assert!(went > 0);
    for _ in 0..went {
        assert!(matches!(right.try_recv().unwrap(), Received::Message(_)));
    }
    assert!(matches!(right.try_recv().unwrap(), Received::Nothing));
    std::thread::scope(|scope| {
        scope.spawn(|| (0..10 * went).for_each(|_| left.send(&message).unwrap()));
        for _ in 0..10 * went {
            assert_eq!(right.recv().unwrap().unwrap().bytes(), message.bytes());
        }
    });
}

#[test]
fn nonsense_is_an_error_and_the_connection_goes_on() {
    let (raw, end) = socket::seqpacket_pair().unwrap();
    let end = Courier::from(end);
    let mut lying = [0; HEADER];
    lying[..4].copy_from_slice(&MAGIC.to_le_bytes());
    lying[16] = 9;
    let mut spilled = lying;
    spilled[4] = 1;
    let mut promises_handles = lying;
    promises_handles[8] = 3;
    for packet in [&b"x"[..], &[0; HEADER], &lying, &spilled, &promises_handles] {
        socket::send(&raw, &[packet], &[], Block::Yes).unwrap();
        assert_eq!(end.recv().unwrap_err().kind(), ErrorKind::Decode);
    }
    // Memory that its sender could still change is not looked at.
    let unsealed = procession_sys::memory::SharedWords::create(2).unwrap();
    socket::send(&raw, &[&spilled], &[unsealed.as_fd()], Block::Yes).unwrap();
    assert_eq!(end.recv().unwrap_err().os_code(), Some(OsCode::NOT_PERMITTED));
    Courier::from(raw).send(&Message::encode(&5u8).unwrap()).unwrap();
    assert_eq!(end.recv().unwrap().unwrap().decode::<u8>().unwrap(), 5);
}
