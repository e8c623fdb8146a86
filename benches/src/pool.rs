//! Family `pool`: what two workers are given to do, and how that is timed.
//!
//! A contender says how its workers do a thing; the functions here say how much of it, look at everything that comes back, and
//! print the figure. What is wrong is an error, and no figure. A figure is the middle one of a few runs, as many as there is time for.
//!
//! The peers' workspace includes this file by path, so it stands on `std`, `libc`, [`clock`](crate::clock) and
//! [`measure`](crate::measure) alone.
#![expect(unsafe_code, reason = "the processor time of another process comes from a system call")]

use std::fs;
use std::hint::{black_box, spin_loop};
use std::io;
use std::time::{Duration, Instant};

use crate::clock::{pause, thread_cpu_ns};
use crate::measure::{number_from_env, print_figure, quantile_us};

/// How many workers everybody has.
pub const WORKERS: usize = 2;
/// How many numbers those put into a chunk who have to say it themselves: a million, in four chunks for each of two workers.
pub const CHUNK: usize = 125_000;

/// How many squares are made in the long map, and in the others.
const LONG_MAP: usize = 10_000_000;
const MAP: usize = 1_000_000;
/// How many tasks are given one by one, at most and at first.
const MOST_SINGLE: usize = 500_000;
const FIRST_SINGLE: usize = 2000;
/// For so long at least.
const SINGLE_LENGTH: Duration = Duration::from_millis(200);
/// Round trips, for so long at most. The first ones are not counted.
const TRIPS: usize = 5000;
const LEAST_TRIPS: usize = 20;
const EARLY_TRIPS: usize = 20;
const TRIPS_LENGTH: Duration = Duration::from_secs(1);
/// How many long arguments there are, and how long each is.
const PARCELS: usize = 200;
const PARCEL: usize = 1 << 20;
/// What they are filled with.
const FILL: u8 = 7;
/// How many tasks compute, and for how long each.
const TOILS: usize = 64;
const TOIL: Duration = Duration::from_millis(10);
/// How long nobody does anything, whatever the divisor: the one who measures has to vanish in it.
const IDLE: Duration = Duration::from_secs(2);
/// How long whoever has just worked may take before that begins, to give memory back for instance.
const SETTLE: Duration = Duration::from_millis(500);
/// How often a thing is done at most, and how long before it is not done once more.
const RUNS: usize = 5;
const LIVES: usize = 15;
const PATIENCE: Duration = Duration::from_secs(1);

/// The task that does almost nothing.
#[inline]
pub fn square(number: i64) -> i64 {
    number.wrapping_mul(number)
}

/// The task that computes for ten milliseconds. That is processor time, so that who is interrupted does the whole work all the same.
pub fn toil() {
    let begin = thread_cpu_ns();
    while u128::from(thread_cpu_ns() - begin) < TOIL.as_nanos() {
        spin_loop();
    }
}

/// Times the squares of ten million numbers, which go to a vector that is kept.
///
/// # Errors
/// What `map` returns; a square is wrong; standard output cannot be written to.
pub fn measure_map_into(
    mut map: impl FnMut(&[i64], &mut Vec<i64>) -> io::Result<()>,
) -> io::Result<()> {
    let numbers = numbers(scaled(LONG_MAP));
    // It has its room, all of whose pages are there.
    let mut squares = vec![-1; numbers.len()];
    let took = middle(RUNS, || {
        squares.fill(-1);
        let begin = Instant::now();
        map(&numbers, &mut squares)?;
        let took = begin.elapsed();
        check(&numbers, &squares)?;
        Ok(took)
    })?;
    print_rate("map[10M]", numbers.len(), took)
}

/// Times the squares of a million numbers, which go to a new vector.
///
/// # Errors
/// What `map` returns; a square is wrong; standard output cannot be written to.
pub fn measure_map(mut map: impl FnMut(&[i64]) -> io::Result<Vec<i64>>) -> io::Result<()> {
    let numbers = numbers(scaled(MAP));
    let took = middle(RUNS, || {
        let begin = Instant::now();
        let squares = map(&numbers)?;
        let took = begin.elapsed();
        check(&numbers, &squares)?;
        Ok(took)
    })?;
    print_rate("map[1M]", numbers.len(), took)
}

