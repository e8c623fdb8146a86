//! Counting by ranges against a model that looks at the text as a whole.

use std::collections::BTreeMap;
use std::io::Cursor;

use super::*;

type Counts = BTreeMap<Vec<u8>, u64>;

/// The definition of a word, one byte at a time.
fn model(text: &[u8]) -> Counts {
    let mut counts = Counts::new();
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte >= 0x80;
    for word in text.split(|byte| !is_word(byte)).filter(|word| !word.is_empty()) {
        let word = word[..word.len().min(WORD_BYTES)].to_ascii_lowercase();
        *counts.entry(word).or_default() += 1;
    }
    counts
}

fn counts(table: &Table) -> Counts {
    table.iter().map(|(_, word, count)| (word.to_vec(), count)).collect()
}

/// Counts the text in ranges that end at `ends`, each by its own counter.
fn count_in_ranges(text: &[u8], ends: &[usize], read_bytes: usize) -> (Counts, u64) {
    let mut total = Table::new();
    let mut bytes = 0;
    let mut start = 0;
    for &end in ends {
        let mut counter = Counter::new(read_bytes);
        let content =
            counter.count_range(&mut Cursor::new(text), start as u64, end as u64).unwrap();
        assert_eq!(content, Content::Text);
        let mut partial = Partial::default();
        partial.set_words(&counter.table);
        partial.add_words_to(&mut total);
        bytes += counter.bytes;
        start = end;
    }
    (counts(&total), bytes)
}

/// A small generator of numbers, so that a failure can be repeated from its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn text(&mut self, len: usize) -> Vec<u8> {
        let mut text = Vec::new();
        while text.len() < len {
            let word_len = match self.below(20) {
                0 => WORD_BYTES - 2 + self.below(5),
                1 => 60 + self.below(10),
                2 => 2 * WORD_BYTES,
                _ => 1 + self.below(12),
            };
            let alphabet = if self.below(8) == 0 { b"\xc3\xa4\xff\x80" } else { b"aBc9" };
            text.extend((0..word_len).map(|_| alphabet[self.below(4)]));
            let gaps = 1 + self.below(3);
            text.extend((0..gaps).map(|_| b" .\n\x7f@[`{/:-"[self.below(11)]));
        }
        text.truncate(len);
        text
    }
}

#[test]
fn any_split_into_ranges_and_reads_gives_the_counts_of_the_whole() {
    let mut random = Random(0x9e37_79b9);
    for round in 0..300 {
        let len = random.below(12_000);
        let text = random.text(len);
        let mut ends: Vec<usize> =
            (0..random.below(6)).map(|_| 1 + random.below(len + 1)).collect();
        ends.retain(|&end| end < len);
        ends.push(len);
        ends.sort_unstable();
        ends.dedup();
        let read_bytes = [1, 7, 64, 100, 1 << 12, 1 << 20][random.below(6)];
        let (seen, bytes) = count_in_ranges(&text, &ends, read_bytes);
        assert_eq!(seen, model(&text), "round {round}, ends {ends:?}, reads of {read_bytes}");
        assert_eq!(bytes, len as u64, "round {round}");
    }
}

#[test]
fn every_single_cut_of_a_short_text_is_harmless() {
    let text = b"  One two,Three  f\xc3\xbcnf 6six! eightbyt ninebytes9 end";
    for end in 1..text.len() {
        let (seen, bytes) = count_in_ranges(text, &[end, text.len()], 4096);
        assert_eq!((seen, bytes), (model(text), text.len() as u64), "cut at {end}");
    }
}

#[test]
fn words_around_the_longest_length_count_under_their_first_bytes() {
    for len in [WORD_BYTES - 1, WORD_BYTES, WORD_BYTES + 1, 3 * WORD_BYTES] {
        let mut text = vec![b'X'; len];
        text.extend_from_slice(b" next");
        for cut in [1, len - 1, len, len + 1] {
            for read_bytes in [63, 1023, 1024, 1025, 1 << 20] {
                let (seen, _) = count_in_ranges(&text, &[cut, text.len()], read_bytes);
                let word = vec![b'x'; len.min(WORD_BYTES)];
                let expected = Counts::from([(word, 1), (b"next".to_vec(), 1)]);
                assert_eq!(seen, expected, "{len} bytes, cut {cut}, reads of {read_bytes}");
            }
        }
    }
}

#[test]
fn a_file_of_one_endless_word_has_one_word() {
    let text = vec![0xe9; 1 << 20];
    let ends = [1 << 18, 1 << 19, 1 << 20];
    let (seen, bytes) = count_in_ranges(&text, &ends, 1 << 14);
    assert_eq!(seen, Counts::from([(vec![0xe9; WORD_BYTES], 1)]));
    assert_eq!(bytes, 1 << 20);
}

#[test]
fn every_byte_value_is_folded_as_defined() {
    for byte in 0..=u8::MAX {
        let mut folded = [byte];
        fold(&mut folded);
        let is_word = byte.is_ascii_alphanumeric() || byte >= 0x80;
        assert_eq!(folded[0], if is_word { byte.to_ascii_lowercase() } else { 0 }, "{byte:#x}");
    }
}

