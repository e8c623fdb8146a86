//! Lists that CPython reads and writes as well: [`ShareableList`].
//!
//! `item` has what is in them and how one is written down, `layout` where in memory.

mod item;
mod layout;

use std::fmt;

use procession_core::{Error, ErrorKind, Result};
use procession_sys::block::SharedBytes;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::SharedMemory;
use crate::error::read_only;
pub use item::Item;
use layout::Layout;

/// A list in shared memory whose items change, in value and type, but neither in number nor beyond their room: numbers, text, bytes and
/// nothing. It lies in memory as CPython 3.9 and later have it, so that Python programs attach to ours, and we to theirs.
///
/// An item has the room that it began with: 8 bytes, and for text and bytes the next multiple of 8 that is longer. What would be lost
/// in Python is refused here: text whose bytes do not fit, zeros at the end of text or bytes, indices that are not there.
///
/// There is no lock: put the list under a [`Lock`](procession_sync::Lock) of its own, if items are written by more than one, or if they are
/// more than a number. A number that is written over another of its type is read as the one or the other. Otherwise who reads an item while it is
/// written may get an error of kind [`Decode`](ErrorKind::Decode), or text of both.
///
/// # Drop, kill, fork
///
/// As the [`SharedMemory`] that it lies in: named ones stay until they are unlinked. A process that is killed while it writes
/// an item may leave that unreadable until it is written again; others are as they were.
///
/// # Source
///
/// CPython `multiprocessing.shared_memory.ShareableList`.
///
/// # Examples
///
/// ```
/// # use procession_shared as procession;
/// # fn main() -> procession_core::Result<()> {
/// use procession::{Item, ShareableList};
///
/// let items: [Item; 4] = ["hé".into(), 2.5.into(), true.into(), None::<i64>.into()];
/// let list = ShareableList::new(items)?;
/// list.set(1, -7)?;
/// assert_eq!(list.to_vec()?, ["hé".into(), (-7).into(), true.into(), Item::None]);
/// assert_eq!(list.format()?, "8sqxxxxxxx?xxxxxx?x");
///
/// let error = list.set(0, "more than eight").unwrap_err();
/// assert_eq!(error.kind(), procession_core::ErrorKind::TooLarge);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ShareableList {
    memory: SharedMemory,
    layout: Layout,
}

impl ShareableList {
    /// A list in memory without a name, for those that it is sent to.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] when text or bytes end with a zero; [`ErrorKind::TooLarge`] when one is longer than 9,999,991 bytes; as
    /// [`SharedMemory::new`].
    pub fn new(items: impl IntoIterator<Item = impl Into<Item>>) -> Result<Self> {
        Self::make(items, SharedMemory::new)
    }

    /// A list under a name that is not taken.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new) and [`SharedMemory::create`].
    pub fn with_name(name: &str, items: impl IntoIterator<Item = impl Into<Item>>) -> Result<Self> {
        Self::make(items, |size| SharedMemory::create(name, size))
    }

    /// A list under a name of its own, as CPython makes them: [`name`](Self::name) tells it.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new) and [`SharedMemory::create_unique`].
    pub fn with_unique_name(items: impl IntoIterator<Item = impl Into<Item>>) -> Result<Self> {
        Self::make(items, SharedMemory::create_unique)
    }

    /// The list of that name, whoever made it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`] when what is there is no list; as [`SharedMemory::attach`].
    pub fn attach(name: &str) -> Result<Self> {
        Self::from_memory(SharedMemory::attach(name)?)
    }

    /// The list in that memory.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`] when what is there is no list; as [`SharedMemory::view`].
    pub fn from_memory(memory: SharedMemory) -> Result<Self> {
        let layout = Layout::parse(memory.bytes()?);
        memory.is_whole()?;
        Ok(Self { layout: layout?, memory })
    }

