//! What tests that start processes need: watchdogs, helper programs, and eyes for what is left behind.

#![deny(unsafe_code)]
#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "test support: a failure here fails the test"
)]

pub mod python;
pub mod rows;
pub mod soak;

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use procession_sys::prim::{Condvar, Mutex, lock};
use procession_sys::signal::{self, Mask};
use procession_sys::{Deadline, pidfd, poll};

/// How long anything may take that happens at once on a machine that is not overloaded.
pub const SOON: Duration = Duration::from_secs(20);

/// Aborts the whole test program when a test has not ended in time, naming it: a hang is a failure with a name.
#[must_use = "the watchdog sleeps once it is dropped"]
#[derive(Debug)]
pub struct Watchdog(Arc<(Mutex<bool>, Condvar)>);

/// Chooses the start method that `PROCESSION_TEST_METHOD` names, for runs of all tests under another one.
///
/// # Panics
///
/// When there is no such method.
pub fn choose_start_method() {
    if let Ok(name) = std::env::var("PROCESSION_TEST_METHOD") {
        procession::force_start_method(name.parse().expect("a start method"));
    }
}

/// Watches over the test that calls this, for `seconds`, and [chooses the start method](choose_start_method).
pub fn watchdog(seconds: u64) -> Watchdog {
    choose_start_method();
    let shared = Arc::new((Mutex::new(false), Condvar::new()));
    let name = thread::current().name().unwrap_or("a test").to_owned();
    let watched = Arc::clone(&shared);
    thread::Builder::new()
        .name("watchdog".into())
        .spawn(move || {
            let (done, changed) = &*watched;
            let limit = Duration::from_secs(seconds);
            let waited = changed.wait_timeout_while(lock(done), limit, |done| !*done);
            let timed_out = waited.map_or(true, |(_, timeout)| timeout.timed_out());
            if timed_out {
                report(&format!("{name} hangs: not done after {seconds} s"));
                std::process::abort();
            }
        })
        .expect("a thread for the watchdog");
    Watchdog(shared)
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        *lock(&self.0.0) = true;
        self.0.1.notify_all();
    }
}

#[expect(clippy::print_stderr, reason = "the last words of a test program")]
fn report(text: &str) {
    eprintln!("{text}");
}

/// Tells loudly that something is not tested here; `cargo xtask test-all` counts these lines.
pub fn skip(what: &str) {
    report(&format!("SKIPPED: {what}"));
}

/// Waits until `condition` holds, for events that no descriptor tells of. Yields, and fails after [`SOON`].
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < SOON, "waited in vain until {what}");
        thread::yield_now();
    }
}

/// A process that somebody else started, to be waited for.
#[derive(Debug)]
pub struct Stranger {
    /// Its number.
    pub pid: u32,
    pidfd: Option<OwnedFd>,
}

impl Stranger {
    /// The process `pid`, if there is one.
    pub fn new(pid: u32) -> Self {
        Self { pid, pidfd: pidfd::open(pid).ok() }
    }

    /// Sends it a signal; tells whether it was there to get it.
    pub fn signal(&self, signal: i32) -> bool {
        self.pidfd.as_ref().is_some_and(|fd| pidfd::signal(fd, signal).unwrap_or(false))
    }

    /// Waits until it has ended; tells whether it did, soon.
    pub fn ends_soon(&self) -> bool {
        let ended = |fd| poll::wait_readable(fd, Deadline::after(SOON)).unwrap_or(false);
        self.pidfd.as_ref().is_none_or(ended)
    }

    /// Whether it has not ended.
    pub fn is_alive(&self) -> bool {
        let ended = |fd| poll::wait_readable(fd, Deadline::after(Duration::ZERO)).unwrap_or(true);
        self.pidfd.as_ref().is_some_and(|fd| !ended(fd))
    }
}

/// What the command line of a fork server holds.
const FORK_SERVER: &[u8] = b"procession-fork-server";

/// What a child that the fork server keeps in reserve is called, at first and then; the system cuts names after 15 bytes.
const SPARE: [&str; 2] = ["procession-fork", "procession-spar"];

/// What a template is called.
const TEMPLATE: &str = "procession-tmpl";

/// The processes started by this one, zombies included: its children and those of its fork server and its templates, without these and the
/// child that is kept in reserve. One that has just been started may be taken for that.
pub fn children() -> BTreeSet<u32> {
    let (servers, mut children): (BTreeSet<u32>, BTreeSet<u32>) = children_of(std::process::id())
        .into_iter()
        .partition(|pid| is_server(*pid) || is_template(*pid));
    let forks = servers.into_iter().flat_map(children_of);
    children.extend(forks.filter(|pid| !SPARE.contains(&&*name(*pid)) && !is_template(*pid)));
    children
}

fn name(pid: u32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim_end().to_owned()
}

/// Whether it is one. A zombie is not: it is litter.
fn is_template(pid: u32) -> bool {
    let is_zombie =
        || std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.is_empty());
    name(pid) == TEMPLATE && !is_zombie()
}

/// The templates of this process that run.
pub fn templates() -> BTreeSet<u32> {
    children_of(std::process::id()).into_iter().filter(|pid| is_template(*pid)).collect()
}

/// The fork server of this process, if it runs.
pub fn fork_server() -> Option<u32> {
    children_of(std::process::id()).into_iter().find(|pid| is_server(*pid))
}

