//! The time, roughly and cheaply.

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds since some moment, on the monotonic clock as of the last tick, which may be 10 ms ago; no system call is made.
///
/// # Source
///
/// `clock_gettime(2)`, `CLOCK_MONOTONIC_COARSE`; `vdso(7)`.
#[inline]
pub fn rough_millis() -> u64 {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    let millis = now.tv_sec.saturating_mul(1000).saturating_add(now.tv_nsec / 1_000_000);
    u64::try_from(millis).unwrap_or_default()
}

/// Nanoseconds since some moment, on the monotonic clock, which all processes of the system share; no system call is made where the
/// hardware has a clock that the system trusts.
///
/// # Source
///
/// `clock_gettime(2)`, `CLOCK_MONOTONIC`; `vdso(7)`.
#[inline]
pub fn nanos() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let nanos = now.tv_sec.saturating_mul(1_000_000_000).saturating_add(now.tv_nsec);
    u64::try_from(nanos).unwrap_or_default()
}
