//! The stored inputs of the fuzzer, run without one: so what it has found once stays found, with any toolchain (`docs/safety.md`).

use std::panic::catch_unwind;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

#[path = "../../fuzz/src/lib.rs"]
pub mod fuzz;

/// Held by the test that runs, where all share a process: each may open half of the descriptors that there are.
static DESCRIPTORS: Mutex<()> = Mutex::new(());

/// Runs each stored input of a target, and names those that fail.
fn run_stored(target: &str, run: fn(&[u8])) {
    let _alone = DESCRIPTORS.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let inputs = std::fs::read_dir(&folder).expect("a folder of inputs");
    let mut paths: Vec<_> = inputs.map(|input| input.expect("an entry").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} holds nothing", folder.display());
    paths.retain(|path| {
        let input = std::fs::read(path).expect("an input");
        catch_unwind(|| run(&input)).is_err()
    });
    assert!(paths.is_empty(), "these inputs fail: {paths:?}");
}

#[test]
fn addresses_are_read_as_they_are_printed() {
    run_stored("address", fuzz::address::run);
}

#[test]
fn hostile_bytes_are_a_value_or_an_error() {
    run_stored("codec", fuzz::codec::run);
}

#[test]
fn frames_in_any_pieces_are_delivered_as_they_were() {
    run_stored("frames", fuzz::frames::run);
}

#[test]
fn handshakes_go_well_only_untouched_and_with_the_key() {
    run_stored("handshake", fuzz::handshake::run);
}

#[test]
fn pickles_are_a_value_or_an_error() {
    run_stored("pickle", fuzz::pickle::run);
}

#[test]
fn cpythons_handshakes_go_well_only_untouched_and_with_the_key() {
    run_stored("python_handshake", fuzz::python_handshake::run);
}
