//! CPython's handshake: two passes, in each of which one side proves by a MAC that it knows the key.
//!
//! ```text
//! listener                             client
//!   challenge  --------------------->
//!              <---------------------  MAC over the challenge
//!   welcome, or failure  ----------->
//!              <---------------------  challenge
//!   MAC over that  ----------------->
//!              <---------------------  welcome, or failure
//! ```
//!
//! Each arrow is a [frame](crate::wire) of at most 256 bytes. CPython 3.12 and later name a digest in the challenge; before, it was MD5.
//! What we send names SHA-256, and is understood by all: an older CPython answers it by MD5, over the same bytes.
//!
//! Both MACs are made in the same way over what the other side has sent. So a client without the key could have its challenge answered by
//! the listener itself, if that answered before it was convinced; it does not. The verdicts are words that anybody in between can
//! say: a listener is convinced by the answer that it got, a client by the one that it got.

pub(crate) mod digest;
pub(crate) mod handshake;

#[cfg(test)]
mod tests;

/// The digests that a peer may answer with.
///
/// CPython 3.12 and later answer our challenge with SHA-256; before, with MD5, as a CPython does whose client or listener is older. A MAC
/// by MD5 is not known to be breakable, but it is what people have stopped to trust.
///
/// # Examples
///
/// ```
/// use procession_python::{Client, Digests};
///
/// // Only CPython 3.12 and later.
/// let client = Client::builder("/run/my.sock").digests(Digests::Modern);
/// # drop(client);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Digests {
    /// MD5 as well: CPython 3.6 to 3.11 can talk to us.
    #[default]
    All,
    /// SHA-256, SHA-384, SHA3-256 and SHA3-384 only: CPython 3.12 and later. MD5 is neither taken nor given.
    Modern,
}
