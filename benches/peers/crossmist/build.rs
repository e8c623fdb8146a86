//! Refuses compilers under which crossmist 1.1.2 compiles and panics in every send.
//!
//! It finds out whether a type is plain data by a habit of the standard library, which copied arrays of `Copy` values without a
//! call of their `clone`. rustc 1.90 does that, rustc 1.95 does not.

use std::cell::Cell;

struct Tell<'a>(&'a Cell<bool>);

impl Copy for Tell<'_> {}

#[expect(clippy::non_canonical_clone_impl, reason = "that is the question")]
impl Clone for Tell<'_> {
    fn clone(&self) -> Self {
        self.0.set(true);
        *self
    }
}

fn main() -> Result<(), &'static str> {
    println!("cargo:rerun-if-changed=build.rs");
    let is_called = Cell::new(false);
    #[expect(clippy::clone_on_copy, reason = "that is the question")]
    let _copy = [Tell(&is_called)].clone();
    match is_called.get() {
        true => Err("crossmist 1.1.2 panics in every send when it is built by this compiler"),
        false => Ok(()),
    }
}
