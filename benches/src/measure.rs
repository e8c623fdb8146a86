//! The loop that measures how long a process takes to start, and how figures are printed.
//!
//! The peers' workspace includes this file by path, so it stands on `std` and `libc` alone.
#![expect(unsafe_code, reason = "CPU time of this process comes from getrusage")]

use std::io::{self, Write as _};
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

/// Starts `one` again and again and prints how long the first message and the whole life took.
///
/// `one` starts a process, receives its first message, notes the time, and reaps it. The parent
/// holds `PEERS_RSS_MB` MiB of touched memory meanwhile; `PEERS_DIV` divides the number of starts.
///
/// # Errors
/// What `one` returns, and a failure to print.
pub fn measure_starts<E: From<io::Error>>(
    mut one: impl FnMut() -> Result<Instant, E>,
) -> Result<(), E> {
    let rss_mib = number_from_env("PEERS_RSS_MB").unwrap_or(10);
    let wanted = if rss_mib > 100 { 15 } else { 60 };
    let starts = (wanted / number_from_env("PEERS_DIV").unwrap_or(1).max(1)).max(3);
    // Ones, because an allocation of zeros is never touched.
    let ballast = vec![1_u8; rss_mib << 20];

    let cpu_before = cpu_seconds()?;
    one()?;
    let (mut first, mut whole) = (Vec::new(), Vec::new());
    for _ in 0..starts {
        let begin = Instant::now();
        let message = one()?;
        whole.push(begin.elapsed());
        first.push(message.saturating_duration_since(begin));
    }
    let cpu_loop = cpu_seconds()? - cpu_before;
    drop(std::hint::black_box(ballast));
    // The driver knows what the whole tree used, and takes this off: setting up the parent.
    let outside = (cpu_seconds()? - cpu_loop).max(0.0);

    let tag = format!("[{rss_mib}MB]");
    print_figure(&format!("first_msg{tag}"), quantile_us(&mut first, 50), "us")?;
    print_figure(&format!("create_join{tag}"), quantile_us(&mut whole, 50), "us")?;
    print_figure(&format!("create_join_p90{tag}"), quantile_us(&mut whole, 90), "us")?;
    let ops = starts + 1;
    print_line(&format!(r#"{{"cpu":"cpu{tag}","outside_s":{outside:.6},"ops":{ops}}}"#))?;
    Ok(())
}

/// Prints one figure for the driver.
///
/// # Errors
/// Standard output cannot be written to.
pub fn print_figure(metric: &str, value: f64, unit: &str) -> io::Result<()> {
    print_line(&format!(r#"{{"m":"{metric}","v":{value:.6},"u":"{unit}"}}"#))
}

fn print_line(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// What `name` says in the environment, if it is a number.
pub fn number_from_env(name: &str) -> Option<usize> {
    std::env::var(name).ok()?.parse().ok()
}

/// The value below which `percent` of the samples lie, in microseconds.
pub fn quantile_us(samples: &mut [Duration], percent: usize) -> f64 {
    samples.sort_unstable();
    let last = samples.len().saturating_sub(1);
    let at = (last * percent + 50) / 100;
    samples.get(at).map_or(f64::NAN, |sample| sample.as_secs_f64() * 1e6)
}

/// User and system time of this process so far, without its children.
fn cpu_seconds() -> io::Result<f64> {
    let mut usage = MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: the pointer is to a whole `rusage` that the call may write.
    if unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so it filled the structure.
    let usage = unsafe { usage.assume_init() };
    Ok(seconds(usage.ru_utime) + seconds(usage.ru_stime))
}

fn seconds(time: libc::timeval) -> f64 {
    let [whole, micros] = [time.tv_sec, time.tv_usec].map(|part| u32::try_from(part).unwrap_or(0));
    f64::from(whole) + f64::from(micros) / 1e6
}
