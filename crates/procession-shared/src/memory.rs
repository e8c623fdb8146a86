//! [`SharedMemory`]: bytes that processes share.
//!
//! `inner` has what a handle is and how it travels, `view` typed access, `options` what a block may be made like.

mod inner;
mod options;
mod view;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use procession_core::{Error, ErrorKind, Result};
use procession_sys::block::{self, FileId, HugePages, NamedBlock, SharedBytes};
use procession_sys::random;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{out_of_range, read_only, refused};
use crate::pool::{self, Content};
use inner::Inner;
pub use options::SharedMemoryOptions;
pub use view::SharedView;

/// A block of bytes that processes share, with a name or without.
///
/// It is a value: it goes to other processes in arguments, messages and results, and stays the same block; nothing is copied. A
/// clone is another handle to it.
///
/// Bytes are copied in and out, or read and written by small pieces: others may write at any time, so that nobody gets a
/// reference to them. Who reads while another writes gets bytes of before and of after, in any mixture; bytes that are read or
/// written by [`SharedView::get`], [`set`](SharedView::set) and atomics are whole. What must be read whole is put under a
/// [`Lock`](procession_sync::Lock).
///
/// # Without a name
///
/// [`new`](Self::new) makes memory that only those have who were given a handle. It goes with the last of them, however they end. It is of
/// whole pages that are taken as they are touched, within the [quota](crate::pool::set_quota); a process keeps some of what it drops for the
/// next block ([`pool`](mod@pool)).
///
/// # With a name
///
/// [`create`](Self::create) and [`attach`](Self::attach) are for programs that do not know each other, and for CPython's
/// `multiprocessing.shared_memory`, which has the same names. The name stays until somebody [unlinks](Self::unlink) it, also when
/// all of them are killed; a [scope](crate::SharedMemoryScope) sees to that. Dropping a handle never takes the name away, whoever made
/// it. All memory is taken at once. Who may open the name may cut the memory off: then what is gone reads as zero here, and
/// the next call is an error of kind [`Torn`](ErrorKind::Torn).
///
/// # Drop, kill, fork
///
/// Dropping the last handle of a process unmaps the block. A killed process is as one that dropped its handles. A fork has its
/// parent's handles.
///
/// # Source
///
/// CPython `multiprocessing.shared_memory.SharedMemory`.
///
/// # Examples
///
/// ```
/// # use procession_shared as procession;
/// # fn main() -> procession_core::Result<()> {
/// use procession::SharedMemory;
///
/// let memory = SharedMemory::new(1 << 20)?;
/// memory.write(4096, b"hello")?;
/// let other = memory.clone(); // goes to another process like any other value
/// assert_eq!(other.read_vec(4096..4101)?, b"hello");
///
/// let counter = other.view()?;
/// counter.atomic_u64(0)?.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
/// assert_eq!(memory.view()?.get::<u64>(0)?, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SharedMemory(Arc<Inner>);

impl SharedMemory {
    /// Makes a block of `size` bytes without a name, all zero.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] when `size` is zero; [`ErrorKind::OutOfMemory`] when it is beyond the
    /// [quota](crate::pool::set_quota) or the machine; [`ErrorKind::Os`] when this process is out of descriptors;
    /// [`ErrorKind::TooLarge`] when the family has no room for another shared object.
    pub fn new(size: usize) -> Result<Self> {
        Self::make(size, HugePages::No, Content::Zero)
    }