#[test]
fn the_mask_has_a_bit_for_every_byte_that_is_not_zero() {
    for value in [0x01, 0x7f, 0x80, 0xff] {
        for at in 0..BLOCK_BYTES {
            let mut block = [0; BLOCK_BYTES];
            block[at] = value;
            assert_eq!(word_mask(&block), 1 << at, "{value:#x} at {at}");
            let mut block = [value; BLOCK_BYTES];
            block[at] = 0;
            assert_eq!(word_mask(&block), !(1 << at), "zero at {at} between {value:#x}");
        }
    }
}

#[test]
fn a_nul_byte_counts_as_binary_only_near_the_start_and_for_every_range() {
    let mut text = b"word ".repeat(4000);
    text[SNIFF_BYTES - 1] = 0;
    let mut counter = Counter::new(1 << 20);
    for (start, end) in [(0, 10_000), (10_000, 20_000)] {
        let content = counter.count_range(&mut Cursor::new(&text), start, end).unwrap();
        assert_eq!(content, Content::Binary, "from {start}");
    }
    assert_eq!((counter.bytes, counter.table.distinct()), (0, 0));

    let mut text = b"word ".repeat(4000);
    text[SNIFF_BYTES] = 0;
    let (seen, _) = count_in_ranges(&text, &[10_000, 20_000], 1 << 20);
    assert_eq!(seen, model(&text));
}

#[test]
fn a_file_that_shrank_ends_early_and_one_that_grew_ends_where_it_did() {
    let text = b"alpha beta gamma";
    let mut counter = Counter::new(64);
    for (start, end) in [(0, 12), (12, 4096), (4096, 9000)] {
        counter.count_range(&mut Cursor::new(text), start, end).unwrap();
    }
    assert_eq!((counts(&counter.table), counter.bytes), (model(text), 16));

    // Seen with 8 bytes: `beta` starts within them and is finished, `gamma` is new.
    let mut counter = Counter::new(64);
    counter.count_range(&mut Cursor::new(text), 0, 8).unwrap();
    assert_eq!((counts(&counter.table), counter.bytes), (model(b"alpha beta"), 8));
}

/// Fails once `left` bytes are read, with a few interruptions on the way.
struct Failing {
    left: usize,
    is_interrupted: bool,
}

impl Read for Failing {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.is_interrupted = !self.is_interrupted;
        if self.is_interrupted {
            return Err(ErrorKind::Interrupted.into());
        }
        if self.left == 0 {
            return Err(io::Error::other("bad sector"));
        }
        let len = self.left.min(into.len()).min(4);
        into[..len].copy_from_slice(&b"one "[..len]);
        self.left -= len;
        Ok(len)
    }
}

impl Seek for Failing {
    fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
        Err(ErrorKind::Unsupported.into())
    }
}

#[test]
fn a_read_error_is_passed_on_and_an_interruption_is_not() {
    let mut counter = Counter::new(64);
    let mut source = Failing { left: SNIFF_BYTES + 400, is_interrupted: false };
    let error = counter.count_range(&mut source, 0, 1 << 20).unwrap_err();
    assert_eq!(error.to_string(), "bad sector");
    let words = u64::try_from(SNIFF_BYTES / 4 + 100).unwrap();
    assert_eq!(counts(&counter.table), Counts::from([(b"one".to_vec(), words)]));
    assert_eq!(counter.bytes, 4 * words);
}

fn piece(path: &Path, start: u64, end: u64, share: Share) -> Piece {
    Piece { path: path.into(), start, end, share }
}

#[test]
fn files_that_fail_are_told_apart_and_counted_once() {
    let folder = std::env::temp_dir();
    let gone = folder.join(format!("wordcount-{}-never-there", std::process::id()));
    let pieces = vec![
        piece(&gone, 0, 10, Share::Whole),
        piece(&gone, 10, 20, Share::Later),
        piece(&folder, 0, 10, Share::Whole),
    ];
    let partial = count_task(Task { id: 7, pieces, troubles: Vec::new() });
    let found: Vec<_> =
        partial.troubles.iter().map(|trouble| (trouble.kind, trouble.share)).collect();
    use crate::walk::TroubleKind::{Unreadable, Vanished};
    let expected = [(Vanished, Share::Whole), (Vanished, Share::Later), (Unreadable, Share::Whole)];
    assert_eq!(found, expected);
    assert_eq!((partial.id, partial.files, partial.bytes), (7, 0, 0));
}

#[test]
fn a_partial_result_survives_encoding_and_nothing_leaks_into_the_next_task() {
    let path = std::env::temp_dir().join(format!("wordcount-{}-partial", std::process::id()));
    let text = b"Short, extraordinarily long; short. \xff\xfe";
    std::fs::write(&path, text).unwrap();
    let task = |id, share| Task {
        id,
        pieces: vec![piece(&path, 0, text.len() as u64, share)],
        troubles: Vec::new(),
    };
    let first = count_task(task(0, Share::Whole));
    let second = count_task(task(0, Share::Whole));
    let later = count_task(task(2, Share::Later));
    std::fs::remove_file(&path).unwrap();

    let encoded = serde_json::to_vec(&first).unwrap();
    let decoded: Partial = serde_json::from_slice(&encoded).unwrap();
    assert_eq!(decoded, first);
    for partial in [&decoded, &second] {
        let mut table = Table::new();
        assert_eq!(partial.add_words_to(&mut table), 5);
        assert_eq!(counts(&table), model(text));
        assert_eq!((partial.files, partial.bytes), (1, text.len() as u64));
    }
    assert_eq!(later.files, 0, "only the first range counts the file");
}
