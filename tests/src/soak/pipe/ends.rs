//! The ends of a pipe, one way or both ways, and how letters go through them.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use procession::{Duplex, Error, ErrorKind, Receiver, Result, Sender};
use procession_sys::{Deadline, poll};
use serde::{Deserialize, Serialize};

use super::super::waited::{LATE, Waited};
use super::letter::Letter;
use super::plan::Way;

/// What letters are sent through.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Out {
    One(Box<Sender<Letter>>),
    Both(Box<Duplex<Letter, Letter>>),
}

/// What letters are received through.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum In {
    One(Box<Receiver<Letter>>),
    Both(Box<Duplex<Letter, Letter>>),
}

/// Either end.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum End {
    Out(Out),
    In(In),
}

/// The two ends of a pipe.
pub(super) fn pipe(is_duplex: bool) -> (Out, In) {
    if is_duplex {
        let (left, right) = procession::duplex().expect("a pipe");
        (Out::Both(Box::new(left)), In::Both(Box::new(right)))
    } else {
        let (tx, rx) = procession::pipe().expect("a pipe");
        (Out::One(Box::new(tx)), In::One(Box::new(rx)))
    }
}

/// How long whoever does not wait for ever waits for the first sign.
const LONG: Duration = Duration::from_secs(5);

impl Out {
    /// Sends a letter; tells whether it has gone, which it has not when the time was up.
    pub(super) fn put(&self, letter: Letter, way: Way) -> Result<bool> {
        let sent = match way {
            Way::Plain | Way::Poll | Way::Watch => self.send(letter),
            Way::Timeout(micros) => in_time(micros, |timeout| match self {
                Self::One(tx) => tx.send_timeout(letter, timeout).map_err(Error::from),
                Self::Both(both) => both.send_timeout(letter, timeout).map_err(Error::from),
            }),
            Way::Try => {
                let sent = match self {
                    Self::One(tx) => tx.try_send(letter).map_err(Error::from),
                    Self::Both(both) => both.try_send(letter).map_err(Error::from),
                };
                std::thread::yield_now();
                sent
            }
        };
        match sent {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::TimedOut => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) fn send(&self, letter: Letter) -> Result<()> {
        match self {
            Self::One(tx) => tx.send(letter),
            Self::Both(both) => both.send(letter),
        }
    }

    /// How many letters nobody has received.
    pub(super) fn unread(&self) -> u64 {
        match self {
            Self::One(tx) => tx.unread(),
            Self::Both(both) => both.unread().expect("within this machine"),
        }
    }
}

impl In {
    /// Receives a letter; none when the time was up.
    pub(super) fn take(&self, way: Way) -> Result<Option<Letter>> {
        let received = match way {
            Way::Plain => match self {
                Self::One(rx) => rx.recv(),
                Self::Both(both) => both.recv(),
            },
            Way::Timeout(micros) => in_time(micros, |timeout| match self {
                Self::One(rx) => rx.recv_timeout(timeout).map_err(Error::from),
                Self::Both(both) => both.recv_timeout(timeout).map_err(Error::from),
            }),
            Way::Try => {
                std::thread::yield_now();
                self.try_recv()
            }
            Way::Poll => {
                let is_ready = match self {
                    Self::One(rx) => rx.poll(LONG),
                    Self::Both(both) => both.poll(LONG),
                };
                is_ready.and_then(|is_ready| self.after(is_ready))
            }
            Way::Watch => {
                let until = Deadline::after(LONG);
                let is_ready = match self {
                    Self::One(rx) => poll::wait_readable(rx.as_fd(), until),
                    Self::Both(both) => poll::wait_readable(both.as_fd(), until),
                };
                is_ready.map_err(Error::from).and_then(|_maybe| self.try_recv())
            }
        };
        match received {
            Ok(letter) => Ok(Some(letter)),
            Err(error) if error.kind() == ErrorKind::TimedOut => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn try_recv(&self) -> Result<Letter> {
        match self {
            Self::One(rx) => rx.try_recv().map_err(Error::from),
            Self::Both(both) => both.try_recv().map_err(Error::from),
        }
    }

    /// What was announced is there.
    fn after(&self, is_ready: bool) -> Result<Letter> {
        let received = self.try_recv();
        if let (true, Err(error)) = (is_ready, &received) {
            assert_ne!(error.kind(), ErrorKind::TimedOut, "`poll` said that something is there");
        }
        received
    }
}

/// Does something with a timeout, which must hold.
fn in_time<T>(micros: u64, f: impl FnOnce(Duration) -> Result<T>) -> Result<T> {
    let timeout = Duration::from_micros(micros);
    // Two reads of a file: not for the shortest.
    let waited = (micros >= 1_000).then(Waited::begin);
    let start = Instant::now();
    let result = f(timeout);
    if let Err(error) = &result
        && error.kind() == ErrorKind::TimedOut
    {
        assert!(start.elapsed() >= timeout, "{:?} are too short", start.elapsed());
        if let Some(waited) = waited {
            let took = waited.end();
            assert!(took <= timeout + LATE, "a timeout of {timeout:?} took {took:?}");
        }
    }
    result
}
