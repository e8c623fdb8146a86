//! How much memory without a name this process makes, and what it keeps of it for later.
//!
//! A page that the system gives out anew costs some 5 µs on a virtual machine, twenty times what it costs to fill it
//! (`docs/shared.md`). So a block whose last handle here is dropped is *retired* instead of unmapped, and a later one of about that
//! size is made of it, once nobody else has it any more: the [arena](procession_core::arena) knows. The processes that a block is
//! sent to keep nothing.
//!
//! Retired blocks take up to [`kept`] bytes; beyond that the oldest go. They count for the [quota] as those that live, and make
//! room for new ones.

use std::sync::Arc;

use procession_core::arena::{Kind, Object};
use procession_core::{Error, ErrorKind, Result};
use procession_sys::block::{Block, HugePages, memory_limit, page_size};
use procession_sys::prim::OnceLock;
use procession_sys::wipe::PerProcess;

use crate::error::refused;

static POOL: PerProcess<Pool> = PerProcess::new();

/// What this process has made: see the [module](self). A fork begins with nothing, and with the limits that are there by themselves.
#[derive(Debug, Default)]
struct Pool {
    /// The last one was retired last.
    retired: Vec<Arc<Segment>>,
    /// Bytes of blocks that this process made: those that live, and those that are retired.
    live: u64,
    idle: u64,
    quota: Option<u64>,
    kept: Option<u64>,
}

/// A block, and the object that tells who has it.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) block: Block,
    pub(crate) object: Object,
}

/// How much memory blocks take that this process made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Bytes of blocks that live, in whole pages.
    pub live_bytes: u64,
    /// Bytes of blocks that are retired.
    pub idle_bytes: u64,
}

/// What the memory of a new block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    Zero,
    /// What was there before.
    Any,
}

/// Sets how many bytes of blocks without a name this process may have made at a time, retired ones included. By itself it is three
/// quarters of what the machine has, or its control group grants. What lives already stays.
///
/// # Errors
///
/// [`ErrorKind::Os`] when the system is out of memory.
pub fn set_quota(bytes: u64) -> Result<()> {
    POOL.lock()?.quota = Some(bytes);
    Ok(())
}

/// How many bytes of blocks without a name this process may have made at a time.
///
/// # Errors
///
/// [`ErrorKind::Os`] when the system is out of memory.
pub fn quota() -> Result<u64> {
    Ok(POOL.lock()?.quota())
}

/// Sets how many bytes of retired blocks this process keeps; none are kept if it is zero. By itself it is a sixteenth of what the
/// machine has, or its control group grants, and at least 256 MiB. What is beyond it goes at once.
///
/// # Errors
///
/// [`ErrorKind::Os`] when the system is out of memory.
pub fn set_kept(bytes: u64) -> Result<()> {
    let mut pool = POOL.lock()?;
    pool.kept = Some(bytes);
    let gone = pool.evict(bytes);
    drop(pool);
    drop(gone);
    Ok(())
}

/// How many bytes of retired blocks this process keeps.
///
/// # Errors
///
/// [`ErrorKind::Os`] when the system is out of memory.
pub fn kept() -> Result<u64> {
    Ok(POOL.lock()?.kept())
}

/// How much memory blocks without a name take that this process made.
///
/// # Errors
///
/// [`ErrorKind::Os`] when the system is out of memory.
pub fn usage() -> Result<Usage> {
    let pool = POOL.lock()?;
    Ok(Usage { live_bytes: pool.live, idle_bytes: pool.idle })
}

/// Gives the memory of retired blocks back to the system, now.
///
/// # Errors
///
/// [`ErrorKind::Os`] when the system is out of memory.
pub fn trim() -> Result<()> {
    let gone = POOL.lock()?.evict(0);
    drop(gone);
    Ok(())
}

impl Pool {
    fn quota(&self) -> u64 {
        self.quota.unwrap_or_else(|| granted() / 4 * 3)
    }

    fn kept(&self) -> u64 {
        const AT_LEAST: u64 = 256 << 20;
        self.kept.unwrap_or_else(|| (granted() / 16).max(AT_LEAST))
    }

