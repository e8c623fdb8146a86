//! Descriptors as serde values.
//!
//! A descriptor is not bytes, and serde's formats carry only bytes. While a [`Message`](crate::Message) is being encoded
//! there is a table of descriptors for it in the thread; a value that holds one [attaches](attach) a copy and writes the
//! place in the table. While the message is decoded at the other end, the value reads the place and [claims](claim) the
//! descriptor.
//!
//! The tables are a stack, because a value may encode another message while it is being encoded. A table is made for the first
//! handle in a message, and lives until the call that encodes it ends: when encoding fails, or panics, the copies are closed and
//! nothing is attached to whatever message this thread encodes next. A message without handles costs a count of how deep this is. A serializer that carries the
//! table would be no help: a value's own code is generic over the serializer, and cannot reach what is in it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread::{AccessError, LocalKey};

use procession_sys::fd::duplicate;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use crate::{Error, ErrorKind, Result};

thread_local! {
    static ENCODING: RefCell<Vec<Attached>> = const { RefCell::new(Vec::new()) };
    static ENCODED: Level = const { Level::new() };
    static DECODING: RefCell<Vec<Claimable>> = const { RefCell::new(Vec::new()) };
    static DECODED: Level = const { Level::new() };
}

/// How many messages this thread is encoding, or decoding, each for the sake of the one before; and what it has tables for.
struct Level {
    depth: Cell<usize>,
    /// The level of the last table; zero without one.
    table: Cell<usize>,
}

/// One level, until this is dropped.
struct Entered {
    level: &'static LocalKey<Level>,
    depth: usize,
    /// The level of the table below.
    below: usize,
    drop_table: fn(),
}

impl Level {
    const fn new() -> Self {
        Self { depth: Cell::new(0), table: Cell::new(0) }
    }
}

impl Entered {
    #[inline]
    fn new(level: &'static LocalKey<Level>, drop_table: fn()) -> Self {
        let (depth, below) = level.with(|level| {
            let depth = level.depth.get() + 1;
            level.depth.set(depth);
            (depth, level.table.get())
        });
        Self { level, depth, below, drop_table }
    }

    /// Whether there is a table for this level.
    #[inline]
    fn has_table(&self) -> bool {
        self.level.with(|level| level.table.get() == self.depth)
    }
}

impl Drop for Entered {
    #[inline]
    fn drop(&mut self) {
        if self.has_table() {
            (self.drop_table)();
        }
        self.level.with(|level| {
            level.depth.set(self.depth - 1);
            level.table.set(self.below);
        });
    }
}

/// The table of the message that is being encoded, or decoded; `None` when there is no such message.
fn table<'a, T: Default>(
    level: &'static LocalKey<Level>,
    tables: &'a mut Vec<T>,
) -> Option<&'a mut T> {
    level.with(|level| {
        let depth = level.depth.get();
        if depth == 0 {
            return None;
        }
        if level.table.get() != depth {
            tables.push(T::default());
            level.table.set(depth);
        }
        tables.last_mut()
    })
}

/// What the message that is being encoded holds so far.
#[derive(Default)]
struct Attached {
    handles: Vec<OwnedFd>,
    /// The place of the descriptor that all shared objects in the message have in common.
    ticket: Option<u32>,
    /// Why a descriptor could not be copied: formats pass on that an error occurred, and not always which.
    failure: Option<Error>,
}

/// What the message that is being decoded holds.
#[derive(Default)]
struct Claimable {
    handles: Vec<Option<OwnedFd>>,
    /// The place of the ticket, once a shared object was found.
    ticket: Option<u32>,
    /// As in [`Attached`].
    failure: Option<Error>,
}

impl Claimable {
    /// How many descriptors nobody has taken.
    fn left(&self) -> usize {
        self.handles.iter().flatten().count() - usize::from(self.ticket.is_some())
    }
}

