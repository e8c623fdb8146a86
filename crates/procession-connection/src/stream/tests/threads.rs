//! What threads leave each other at one stream.

use std::sync::mpsc;

use super::*;

/// Waits until the thread that receives sleeps.
fn wait_until_asleep(stream: &Stream) {
    while !stream.sleeps.load(Acquire) {
        thread::yield_now();
    }
}

#[test]
fn frames_of_many_senders_do_not_mix_and_each_goes_to_one_receiver() {
    const EACH: u32 = 400;
    for pair in both_kinds() {
        let (tx, rx) = streams(pair);
        let mut got: Vec<(u8, u32)> = thread::scope(|scope| {
            let senders: Vec<_> = (0..3u8)
                .map(|who| {
                    let tx = &tx;
                    scope.spawn(move || {
                        for number in 0..EACH {
                            let len = if number % 50 == 0 { 100_000 } else { number % 300 };
                            let mut bytes = vec![who; len as usize];
                            bytes.extend(number.to_le_bytes());
                            let deadline = if who == 0 { Deadline::NEVER } else { soon() };
                            let sent = tx.send(&outgoing(&bytes), deadline);
                            assert_eq!(sent.unwrap(), Sent::Yes);
                        }
                    })
                })
                .collect();
            let receivers: Vec<_> = (0..3u8)
                .map(|who| {
                    let rx = &rx;
                    scope.spawn(move || {
                        let mut got = Vec::new();
                        let deadline = if who == 0 { Deadline::NEVER } else { soon() };
                        while let Next::Message(message) = rx.recv(ANY, deadline).unwrap() {
                            let bytes = message.body.into_vec();
                            let (filling, number) = bytes.split_last_chunk::<4>().unwrap();
                            let number = u32::from_le_bytes(*number);
                            let from = filling.first().copied().unwrap_or(u8::MAX);
                            assert!(filling.iter().all(|byte| *byte == from));
                            got.push((from, number));
                        }
                        got
                    })
                })
                .collect();
            senders.into_iter().for_each(|sender| sender.join().unwrap());
            // All has gone: the end is behind it.
            socket::shut_down(&tx.socket).unwrap();
            receivers.into_iter().flat_map(|receiver| receiver.join().unwrap()).collect()
        });
        got.sort_by_key(|(_, number)| *number);
        let numbers: Vec<u32> = got.iter().map(|(_, number)| *number).collect();
        let expected: Vec<u32> = (0..EACH).flat_map(|number| [number; 3]).collect();
        assert_eq!(numbers, expected);
    }
}

#[test]
fn a_thread_behind_one_that_sleeps_keeps_its_deadline() {
    for patience in [Deadline::NEVER, soon()] {
        let (tx, rx) = streams(local());
        thread::scope(|scope| {
            let first = scope.spawn(|| recv(&rx, patience));
            wait_until_asleep(&rx);
            for _ in 0..5 {
                let short = Duration::from_millis(3);
                let start = Instant::now();
                assert_eq!(recv(&rx, Deadline::after(short)), None);
                assert!(start.elapsed() >= short);
                assert_eq!(take(&rx), None);
                assert!(!rx.poll(now()).unwrap());
            }
            send(&tx, b"for the first");
            assert_eq!(first.join().unwrap(), Some(b"for the first".to_vec()));
        });
    }
}

#[test]
fn what_one_thread_has_read_ahead_another_one_gets() {
    let (tx, rx) = streams(local());
    let (got, gets) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..2 {
            let (rx, got) = (&rx, got.clone());
            scope.spawn(move || got.send(recv(rx, soon())).unwrap());
        }
        wait_until_asleep(&rx);
        // Both in one piece, so that one read brings both.
        let both = [frame(b"one"), frame(b"two")].concat();
        socket::send(&tx.socket, &[&both], &[], Block::Yes).unwrap();
        let mut both = [gets.recv().unwrap().unwrap(), gets.recv().unwrap().unwrap()];
        both.sort();
        assert_eq!(both, [b"one".to_vec(), b"two".to_vec()]);
    });
}

#[test]
fn a_close_ends_every_wait() {
    let (tx, rx) = streams(local());
    thread::scope(|scope| {
        let rx = &rx;
        let waiting = [Deadline::NEVER, soon(), Deadline::NEVER]
            .map(|deadline| scope.spawn(move || rx.recv(ANY, deadline).err()));
        let polls = scope.spawn(|| rx.poll(soon()).err());
        wait_until_asleep(rx);
        rx.close();
        assert_eq!(polls.join().unwrap().unwrap().kind(), ErrorKind::Closed);
        for waiter in waiting {
            assert_eq!(waiter.join().unwrap().unwrap().kind(), ErrorKind::Closed);
        }
    });
    assert!(is_closed(&tx));
}

#[test]
fn a_descriptor_that_is_asked_for_while_a_thread_sleeps_tells_the_truth() {
    for patience in [Deadline::NEVER, soon()] {
        let (tx, rx) = streams(local());
        thread::scope(|scope| {
            let first = scope.spawn(|| recv(&rx, patience));
            wait_until_asleep(&rx);
            let fd = rx.as_fd().unwrap();
            assert!(!poll::wait_readable(fd, now()).unwrap());
            let both = [frame(b"one"), frame(b"two")].concat();
            socket::send(&tx.socket, &[&both], &[], Block::Yes).unwrap();
            assert_eq!(first.join().unwrap(), Some(b"one".to_vec()));
            assert!(poll::wait_readable(fd, now()).unwrap(), "the second was read ahead");
            assert_eq!(take(&rx), Some(b"two".to_vec()));
            assert!(!poll::wait_readable(fd, now()).unwrap());
        });
    }
}

#[test]
fn a_sender_behind_one_that_waits_keeps_its_deadline() {
    let (tx, rx) = streams(local());
    let long = pattern(8 << 20);
    thread::scope(|scope| {
        let first = scope.spawn(|| tx.send(&outgoing(&long), Deadline::NEVER).unwrap());
        assert!(rx.is_readable().unwrap() || poll::wait_readable(&rx.socket, soon()).unwrap());
        let short = Deadline::after(Duration::from_millis(3));
        assert_eq!(tx.send(&outgoing(b"no"), short).unwrap(), Sent::No);
        assert_eq!(recv(&rx, soon()), Some(long.clone()));
        assert_eq!(first.join().unwrap(), Sent::Yes);
    });
    assert_eq!(take(&rx), None);
}
