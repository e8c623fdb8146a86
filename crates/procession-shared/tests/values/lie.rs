//! Messages with handles that say of themselves what is not true.

use procession_core::Message;
use procession_core::arena::{Kind, Object};
use serde::{Serialize, Serializer};

/// An object of some kind, to be handed out as whatever.
pub(crate) struct Bare(Object);

impl Bare {
    pub(crate) fn value(words: usize) -> Self {
        Self(Object::new(Kind::VALUE, words, |_, _| {}).unwrap())
    }

    pub(crate) fn array(words: usize) -> Self {
        Self(Object::new(Kind::ARRAY, words, |_, _| {}).unwrap())
    }

    /// As the handle of a value of the type with that fingerprint.
    pub(crate) fn as_value(&self, ty: u64) -> Message {
        Message::encode(&(ty, self)).unwrap()
    }

    /// As the handle of an array in the arena.
    pub(crate) fn as_array(&self, ty: u64, len: usize) -> Message {
        const ARENA: u32 = 0;
        Message::encode(&(ty, len, ARENA, self)).unwrap()
    }
}

impl Serialize for Bare {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}
