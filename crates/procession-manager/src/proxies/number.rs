//! Numbers that a server can add to.

/// A number to which a manager's server can add, in one step that nobody comes in between of.
///
/// Integers wrap around at their ends, as those of `fetch_add` do.
pub trait Addable: serde::Serialize {
    /// Which number it is, for the server.
    #[doc(hidden)]
    const __KIND: u8;
}

macro_rules! addable {
    ($($type:ty, $kind:literal;)+) => {
        $(
            impl Addable for $type {
                const __KIND: u8 = $kind;
            }
        )+
    };
}

// The same as `server/number.rs` reads.
addable! {
    u8, 0;
    u16, 1;
    u32, 2;
    u64, 3;
    u128, 4;
    usize, 5;
    i8, 6;
    i16, 7;
    i32, 8;
    i64, 9;
    i128, 10;
    isize, 11;
    f32, 12;
    f64, 13;
}
