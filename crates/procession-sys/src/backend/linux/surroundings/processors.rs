//! Which processors a thread may use.

#![expect(
    unsafe_code,
    reason = "rustix's set ends at 1024 processors, and larger machines refuse it"
)]

use super::super::{call, checked};
use crate::Result;

type Word = libc::c_ulong;

const BITS: usize = Word::BITS as usize;

/// Room for every number that 16 bits hold; the system takes what it needs of it.
const WORDS: usize = (1 << 16) / BITS;

/// The processors that the calling thread may use, in ascending order.
///
/// # Errors
///
/// None in practice.
///
/// # Source
///
/// `sched_getaffinity(2)`.
pub fn affinity() -> Result<Vec<u16>> {
    let mut set: [Word; WORDS] = [0; WORDS];
    call("read the affinity", String::new, || {
        // SAFETY: The pointer is valid for the length, and any bits are words. Zero is the calling thread.
        checked(unsafe { libc::sched_getaffinity(0, size_of_val(&set), set.as_mut_ptr().cast()) })
    })?;
    let used = set.iter().enumerate().filter(|(_, word)| **word != 0);
    let numbers = used.flat_map(|(at, word)| {
        (0..BITS).filter(move |bit| word >> bit & 1 == 1).map(move |bit| at * BITS + bit)
    });
    Ok(numbers.filter_map(|cpu| u16::try_from(cpu).ok()).collect())
}

/// Has the calling thread, and those that it starts afterwards, use these `processors` only.
///
/// Those that the machine does not have, or the process may not use, are passed over.
///
/// # Errors
///
/// [`INVALID`](crate::OsCode::INVALID) when none remains.
///
/// # Source
///
/// `sched_setaffinity(2)`.
pub fn set_affinity(processors: &[u16]) -> Result<()> {
    let mut set: [Word; WORDS] = [0; WORDS];
    for cpu in processors.iter().copied().map(usize::from) {
        set[cpu / BITS] |= 1 << (cpu % BITS);
    }
    let subject = || format!("processors {processors:?}");
    call("change the affinity to", subject, || {
        // SAFETY: The pointer is valid for the length. Zero is the calling thread.
        checked(unsafe { libc::sched_setaffinity(0, size_of_val(&set), set.as_ptr().cast()) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OsCode;

    #[test]
    fn one_of_the_processors_can_be_chosen() {
        let all = affinity().unwrap();
        let last = *all.last().unwrap();
        // The affinity is that of a thread.
        std::thread::spawn(move || {
            set_affinity(&[last, u16::MAX]).unwrap();
            assert_eq!(affinity().unwrap(), [last]);
            assert_eq!(super::super::super::cpu::usable().unwrap().get(), 1);
            for none in [&[][..], &[u16::MAX]] {
                let error = set_affinity(none).unwrap_err();
                assert_eq!(error.code(), OsCode::INVALID, "{none:?}");
            }
            assert_eq!(affinity().unwrap(), [last]);
        })
        .join()
        .unwrap();
        assert_eq!(affinity().unwrap(), all);
    }

    #[test]
    fn the_set_is_that_of_the_system() {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let ranges = list.unwrap().trim().split(',').map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            first.parse::<u16>().unwrap()..=last.parse().unwrap()
        });
        assert_eq!(affinity().unwrap(), ranges.flatten().collect::<Vec<_>>());
    }
}
