//! What a worker writes to its standard error, and the end of it.

use std::io::{PipeReader, Read, Write};

use procession_sys::Deadline;
use procession_sys::poll::{self, Watch};

/// How many bytes are kept.
const KEPT: usize = 4096;

/// How many are read at a time.
const AT_ONCE: usize = 16 << 10;

/// Passes on what a worker writes to its standard error, and keeps the end of it.
#[derive(Debug)]
pub(super) struct Tail {
    pipe: PipeReader,
    /// Whether nobody writes any more.
    is_over: bool,
    kept: Vec<u8>,
}

impl Tail {
    pub(super) fn new(pipe: PipeReader) -> Self {
        Self { pipe, is_over: false, kept: Vec::new() }
    }

    pub(super) fn pipe(&self) -> &PipeReader {
        &self.pipe
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Passes on what is there: at least a byte, or the end.
    pub(super) fn pass_on(&mut self) {
        let mut bytes = [0; AT_ONCE];
        let read = match self.pipe.read(&mut bytes) {
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return,
            Err(_) => 0,
        };
        self.is_over = read == 0;
        let bytes = &bytes[..read];
        // Nobody is there to be told if it cannot be written.
        drop(std::io::stderr().write_all(bytes));
        self.kept.extend_from_slice(&bytes[read.saturating_sub(KEPT)..]);
        self.kept.drain(..self.kept.len().saturating_sub(KEPT));
    }

    /// Passes on what was written up to now, without waiting: whatever the worker has started may write for ever.
    pub(super) fn drain(&mut self) {
        let is_there = |tail: &Self| {
            poll::wait(&mut [Watch::readable(&tail.pipe)], Deadline::PAST).is_ok_and(|n| n > 0)
        };
        // No more than a pipe holds.
        for _ in 0..64 {
            if self.is_over || !is_there(self) {
                break;
            }
            self.pass_on();
        }
    }

    /// The end of what was written, from the beginning of a character on.
    pub(super) fn into_text(mut self) -> String {
        self.drain();
        let is_inside = |byte: &&u8| **byte & 0xc0 == 0x80;
        let cut = self.kept.iter().take(3).take_while(is_inside).count();
        String::from_utf8_lossy(&self.kept[cut..]).into_owned()
    }
}
