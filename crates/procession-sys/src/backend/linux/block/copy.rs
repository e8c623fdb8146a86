//! Copies of memory that somebody else may write at the same time.
//!
//! What the compiler cannot see it cannot misjudge: on x86-64 the copies are instructions of their own, which read and write
//! each byte once, whatever is in it by then. Elsewhere they are relaxed atomic accesses, by words where both sides allow.
//! Neither needs the bytes to stay as they are; who reads while another writes gets bytes of either.

#![expect(unsafe_code, reason = "copies between addresses")]

/// From so many bytes on, the processor's own string instructions are faster than a loop: they take 10 to 20 ns to begin, and
/// are then as fast as `memcpy`, which uses them as well (`docs/shared.md`).
#[cfg(target_arch = "x86_64")]
const STRING_FROM: usize = 2048;

/// Whether the bytes go to a place a little behind the one that they come from, modulo a page: there the string instructions of
/// some processors fall to a fifteenth (Zen 3, from 8 to 31 bytes behind; `docs/pipes.md`).
#[cfg(target_arch = "x86_64")]
#[inline]
fn is_unlucky(from: *const u8, to: *mut u8) -> bool {
    (1..64).contains(&(to.addr().wrapping_sub(from.addr()) & 0xfff))
}

/// Copies `len` bytes.
///
/// # Safety
///
/// `from` can be read, and `to` written, for `len` bytes; they do not overlap, unless as two mappings of one file; whoever else
/// accesses them at the same time is in another process, or does so through atomics or this module.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    match len {
        // SAFETY: As for this function, with a length that each of them takes.
        0..8 => unsafe { asm::few(from, to, len) },
        // SAFETY: As above.
        8..16 => unsafe { asm::two_words(from, to, len) },
        // SAFETY: As above.
        16..STRING_FROM => unsafe { asm::vectors(from, to, len) },
        // SAFETY: As above.
        _ if asm::has_strings() && !is_unlucky(from, to) => unsafe { asm::string(from, to, len) },
        // SAFETY: As above.
        _ => unsafe { asm::vectors(from, to, len) },
    }
}

/// As above.
///
/// # Safety
///
/// As above.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(super) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: As for this function.
    unsafe { words::copy(from, to, len) };
}

/// Writes `byte` to `len` bytes.
///
/// # Safety
///
/// As for [`copy`], of which this is the second half.
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn fill(to: *mut u8, byte: u8, len: usize) {
    // SAFETY: As for this function.
    unsafe { asm::fill(to, byte, len) };
}

/// As above.
///
/// # Safety
///
/// As above.
#[cfg(not(target_arch = "x86_64"))]
pub(super) unsafe fn fill(to: *mut u8, byte: u8, len: usize) {
    // SAFETY: As for this function.
    unsafe { words::fill(to, byte, len) };
}

#[cfg(target_arch = "x86_64")]
mod asm {
    //! Instructions of x86-64. Flags: the direction flag is clear, by the calling convention.

    use std::arch::asm;

    /// Whether string instructions are quick here, as on all processors since 2013, and may not be on one that somebody
    /// made up.
    #[inline]
    pub(super) fn has_strings() -> bool {
        std::is_x86_feature_detected!("ermsb")
    }

    /// # Safety
    ///
    /// As `super::copy`.
    #[inline]
    pub(super) unsafe fn few(from: *const u8, to: *mut u8, len: usize) {
        // SAFETY: `len` bytes are read and written, each once.
        unsafe {
            asm!(
                "test {len}, {len}", "jz 3f",
                "2:",
                "mov {byte}, [{from} + {len} - 1]",
                "mov [{to} + {len} - 1], {byte}",
                "dec {len}", "jnz 2b",
                "3:",
                len = inout(reg) len => _, from = in(reg) from, to = in(reg) to, byte = out(reg_byte) _,
                options(nostack),
            );
        }
    }

    /// For 8 bytes and up to 16.
    ///
    /// # Safety
    ///
    /// As `super::copy`.
    #[inline]
    pub(super) unsafe fn two_words(from: *const u8, to: *mut u8, len: usize) {
        // SAFETY: The first 8 bytes and the last 8 lie inside, as there are at least 8; together they are all.
        unsafe {
            asm!(
                "mov {first}, [{from}]",
                "mov {last}, [{from} + {len} - 8]",
                "mov [{to}], {first}",
                "mov [{to} + {len} - 8], {last}",
                len = in(reg) len, from = in(reg) from, to = in(reg) to, first = out(reg) _, last = out(reg) _,
                options(nostack, preserves_flags),
            );
        }
    }

    /// For 16 bytes and more.
    ///
    /// # Safety
    ///
    /// As `super::copy`.
    #[inline]
    pub(super) unsafe fn vectors(from: *const u8, to: *mut u8, len: usize) {
        // SAFETY: `at` is below `len - 16` in the loops, by 48 more in the first, so that what they access lies inside; and so do
        // the last 16 bytes, as there are at least 16.
        unsafe {
            asm!(
                "xor {at:e}, {at:e}",
                "lea {stop}, [{len} - 16]",
                "sub {len}, 64", "jb 3f",
                "2:",
                "movups {a}, [{from} + {at}]",
                "movups {b}, [{from} + {at} + 16]",
                "movups {c}, [{from} + {at} + 32]",
                "movups {d}, [{from} + {at} + 48]",
                "movups [{to} + {at}], {a}",
                "movups [{to} + {at} + 16], {b}",
                "movups [{to} + {at} + 32], {c}",
                "movups [{to} + {at} + 48], {d}",
                "add {at}, 64",
                "cmp {at}, {len}", "jbe 2b",
                "3:",
                "cmp {at}, {stop}", "jae 4f",
                "movups {a}, [{from} + {at}]",
                "movups [{to} + {at}], {a}",
                "add {at}, 16",
                "jmp 3b",
                "4:",
                "movups {a}, [{from} + {stop}]",
                "movups [{to} + {stop}], {a}",
                len = inout(reg) len => _, from = in(reg) from, to = in(reg) to, at = out(reg) _, stop = out(reg) _,
                a = out(xmm_reg) _, b = out(xmm_reg) _, c = out(xmm_reg) _, d = out(xmm_reg) _,
                options(nostack),
            );
        }
    }