    /// Counts `len` bytes more that live; retired blocks make room.
    fn charge(&mut self, len: u64) -> Result<Vec<Arc<Segment>>> {
        let quota = self.quota();
        let room = quota.checked_sub(self.live).and_then(|room| room.checked_sub(len));
        let Some(room) = room else {
            let text = format!(
                "could not make a block of {len} bytes: those that live have {} of at most {quota}",
                self.live
            );
            return Err(Error::new(ErrorKind::OutOfMemory, text));
        };
        let gone = self.evict(room);
        self.live += len;
        Ok(gone)
    }

    /// Takes out the oldest retired blocks until no more than `room` bytes are left.
    fn evict(&mut self, room: u64) -> Vec<Arc<Segment>> {
        let mut count = 0;
        while self.idle > room && count < self.retired.len() {
            self.idle -= self.retired[count].block.len() as u64;
            count += 1;
        }
        self.retired.drain(..count).collect()
    }

    /// A retired block of at least `len` bytes, and not much more, that nobody has.
    fn reuse(&mut self, len: usize) -> Result<Option<Block>> {
        let most = len.saturating_add(len / 4);
        for at in (0..self.retired.len()).rev() {
            let candidate = &self.retired[at];
            let size = candidate.block.len();
            if !(len..=most).contains(&size) || !candidate.object.is_unshared()? {
                continue;
            }
            let candidate = self.retired.remove(at);
            match Arc::try_unwrap(candidate) {
                Ok(Segment { block, object }) => {
                    // A fork that nobody knew of finds that its handle is to something that is gone.
                    drop(object);
                    self.idle -= size as u64;
                    return Ok(Some(block));
                }
                // The thread that retired it is not through.
                Err(candidate) => self.retired.insert(at, candidate),
            }
        }
        Ok(None)
    }
}

/// What the machine has, or the control group of this process grants.
fn granted() -> u64 {
    static GRANTED: OnceLock<u64> = OnceLock::new();
    *GRANTED.get_or_init(memory_limit)
}

/// Makes a block of at least `size` bytes, in whole pages; of a retired one, if there is one that fits.
pub(crate) fn make(size: usize, huge: HugePages, content: Content) -> Result<Arc<Segment>> {
    let whole = size.checked_next_multiple_of(page_size()).unwrap_or(usize::MAX);
    let mut pool = POOL.lock()?;
    let reused = match huge {
        HugePages::No => pool.reuse(whole)?,
        // Others may be of ordinary pages.
        HugePages::Try | HugePages::Require => None,
    };
    let len = reused.as_ref().map_or(whole, Block::len) as u64;
    let charged = pool.charge(len);
    drop(pool);
    // What makes room goes before memory is taken.
    drop(charged?);
    let made = match reused {
        Some(block) => {
            if content == Content::Zero {
                // Only what will be seen.
                block.bytes().get(0..whole).unwrap_or(block.bytes()).fill(0);
            }
            Ok(block)
        }
        None => Block::anonymous(whole, huge).map_err(refused),
    };
    let made = made.and_then(|block| {
        let object = Object::new(Kind::BLOCK, 1, |_, _| {})?;
        Ok(Segment { block, object })
    });
    match made {
        // Huge pages may be more than was asked for.
        Ok(segment) if segment.block.len() as u64 > len => {
            let more = segment.block.len() as u64 - len;
            charge(more).inspect_err(|_| discharge(len))?;
            Ok(Arc::new(segment))
        }
        Ok(segment) => Ok(Arc::new(segment)),
        Err(error) => {
            discharge(len);
            Err(error)
        }
    }
}

/// Counts memory that this process is about to take; an error if it may not.
pub(crate) fn charge(len: u64) -> Result<()> {
    let gone = POOL.lock()?.charge(len)?;
    drop(gone);
    Ok(())
}

/// Counts memory that this process has made as gone.
pub(crate) fn discharge(len: u64) {
    if let Ok(mut pool) = POOL.lock() {
        pool.live = pool.live.saturating_sub(len);
    }
}

/// Keeps a block that this process made and has no handle to any more, if there is room.
pub(crate) fn retire(segment: &Arc<Segment>) {
    let len = segment.block.len() as u64;
    let Ok(mut pool) = POOL.lock() else { return };
    pool.live = pool.live.saturating_sub(len);
    let kept = pool.kept();
    if len > kept {
        return;
    }
    pool.retired.push(Arc::clone(segment));
    pool.idle += len;
    let gone = pool.evict(kept);
    drop(pool);
    drop(gone);
}
