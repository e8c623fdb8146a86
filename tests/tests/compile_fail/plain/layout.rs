//! Layouts that are not plain C, and a structure without one.

use procession_shared::Plain;

#[derive(Clone, Copy, Plain)]
#[plain(crate = "procession_shared")]
#[repr(C, packed)]
struct Packed(u8, u32);

#[derive(Clone, Copy, Plain)]
#[plain(crate = "procession_shared")]
#[repr(align(64))]
struct Line(u8);

#[derive(Clone, Copy, Plain)]
#[plain(crate = "procession_shared")]
struct Nothing;

#[derive(Clone, Copy, Plain)]
#[plain(size = "4")]
struct Attribute(u8);

fn main() {}