    /// # Safety
    ///
    /// As `super::copy`.
    #[inline]
    pub(super) unsafe fn string(from: *const u8, to: *mut u8, len: usize) {
        // SAFETY: `len` bytes are read and written.
        unsafe {
            asm!(
                "rep movsb",
                inout("rcx") len => _, inout("rsi") from => _, inout("rdi") to => _,
                options(nostack, preserves_flags),
            );
        }
    }

    /// # Safety
    ///
    /// As `super::fill`.
    #[inline]
    pub(super) unsafe fn fill(to: *mut u8, byte: u8, len: usize) {
        // SAFETY: `len` bytes are written.
        unsafe {
            asm!(
                "rep stosb",
                inout("rcx") len => _, inout("rdi") to => _, in("al") byte,
                options(nostack, preserves_flags),
            );
        }
    }
}

/// The same by atomics, for other processors; tested here.
#[cfg(any(test, not(target_arch = "x86_64")))]
mod words {
    use crate::prim::Ordering::Relaxed;
    use crate::prim::{AtomicU8, AtomicU64};

    const WORD: usize = size_of::<u64>();

    /// # Safety
    ///
    /// As `super::copy`.
    pub(super) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
        let head = to.align_offset(WORD).min(len);
        let is_parallel = from.wrapping_add(head).addr().is_multiple_of(WORD);
        let mut at = 0;
        while at < len {
            if is_parallel && at >= head && len - at >= WORD {
                // SAFETY: A word from `at` on lies inside both, and is aligned in both.
                unsafe { word(from.wrapping_add(at), to.wrapping_add(at)) };
                at += WORD;
            } else {
                // SAFETY: The byte at `at` lies inside both.
                unsafe { byte(from.wrapping_add(at), to.wrapping_add(at)) };
                at += 1;
            }
        }
    }

    /// # Safety
    ///
    /// As `super::fill`.
    pub(super) unsafe fn fill(to: *mut u8, byte: u8, len: usize) {
        for at in 0..len {
            // SAFETY: The byte at `at` lies inside.
            let place = unsafe { AtomicU8::from_ptr(to.wrapping_add(at)) };
            place.store(byte, Relaxed);
        }
    }

    unsafe fn word(from: *const u8, to: *mut u8) {
        // SAFETY: The caller says that a word can be read there, and that it is aligned. It is only loaded.
        let from = unsafe { AtomicU64::from_ptr(from.cast_mut().cast()) };
        // SAFETY: The caller says that a word can be written there, and that it is aligned.
        let to = unsafe { AtomicU64::from_ptr(to.cast()) };
        to.store(from.load(Relaxed), Relaxed);
    }

    unsafe fn byte(from: *const u8, to: *mut u8) {
        // SAFETY: The caller says that a byte can be read there. It is only loaded.
        let from = unsafe { AtomicU8::from_ptr(from.cast_mut()) };
        // SAFETY: The caller says that a byte can be written there.
        let to = unsafe { AtomicU8::from_ptr(to) };
        to.store(from.load(Relaxed), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Copy = unsafe fn(*const u8, *mut u8, usize);

    /// Copies all lengths around the limits, between all alignments, with a guard byte on both sides.
    fn copies_all_lengths(copy: Copy, lengths: impl Iterator<Item = usize>) {
        for len in lengths {
            for (before, behind) in [(0, 0), (1, 0), (0, 1), (3, 5), (8, 8), (7, 15)] {
                let from: Vec<u8> =
                    (0..before + len).map(|at| (at * 7 + 1).to_le_bytes()[0]).collect();
                let mut to = vec![0xEE; behind + 1 + len + 1];
                let from = &from[before..];
                // SAFETY: Both are vectors with that much room behind the place.
                unsafe { copy(from.as_ptr(), to[behind + 1..].as_mut_ptr(), len) };
                assert_eq!(&to[behind + 1..][..len], from, "{len} bytes from {before} to {behind}");
                assert!(to[..=behind].iter().all(|byte| *byte == 0xEE), "{len}: before");
                assert_eq!(to[behind + 1 + len], 0xEE, "{len}: behind");
            }
        }
    }

    #[test]
    fn every_length_is_copied_and_not_a_byte_more() {
        copies_all_lengths(copy, (0..300).chain(2000..2100).chain([4096, 65_536, 65_537]));
        copies_all_lengths(words::copy, (0..100).chain([2048, 4097]));
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_processor_without_quick_strings_copies_as_well() {
        copies_all_lengths(asm::vectors, (16..300).chain([2048, 4097, 65_536]));
        copies_all_lengths(asm::string, (0..100).chain([2048, 4097, 65_536]));
    }

    #[test]
    fn every_length_is_filled_and_not_a_byte_more() {
        for fill in [fill, words::fill] {
            for len in [0, 1, 7, 8, 9, 255, 4096] {
                let mut to = vec![0xEE; len + 2];
                // SAFETY: There is that much room behind the first byte.
                unsafe { fill(to[1..].as_mut_ptr(), 3, len) };
                assert_eq!((to[0], to[len + 1]), (0xEE, 0xEE));
                assert!(to[1..=len].iter().all(|byte| *byte == 3), "{len}");
            }
        }
    }
}
