//! What reading a pickle may cost.

use procession_core::{Error, ErrorKind, Result};

use crate::limits::{DEEPEST, Limits};

/// For each byte of a message that mentions things more than once, so many bytes of copies are allowed besides.
const COPIES_PER_BYTE: u64 = 64;

#[derive(Debug)]
pub(crate) struct Budget {
    memory: u64,
    copies: u64,
    depth: usize,
}

impl Budget {
    pub(crate) fn new(pickle_bytes: usize, limits: &Limits) -> Self {
        let more = (pickle_bytes as u64).saturating_mul(COPIES_PER_BYTE);
        Self {
            memory: limits.memory_bytes,
            copies: limits.copies_bytes.saturating_add(more),
            depth: limits.depth.min(DEEPEST),
        }
    }

    /// Pays for memory that is about to be taken.
    pub(crate) fn pay(&mut self, bytes: usize) -> Result<()> {
        self.memory = self.memory.checked_sub(bytes as u64).ok_or_else(|| too_large("memory"))?;
        Ok(())
    }

    /// Pays for memory for one more copy of something.
    pub(crate) fn pay_for_copy(&mut self, bytes: usize) -> Result<()> {
        self.pay(bytes)?;
        let what = "memory for what it mentions more than once";
        self.copies = self.copies.checked_sub(bytes as u64).ok_or_else(|| too_large(what))?;
        Ok(())
    }

    pub(crate) fn check_depth(&self, depth: usize) -> Result<()> {
        match depth <= self.depth {
            true => Ok(()),
            false => Err(too_large("nesting")),
        }
    }
}

fn too_large(what: &str) -> Error {
    Error::new(ErrorKind::TooLarge, format!("a pickle needs more {what} than is allowed"))
}
