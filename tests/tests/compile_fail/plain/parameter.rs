//! A parameter that is not plain.

use procession_shared::Plain;

#[derive(Clone, Copy, Plain)]
#[plain(crate = "procession_shared")]
struct Pair<T>(T, T);

fn share(_: impl Plain) {}

fn main() {
    share(Pair(1u8, 2));
    share(Pair(Some(1u8), None));
}
