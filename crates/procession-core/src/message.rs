//! A value on its way to another process.

use std::os::fd::OwnedFd;

use procession_sys::memory::SealedMapping;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{Codec, Postcard};
use crate::{Error, ErrorKind, Result, handle};

/// An encoded value: its bytes, and copies of the descriptors in it.
///
/// Dropping a message closes the copies.
#[derive(Debug)]
pub struct Message {
    content: Content,
    /// How many bytes at the front have been used.
    used: usize,
    handles: Vec<OwnedFd>,
}

/// Where the bytes are: here, or in sealed memory that came from another process.
#[derive(Debug)]
enum Content {
    Owned(Vec<u8>),
    Sealed(SealedMapping),
}

impl Message {
    /// Encodes `value`. It stays as it is: the message holds copies of its descriptors.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Encode`] when the value cannot be encoded; nothing is left open then.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self> {
        Self::encode_behind(Vec::new(), value)
    }

    /// Encodes `value` behind bytes that are there already, a header say.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Encode`] when the value cannot be encoded; nothing is left open then.
    pub fn encode_behind<T: Serialize + ?Sized>(prefix: Vec<u8>, value: &T) -> Result<Self> {
        let (bytes, handles) = handle::while_encoding(|| Postcard::encode_into(value, prefix))?;
        Ok(Self::from_parts(bytes, handles))
    }

    /// Appends the bytes of `value` to `bytes`, and returns the copies of its descriptors: a message without one around it.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode); a part of the value may be in `bytes` then.
    #[inline]
    pub fn encode_onto<T: Serialize + ?Sized>(
        bytes: &mut Vec<u8>,
        value: &T,
    ) -> Result<Vec<OwnedFd>> {
        handle::while_encoding(|| Postcard::append(value, bytes)).map(|((), handles)| handles)
    }

    /// A message of bytes that are encoded already, and the descriptors that belong to them.
    pub fn from_parts(bytes: Vec<u8>, handles: Vec<OwnedFd>) -> Self {
        Self { content: Content::Owned(bytes), used: 0, handles }
    }

    pub(crate) fn from_sealed(mapping: SealedMapping, handles: Vec<OwnedFd>) -> Self {
        Self { content: Content::Sealed(mapping), used: 0, handles }
    }

    /// The value.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`] when the message is not one whole value of this type; its descriptors are closed then.
    pub fn decode<T: DeserializeOwned>(self) -> Result<T> {
        Self::decode_parts(&self.content.bytes()[self.used..], self.handles)
    }

    /// The value in bytes and descriptors that lie apart.
    ///
    /// # Errors
    ///
    /// As [`decode`](Self::decode).
    #[inline]
    pub fn decode_parts<T: DeserializeOwned>(bytes: &[u8], handles: Vec<OwnedFd>) -> Result<T> {
        let (value, left) = handle::while_decoding(handles, || Postcard::decode(bytes))?;
        if left > 0 {
            let text = format!("a message brought {left} handles more than its value holds");
            return Err(Error::new(ErrorKind::Decode, text));
        }
        Ok(value)
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.content.bytes()[self.used..]
    }

    /// Drops `count` bytes at the front, a header say, or all there are; nothing is copied.
    pub fn advance(&mut self, count: usize) {
        self.used = self.used.saturating_add(count).min(self.content.bytes().len());
    }

    /// The descriptors.
    pub fn handles(&self) -> &[OwnedFd] {
        &self.handles
    }

    /// Takes the descriptors out, to be put elsewhere.
    pub fn take_handles(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.handles)
    }

    /// Puts descriptors back that were taken out.
    pub fn put_handles(&mut self, handles: Vec<OwnedFd>) {
        self.handles = handles;
    }

    /// The bytes and the descriptors.
    pub fn into_parts(self) -> (Vec<u8>, Vec<OwnedFd>) {
        let bytes = match self.content {
            Content::Owned(mut bytes) => {
                bytes.drain(..self.used);
                bytes
            }
            Content::Sealed(mapping) => mapping.bytes()[self.used..].to_vec(),
        };
        (bytes, self.handles)
    }
}

impl Content {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Sealed(mapping) => mapping.bytes(),
        }
    }
}

#[cfg(test)]
mod tests;