/// Times single tasks whose results are taken as they come: `run` is told how many numbers from zero on to square, and returns the
/// sum. `chunk` says what was said about chunks.
///
/// # Errors
/// What `run` returns; the sum is wrong; standard output cannot be written to.
pub fn measure_unordered(
    chunk: &str,
    mut run: impl FnMut(usize) -> io::Result<i64>,
) -> io::Result<()> {
    let mut timed = |count: usize| {
        let begin = Instant::now();
        let sum = run(count)?;
        let took = begin.elapsed();
        let expected = numbers(count).into_iter().map(square).fold(0, i64::wrapping_add);
        (sum == expected).then_some(took).ok_or_else(|| wrong("the sum", sum, expected))
    };
    let (most, length) = (scaled(MOST_SINGLE), SINGLE_LENGTH / divisor());
    let mut count = FIRST_SINGLE.min(most);
    while timed(count)? < length && count < most {
        count = (count * 4).min(most);
    }
    let took = middle(RUNS, || timed(count))?;
    print_rate(&format!("unordered[{chunk}]"), count, took)
}

/// Times calls whose results are waited for, one after the other.
///
/// # Errors
/// What `apply` returns; a square is wrong; standard output cannot be written to.
pub fn measure_apply(mut apply: impl FnMut(i64) -> io::Result<i64>) -> io::Result<()> {
    let most = EARLY_TRIPS + scaled(TRIPS).max(LEAST_TRIPS);
    let mut trips = Vec::with_capacity(most);
    let end = Instant::now() + TRIPS_LENGTH / divisor();
    let mut begin = Instant::now();
    for number in numbers(most) {
        let square_of_it = apply(number)?;
        let now = Instant::now();
        trips.push(now - begin);
        if square_of_it != square(number) {
            return Err(wrong("a square", square_of_it, square(number)));
        }
        if now >= end && trips.len() >= EARLY_TRIPS + LEAST_TRIPS {
            break;
        }
        begin = Instant::now();
    }
    let counted = &mut trips.split_off(EARLY_TRIPS);
    print_figure("apply_p50", quantile_us(counted, 50), "us")?;
    print_figure("apply_p99", quantile_us(counted, 99), "us")
}

/// Times tasks whose arguments of 1 MiB are returned. `run` returns how many bytes came back, as [`worth`] tells.
///
/// # Errors
/// What `run` returns; some bytes did not come back; standard output cannot be written to.
pub fn measure_parcels(mut run: impl FnMut(Vec<Vec<u8>>) -> io::Result<usize>) -> io::Result<()> {
    let count = scaled(PARCELS).max(2 * WORKERS);
    let took = middle(RUNS, || {
        let parcels = vec![vec![FILL; PARCEL]; count];
        let begin = Instant::now();
        let bytes = run(parcels)?;
        let took = begin.elapsed();
        (bytes == count * PARCEL)
            .then_some(took)
            .ok_or_else(|| wrong("bytes", bytes, count * PARCEL))
    })?;
    // There and back.
    let gigabytes = 2.0 * (count * PARCEL) as f64 / 1e9;
    print_figure("bytes[1MiB]", gigabytes / took.as_secs_f64(), "GB/s")
}

/// How many bytes these are that came back.
///
/// # Errors
/// They are not those that went.
pub fn worth(bytes: &[u8]) -> io::Result<usize> {
    match (bytes.first(), bytes.last()) {
        (Some(&FILL), Some(&FILL)) => Ok(bytes.len()),
        ends => Err(io::Error::other(format!("{} bytes, {ends:?}, did not go", bytes.len()))),
    }
}

