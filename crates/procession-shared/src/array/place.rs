//! Where an array lies: small ones in the family's arena, large ones in memory of their own.

use procession_core::Result;
use procession_core::arena::{Kind, OWN_WORDS, Object};
use procession_sys::block::SharedBytes;
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::Relaxed;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::SharedMemory;

/// Bytes in a word of an object.
const WORD: usize = size_of::<u64>();
/// Where the words begin that do not fit into the first place of an object.
const BEHIND: usize = OWN_WORDS + 2;
/// Up to so many bytes lie in the arena: it has 16 MiB for all, and memory of its own costs a descriptor and a page.
const MOST_IN_ARENA: usize = 8192;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Place {
    Arena(InArena),
    Memory(InMemory),
}

/// Memory without a name, that may be written.
#[derive(Debug, Clone, Serialize)]
pub(super) struct InMemory(SharedMemory);

#[derive(Debug, Clone)]
pub(super) struct InArena {
    object: Object,
    /// Those of the object that are its own.
    words: &'static [AtomicU64],
    /// That of the family: which process this is, once it has joined.
    me: &'static AtomicU64,
}

impl Place {
    /// Room for so many bytes, which are zero.
    pub(super) fn new(len_bytes: usize) -> Result<Self> {
        if len_bytes > MOST_IN_ARENA {
            return SharedMemory::new(len_bytes).map(InMemory).map(Self::Memory);
        }
        let words = len_bytes.div_ceil(WORD).max(1);
        let words = if words <= OWN_WORDS { words } else { BEHIND + words };
        Object::new(Kind::ARRAY, words, |_, _| {}).map(InArena::of).map(Self::Arena)
    }

    /// Its bytes; at least so many as it was made for.
    ///
    /// # Errors
    ///
    /// When it is gone, as [`Object::check`].
    #[inline(always)]
    pub(super) fn bytes(&self) -> Result<SharedBytes<'_>> {
        match self {
            Self::Arena(arena) => {
                arena.check()?;
                Ok(SharedBytes::of_words(arena.words))
            }
            Self::Memory(InMemory(memory)) => memory.bytes(),
        }
    }
}

impl InArena {
    fn of(object: Object) -> Self {
        let all = object.words();
        let words = if all.len() <= BEHIND { &all[..OWN_WORDS] } else { &all[BEHIND..] };
        let me = object.family().me_word();
        Self { object, words, me }
    }

    /// As [`RawValue::check`](crate::RawValue).
    #[inline(always)]
    fn check(&self) -> Result<()> {
        // ORDERING: Relaxed: as in `Family::peek_me`.
        if self.me.load(Relaxed) != 0 && self.object.is_there() {
            return Ok(());
        }
        self.check_slowly()
    }

    #[cold]
    fn check_slowly(&self) -> Result<()> {
        self.object.check().map(drop)
    }
}

impl Serialize for InArena {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.object.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for InArena {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Object::deserialize(Kind::ARRAY, deserializer).map(Self::of)
    }
}

impl<'de> Deserialize<'de> for InMemory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let memory = SharedMemory::deserialize(deserializer)?;
        if memory.name().is_some() || !memory.is_writable() {
            return Err(D::Error::custom("not the memory of an array"));
        }
        Ok(Self(memory))
    }
}
