//! Bytes into words that processes share, and back.
//!
//! By atomic loads and stores, so that it is defined what happens when somebody else writes at the same time: bytes of either. Eight
//! words at a time, it is as fast as `memcpy` where the caches are the limit, and unlike that it does not fall to a tenth
//! where source and destination lie at unlucky distances of each other (`docs/pipes.md`).

#![expect(unsafe_code, reason = "fills vectors that were not filled before")]

use std::mem::MaybeUninit;

use crate::prim::Ordering::Relaxed;
use crate::prim::{AtomicU64, Ordering};

/// A word that processes share: the system's atomic, or a model checker's.
pub trait Word {
    /// As the atomic's.
    fn load(&self, ordering: Ordering) -> u64;
    /// As the atomic's.
    fn store(&self, value: u64, ordering: Ordering);
}

impl Word for AtomicU64 {
    #[inline(always)]
    fn load(&self, ordering: Ordering) -> u64 {
        self.load(ordering)
    }

    #[inline(always)]
    fn store(&self, value: u64, ordering: Ordering) {
        self.store(value, ordering);
    }
}

/// How many words are copied at a time.
const STRIDE: usize = 8;

/// Reads `out.len()` bytes out of as many words as they take.
#[inline(always)]
pub fn read<W: Word>(words: &[W], out: &mut [u8]) {
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

/// Appends `len` bytes out of as many words as they take.
///
/// # Panics
///
/// When there are fewer words.
#[inline]
pub fn append<W: Word>(words: &[W], len: usize, out: &mut Vec<u8>) {
    assert!(words.len() >= len.div_ceil(8), "{len} bytes out of {} words", words.len());
    out.reserve(len.next_multiple_of(8));
    let (chunks, _) = out.spare_capacity_mut().as_chunks_mut::<8>();
    for (chunk, word) in chunks.iter_mut().zip(&words[..len.div_ceil(8)]) {
        *chunk = word.load(Relaxed).to_le_bytes().map(MaybeUninit::new);
    }
    let end = out.len() + len;
    // SAFETY: 1. There was room for them, with the rest of the last word. 2. All of them were written: as many words as they take.
    unsafe { out.set_len(end) };
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
pub fn write<W: Word>(words: &[W], bytes: &[u8]) {
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

#[cfg(test)]
mod tests {
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
            append(&words, len, &mut out);
            assert_eq!(out, [&bytes[..len], &bytes[..len]].concat());
        }
    }
}
