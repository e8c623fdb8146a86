//! A descriptor of which no copy may be left.

use std::io::PipeReader;
use std::os::fd::OwnedFd;

use procession_sys::{Deadline, poll};

use crate::SOON;

/// What tells whether a copy of a descriptor is left, anywhere.
#[derive(Debug)]
pub(super) struct Leak(Option<PipeReader>);

impl Leak {
    /// With the descriptor, if wanted.
    pub(super) fn new(is_wanted: bool) -> (Self, Option<OwnedFd>) {
        if !is_wanted {
            return (Self(None), None);
        }
        let (reader, writer) = std::io::pipe().expect("a pipe");
        (Self(Some(reader)), Some(writer.into()))
    }

    /// No copy is left, soon.
    #[track_caller]
    pub(super) fn check(&self) {
        if let Some(reader) = &self.0 {
            let is_gone = poll::wait_readable(reader, Deadline::after(SOON)).expect("a poll");
            assert!(is_gone, "copies of a descriptor are left");
        }
    }
}
