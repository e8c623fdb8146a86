//! Pickles: CPython's protocols 2 to 5 read, 3 written.
//!
//! Reading has two steps. A [machine](reader) runs the opcodes over a flat arena of nodes, in which whatever is shared is one node; it
//! calls nothing, and never nests. Then a [tree](tree) is made of it, in which `known` classes become values and all others
//! stay what they are: a name and its arguments. Each step pays for what it takes out of one [budget](budget).
//!
//! Writing needs no memo: a [`Value`] is a tree.

pub(crate) mod budget;
pub(crate) mod known;
pub(crate) mod opcode;
mod python2;
pub(crate) mod reader;
pub(crate) mod text;
pub(crate) mod tree;
pub(crate) mod writer;

#[cfg(test)]
pub(crate) mod tests;

use procession_core::{Error, ErrorKind, Result};

use crate::limits::Limits;
use crate::value::Value;
use budget::Budget;

impl Value {
    /// Reads a pickle, of any protocol from 2 to 5.
    ///
    /// # Errors
    ///
    /// [`Decode`](ErrorKind::Decode) when it is none, or is cut off, or holds what cannot be a tree: something that contains itself;
    /// [`TooLarge`](ErrorKind::TooLarge) when it is deeper or takes more memory than the [`Limits`] allow;
    /// [`Unsupported`](ErrorKind::Unsupported) for what only CPython can do: buffers out of band, persistent names, calls for their
    /// effects.
    pub fn from_bytes(pickle: &[u8]) -> Result<Self> {
        Self::from_bytes_within(pickle, &Limits::default())
    }

    /// As [`from_bytes`](Self::from_bytes), with other limits.
    ///
    /// # Errors
    ///
    /// As [`from_bytes`](Self::from_bytes).
    pub fn from_bytes_within(pickle: &[u8], limits: &Limits) -> Result<Self> {
        let mut budget = Budget::new(pickle.len(), limits);
        let arena = reader::run(pickle, &mut budget)?;
        tree::grow(arena, &mut budget)
    }

    /// Writes a pickle of protocol 3, which every CPython since 3.0 reads; of protocol 4, since 3.4, when the name of something that lies
    /// in a class is in it.
    ///
    /// # Errors
    ///
    /// [`Encode`](ErrorKind::Encode) when it is deeper than a peer would take, or a name has a line break in it.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        writer::begin(&mut out);
        writer::write(&mut out, self, 0)?;
        writer::end(&mut out);
        Ok(out)
    }
}

/// What is said of bytes that are no pickle.
pub(crate) fn nonsense(what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Decode, format!("not a pickle: {what}"))
}

pub(crate) fn unsupported(what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Unsupported, format!("a pickle that cannot be read here: {what}"))
}
