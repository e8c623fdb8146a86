//! What the rows have in common.

use procession::prelude::*;
use procession_sys::signal;
use procession_tests::{SOON, Stranger};
use serde::{Deserialize, Serialize};

/// A row: its name, and what it does.
pub(crate) type Row = (&'static str, fn());

/// What a child returned.
#[track_caller]
pub(crate) fn value<R: Serialize + for<'de> Deserialize<'de> + 'static>(child: &Process<R>) -> R {
    let joined = child.join_timeout(SOON).expect("it ends");
    joined.unwrap()
}

/// The next message.
#[track_caller]
pub(crate) fn next<T: Serialize + for<'de> Deserialize<'de> + 'static>(rx: &Receiver<T>) -> T {
    rx.recv_timeout(SOON).unwrap()
}

/// Says who it is, and waits to be killed.
pub(crate) fn await_death(tx: &Sender<u32>) {
    tx.send(std::process::id()).unwrap();
    loop {
        std::thread::park();
    }
}

/// Kills a process without waiting for its end.
#[track_caller]
pub(crate) fn kill(pid: u32) {
    assert!(Stranger::new(pid).signal(signal::KILL));
}
