//! Bytes into words that processes share, and back.
//!
//! By atomic loads and stores, so that it is defined what happens when somebody else writes at the same time: bytes of either. Eight
//! words at a time, it is as fast as `memcpy` where the caches are the limit, and unlike that it does not fall to a tenth
//! where source and destination lie at unlucky distances of each other (`docs/pipes.md`).

use procession_sys::prim::Ordering::Relaxed;

use super::Word;

/// How many words are copied at a time.
const STRIDE: usize = 8;

/// Reads `out.len()` bytes out of as many words as they take.
#[inline(always)]
pub(super) fn read<W: Word>(words: &[W], out: &mut [u8]) {
    let (strides, rest) = out.as_chunks_mut::<{ STRIDE * 8 }>();
    let (word_strides, word_rest) = words.as_chunks::<STRIDE>();
    for (stride, words) in strides.iter_mut().zip(word_strides) {
        let (chunks, _) = stride.as_chunks_mut::<8>();
        for (chunk, word) in chunks.iter_mut().zip(words) {
            *chunk = word.load(Relaxed).to_le_bytes();
        }
    }
    let words = match strides.len() == word_strides.len() {
        true => word_rest,
        // The end of the last stride is not wanted.
        false => &words[strides.len() * STRIDE..],
    };
    let (chunks, rest) = rest.as_chunks_mut::<8>();
    for (chunk, word) in chunks.iter_mut().zip(words) {
        *chunk = word.load(Relaxed).to_le_bytes();
    }
    if let Some(word) = words.get(chunks.len()).filter(|_| !rest.is_empty()) {
        unpack(word.load(Relaxed), rest);
    }
}

/// The first bytes of a word, fewer than all. (A copy by `memcpy` out of a word on the stack waits for that to be written.)
#[inline(always)]
fn unpack(word: u64, out: &mut [u8]) {
    let [a, b, c, d, e, f, g, _] = word.to_le_bytes();
    match out {
        [] => {}
        [u] => *u = a,
        [u, v] => [*u, *v] = [a, b],
        [u, v, w] => [*u, *v, *w] = [a, b, c],
        [u, v, w, x, rest @ ..] => {
            [*u, *v, *w, *x] = [a, b, c, d];
            match rest {
                [] => {}
                [u] => *u = e,
                [u, v] => [*u, *v] = [e, f],
                [u, v, w, ..] => [*u, *v, *w] = [e, f, g],
            }
        }
    }
}

/// The word that begins with these bytes, fewer than a word has, and goes on with zeros.
#[inline(always)]
fn pack(bytes: &[u8]) -> u64 {
    let few = |bytes: &[u8]| bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    match bytes.split_first_chunk::<4>() {
        Some((low, high)) => u64::from(u32::from_le_bytes(*low)) | few(high) << 32,
        None => few(bytes),
    }
}

/// Writes `bytes` into as many words as they take; the last is filled up with zeros.
#[inline(always)]
fn write<W: Word>(words: &[W], bytes: &[u8]) {
    let (strides, rest) = bytes.as_chunks::<{ STRIDE * 8 }>();
    let (word_strides, _) = words.as_chunks::<STRIDE>();
    for (stride, words) in strides.iter().zip(word_strides) {
        let (chunks, _) = stride.as_chunks::<8>();
        for (chunk, word) in chunks.iter().zip(words) {
            word.store(u64::from_le_bytes(*chunk), Relaxed);
        }
    }
    let words = words.get(strides.len() * STRIDE..).unwrap_or_default();
    let (chunks, rest) = rest.as_chunks::<8>();
    for (chunk, word) in chunks.iter().zip(words) {
        word.store(u64::from_le_bytes(*chunk), Relaxed);
    }
    if let Some(word) = words.get(chunks.len()).filter(|_| !rest.is_empty()) {
        word.store(pack(rest), Relaxed);
    }
}

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
            write(&words[..count], &lead[..lead.len().min(count * 8)]);
            words = &words[count..];
            from = self.lead_len;
        }
        if words.is_empty() {
            return;
        }
        let rest = self.rest.get(from - self.lead_len..).unwrap_or_default();
        write(words, &rest[..rest.len().min(words.len() * 8)]);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use procession_sys::prim::AtomicU64;

    use super::*;

    #[test]
    fn every_length_is_copied_and_filled_up_with_zeros() {
        let bytes: Vec<u8> = (1..=200).collect();
        for len in 0..=bytes.len() {
            let words: Vec<_> = (0..26).map(|_| AtomicU64::new(u64::MAX)).collect();
            write(&words, &bytes[..len]);
            let used = len.div_ceil(8);
            let written: Vec<u8> =
                words.iter().flat_map(|word| word.load(Relaxed).to_le_bytes()).collect();
            assert_eq!(written[..len], bytes[..len]);
            assert!(written[len..used * 8].iter().all(|byte| *byte == 0), "{len}");
            assert!(written[used * 8..].iter().all(|byte| *byte == u8::MAX), "{len}");
            let mut out = vec![0; len];
            read(&words, &mut out);
            assert_eq!(out, bytes[..len]);
        }
    }
}