/// Attaches a copy of `fd` to the message that this thread is encoding, and tells its place there.
///
/// For `Serialize` implementations of types that hold a descriptor; most use [`Handle`] instead.
///
/// # Errors
///
/// [`ErrorKind::Encode`] when this thread is not encoding a message (the value is being written to a file, say);
/// [`ErrorKind::Os`] when this process may open no more descriptors.
pub fn attach(fd: impl AsFd) -> Result<u32> {
    let attached = ENCODING.try_with(|tables| {
        let mut tables = tables.borrow_mut();
        let outside = || Error::new(ErrorKind::Encode, "a handle travels in messages only");
        let table = table(&ENCODED, &mut tables).ok_or_else(outside)?;
        let place = u32::try_from(table.handles.len()).map_err(|_too_many| outside())?;
        match duplicate(fd) {
            Ok(copy) => table.handles.push(copy),
            Err(error) => return Err(table.failure.insert(error.into()).clone()),
        }
        Ok(place)
    });
    attached.unwrap_or_else(|gone| Err(no_table(ErrorKind::Encode, &gone)))
}

/// Notes why a value of the message that this thread is decoding is refused, and returns the same error: formats pass on that an
/// error occurred, and not always which, so that its kind would be lost.
///
/// For `Deserialize` implementations that can fail in more ways than by what the message holds.
pub fn refuse(error: Error) -> Error {
    let _noted = DECODING.try_with(|tables| {
        if let Some(table) = table(&DECODED, &mut tables.borrow_mut()) {
            table.failure = Some(error.clone());
        }
    });
    // At the end of a thread there is no table, and the text is all that is passed on.
    error
}

/// Exit handlers run when the tables of their thread are gone: messages without handles go on.
fn no_table(kind: ErrorKind, gone: &AccessError) -> Error {
    Error::new(kind, "no handle travels at the end of a process").caused_by(gone)
}

/// Takes the descriptor at `place` of the message that this thread is decoding.
///
/// For `Deserialize` implementations of types that hold a descriptor; most use [`Handle`] instead.
///
/// # Errors
///
/// [`ErrorKind::Decode`] when this thread is not decoding a message, or nothing is left at that place.
pub fn claim(place: u32) -> Result<OwnedFd> {
    let claimed = DECODING.try_with(|tables| {
        let mut tables = tables.borrow_mut();
        let take = |table: &mut Claimable| table.handles.get_mut(place as usize)?.take();
        let taken = table(&DECODED, &mut tables).and_then(take);
        taken.ok_or_else(|| Error::new(ErrorKind::Decode, format!("no handle at place {place}")))
    });
    claimed.unwrap_or_else(|gone| Err(no_table(ErrorKind::Decode, &gone)))
}

