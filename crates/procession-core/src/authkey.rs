//! The key by which the processes of a family know each other.
//!
//! The first process that needs it makes it of 32 random bytes; each child gets its parent's. Listeners and clients use it
//! when they are given none of their own.

use std::fmt;

use procession_sys::random;
use procession_sys::wipe::SetOnce;
use serde::{Deserialize, Serialize};

use crate::Result;

/// Bytes that two processes must share to talk to each other. Never printed.
///
/// # Source
///
/// CPython `multiprocessing.process.AuthenticationString`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthKey(Vec<u8>);

static CURRENT: SetOnce<AuthKey> = SetOnce::new();

impl AuthKey {
    /// The key of this process.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Os`](crate::ErrorKind::Os) when the system has no random numbers.
    ///
    /// # Source
    ///
    /// CPython `current_process().authkey`.
    pub fn current() -> Result<&'static Self> {
        match CURRENT.get() {
            Some(key) => Ok(key),
            None => {
                let mut bytes = vec![0; 32];
                random::fill(&mut bytes)?;
                Ok(CURRENT.set(Self(bytes)))
            }
        }
    }

    /// Makes this the key of this process, and of those that it starts from now on.
    pub fn set_current(self) {
        CURRENT.replace(self);
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for AuthKey {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<&[u8]> for AuthKey {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl fmt::Debug for AuthKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_one_key_that_is_not_printed() {
        let key = AuthKey::current().unwrap();
        assert_eq!(key.as_bytes().len(), 32);
        assert_eq!(AuthKey::current().unwrap(), key);
        assert!(key.as_bytes().iter().any(|byte| *byte != 0));
        assert_eq!(format!("{key:?}"), "AuthKey(..)");
        AuthKey::from(&b"other"[..]).set_current();
        assert_eq!(AuthKey::current().unwrap().as_bytes(), b"other");
    }
}
