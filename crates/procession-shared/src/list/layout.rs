//! Where the parts of a list are, as CPython 3.9 and later have them.
//!
//! ```text
//! 0             number of items, N
//! 8             N + 1 offsets into the data: where each item's slot begins, and where the last one ends
//! 8 (N + 2)     data
//! + offset N    N formats of 8 bytes each
//! + 8 N         N codes of one byte each
//! ```
//!
//! Numbers are signed, of 64 bits, in the order of this machine. All offsets are checked when a list is attached, and copied: what
//! somebody writes over them later is not looked at.

use std::ops::Range;

use procession_core::{Error, ErrorKind, Result};
use procession_sys::block::SharedBytes;

use super::item::{ALIGN, Form, Item};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// N + 1 of them, the first zero, none less than the one before.
    offsets: Vec<usize>,
}

impl Layout {
    /// One that has room for these items.
    ///
    /// # Errors
    ///
    /// When there can be no such list: see [`Item::slot`].
    pub(super) fn of(items: &[Item]) -> Result<Self> {
        let mut offsets = vec![0];
        let mut end = 0_usize;
        for item in items {
            end = end.checked_add(item.slot()?).ok_or_else(too_large)?;
            offsets.push(end);
        }
        Ok(Self { offsets })
    }

    /// That of the list in `bytes`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`] when there is none.
    pub(super) fn parse(bytes: SharedBytes<'_>) -> Result<Self> {
        let number = |at: usize| -> Option<usize> {
            let end = at.checked_add(ALIGN)?;
            bytes.get(at..end)?;
            usize::try_from(i64::from_ne_bytes(bytes.load(at))).ok()
        };
        let parse = || {
            let len = number(0)?;
            // A lie about their number ends where the memory does.
            let offsets: Option<Vec<usize>> = (1..=len + 1).map(|at| number(at * ALIGN)).collect();
            let layout = Self { offsets: offsets? };
            let is_sorted = layout.offsets[0] == 0 && layout.offsets.is_sorted();
            (is_sorted && layout.size()? <= bytes.len()).then_some(layout)
        };
        parse().ok_or_else(|| {
            let text =
                "what is shared is no list, or one of CPython 3.8, which are laid out otherwise";
            Error::new(ErrorKind::Decode, text)
        })
    }

    /// How many items there are.
    pub(super) fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    fn data(&self) -> usize {
        (self.len() + 2) * ALIGN
    }

    fn formats(&self) -> usize {
        self.data() + self.offsets[self.len()]
    }

    fn codes(&self) -> usize {
        self.formats() + self.len() * ALIGN
    }

    /// How many bytes it takes. `None` when that is more than there can be.
    pub(super) fn size(&self) -> Option<usize> {
        let fixed = self.len().checked_mul(2 * ALIGN + 1)?.checked_add(2 * ALIGN)?;
        fixed.checked_add(self.offsets[self.len()])
    }

    /// Where an item's bytes are. The item must be there.
    pub(super) fn slot(&self, index: usize) -> Range<usize> {
        let data = self.data();
        data + self.offsets[index]..data + self.offsets[index + 1]
    }

    /// Writes the number of items and the offsets.
    pub(super) fn write(&self, bytes: SharedBytes<'_>) {
        for (at, number) in [self.len()].iter().chain(&self.offsets).enumerate() {
            bytes.store(at * ALIGN, (*number as u64).to_ne_bytes());
        }
    }

    /// How an item is written down, if that is known.
    pub(super) fn form(&self, bytes: SharedBytes<'_>, index: usize) -> Result<Form> {
        let [code] = bytes.load(self.codes() + index);
        Form::parse(bytes.load(self.formats() + index * ALIGN), code)
            .filter(|form| form.len() <= self.slot(index).len())
            .ok_or_else(|| unreadable(index, "has no known format"))
    }

    /// Reads an item. It must be there.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`] when there is something else.
    pub(super) fn read(&self, bytes: SharedBytes<'_>, index: usize) -> Result<Item> {
        let form = self.form(bytes, index)?;
        let mut copy = vec![0; form.len()];
        match copy.first_chunk_mut::<ALIGN>() {
            // In one access.
            Some(word) if form.len() == ALIGN => *word = bytes.load(self.slot(index).start),
            _ => bytes.read(self.slot(index).start, &mut copy),
        }
        let cut = "is no UTF-8: Python cuts text whose bytes are more than its characters";
        form.read(copy).ok_or_else(|| unreadable(index, cut))
    }

    /// Writes an item. It must be there.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`] when it does not fit into the slot.
    pub(super) fn write_item(
        &self,
        bytes: SharedBytes<'_>,
        index: usize,
        item: &Item,
    ) -> Result<()> {
        let slot = self.slot(index);
        let form = Form::of(item, slot.len());
        let mut content = item.bytes();
        if content.len() > slot.len() || Form::parse(form.format(), form.code()) != Some(form) {
            let text = format!(
                "item {index} exceeds the available storage: {} bytes for a slot of {}",
                content.len(),
                slot.len()
            );
            return Err(Error::new(ErrorKind::TooLarge, text));
        }
        content.resize(form.len(), 0);
        // What is the same is not written, so that a number that takes the place of a number is one access.
        let (format_at, code_at) = (self.formats() + index * ALIGN, self.codes() + index);
        if bytes.load(format_at) != form.format() {
            bytes.store(format_at, form.format());
        }
        if bytes.load(code_at) != [form.code()] {
            bytes.store(code_at, [form.code()]);
        }
        match content.first_chunk::<ALIGN>() {
            Some(word) if content.len() == ALIGN => bytes.store(slot.start, *word),
            _ => bytes.write(slot.start, &content),
        }
        Ok(())
    }

    /// The formats of all items, one behind the other.
    pub(super) fn format(&self, bytes: SharedBytes<'_>) -> Result<String> {
        (0..self.len())
            .map(|index| {
                let format = self.form(bytes, index)?.format();
                Ok(format.into_iter().filter(|byte| *byte != 0).map(char::from).collect::<String>())
            })
            .collect()
    }
}

#[cold]
pub(super) fn too_large() -> Error {
    Error::new(ErrorKind::TooLarge, "a list of so much is more than there can be")
}

#[cold]
fn unreadable(index: usize, why: &str) -> Error {
    Error::new(ErrorKind::Decode, format!("item {index} of the list {why}"))
}

#[cfg(test)]
mod tests;
