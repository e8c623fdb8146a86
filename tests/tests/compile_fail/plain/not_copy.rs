//! A structure of plain fields that is not `Copy`.

use procession_shared::Plain;

#[derive(Plain)]
#[plain(crate = "procession_shared")]
struct Point(f64, f64);

fn main() {}
