//! A client, as those see it who have something to tell it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use procession_connection::{Connection, SendTimeoutError};
use procession_core::Result;
use procession_sys::prim::{Mutex, lock};

/// A client's connection, and what is aside for it.
#[derive(Debug)]
pub(super) struct Peer {
    connection: Connection,
    aside: Mutex<Aside>,
}

/// What a client has not taken.
#[derive(Debug, Default)]
struct Aside {
    frames: VecDeque<Vec<u8>>,
    bytes: u64,
    /// Whether a thread sends it. Until it has sent all, whatever comes is put aside.
    is_sent: bool,
}

impl Peer {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection, aside: Mutex::new(Aside::default()) }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Sends a frame without waiting for the client; ends its connection when more than `most` bytes would be aside for it.
    pub(super) fn send(self: &Arc<Self>, frame: Vec<u8>, most: u64) {
        let mut aside = lock(&self.aside);
        if !aside.is_sent {
            match self.connection.send_bytes_timeout(&frame, Duration::ZERO) {
                // Of one that cannot be sent the thread that reads learns.
                Ok(()) | Err(SendTimeoutError::Failed(_)) => return,
                // The rest goes first with whatever is sent next.
                Err(SendTimeoutError::Unfinished) => {}
                Err(SendTimeoutError::Timeout(())) => aside.put(frame),
            }
            aside.is_sent = true;
            let peer = Arc::clone(self);
            if super::start("manager-aside", move || peer.send_aside()).is_err() {
                self.connection.close();
            }
            return;
        }
        aside.put(frame);
        if aside.bytes > most {
            aside.frames.clear();
            self.connection.close();
        }
    }

    /// The thread that sends what is aside.
    fn send_aside(&self) {
        if self.send_all_aside().is_err() {
            // The thread that reads learns it, too.
            self.connection.close();
        }
    }

    fn send_all_aside(&self) -> Result<()> {
        loop {
            while !self.connection.flush(Duration::MAX)? {}
            let mut aside = lock(&self.aside);
            let Some(frame) = aside.frames.pop_front() else {
                aside.is_sent = false;
                return Ok(());
            };
            aside.bytes = aside.bytes.saturating_sub(frame.len() as u64);
            drop(aside);
            self.connection.send_bytes(&frame)?;
        }
    }

    pub(super) fn close(&self) {
        self.connection.close();
    }
}

impl Aside {
    fn put(&mut self, frame: Vec<u8>) {
        self.bytes = self.bytes.saturating_add(frame.len() as u64);
        self.frames.push_back(frame);
    }
}
