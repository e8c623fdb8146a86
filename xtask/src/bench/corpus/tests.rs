//! The corpus has the words and the vocabulary that it claims.

use super::*;

#[test]
fn a_word_is_letters_digits_and_foreign_bytes() {
    let found: Vec<&[u8]> = words("It's 3 caf\u{e9}s,\n_x_".as_bytes()).collect();
    assert_eq!(found, [&b"It"[..], b"s", b"3", "caf\u{e9}s".as_bytes(), b"x"]);
}

#[test]
fn a_base_folds_case_and_counts_every_word() {
    let mut base = Base::default();
    assert!(base.add(b"One one two"));
    assert!(base.add(b"two THREE"));
    assert_eq!((base.words, base.vocabulary.len()), (5, 3));
    assert_eq!(base.text, b"One one two\ntwo THREE\n");
}

#[test]
fn a_base_refuses_what_is_binary_or_too_rich() {
    let mut base = Base::default();
    let rich: String = (0..VOCABULARY).map(|number| format!("{number} ")).collect();
    assert!(!base.add(rich.as_bytes()));
    assert!(!base.add(b"a\0b"));
    assert!(base.text.is_empty() && base.vocabulary.is_empty() && base.words == 0);
}

#[test]
fn a_corpus_holds_what_it_says() {
    let folder = std::env::temp_dir().join(format!("xtask-corpus-{}", std::process::id()));
    let corpus = make(&folder, 9).unwrap();
    let texts: Vec<Vec<u8>> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| fs::read(entry.unwrap().path()).unwrap())
        .collect();
    fs::remove_dir_all(&folder).unwrap();
    let all = texts.concat();
    let vocabulary: HashSet<Vec<u8>> = words(&all).map(<[u8]>::to_ascii_lowercase).collect();
    assert!(corpus.bytes >= 9_000_000);
    assert_eq!(corpus.files, texts.len() as u64);
    assert_eq!(corpus.bytes, all.len() as u64);
    assert_eq!(corpus.words, words(&all).count() as u64);
    assert_eq!(corpus.distinct, vocabulary.len() as u64);
    assert!(vocabulary.len() < VOCABULARY);
}