/// Times tasks that [compute](toil): which part of the time of two processors went into them. `run` is told how many, and returns how
/// many have been done.
///
/// # Errors
/// What `run` returns; a task was not done; standard output cannot be written to.
pub fn measure_toils(mut run: impl FnMut(usize) -> io::Result<usize>) -> io::Result<()> {
    let count = scaled(TOILS).max(2 * WORKERS);
    let took = middle(RUNS, || {
        let begin = Instant::now();
        let done = run(count)?;
        let took = begin.elapsed();
        (done == count).then_some(took).ok_or_else(|| wrong("tasks", done, count))
    })?;
    let work = TOIL.as_secs_f64() * count as f64;
    print_figure("efficiency", work / (WORKERS as f64 * took.as_secs_f64()), "ratio")
}

/// Times the life of a pool: its start, two tasks, and its end, until nobody is left. `life` is all that.
///
/// # Errors
/// What `life` returns; standard output cannot be written to.
pub fn measure_lives(mut life: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let took = middle(LIVES, || {
        let begin = Instant::now();
        life()?;
        Ok(begin.elapsed())
    })?;
    print_figure("start_stop", took.as_secs_f64() * 1e3, "ms")
}

/// Prints how much memory the larger worker has, and how much processor time this process and the workers take when nobody has
/// anything to do.
///
/// # Errors
/// A worker is gone; standard output cannot be written to.
pub fn measure_rest(workers: &[u32]) -> io::Result<()> {
    if workers.len() != WORKERS {
        return Err(wrong("workers", workers.len(), WORKERS));
    }
    measure_idleness(workers)?;
    measure_memory(workers)
}

fn measure_memory(workers: &[u32]) -> io::Result<()> {
    for (figure, line) in [("worker_rss", "Rss:"), ("worker_pss", "Pss:")] {
        let mut largest = 0.0_f64;
        for worker in workers {
            let account = fs::read_to_string(format!("/proc/{worker}/smaps_rollup"))?;
            largest = largest.max(kibibytes(&account, line)?);
        }
        print_figure(figure, largest / 1024.0, "MiB")?;
    }
    Ok(())
}

/// Prints how much processor time this process and the `workers` take when nobody has anything to do.
///
/// # Errors
/// A worker is gone; standard output cannot be written to.
pub fn measure_idleness(workers: &[u32]) -> io::Result<()> {
    pause(SETTLE);
    let (before, begin) = (cpu_of_all(workers)?, Instant::now());
    pause(IDLE);
    let length = begin.elapsed();
    let took = cpu_of_all(workers)?.saturating_sub(before);
    print_figure("cpu_idle", took.as_secs_f64() * 1e6 / length.as_secs_f64(), "us/s")
}

/// The processes that this one has started and that have not ended.
///
/// # Errors
/// The system does not tell.
pub fn children() -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for thread in fs::read_dir("/proc/self/task")? {
        // A thread may end meanwhile; it has no children then.
        let list = fs::read_to_string(thread?.path().join("children")).unwrap_or_default();
        found.extend(list.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
    }
    Ok(found)
}

/// The number after the name `line` in an account of memory.
fn kibibytes(account: &str, line: &str) -> io::Result<f64> {
    let rest = account.lines().find_map(|text| text.strip_prefix(line));
    let number = rest.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse().ok());
    number.ok_or_else(|| io::Error::other(format!("an account of memory without {line}")))
}

/// Processor time of this process and of the workers so far.
fn cpu_of_all(workers: &[u32]) -> io::Result<Duration> {
    let mut total = read(libc::CLOCK_PROCESS_CPUTIME_ID)?;
    for worker in workers {
        let pid = libc::pid_t::try_from(*worker).map_err(io::Error::other)?;
        let mut clock = 0;
        // SAFETY: the pointer is to a clock's number that the call may write.
        let problem = unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) };
        if problem != 0 {
            return Err(io::Error::from_raw_os_error(problem));
        }
        total += read(clock)?;
    }
    Ok(total)
}

fn read(clock: libc::clockid_t) -> io::Result<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a whole `timespec` that the call may write.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let [seconds, nanos] = [time.tv_sec, time.tv_nsec].map(i64::cast_unsigned);
    Ok(Duration::from_secs(seconds) + Duration::from_nanos(nanos))
}

