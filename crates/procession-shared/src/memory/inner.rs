//! What a handle to a block is, and how it goes to another process.
//!
//! A process has each block without a name mapped once, however often it is received: [`KNOWN`] finds it by its file. A block with a
//! name is looked up by the name, and must be the one that was sent.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

use procession_core::arena::{Kind, Object};
use procession_core::{Error, ErrorKind, Handle, Result, refuse};
use procession_sys::block::{Block, FileId, NamedBlock, SharedBytes};
use procession_sys::prim::AtomicBool;
use procession_sys::prim::Ordering::Relaxed;
use procession_sys::process;
use procession_sys::wipe::PerProcess;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{read_only, refused, torn};
use crate::pool::{self, Segment};

/// The blocks without a name that this process has sent or received, and has.
static KNOWN: PerProcess<HashMap<FileId, Weak<Inner>>> = PerProcess::new();

/// A block that this process has mapped.
#[derive(Debug)]
pub(super) enum Inner {
    Anonymous(Anonymous),
    Named(Named),
}

#[derive(Debug)]
pub(super) struct Anonymous {
    segment: Arc<Segment>,
    /// Of the block's bytes, how many are used.
    size: usize,
    id: FileId,
    /// The process that made it; zero for one that has received it.
    maker: u32,
    /// Whether others may only read it.
    is_kept: AtomicBool,
}

#[derive(Debug)]
pub(super) struct Named {
    name: String,
    block: NamedBlock,
    id: FileId,
}

/// A block in a message.
#[derive(Serialize, Deserialize)]
enum Sent<F, O> {
    Anonymous { file: F, object: O, size: usize },
    Named { name: String, size: usize, device: u64, inode: u64 },
}

/// A block as it goes, and as it arrives.
type SentBy<'a> = Sent<Handle<&'a Block>, Leaving<'a>>;
type Received = Sent<Handle<OwnedFd>, Arrived>;

/// The object of a block, as it goes.
struct Leaving<'a>(&'a Object);

impl Serialize for Leaving<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// The object of a block, as it arrives.
struct Arrived(Object);

impl<'de> Deserialize<'de> for Arrived {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Object::deserialize(Kind::BLOCK, deserializer).map(Self)
    }
}

impl Inner {
    /// A block without a name that this process made.
    pub(super) fn made(segment: Arc<Segment>, size: usize) -> Result<Self> {
        let id = segment.block.id()?;
        let maker = process::id();
        let is_kept = AtomicBool::new(false);
        Ok(Self::Anonymous(Anonymous { segment, size, id, maker, is_kept }))
    }

    pub(super) fn named(name: &str, block: NamedBlock) -> Result<Self> {
        let id = block.id()?;
        let name = name.strip_prefix('/').unwrap_or(name).to_owned();
        Ok(Self::Named(Named { name, block, id }))
    }

    pub(super) fn name_and_id(&self) -> Option<(&str, FileId)> {
        match self {
            Self::Anonymous(_) => None,
            Self::Named(named) => Some((&named.name, named.id)),
        }
    }

    pub(super) fn id(&self) -> FileId {
        match self {
            Self::Anonymous(anonymous) => anonymous.id,
            Self::Named(named) => named.id,
        }
    }

    pub(super) fn size(&self) -> usize {
        match self {
            Self::Anonymous(anonymous) => anonymous.size,
            Self::Named(named) => named.block.len(),
        }
    }

    pub(super) fn is_writable(&self) -> bool {
        match self {
            Self::Anonymous(anonymous) => anonymous.segment.block.bytes().is_writable(),
            Self::Named(_) => true,
        }
    }

