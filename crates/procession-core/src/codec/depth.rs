//! How deep values lie in each other.

use super::fault::Fault;

/// How many values may lie around the one that is encoded or decoded.
///
/// A type that holds itself does so in an option, a variant of an enum, a sequence or a map, or else no value of it has an end.
/// So these are what is counted, and structs and tuples cost nothing.
///
/// Decoding a level took 2.6 KiB of stack at most, without optimization, for trees of enums, structs, vectors and maps. So this
/// many take a third of the 2 MiB that a thread has by default.
pub(super) const MOST: u32 = 256;

/// How many more may lie in the one that is encoded or decoded.
#[derive(Clone, Copy)]
pub(super) struct Depth(u32);

impl Depth {
    /// That of the whole value.
    #[inline(always)]
    pub(super) fn of_the_whole() -> Self {
        Self(MOST)
    }

    /// One further down.
    #[inline(always)]
    pub(super) fn deeper(self) -> Result<Self, Fault> {
        self.0.checked_sub(1).map(Self).ok_or_else(too_deep)
    }
}

#[cold]
fn too_deep() -> Fault {
    Fault::because(format!("more than {MOST} values lie in each other"))
}