    /// Makes a block of `size` bytes without a name, that may hold what an earlier one of this process held: for who writes all of it.
    ///
    /// Spares zeroing a block of the [pool](mod@pool), which takes about as long as filling it. What it holds is
    /// seen by all it is sent to.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn recycled(size: usize) -> Result<Self> {
        Self::make(size, HugePages::No, Content::Any)
    }

    /// Makes a block without a name of a copy of `bytes`.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn from_slice(bytes: &[u8]) -> Result<Self> {
        let memory = Self::recycled(bytes.len())?;
        memory.write(0, bytes)?;
        Ok(memory)
    }

    fn make(size: usize, huge: HugePages, content: Content) -> Result<Self> {
        let segment = pool::make(size, huge, content)?;
        let size = if huge == HugePages::Require { segment.block.len() } else { size };
        Ok(Self(Arc::new(Inner::made(segment, size)?)))
    }

    /// What blocks may be made like, beside size and name.
    pub fn options() -> SharedMemoryOptions {
        SharedMemoryOptions::default()
    }

    /// Makes a block of `size` bytes, all zero, under a name that is not taken: one component, of up to 254 bytes; a slash in front is
    /// left out.
    ///
    /// Its file is for this user only. Who is killed while it is being made leaves nothing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AlreadyExists`] when the name is taken; [`ErrorKind::InvalidInput`] when it can be none, or `size` is zero;
    /// [`ErrorKind::OutOfMemory`] when `/dev/shm` or the machine has not so much; [`ErrorKind::Os`] when this process is out of
    /// descriptors.
    pub fn create(name: &str, size: usize) -> Result<Self> {
        let block = NamedBlock::create(name, size).map_err(refused)?;
        Ok(Self(Arc::new(Inner::named(name, block)?)))
    }

    /// Makes a block of `size` bytes, all zero, under a name of its own: `psm_` and eight hexadecimal digits, as CPython's are.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create), but that a name that is taken is not taken again.
    pub fn create_unique(size: usize) -> Result<Self> {
        Self::create_with(size, || {
            let mut bytes = [0; 4];
            random::fill(&mut bytes)?;
            Ok(format!("psm_{:08x}", u32::from_ne_bytes(bytes)))
        })
    }

    /// Makes a block under the first of these names that is not taken.
    pub(crate) fn create_with(
        size: usize,
        mut next: impl FnMut() -> Result<String>,
    ) -> Result<Self> {
        /// Nobody has so many that a random one is taken so often.
        const TRIES: u32 = 100;
        for _ in 1..TRIES {
            match Self::create(&next()?, size) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                other => return other,
            }
        }
        Self::create(&next()?, size)
    }

    /// The block of that name, whoever made it. It is as long as it is.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] when there is none; [`ErrorKind::InvalidInput`] when the name can be none, or leads to something
    /// else, or to something empty; [`ErrorKind::Os`] when this user may not write it, or this process is out of descriptors.
    pub fn attach(name: &str) -> Result<Self> {
        let block = NamedBlock::attach(name).map_err(refused)?;
        Ok(Self(Arc::new(Inner::named(name, block)?)))
    }

    /// Takes the block's name away. Who has a handle goes on; nobody gets another one by the name.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] when it is gone, or another block has it by now; [`ErrorKind::InvalidInput`] when the block has none.
    pub fn unlink(&self) -> Result<()> {
        let Some((name, id)) = self.0.name_and_id() else {
            return Err(Error::new(ErrorKind::InvalidInput, "the block has no name"));
        };
        match block::id_of_name(name).map_err(refused)? {
            found if found == id => Self::unlink_name(name),
            _ => Err(Error::new(ErrorKind::NotFound, format!("{name:?} is another block's name"))),
        }
    }

    /// Takes a name away, whoever made the block.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] when there is no such name; [`ErrorKind::InvalidInput`] when it can be none.
    pub fn unlink_name(name: &str) -> Result<()> {
        block::unlink(name).map_err(refused)
    }

    /// The name, without a slash in front; none if it has none.
    pub fn name(&self) -> Option<&str> {
        self.0.name_and_id().map(|(name, _)| name)
    }

    /// How many bytes there are. It never changes.
    #[doc(alias = "len")]
    pub fn size(&self) -> usize {
        self.0.size()
    }

    /// Whether this process may write it: [`into_single_writer`](Self::into_single_writer) keeps others from it.
    pub fn is_writable(&self) -> bool {
        self.0.is_writable()
    }

    /// Copies the bytes from `at` on into `out`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] when there are not so many; as [`view`](Self::view).
    #[inline]
    pub fn read(&self, at: usize, out: &mut [u8]) -> Result<()> {
        self.part(at, out.len())?.read(0, out);
        self.is_whole()
    }

    /// Copies `bytes` to the place `at`: all of them, or none.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] when there is not so much room; [`ErrorKind::Unsupported`] when this process may not write it; as
    /// [`view`](Self::view).
    #[inline]
    pub fn write(&self, at: usize, bytes: &[u8]) -> Result<()> {
        let part = self.part(at, bytes.len())?;
        if !part.is_writable() {
            return Err(read_only());
        }
        part.write(0, bytes);
        self.is_whole()
    }

    /// The bytes of `range`, as a vector.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn read_vec(&self, range: Range<usize>) -> Result<Vec<u8>> {
        let bytes = self.bytes()?;
        let out = || out_of_range(range.start, range.len(), bytes.len());
        let vec = bytes.get(range.clone()).ok_or_else(out)?.read_vec();
        self.is_whole()?;
        Ok(vec)
    }

    /// Makes all bytes `byte`.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub fn fill(&self, byte: u8) -> Result<()> {
        let bytes = self.bytes()?;
        if !bytes.is_writable() {
            return Err(read_only());
        }
        bytes.fill(byte);
        self.is_whole()
    }

    /// Typed access.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Torn`] when somebody has cut off the file of a named block; [`ErrorKind::Closed`] in a `fork` that nobody here
    /// knew of, when all others dropped the block before its first use.
    #[inline]
    pub fn view(&self) -> Result<SharedView<'_>> {
        Ok(SharedView::new(self.bytes()?, &self.0))
    }

    /// The bytes. Look at [`is_whole`](Self::is_whole) after using them.
    #[inline]
    pub(crate) fn bytes(&self) -> Result<SharedBytes<'_>> {
        self.0.bytes()
    }

    /// Whether nothing of a named block was missed by now.
    pub(crate) fn is_whole(&self) -> Result<()> {
        self.0.is_whole()
    }

    #[inline]
    fn part(&self, at: usize, len: usize) -> Result<SharedBytes<'_>> {
        let bytes = self.bytes()?;
        let end = at.checked_add(len);
        end.and_then(|end| bytes.get(at..end)).ok_or_else(|| out_of_range(at, len, bytes.len()))
    }

    /// Makes a larger block without a name that begins with the content of this one, and is zero from there on. This one stays as it
    /// is, so that whoever has it goes on; what they write to it from now on is not in the new one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] when it would not be larger; as [`new`](Self::new) and [`view`](Self::view).
    pub fn grow(&self, new_size: usize) -> Result<Self> {
        if new_size <= self.size() {
            let text = format!("could not grow a block of {} bytes to {new_size}", self.size());
            return Err(Error::new(ErrorKind::InvalidInput, text));
        }
        let grown = Self::new(new_size)?;
        grown.bytes()?.copy_from(0, self.bytes()?);
        self.is_whole()?;
        Ok(grown)
    }

    /// Keeps the writing of the block to this process: whoever gets it from now on may only read it. The system sees to that.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] when another process has it by now, or it has a name; [`ErrorKind::Unsupported`] when the writing is
    /// another's already.
    pub fn into_single_writer(self) -> Result<Self> {
        self.0.keep_writing()?;
        Ok(self)
    }

    /// Which file it is.
    pub(crate) fn id(&self) -> FileId {
        self.0.id()
    }

    /// Whether both are handles to the same block.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.id() == other.id()
    }
}

impl fmt::Debug for SharedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("SharedMemory");
        if let Some(name) = self.name() {
            debug.field("name", &name);
        }
        debug.field("size", &self.size()).finish()
    }
}

impl Serialize for SharedMemory {
    /// A handle: it says which block, not what is in it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Inner::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for SharedMemory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Inner::deserialize(deserializer).map(Self)
    }
}

#[cfg(test)]
mod tests;
