//! The crash table's program: `crash_pool play <scene> <pool>` plays a scene with our pool, as `crash_pools.py` does with others;
//! `crash_pool drive <scene> <seconds> <program> <argument>..` runs either, sends the signals, and looks at what is left.
//!
//! `cargo xtask crash-table` starts it, and makes a table of what it says: lines of a name and a value.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a program for another program")]

mod drive;
mod play;

/// The folder in which workers leave marks, what all processes of a scene have in their environment, and how many seconds anybody
/// is waited for.
const FOLDER: &str = "CRASH_FOLDER";
const TOKEN: &str = "CRASH_TOKEN";
const PATIENCE: &str = "CRASH_PATIENCE";

/// The monotonic clock in nanoseconds, which is the same for all processes; that of CPython's `time.monotonic_ns`.
#[expect(unsafe_code, reason = "the standard library's cannot be told to others")]
fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: The pointer is to a value of the type that the call fills, and that lives as long as the call.
    let got = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    assert_eq!(got, 0, "there is such a clock");
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).unwrap()
}

fn main() {
    procession::init();
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().unwrap();
    match (next().as_str(), next(), next()) {
        ("play", scene, pool) => play::play(&scene, &pool),
        (_, scene, seconds) => drive::drive(&scene, &seconds, arguments.collect()),
    }
}
