//! Enumerations with fields, without a representation, and without variants.

use procession_shared::Plain;

#[derive(Clone, Copy, Plain)]
#[plain(crate = "procession_shared")]
#[repr(u8)]
enum Shape {
    Circle(f64),
    Point,
}

#[derive(Clone, Copy, Plain)]
#[plain(crate = "procession_shared")]
#[repr(C)]
enum Side {
    Left,
    Right,
}

#[derive(Clone, Copy, Plain)]
#[plain(crate = "procession_shared")]
#[repr(u8)]
enum Never {}

fn main() {}