/// The numbers from zero on.
fn numbers(count: usize) -> Vec<i64> {
    (0_i64..).take(count).collect()
}

fn check(numbers: &[i64], squares: &[i64]) -> io::Result<()> {
    if numbers.len() != squares.len() {
        return Err(wrong("squares", squares.len(), numbers.len()));
    }
    let mut pairs = numbers.iter().zip(black_box(squares));
    match pairs.find(|(number, found)| square(**number) != **found) {
        None => Ok(()),
        Some((number, found)) => Err(wrong("a square", *found, square(*number))),
    }
}

#[cold]
fn wrong<T: std::fmt::Display>(what: &str, found: T, expected: T) -> io::Error {
    io::Error::other(format!("{what}: {found} instead of {expected}"))
}

/// The middle of so many runs at most, of which each says how long it took.
fn middle(most: usize, mut run: impl FnMut() -> io::Result<Duration>) -> io::Result<Duration> {
    let (begin, patience) = (Instant::now(), PATIENCE / divisor());
    let mut times = Vec::new();
    while times.is_empty() || (times.len() < most && begin.elapsed() < patience) {
        times.push(run()?);
    }
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

fn print_rate(figure: &str, count: usize, took: Duration) -> io::Result<()> {
    print_figure(figure, count as f64 / took.as_secs_f64(), "tasks/s")
}

fn scaled(count: usize) -> usize {
    (count / number_from_env("PEERS_DIV").unwrap_or(1).max(1)).max(1)
}

fn divisor() -> u32 {
    number_from_env("PEERS_DIV").and_then(|number| number.try_into().ok()).unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn squares(numbers: &[i64]) -> Vec<i64> {
        numbers.iter().map(|number| square(*number)).collect()
    }

    #[test]
    fn a_square_that_is_wrong_or_missing_gives_no_figure() {
        let numbers = numbers(1000);
        let right = squares(&numbers);
        assert!(check(&numbers, &right).is_ok());
        let mut late = right.clone();
        late[999] += 1;
        assert_eq!(
            check(&numbers, &late).unwrap_err().to_string(),
            "a square: 998002 instead of 998001"
        );
        assert!(check(&numbers, &right[..999]).is_err());
    }

    #[test]
    fn a_vector_that_nobody_wrote_to_gives_no_figure() {
        let measured = measure_map_into(|_numbers, _out| Ok(()));
        assert_eq!(measured.unwrap_err().to_string(), "a square: -1 instead of 0");
    }

    #[test]
    fn bytes_that_nobody_sent_are_an_error() {
        assert_eq!(worth(&[FILL; 9]).unwrap(), 9);
        assert!(worth(&[FILL, 0]).is_err());
        assert!(worth(&[]).is_err());
    }

    #[test]
    fn what_was_not_done_gives_no_figure() {
        assert!(measure_unordered("1", |count| Ok(i64::from(count == 0))).is_err());
        assert!(measure_parcels(|parcels| Ok(parcels.len() * PARCEL - 1)).is_err());
        assert!(measure_toils(|count| Ok(count - 1)).is_err());
        assert!(measure_apply(Ok).is_err());
        assert!(measure_rest(&[std::process::id()]).is_err());
    }

    #[test]
    fn memory_is_read_by_its_name() {
        let account =
            "00400000-7ffe [rollup]\nRss:       2048 kB\nPss:        700 kB\nPss_Dirty: 5 kB\n";
        assert_eq!(kibibytes(account, "Rss:").unwrap(), 2048.0);
        assert_eq!(kibibytes(account, "Pss:").unwrap(), 700.0);
        assert!(kibibytes(account, "Swap:").is_err());
    }

    #[test]
    fn a_process_that_computes_is_seen_to_take_time() {
        let before = cpu_of_all(&[]).unwrap();
        toil();
        let alone = cpu_of_all(&[]).unwrap();
        assert!(alone - before >= TOIL);
        // Once as this process and once as a worker.
        assert!(cpu_of_all(&[std::process::id()]).unwrap() >= 2 * alone);
        assert!(cpu_of_all(&[u32::MAX]).is_err());
    }
}
