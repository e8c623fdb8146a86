//! What proves that somebody knows the key.

use blake3::Hash;
use procession_core::Result;
use procession_core::authkey::AuthKey;
use procession_sys::random;
use zeroize::{Zeroize, Zeroizing};

/// Names the one purpose for which keys are derived here. To change anything of the protocol is to change this as well.
const PURPOSE: &str = "procession 2026-11 authentication of connections, version 1";

/// How long a nonce is. Two that a process makes in its life are never equal, in practice.
pub(super) const NONCE: usize = 32;
/// How long a proof is.
pub(super) const MAC: usize = blake3::OUT_LEN;

/// A number that is used once.
pub(super) type Nonce = [u8; NONCE];

/// Makes one.
pub(super) fn nonce() -> Result<Nonce> {
    let mut bytes = [0; NONCE];
    random::fill(&mut bytes)?;
    Ok(bytes)
}

/// What either side of a pass is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Challenger,
    Answerer,
}

impl Role {
    /// All of one length, so that what follows stands at one place.
    fn name(self) -> &'static [u8; 12] {
        match self {
            Self::Challenger => b"challenger  ",
            Self::Answerer => b"answerer    ",
        }
    }
}

/// The key of all proofs, which is derived from the one that was given.
#[derive(Clone)]
pub(crate) struct MacKey(Zeroizing<[u8; blake3::KEY_LEN]>);

impl MacKey {
    pub(crate) fn new(key: &AuthKey) -> Self {
        Self(Zeroizing::new(blake3::derive_key(PURPOSE, key.as_bytes())))
    }

    /// The proof that `from` gives `to` in the pass of these two nonces.
    pub(super) fn prove(
        &self,
        from: Role,
        to: Role,
        challenger: &Nonce,
        answerer: &Nonce,
    ) -> [u8; MAC] {
        *self.hash(from, to, challenger, answerer).as_bytes()
    }

    /// Whether `proof` is that, in a time that does not tell where it is wrong.
    pub(super) fn accepts(
        &self,
        proof: [u8; MAC],
        from: Role,
        to: Role,
        challenger: &Nonce,
        answerer: &Nonce,
    ) -> bool {
        // The comparison of hashes takes the same time for all.
        self.hash(from, to, challenger, answerer) == Hash::from_bytes(proof)
    }

    fn hash(&self, from: Role, to: Role, challenger: &Nonce, answerer: &Nonce) -> Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for part in [&from.name()[..], to.name(), challenger, answerer] {
            hasher.update(part);
        }
        let hash = hasher.finalize();
        hasher.zeroize();
        hash
    }
}

impl std::fmt::Debug for MacKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MacKey(..)")
    }
}
