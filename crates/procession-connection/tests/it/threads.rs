//! Several threads at one receiver.

use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use procession_connection::{RecvTimeoutError, TryRecvError, pipe};

use crate::pipe::SOON;

#[test]
fn two_threads_that_need_one_message_each_get_it() {
    const PAIRS: u32 = 3000;
    let (tx, rx) = pipe::<u32>().unwrap();
    let (got, gets) = mpsc::channel();
    thread::scope(|scope| {
        // Nobody takes both messages of a pair.
        let go_on = [(); 2].map(|()| {
            let (go_on, may_go_on) = mpsc::channel();
            let (rx, got) = (&rx, got.clone());
            scope.spawn(move || {
                while let Ok(()) = may_go_on.recv() {
                    got.send(rx.recv_timeout(SOON).is_ok()).unwrap();
                }
            });
            go_on
        });
        for number in 0..PAIRS {
            go_on.iter().for_each(|thread| thread.send(()).unwrap());
            tx.send(number).unwrap();
            tx.send(number).unwrap();
            for _ in 0..2 {
                assert!(gets.recv().unwrap(), "a thread sleeps while its message lies there");
            }
        }
    });
}

#[test]
fn threads_that_look_take_nothing_from_one_that_waits() {
    const ROUNDS: u32 = 1500;
    let (tx, rx) = pipe::<(u32, Vec<u8>)>().unwrap();
    let (got, gets) = mpsc::channel();
    thread::scope(|scope| {
        let rx = &rx;
        let waits = scope.spawn(move || {
            for expected in 0..2 * ROUNDS {
                let right = rx.recv_timeout(SOON).is_ok_and(|(number, _)| number == expected);
                got.send(right).unwrap();
                if !right {
                    break;
                }
            }
        });
        scope.spawn(move || {
            while !waits.is_finished() {
                rx.poll(Duration::from_micros(50)).unwrap();
                rx.poll(Duration::ZERO).unwrap();
            }
        });
        for round in 0..ROUNDS {
            let len = if round % 10 == 0 { 20_000 } else { 0 };
            tx.send((2 * round, vec![7; len])).unwrap();
            tx.send((2 * round + 1, Vec::new())).unwrap();
            for _ in 0..2 {
                assert!(gets.recv().unwrap(), "in round {round}");
            }
        }
    });
}

#[test]
fn a_thread_that_stops_waiting_leaves_its_place_to_another() {
    for round in 0..40 {
        let (tx, rx) = pipe::<u32>().unwrap();
        let starts = Barrier::new(2);
        thread::scope(|scope| {
            let first = scope.spawn(|| {
                starts.wait();
                rx.recv_timeout(Duration::from_millis(10))
            });
            starts.wait();
            // So the second one comes behind the first.
            assert!(!rx.poll(Duration::from_millis(1)).unwrap());
            let second = scope.spawn(|| rx.recv_timeout(SOON));
            assert!(matches!(first.join().unwrap(), Err(RecvTimeoutError::Timeout)));
            tx.send(round).unwrap();
            assert_eq!(second.join().unwrap().unwrap(), round);
        });
    }
}

#[test]
fn a_thread_behind_another_keeps_its_own_deadline() {
    let (tx, rx) = pipe::<u32>().unwrap();
    thread::scope(|scope| {
        let first = scope.spawn(|| rx.recv_timeout(SOON));
        for _ in 0..5 {
            let start = Instant::now();
            let short = Duration::from_millis(3);
            assert!(matches!(rx.recv_timeout(short), Err(RecvTimeoutError::Timeout)));
            assert!(start.elapsed() >= short);
            assert!(matches!(rx.try_recv(), Err(TryRecvError::Empty)));
        }
        tx.send(7).unwrap();
        assert_eq!(first.join().unwrap().unwrap(), 7);
    });
}

#[test]
fn the_end_reaches_every_thread() {
    let (tx, rx) = pipe::<u32>().unwrap();
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..5).map(|_| scope.spawn(|| rx.recv_timeout(SOON))).collect();
        assert!(!rx.poll(Duration::from_millis(5)).unwrap());
        drop(tx);
        for thread in waiting {
            assert!(matches!(thread.join().unwrap(), Err(RecvTimeoutError::Closed)));
        }
    });
}
