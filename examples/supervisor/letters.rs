//! The C function `count_letters` of `letters.c`.

use std::ffi::{CStr, c_char, c_int};

#[link(name = "letters", kind = "static")]
unsafe extern "C" {
    fn count_letters(word: *const c_char) -> c_int;
}

/// How many letters the word has, if this process survives the question.
pub(crate) fn count(word: &CStr) -> i32 {
    // SAFETY: The text ends with a zero and is there during the call. What else the function does is why it is called in a
    // process of its own: when it touches what is not there, the system ends that process.
    unsafe { count_letters(word.as_ptr()) }
}
