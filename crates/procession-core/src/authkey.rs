//! The key by which the processes of a family know each other.
//!
//! The first process that needs it makes it of 32 random bytes; each child gets its parent's. Listeners and clients are given
//! [it](AuthKey::current), or one of their own.

use std::fmt;

use constant_time_eq::constant_time_eq;
use procession_sys::random;
use procession_sys::wipe::SetOnce;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::Result;

/// Bytes that two processes must share to talk to each other. Never printed.
///
/// Two keys are compared in a time that tells nothing but their lengths. Any bytes are a key, none at all, too.
///
/// # Drop, kill, fork
///
/// The bytes are overwritten when the key is dropped. They are not when the process is killed, nor where they were before they
/// became a key, nor in messages by which a key travels; and the key of the process lives as long as that. A forked child has a copy.
///
/// # Source
///
/// CPython `multiprocessing.process.AuthenticationString`.
///
/// # Examples
///
/// ```
/// use procession_core::authkey::AuthKey;
///
/// let key = AuthKey::from(&b"correct horse battery staple"[..]);
/// assert_eq!(format!("{key:?}"), "AuthKey(..)");
/// assert_ne!(&key, AuthKey::current()?);
/// # Ok::<(), procession_core::Error>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
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
                let mut key = Self(vec![0; 32]);
                random::fill(&mut key.0)?;
                Ok(CURRENT.set(key))
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

impl PartialEq for AuthKey {
    fn eq(&self, other: &Self) -> bool {
        constant_time_eq(&self.0, &other.0)
    }
}

impl Eq for AuthKey {}

impl Drop for AuthKey {
    fn drop(&mut self) {
        self.0.zeroize();
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

    #[test]
    fn keys_are_equal_when_all_of_their_bytes_are() {
        let key = |bytes: &[u8]| AuthKey::from(bytes);
        assert_eq!(key(b"secret"), key(b"secret"));
        assert_eq!(key(b""), key(b""));
        for other in [&b"secreT"[..], b"Secret", b"secre", b"secrets", b""] {
            assert_ne!(key(b"secret"), key(other));
        }
    }
}
