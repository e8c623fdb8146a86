//! A field that is a reference, in a structure with a lifetime, and in one without.

use procession_shared::Plain;

#[derive(Clone, Copy, Plain)]
#[plain(crate = "procession_shared")]
struct Borrowed<'a> {
    text: &'a [u8; 4],
}

#[derive(Clone, Copy, Plain)]
#[plain(crate = "procession_shared")]
struct Static {
    names: [&'static str; 2],
}

fn main() {}