    #[inline]
    pub(super) fn bytes(&self) -> Result<SharedBytes<'_>> {
        match self {
            Self::Anonymous(Anonymous { segment, size, .. }) => {
                segment.object.check()?;
                let bytes = segment.block.bytes();
                Ok(bytes.get(0..*size).unwrap_or(bytes))
            }
            Self::Named(named) => {
                named.is_whole()?;
                Ok(named.block.bytes())
            }
        }
    }

    #[inline]
    pub(super) fn is_whole(&self) -> Result<()> {
        match self {
            Self::Anonymous(_) => Ok(()),
            Self::Named(named) => named.is_whole(),
        }
    }

    /// Has others only read it.
    pub(super) fn keep_writing(&self) -> Result<()> {
        let Self::Anonymous(Anonymous { segment, is_kept, .. }) = self else {
            return Err(Error::new(ErrorKind::InvalidInput, "whoever has the name may write"));
        };
        if !self.is_writable() {
            return Err(read_only());
        }
        if is_kept.load(Relaxed) {
            return Ok(());
        }
        segment.object.check()?;
        if !segment.object.is_unshared()? {
            let text = "another process has the block, and may write it";
            return Err(Error::new(ErrorKind::InvalidInput, text));
        }
        segment.block.seal_future_write().map_err(refused)?;
        is_kept.store(true, Relaxed);
        Ok(())
    }

    pub(super) fn serialize<S: Serializer>(
        this: &Arc<Self>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match &**this {
            Self::Anonymous(anonymous) => {
                // Found again if it comes back.
                KNOWN.lock().map_err(S::Error::custom)?.insert(anonymous.id, Arc::downgrade(this));
                let Segment { block, object } = &*anonymous.segment;
                let file = Handle(block);
                let (object, size) = (Leaving(object), anonymous.size);
                SentBy::Anonymous { file, object, size }.serialize(serializer)
            }
            Self::Named(Named { name, block, id: FileId { device, inode } }) => {
                let (name, size) = (name.clone(), block.len());
                let (device, inode) = (*device, *inode);
                SentBy::Named { name, size, device, inode }.serialize(serializer)
            }
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<Self>, D::Error> {
        let received = match Received::deserialize(deserializer)? {
            Sent::Anonymous { file: Handle(file), object, size } => {
                Self::receive(file, object.0, size)
            }
            Sent::Named { name, size, device, inode } => {
                Self::find(&name, size, FileId { device, inode }).map(Arc::new)
            }
        };
        received.map_err(|error| D::Error::custom(refuse(error)))
    }

    fn receive(file: OwnedFd, object: Object, size: usize) -> Result<Arc<Self>> {
        let id = FileId::of(&file)?;
        // Not dropped under the lock, which that takes.
        let same = KNOWN.lock()?.get(&id).and_then(Weak::upgrade);
        if let Some(same) = same.filter(|same| same.is(&object, size)) {
            return Ok(same);
        }
        let block = Block::open(file).map_err(refused)?;
        if size == 0 || size > block.len() {
            return Err(strange());
        }
        let segment = Arc::new(Segment { block, object });
        let is_kept = AtomicBool::new(true);
        let this = Arc::new(Self::Anonymous(Anonymous { segment, size, id, maker: 0, is_kept }));
        KNOWN.lock()?.insert(id, Arc::downgrade(&this));
        Ok(this)
    }

    fn is(&self, object: &Object, size: usize) -> bool {
        let Self::Anonymous(anonymous) = self else { return false };
        let ours = &anonymous.segment.object;
        (ours.number(), ours.generation(), anonymous.size)
            == (object.number(), object.generation(), size)
    }

    fn find(name: &str, size: usize, id: FileId) -> Result<Self> {
        let block = NamedBlock::attach(name).map_err(refused)?;
        match (block.len(), block.id()?) == (size, id) {
            true => Self::named(name, block),
            false => {
                let text = format!("the shared memory {name:?} is gone, and another has its name");
                Err(Error::new(ErrorKind::NotFound, text))
            }
        }
    }
}

impl Named {
    #[inline]
    fn is_whole(&self) -> Result<()> {
        if self.block.is_torn() { Err(torn(&self.name)) } else { Ok(()) }
    }
}

impl Drop for Anonymous {
    fn drop(&mut self) {
        if let Ok(mut known) = KNOWN.lock()
            && known.get(&self.id).is_some_and(|weak| weak.strong_count() == 0)
        {
            known.remove(&self.id);
        }
        if self.maker == 0 || self.maker != process::id() {
            return;
        }
        if self.is_kept.load(Relaxed) {
            // Whoever has it still maps it for reading only.
            pool::discharge(self.segment.block.len() as u64);
            return;
        }
        pool::retire(&self.segment);
    }
}

fn strange() -> Error {
    Error::new(ErrorKind::Decode, "not a block of shared memory")
}
