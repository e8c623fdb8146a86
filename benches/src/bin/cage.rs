//! Runs one program and answers for its whole family of processes.
//!
//! `cage --report FILE --timeout SECONDS [--cpus LIST] [--peak] -- PROGRAM [ARGUMENT..]`
//!
//! The cage adopts every process that the program leaves behind, so that the CPU time of servers
//! and grandchildren counts, and nothing outlives the run: after the time limit, or shortly after
//! the program's end, whoever is left is killed. The report is one JSON object.
#![expect(unsafe_code, reason = "adopting, reaping and pinning processes are system calls")]

use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How long what the program left behind may take to notice and end by itself.
const GRACE: Duration = Duration::from_secs(2);
/// How often the program's peak memory is read.
const PEAK_PERIOD: Duration = Duration::from_millis(5);

struct Options {
    report: OsString,
    timeout: Duration,
    cpus: Option<String>,
    with_peak: bool,
    command: Vec<OsString>,
}

/// What the reaping thread saw.
enum Event {
    Ended { pid: libc::pid_t, status: libc::c_int },
    NobodyLeft,
}

fn main() -> io::Result<()> {
    let options = options(std::env::args_os().skip(1))?;
    if let Some(list) = &options.cpus {
        pin(list)?;
    }
    // SAFETY: this operation takes an integer and touches no memory.
    if unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let (program, arguments) =
        options.command.split_first().ok_or_else(|| io::Error::other("no program given"))?;
    let begin = Instant::now();
    #[expect(clippy::disallowed_methods, reason = "starts any program, ours among them")]
    let child = std::process::Command::new(program).args(arguments).spawn()?;
    let pid = libc::pid_t::try_from(child.id()).map_err(io::Error::other)?;

    let events = reap_in_background();
    let mut peak_kib = 0;
    let status = wait_for(&events, pid, begin + options.timeout, || {
        if options.with_peak {
            peak_kib = peak_kib.max(peak_memory_kib(pid));
        }
    });
    let wall = begin.elapsed();
    let strays = if status.is_some() && drained(&events, Instant::now() + GRACE) {
        0
    } else {
        kill_all(&events)
    };
    let report = format!(
        r#"{{"ok":{},"end":"{}","wall_s":{:.6},"cpu_s":{:.6},"peak_kib":{peak_kib},"strays":{strays}}}"#,
        status == Some(0),
        status.map_or_else(|| "timeout".to_owned(), describe),
        wall.as_secs_f64(),
        children_cpu_seconds()?,
    );
    std::fs::write(&options.report, report)
}

fn options(mut arguments: impl Iterator<Item = OsString>) -> io::Result<Options> {
    let (mut report, mut timeout, mut cpus, mut with_peak) = (None, None, None, false);
    let missing = || io::Error::other("an option lacks its value");
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--report") => report = Some(arguments.next().ok_or_else(missing)?),
            Some("--timeout") => {
                let value = arguments.next().ok_or_else(missing)?;
                timeout = value.to_str().and_then(|text| text.parse().ok());
            }
            Some("--cpus") => cpus = arguments.next().and_then(|list| list.into_string().ok()),
            Some("--peak") => with_peak = true,
            Some("--") => break,
            _ => return Err(io::Error::other(format!("unknown option {}", argument.display()))),
        }
    }
    let timeout = Duration::from_secs(timeout.ok_or_else(missing)?);
    let report = report.ok_or_else(missing)?;
    Ok(Options { report, timeout, cpus, with_peak, command: arguments.collect() })
}

/// Binds this process, and so everything it starts, to the CPUs of a list such as `0` or `0,2`.
fn pin(list: &str) -> io::Result<()> {
    let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: all zeros is the empty set.
    let set = unsafe { set.assume_init_mut() };
    for cpu in list.split(',') {
        let cpu = cpu.trim().parse().map_err(io::Error::other)?;
        // SAFETY: `set` is a whole set; a CPU beyond its end panics.
        unsafe { libc::CPU_SET(cpu, set) };
    }
    // SAFETY: the pointer and the size describe one set, and 0 is this process.
    let done = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), set) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reaps every child, adopted ones too, until none is left.
fn reap_in_background() -> Receiver<Event> {
    let (sender, events) = mpsc::channel();
    std::thread::spawn(move || {
        loop {
            let mut status = 0;
            // SAFETY: `status` is an integer that the call may write.
            let pid = unsafe { libc::waitpid(-1, &raw mut status, 0) };
            if pid > 0 {
                if sender.send(Event::Ended { pid, status }).is_err() {
                    return;
                }
            } else if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                drop(sender.send(Event::NobodyLeft));
                return;
            }
        }
    });
    events
}

/// The wait status of `pid`, or nothing if the deadline passed first.
fn wait_for(
    events: &Receiver<Event>,
    pid: libc::pid_t,
    deadline: Instant,
    mut meanwhile: impl FnMut(),
) -> Option<libc::c_int> {
    loop {
        meanwhile();
        let left = deadline.saturating_duration_since(Instant::now());
        match events.recv_timeout(left.min(PEAK_PERIOD)) {
            Ok(Event::Ended { pid: ended, status }) if ended == pid => return Some(status),
            Ok(Event::Ended { .. }) => {}
            Err(RecvTimeoutError::Timeout) if !left.is_zero() => {}
            Ok(Event::NobodyLeft) | Err(_) => return None,
        }
    }
}

/// Whether every process ended before the deadline.
fn drained(events: &Receiver<Event>, deadline: Instant) -> bool {
    loop {
        match events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Event::Ended { .. }) => {}
            Ok(Event::NobodyLeft) => return true,
            Err(_) => return false,
        }
    }
}

/// Kills children until none is left; killing one hands its own children to this process.
fn kill_all(events: &Receiver<Event>) -> usize {
    let mut killed = std::collections::BTreeSet::new();
    let me = std::process::id();
    loop {
        for pid in children_of(me) {
            // SAFETY: the process is a child of this one; a signal touches no memory here.
            if unsafe { libc::kill(pid, libc::SIGKILL) } == 0 {
                killed.insert(pid);
            }
        }
        match events.recv_timeout(PEAK_PERIOD) {
            Ok(Event::Ended { .. }) | Err(RecvTimeoutError::Timeout) => {}
            Ok(Event::NobodyLeft) | Err(RecvTimeoutError::Disconnected) => return killed.len(),
        }
    }
}

fn children_of(parent: u32) -> Vec<libc::pid_t> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

fn parent_of(pid: libc::pid_t) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold blanks and brackets; the last bracket ends it.
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// The most memory that a process has had resident, in KiB; zero once it is gone.
fn peak_memory_kib(pid: libc::pid_t) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
}

fn describe(status: libc::c_int) -> String {
    if libc::WIFSIGNALED(status) {
        format!("signal {}", libc::WTERMSIG(status))
    } else {
        format!("exit {}", libc::WEXITSTATUS(status))
    }
}

/// User and system time of everybody reaped so far.
fn children_cpu_seconds() -> io::Result<f64> {
    let mut usage = MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: the pointer is to a whole `rusage` that the call may write.
    if unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so it filled the structure.
    let usage = unsafe { usage.assume_init() };
    let times = [usage.ru_utime, usage.ru_stime];
    Ok(times.map(duration_of).iter().sum::<Duration>().as_secs_f64())
}

fn duration_of(time: libc::timeval) -> Duration {
    let [whole, micros] = [time.tv_sec, time.tv_usec].map(|part| u64::try_from(part).unwrap_or(0));
    Duration::from_secs(whole) + Duration::from_micros(micros)
}