    /// A list in memory that `make` makes of the size that it is given.
    pub(crate) fn make(
        items: impl IntoIterator<Item = impl Into<Item>>,
        make: impl FnOnce(usize) -> Result<SharedMemory>,
    ) -> Result<Self> {
        let items: Vec<Item> = items.into_iter().map(Into::into).collect();
        let layout = Layout::of(&items)?;
        let memory = make(layout.size().ok_or_else(layout::too_large)?)?;
        let list = Self { memory, layout };
        let bytes = list.memory.bytes()?;
        list.layout.write(bytes);
        for (index, item) in items.iter().enumerate() {
            list.layout.write_item(bytes, index, item)?;
        }
        list.memory.is_whole()?;
        Ok(list)
    }

    /// How many items there are.
    pub fn len(&self) -> usize {
        self.layout.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, for an item that is there.
    fn bytes_for(&self, index: usize) -> Result<SharedBytes<'_>> {
        if index >= self.len() {
            let text = format!("item {index} of a list of {}", self.len());
            return Err(Error::new(ErrorKind::InvalidInput, text));
        }
        self.memory.bytes()
    }

    /// Reads an item.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] when there is no such item; [`ErrorKind::Decode`] when somebody wrote what is none, like text that Python
    /// has cut within a character; as [`SharedMemory::view`].
    pub fn get(&self, index: usize) -> Result<Item> {
        let item = self.layout.read(self.bytes_for(index)?, index);
        self.memory.is_whole()?;
        item
    }

    /// Writes an item, whatever type was there.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get); [`ErrorKind::TooLarge`] when its bytes do not fit into the item's room, and [`ErrorKind::InvalidInput`] when
    /// text or bytes end with a zero: then nothing is written. [`ErrorKind::Unsupported`] when this process may not write it.
    pub fn set(&self, index: usize, item: impl Into<Item>) -> Result<()> {
        let item = item.into();
        item.check()?;
        let bytes = self.bytes_for(index)?;
        if !bytes.is_writable() {
            return Err(read_only());
        }
        self.layout.write_item(bytes, index, &item)?;
        self.memory.is_whole()
    }

    /// One item after the other, each read when it is asked for.
    pub fn iter(&self) -> impl Iterator<Item = Result<Item>> + '_ {
        (0..self.len()).map(|index| self.get(index))
    }

    /// All items.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn to_vec(&self) -> Result<Vec<Item>> {
        self.iter().collect()
    }

    /// Whether an item of that type and value is there.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get), for those before it.
    pub fn contains(&self, item: &Item) -> Result<bool> {
        Ok(self.index(item)?.is_some())
    }

    /// How many items have that type and value.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn count(&self, item: &Item) -> Result<usize> {
        Ok(self.to_vec()?.iter().filter(|other| *other == item).count())
    }

    /// Where the first item of that type and value is.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get), for those before it.
    pub fn index(&self, item: &Item) -> Result<Option<usize>> {
        for (index, other) in self.iter().enumerate() {
            if other? == *item {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// How the items are written down, in the words of Python's `struct`.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn format(&self) -> Result<String> {
        let format = self.layout.format(self.memory.bytes()?);
        self.memory.is_whole()?;
        format
    }

    /// The memory that it lies in, to be unlinked for instance.
    pub fn shm(&self) -> &SharedMemory {
        &self.memory
    }

    /// The name of the memory, if it has one.
    pub fn name(&self) -> Option<&str> {
        self.memory.name()
    }
}

impl fmt::Debug for ShareableList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShareableList([")?;
        for (index, item) in self.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            match item {
                Ok(item) => write!(f, "{comma}{item}")?,
                Err(error) => write!(f, "{comma}<{error}>")?,
            }
        }
        match self.name() {
            Some(name) => write!(f, "], {name:?})"),
            None => f.write_str("])"),
        }
    }
}

impl Serialize for ShareableList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.memory.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ShareableList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let memory = SharedMemory::deserialize(deserializer)?;
        Self::from_memory(memory).map_err(|error| D::Error::custom(procession_core::refuse(error)))
    }
}
