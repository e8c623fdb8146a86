//! Bytes into the words of a ring: see [`words`].

use procession_sys::words::{self, Word};

/// The bytes of a message that is written to a ring: a few, and then a slice.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    /// The first `lead_len` of these, whole words, or all there is.
    lead: [u8; LEAD],
    lead_len: usize,
    rest: &'a [u8],
}

/// The most bytes that stand before the slice.
const LEAD: usize = 32;

impl<'a> Source<'a> {
    /// The bytes of both; of the first, there are few.
    #[inline(always)]
    pub(crate) fn new([head, body]: [&'a [u8]; 2]) -> Self {
        if head.is_empty() || body.is_empty() {
            let rest = if head.is_empty() { body } else { head };
            return Self { lead: [0; LEAD], lead_len: 0, rest };
        }
        Self::joined(head, body)
    }

    fn joined(head: &[u8], body: &'a [u8]) -> Self {
        debug_assert!(head.len() + 7 <= LEAD, "{} bytes before a slice", head.len());
        let fill = (head.len().next_multiple_of(8) - head.len()).min(body.len());
        let (fill, rest) = body.split_at(fill);
        let mut lead = [0; LEAD];
        lead[..head.len()].copy_from_slice(head);
        lead[head.len()..head.len() + fill.len()].copy_from_slice(fill);
        Self { lead, lead_len: head.len() + fill.len(), rest }
    }

    #[inline(always)]
    pub(crate) fn len(&self) -> u64 {
        (self.lead_len + self.rest.len()) as u64
    }

    /// Writes what comes `from` so many bytes on, a multiple of eight, into `words`, as far as they reach.
    #[inline(always)]
    pub(super) fn write<W: Word>(&self, from: u64, words: &[W]) {
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let (mut words, mut from) = (words, from);
        if from < self.lead_len {
            let lead = &self.lead[from..self.lead_len];
            let count = lead.len().div_ceil(8).min(words.len());
            words::write(&words[..count], &lead[..lead.len().min(count * 8)]);
            words = &words[count..];
            from = self.lead_len;
        }
        if words.is_empty() {
            return;
        }
        let rest = self.rest.get(from - self.lead_len..).unwrap_or_default();
        words::write(words, &rest[..rest.len().min(words.len() * 8)]);
    }
}