fn is_server(pid: u32) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).any(|word| word == FORK_SERVER)
}

fn children_of(pid: u32) -> Vec<u32> {
    let mut children = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let list = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        children.extend(list.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
    }
    children
}

/// What a process can leave behind: its descriptors, its children, and names that others see.
#[derive(Debug, PartialEq, Eq)]
pub struct Litter {
    descriptors: usize,
    children: BTreeSet<u32>,
    shared_memory: BTreeSet<String>,
}

impl Litter {
    /// What there is now.
    pub fn now() -> Self {
        let names = std::fs::read_dir("/dev/shm").into_iter().flatten().flatten();
        let names = names.map(|name| name.file_name().display().to_string());
        Self {
            descriptors: procession_sys::fd::open_descriptors().expect("/proc is mounted").len(),
            children: children(),
            shared_memory: names.filter(|name| !is_of_a_test_of_blocks(name)).collect(),
        }
    }
}

/// Tests of blocks with names run beside others, and look themselves for what is left.
fn is_of_a_test_of_blocks(name: &str) -> bool {
    ["procession-test-", "procession.", "psm_"].iter().any(|prefix| name.starts_with(prefix))
}

impl Litter {
    /// Whether this is no more than `before`, but for so many descriptors.
    pub fn is_within(&self, before: &Self, descriptors: usize) -> bool {
        self.descriptors <= before.descriptors + descriptors
            && self.children == before.children
            && self.shared_memory == before.shared_memory
    }
}

/// What this process has once it has started others again and again: a lifeline, a reaper, a fork server and, with that, a child in
/// reserve.
///
/// # Panics
///
/// When processes cannot be started.
pub fn steady() -> Litter {
    steady_by(procession::Context::default())
}

/// The same, for processes of that context.
///
/// # Panics
///
/// When processes cannot be started.
pub fn steady_by(context: procession::Context) -> Litter {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    // It runs on when its handle is dropped, so that the reaper has to see to it.
    let wait = || std::io::stdin().read_line(&mut String::new()).is_ok();
    let child = context.process().stdin(reader).spawn(wait, ());
    drop(child.expect("a process"));
    drop(writer);
    let are_reaped = || procession::active_children().is_ok_and(|children| children.is_empty());
    wait_until("the reaper has reaped", are_reaped);
    let mut before = Litter::now();
    let mut same = 0;
    while same < 10 {
        let child = context.process().spawn(|| (), ()).expect("a process");
        child.join().expect("it returns");
        drop(child);
        wait_until("nobody is left", || children().is_empty());
        let now = Litter::now();
        same = if now == before { same + 1 } else { 0 };
        before = now;
    }
    before
}

/// Describes the run of a helper program with nothing to read and its output caught.
#[expect(clippy::disallowed_methods, reason = "helper programs are no processes of ours")]
pub fn program(path: impl AsRef<Path>) -> Command {
    let mut command = Command::new(path.as_ref());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a helper program to its end.
#[track_caller]
pub fn run(command: &mut Command) -> (Output, String, String) {
    let output = command.output().expect("the helper program runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    (output, stdout, stderr)
}

/// The row that the first argument of a helper program names.
///
/// # Panics
///
/// When there is none.
pub fn row<F: Copy>(rows: &[(&str, F)]) -> F {
    let name = std::env::args().nth(1).expect("the name of a row");
    let row = rows.iter().find(|(known, _)| *known == name);
    row.expect("a row of that name").1
}

/// The start method that the second argument of a helper program names.
///
/// # Panics
///
/// When there is none.
pub fn method() -> procession::StartMethod {
    std::env::args().nth(2).and_then(|name| name.parse().ok()).expect("a start method")
}

/// Runs that row by that method, and says that it is done.
#[expect(clippy::print_stdout, reason = "a helper program talks to its test")]
pub fn run_row(rows: &[(&str, fn())]) {
    procession::force_start_method(method());
    row(rows)();
    println!("done");
}

/// Blocks `SIGTERM`, or not, says which process this is, and waits for ever.
///
/// # Panics
///
/// When nobody listens.
pub fn stay(is_stubborn: bool, tx: procession::Sender<u32>) {
    if is_stubborn {
        let terminate = Mask::from_bits(1 << (signal::TERMINATE - 1));
        signal::set_thread_mask(terminate).expect("a mask");
    }
    tx.send(std::process::id()).expect("somebody listens");
    loop {
        thread::park();
    }
}

/// A helper program that is killed when the test ends, however it ends.
#[derive(Debug)]
pub struct Running(pub Child);

impl Running {
    /// Starts it.
    pub fn start(command: &mut Command) -> Self {
        Self(command.spawn().expect("the helper program starts"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A small generator of numbers, the same ones for the same seed.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Numbers from the seed in `PROCESSION_SEED`, or from another one each time; prints it, for the case of a failure.
    pub fn from_environment() -> Self {
        let given = std::env::var("PROCESSION_SEED").ok().and_then(|seed| seed.parse().ok());
        let clock = std::time::UNIX_EPOCH.elapsed().map_or(1, |time| time.as_secs());
        let seed = given.unwrap_or(clock);
        report(&format!("PROCESSION_SEED={seed}"));
        Self(seed | 1)
    }

    /// A number below `limit`, by xorshift (Marsaglia 2003).
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or(0) % limit
    }
}
