//! Processes and pools under the plain test harness: `cargo test`, without any other tool.

use procession::prelude::*;

procession::test_support!();

#[test]
fn processes_start_in_a_plain_test_program() {
    let child = Process::spawn(|a: u32, b: u32| a * b, (6, 7)).unwrap();
    assert_eq!(child.join().unwrap(), 42);
}

#[test]
fn several_tests_start_processes_at_the_same_time() {
    let pool = Pool::new().unwrap();
    assert_eq!(pool.map(|x: u64| x + 1, 0..100).unwrap().into_iter().sum::<u64>(), 5050);
}

mod inner {
    use procession::prelude::*;

    #[test]
    fn tests_in_modules_start_processes_too() {
        assert_eq!(Process::spawn(|| "inner".to_owned(), ()).unwrap().join().unwrap(), "inner");
    }
}