/// Has `with` look at the ticket of the message that this thread is encoding, which is made by `make` for the first who asks, and
/// tells its place.
pub(crate) fn put_on_ticket(
    make: impl FnOnce() -> Result<OwnedFd>,
    with: impl FnOnce(BorrowedFd<'_>) -> Result<()>,
) -> Result<u32> {
    let put = ENCODING.try_with(|tables| {
        let mut tables = tables.borrow_mut();
        let outside = || Error::new(ErrorKind::Encode, "a shared object travels in messages only");
        let table = table(&ENCODED, &mut tables).ok_or_else(outside)?;
        let put = || {
            let place = match table.ticket {
                Some(place) => place,
                None => {
                    let place =
                        u32::try_from(table.handles.len()).map_err(|_too_many| outside())?;
                    table.handles.push(make()?);
                    *table.ticket.insert(place)
                }
            };
            with(table.handles[place as usize].as_fd())?;
            Ok(place)
        };
        put().map_err(|error: Error| table.failure.insert(error).clone())
    });
    put.unwrap_or_else(|gone| Err(no_table(ErrorKind::Encode, &gone)))
}

/// Has `with` look at the ticket, at `place`, of the message that this thread is decoding. It stays there until all of the
/// message is decoded.
pub(crate) fn look_at_ticket<T>(
    place: u32,
    with: impl FnOnce(BorrowedFd<'_>) -> Result<T>,
) -> Result<T> {
    let looked = DECODING.try_with(|tables| {
        let mut tables = tables.borrow_mut();
        let outside = || Error::new(ErrorKind::Decode, format!("no ticket at place {place}"));
        let table = table(&DECODED, &mut tables).ok_or_else(outside)?;
        let ticket = table.handles.get(place as usize).and_then(Option::as_ref);
        if *table.ticket.get_or_insert(place) != place {
            return Err(outside());
        }
        let seen = match ticket {
            Some(ticket) => with(ticket.as_fd()),
            None => {
                table.ticket = None;
                Err(outside())
            }
        };
        seen.map_err(|error| table.failure.insert(error).clone())
    });
    looked.unwrap_or_else(|gone| Err(no_table(ErrorKind::Decode, &gone)))
}

/// Runs `encode` with an empty table of its own, and returns what it attached.
#[inline]
pub(crate) fn while_encoding<T>(encode: impl FnOnce() -> Result<T>) -> Result<(T, Vec<OwnedFd>)> {
    let entered = Entered::new(&ENCODED, || drop(pop(&ENCODING)));
    let encoded = encode();
    if !entered.has_table() {
        return Ok((encoded?, Vec::new()));
    }
    let attached = ENCODING.with_borrow_mut(|tables| tables.last_mut().map(std::mem::take));
    let Attached { handles, failure, .. } = attached.unwrap_or_default();
    match encoded {
        Ok(value) => Ok((value, handles)),
        Err(error) => Err(failure.unwrap_or(error)),
    }
}

/// Runs `decode` with `handles` to claim, and tells how many were left; those are closed.
#[inline]
pub(crate) fn while_decoding<T>(
    handles: Vec<OwnedFd>,
    decode: impl FnOnce() -> Result<T>,
) -> Result<(T, usize)> {
    let entered = Entered::new(&DECODED, || drop(pop(&DECODING)));
    // At the end of a thread, what came along is closed.
    if !handles.is_empty() {
        let _none = DECODING.try_with(|tables| fill_table(&mut tables.borrow_mut(), handles));
    }
    let decoded = decode();
    if !entered.has_table() {
        return Ok((decoded?, 0));
    }
    let failure = DECODING.with_borrow_mut(|tables| tables.last_mut()?.failure.take());
    let value = decoded.map_err(|error| failure.unwrap_or(error))?;
    Ok((value, DECODING.with_borrow(|tables| tables.last().map_or(0, Claimable::left))))
}

fn fill_table(tables: &mut Vec<Claimable>, handles: Vec<OwnedFd>) {
    if let Some(table) = table(&DECODED, tables) {
        table.handles = handles.into_iter().map(Some).collect();
    }
}

#[cold]
fn pop<T>(tables: &'static LocalKey<RefCell<Vec<T>>>) -> Option<T> {
    // Closed when the tables can be reached again.
    tables.try_with(|tables| tables.borrow_mut().pop()).ok().flatten()
}

/// A file, socket or anything else with a descriptor, as a value that goes to other processes.
///
/// What arrives is a descriptor of its own for the same open file: position and flags are shared, closing is not. It
/// dereferences to what it wraps.
///
/// # Examples
///
/// ```
/// use procession_core::{Handle, Message};
/// use std::fs::File;
/// use std::io::{Read, Seek, Write};
///
/// # let path = std::env::temp_dir().join(format!("procession-doc-{}", std::process::id()));
/// # let mut file = File::options().read(true).write(true).create(true).open(&path)?;
/// # std::fs::remove_file(&path)?;
/// file.write_all(b"shared")?;
/// let message = Message::encode(&Handle(file))?;
///
/// let mut same: Handle<File> = message.decode()?;
/// same.rewind()?;
/// let mut text = String::new();
/// same.read_to_string(&mut text)?;
/// assert_eq!(text, "shared");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handle<T>(pub T);

impl<T> Handle<T> {
    /// What this wraps.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Handle<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Handle<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: AsFd> AsFd for Handle<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl<T: AsFd> Serialize for Handle<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        attach(&self.0).map_err(ser::Error::custom)?.serialize(serializer)
    }
}

impl<'de, T: From<OwnedFd>> Deserialize<'de> for Handle<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let place = u32::deserialize(deserializer)?;
        claim(place).map(|fd| Self(fd.into())).map_err(de::Error::custom)
    }
}

impl<T: fmt::Display> fmt::Display for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
