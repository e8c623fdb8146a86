//! A union.

use procession_shared::Plain;

#[derive(Clone, Copy, Plain)]
#[plain(crate = "procession_shared")]
union Either {
    number: u32,
    letter: u8,
}

fn main() {}
