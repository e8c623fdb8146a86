//! Arguments and results of a pool that go as they are, without being encoded: long blocks of bytes, and single words.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

use std::num::NonZeroUsize;
use std::time::Duration;

use procession::prelude::*;
use procession_tests::watchdog;

procession::test_support!();

/// Around where blocks begin, and beyond what an outbox holds.
const LENGTHS: [usize; 8] =
    [0, 7, (16 << 10) - 1, 16 << 10, (16 << 10) + 1, 65_537, 1 << 20, (3 << 20) + 5];

fn pool(workers: usize) -> Pool {
    Pool::builder().workers(NonZeroUsize::new(workers).unwrap()).build().unwrap()
}

/// Bytes of which each is another one.
fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at * 7919 / 256 % 251).unwrap()).collect()
}

fn text(len: usize) -> String {
    (0..len).map(|at| char::from(b'a' + u8::try_from(at * 31 / 7 % 26).unwrap())).collect()
}

#[test]
fn long_bytes_texts_and_numbers_come_back_as_they_went() {
    let _dog = watchdog(60);
    let pool = pool(2);
    let all: Vec<_> = LENGTHS.map(bytes).into();
    assert!(pool.map(|item: Vec<u8>| item, all.clone()).unwrap() == all);
    assert!(pool.map_async(|item: Vec<u8>| item, all.clone()).get().unwrap() == all);
    let reversed = pool.map(
        |mut item: Vec<u8>| {
            item.reverse();
            item.into_boxed_slice()
        },
        all.clone(),
    );
    for (mut item, reversed) in all.into_iter().zip(reversed.unwrap()) {
        item.reverse();
        assert!(*reversed == item);
        let echo = pool.apply(|item: Vec<u8>| item, (item.clone(),)).unwrap();
        assert!(echo == item);
    }
    for len in LENGTHS {
        let text = text(len);
        assert!(pool.apply(|text: String| text, (text.clone(),)).unwrap() == text);
        assert!(
            pool.map(|text: String| text.into_bytes(), [text.clone()]).unwrap()[0]
                == text.as_bytes()
        );
        let numbers: Vec<f64> = (0_u32..).take(len / 8).map(f64::from).collect();
        assert!(pool.map(|numbers: Vec<f64>| numbers, [numbers.clone()]).unwrap()[0] == numbers);
        let of_length = |len: usize| vec![1_u32; len];
        assert!(pool.apply(of_length, (len,)).unwrap() == of_length(len));
        let several = pool.apply(|len: usize, item: Vec<u8>| (len, item), (len, bytes(len)));
        assert!(several.unwrap() == (len, bytes(len)));
    }
}

#[test]
fn long_results_of_short_arguments_in_one_chunk_keep_their_order() {
    let _dog = watchdog(60);
    let pool = pool(2);
    let tasks = pool.tasks().chunk(NonZeroUsize::new(16).unwrap());
    let lens: Vec<_> = (0..64).map(|place| place * 1500).collect();
    let texts = lens.iter().map(usize::to_string);
    let found = tasks.map(|len: String| bytes(len.parse().unwrap()), texts).unwrap();
    assert!(found.into_iter().eq(lens.into_iter().map(bytes)));
}

#[test]
fn a_task_that_is_tried_again_gets_its_bytes_again() {
    let _dog = watchdog(60);
    let pool = pool(2);
    let tasks = pool.tasks().attempts(3).backoff(Duration::from_millis(5)).retry_panics();
    // Alone in the argument, which says itself where it is noted how often it was tried.
    let of_text = |text: String| {
        let (number, _rest) = text.split_once('|').unwrap();
        fail_twice(number.parse().unwrap());
        text
    };
    let argument = format!("{}|{}", u64::from(std::process::id()) << 1, text(1 << 20));
    assert!(tasks.apply(of_text, (argument.clone(),)).unwrap() == argument);
    let of_word = |number: u64| {
        fail_twice(number);
        number
    };
    let argument = u64::from(std::process::id()) << 1 | 1;
    assert_eq!(tasks.apply(of_word, (argument,)).unwrap(), argument);
}

/// Ends this process the first time that it is called with this number in any process, and panics the second time.
fn fail_twice(number: u64) {
    let path = std::env::temp_dir().join(format!("procession-blocks-{number}"));
    let tries = std::fs::read_to_string(&path).unwrap_or_default() + "x";
    std::fs::write(&path, &tries).unwrap();
    match tries.len() {
        1 => std::process::abort(),
        2 => panic!("the second time"),
        _ => std::fs::remove_file(path).unwrap(),
    }
}
