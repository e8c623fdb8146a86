//! Byte strings: arrays of bytes that end at a zero, as in C.

use procession_core::{Error, ErrorKind, Result};
use procession_sync::LockError;

use crate::{Array, ArrayGuard, RawArray};

impl RawArray<u8> {
    /// The bytes up to the first that is zero; all, if none is.
    ///
    /// # Errors
    ///
    /// As [`to_vec`](Self::to_vec).
    ///
    /// # Source
    ///
    /// `value` of CPython's arrays of `c_char`.
    pub fn value(&self) -> Result<Vec<u8>> {
        let mut bytes = self.to_vec()?;
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        bytes.truncate(end);
        Ok(bytes)
    }

    /// Writes `bytes` to the front, and a zero behind them, if there is room for one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`] when there are more than the array has: then nothing is written. [`ErrorKind::Closed`] as
    /// [`set`](Self::set).
    ///
    /// # Source
    ///
    /// `value` of CPython's arrays of `c_char`.
    pub fn set_value(&self, bytes: &[u8]) -> Result<()> {
        if bytes.len() >= self.len() {
            return self.set_raw(bytes);
        }
        self.set_raw(&[bytes, &[0]].concat())
    }

    /// Writes `bytes` to the front, and leaves what is behind.
    ///
    /// # Errors
    ///
    /// As [`set_value`](Self::set_value).
    ///
    /// # Source
    ///
    /// `raw` of CPython's arrays of `c_char`.
    pub fn set_raw(&self, bytes: &[u8]) -> Result<()> {
        if bytes.len() > self.len() {
            let text = format!("a string of {} bytes for an array of {}", bytes.len(), self.len());
            return Err(Error::new(ErrorKind::TooLarge, text));
        }
        self.write(0, bytes)
    }
}

impl Array<u8> {
    /// The bytes up to the first that is zero, read under the lock; all, if none is.
    ///
    /// # Errors
    ///
    /// As [`to_vec`](Self::to_vec).
    ///
    /// # Source
    ///
    /// CPython `SynchronizedString.value`.
    pub fn value(&self) -> Result<Vec<u8>, LockError<ArrayGuard<'_, u8>>> {
        self.under(RawArray::value)
    }

    /// Writes `bytes` to the front, and a zero behind them, if there is room for one, under the lock.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock) and [`RawArray::set_value`].
    ///
    /// # Source
    ///
    /// CPython `SynchronizedString.value`.
    pub fn set_value(&self, bytes: &[u8]) -> Result<(), LockError<ArrayGuard<'_, u8>>> {
        self.under(|raw| raw.set_value(bytes))
    }

    /// Writes `bytes` to the front, and leaves what is behind, under the lock.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock) and [`RawArray::set_raw`].
    ///
    /// # Source
    ///
    /// CPython `SynchronizedString.raw`.
    pub fn set_raw(&self, bytes: &[u8]) -> Result<(), LockError<ArrayGuard<'_, u8>>> {
        self.under(|raw| raw.set_raw(bytes))
    }
}
