//! A map from words to counts: byte-slice keys, one arena for the long ones.
//!
//! Words of up to eight bytes, which most are, live in the entry itself and compare as one integer.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

/// Bytes of a word that are kept in its entry.
pub(crate) const INLINE_BYTES: usize = 8;

/// An odd number with evenly spread bits: 2^64 divided by the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Words and how often each was seen.
#[derive(Debug)]
pub(crate) struct Table {
    entries: HashTable<Entry>,
    arena: Vec<u8>,
    seed: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The first eight bytes, padded with zeros, which no word contains.
    head: [u8; INLINE_BYTES],
    /// Where a long word starts in the arena.
    start: usize,
    len: usize,
    count: u64,
}

impl Table {
    pub(crate) fn new() -> Self {
        // The seed differs from run to run, so that no text can be made to collide on purpose.
        Self { entries: HashTable::new(), arena: Vec::new(), seed: RandomState::new().hash_one(0) }
    }

    /// How many different words were seen.
    pub(crate) fn distinct(&self) -> usize {
        self.entries.len()
    }

    /// Forgets the words and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.arena.clear();
    }

    /// Counts a word `count` more times.
    pub(crate) fn add(&mut self, word: &[u8], count: u64) {
        match word.first_chunk::<INLINE_BYTES>() {
            Some(head) if word.len() > INLINE_BYTES => self.add_long(*head, word, count),
            _ => {
                let mut head = [0; INLINE_BYTES];
                head[..word.len()].copy_from_slice(word);
                self.add_short(head, word.len(), count);
            }
        }
    }

    /// Counts a word of `len` bytes, at most eight, that is padded with zeros.
    #[inline]
    pub(crate) fn add_short(&mut self, head: [u8; INLINE_BYTES], len: usize, count: u64) {
        let hash = hash_short(head, self.seed);
        // No word holds a zero byte, so the padded bytes tell the length as well. A long word has
        // no padding, hence the second test.
        let same = |entry: &Entry| entry.head == head && entry.len <= INLINE_BYTES;
        if let Some(entry) = self.entries.find_mut(hash, same) {
            entry.count += count;
        } else {
            self.insert(hash, Entry { head, start: 0, len, count });
        }
    }

    /// Counts a word of more than eight bytes that begins with `head`.
    #[inline]
    pub(crate) fn add_long(&mut self, head: [u8; INLINE_BYTES], word: &[u8], count: u64) {
        let hash = hash_long(word, self.seed);
        let arena = &self.arena;
        let same = |entry: &Entry| {
            entry.head == head && arena.get(entry.start..entry.start + entry.len) == Some(word)
        };
        if let Some(entry) = self.entries.find_mut(hash, same) {
            entry.count += count;
        } else {
            let start = self.arena.len();
            self.arena.extend_from_slice(word);
            self.insert(hash, Entry { head, start, len: word.len(), count });
        }
    }

    #[cold]
    fn insert(&mut self, hash: u64, entry: Entry) {
        let (arena, seed) = (&self.arena, self.seed);
        self.entries.insert_unique(hash, entry, |entry| {
            if entry.len <= INLINE_BYTES {
                hash_short(entry.head, seed)
            } else {
                hash_long(entry.word(arena), seed)
            }
        });
    }

    /// How many bytes the different words of more than eight bytes have.
    pub(crate) fn long_bytes(&self) -> usize {
        self.arena.len()
    }

    /// Every word with its padded head and its count, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8; INLINE_BYTES], &[u8], u64)> {
        self.entries.iter().map(|entry| (&entry.head, entry.word(&self.arena), entry.count))
    }

    /// The `limit` most frequent words: by count descending, then by word ascending.
    pub(crate) fn top(&self, limit: usize) -> Vec<(&[u8], u64)> {
        let mut words: Vec<(&[u8], u64)> =
            self.iter().map(|(_, word, count)| (word, count)).collect();
        let order = |a: &(&[u8], u64), b: &(&[u8], u64)| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0));
        if limit < words.len() {
            words.select_nth_unstable_by(limit, order);
            words.truncate(limit);
        }
        words.sort_unstable_by(order);
        words
    }
}

impl Entry {
    fn word<'a>(&'a self, arena: &'a [u8]) -> &'a [u8] {
        if self.len <= INLINE_BYTES {
            &self.head[..self.len]
        } else {
            &arena[self.start..self.start + self.len]
        }
    }
}

#[inline]
fn hash_short(head: [u8; INLINE_BYTES], seed: u64) -> u64 {
    mix(u64::from_le_bytes(head) ^ seed)
}

#[inline]
fn hash_long(word: &[u8], seed: u64) -> u64 {
    let mut hash = seed;
    let mut rest = word;
    while let Some((chunk, after)) = rest.split_first_chunk::<INLINE_BYTES>() {
        hash = mix(u64::from_le_bytes(*chunk) ^ hash);
        rest = after;
    }
    // The last eight bytes, which overlap with the chunk before them.
    word.last_chunk::<INLINE_BYTES>().map_or(hash, |tail| mix(u64::from_le_bytes(*tail) ^ hash))
}

/// Multiplies to 128 bits and folds the halves, as foldhash does.
#[inline]
fn mix(value: u64) -> u64 {
    let product = u128::from(value) * u128::from(SPREAD);
    let bytes = product.to_le_bytes();
    let [low, high] = [bytes.first_chunk::<8>(), bytes.last_chunk::<8>()]
        .map(|half| half.map_or(0, |half| u64::from_le_bytes(*half)));
    low ^ high
}

#[cfg(test)]
mod tests;
