//! A field on the heap of one process.

use procession_shared::Plain;

#[derive(Clone, Plain)]
#[plain(crate = "procession_shared")]
struct List {
    numbers: Vec<u32>,
}

fn main() {}
