//! Clocks that processes share, and pauses.
//!
//! The peers' workspace includes this file by path, so it stands on `std` and `libc` alone.
#![expect(unsafe_code, reason = "a time that another process understands is a system call")]

use std::io;
use std::thread;
use std::time::{Duration, Instant};

/// Nanoseconds of the monotonic clock, which is the same in every process.
pub fn now_ns() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

/// Nanoseconds for which the calling thread has had a processor.
pub fn thread_cpu_ns() -> u64 {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a whole `timespec` that the call may write.
    let failed = unsafe { libc::clock_gettime(clock, &raw mut time) } != 0;
    assert!(!failed, "both clocks exist: {}", io::Error::last_os_error());
    let [seconds, nanos] = [time.tv_sec, time.tv_nsec].map(i64::cast_unsigned);
    seconds * 1_000_000_000 + nanos
}

/// Leaves the processor for at least so long.
pub fn pause(length: Duration) {
    let end = Instant::now() + length;
    loop {
        match end.saturating_duration_since(Instant::now()) {
            Duration::ZERO => return,
            left => thread::park_timeout(left),
        }
    }
}

/// Keeps the processor for so long.
pub fn spin(length: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < length {
        std::hint::spin_loop();
    }
}
