//! The table against a `BTreeMap`.

use std::collections::BTreeMap;

use super::Table;

/// A word that `n` decides: lengths 1 to 40, first bytes that many words share.
fn word(n: usize) -> Vec<u8> {
    let mut word = format!("w{}", n % 7).into_bytes();
    word.resize(1 + n % 40, b'a');
    let digits = n.to_string().into_bytes();
    word.extend_from_slice(&digits[..digits.len().min(n % 5)]);
    word
}

#[test]
fn agrees_with_an_ordered_map_while_it_grows() {
    let mut table = Table::new();
    let mut model: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    for n in 0..50_000_usize {
        let word = word(n.wrapping_mul(7919) % 9_001);
        let count = 1 + u64::from(n % 3 == 0);
        table.add(&word, count);
        *model.entry(word).or_default() += count;
    }
    let seen: BTreeMap<Vec<u8>, u64> = table.iter().map(|(_, w, c)| (w.to_vec(), c)).collect();
    assert!(model.len() > 1_000, "too few words to prove anything: {}", model.len());
    assert_eq!(seen.len(), table.distinct(), "no word twice");
    assert_eq!(seen, model);
}

#[test]
fn words_of_seven_to_nine_bytes_stay_apart() {
    let mut table = Table::new();
    for word in ["aaaaaaa", "aaaaaaaa", "aaaaaaaaa", "aaaaaaaa"] {
        table.add(word.as_bytes(), 1);
    }
    let top = table.top(9);
    let expected: [(&[u8], u64); 3] = [(b"aaaaaaaa", 2), (b"aaaaaaa", 1), (b"aaaaaaaaa", 1)];
    assert_eq!(top, expected);
}

#[test]
fn a_word_of_eight_bytes_and_one_that_continues_it_stay_apart() {
    // Each table has a seed of its own, so that by and by the hashes are alike in the bits that
    // the table looks at, and the comparison decides.
    for _ in 0..4_000 {
        let mut table = Table::new();
        for word in ["aaaaaaaab", "aaaaaaaa", "aaaaaaaac", "aaaaaaaa", "aaaaaaaab"] {
            table.add(word.as_bytes(), 1);
        }
        let expected: [(&[u8], u64); 3] = [(b"aaaaaaaa", 2), (b"aaaaaaaab", 2), (b"aaaaaaaac", 1)];
        assert_eq!(table.top(3), expected);
    }
}

#[test]
fn top_breaks_ties_by_word_and_keeps_the_limit() {
    let mut table = Table::new();
    for (word, count) in [("pear", 2), ("fig", 5), ("apple", 2), ("date", 1)] {
        table.add(word.as_bytes(), count);
    }
    let expected: [(&[u8], u64); 4] = [(b"fig", 5), (b"apple", 2), (b"pear", 2), (b"date", 1)];
    for limit in 0..6 {
        assert_eq!(table.top(limit), &expected[..limit.min(4)], "limit {limit}");
    }
}

#[test]
fn clear_forgets_everything() {
    let mut table = Table::new();
    table.add(b"a word that is long", 3);
    table.clear();
    assert_eq!((table.distinct(), table.iter().count(), table.long_bytes()), (0, 0, 0));
    table.add(b"a word that is short", 1);
    assert_eq!(table.top(1), [(b"a word that is short".as_slice(), 1)]);
}
