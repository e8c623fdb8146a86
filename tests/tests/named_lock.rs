//! Named locks between processes: who is inside, who is killed there, and what the next one is told.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use procession::{LockError, NamedLock};
use procession_sys::file_lock::Changes;
use procession_sys::{Deadline, poll, signal};
use procession_tests::{Random, Running, SOON, Stranger, program, run, skip, wait_until, watchdog};

const PROGRAM: &str = env!("CARGO_BIN_EXE_named_lock");

/// A folder for one test, which goes with it.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let name = format!("procession-named-lock-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    fn open(&self) -> NamedLock {
        NamedLock::open(self.lock()).unwrap()
    }

    /// The helper program, in one of its ways.
    fn program(&self, way: &str) -> Command {
        let mut command = program(PROGRAM);
        command.arg(way).arg(self.lock());
        command
    }

    /// Starts a helper program that does what it is told.
    fn peer(&self) -> Peer {
        Self::ready(self.program("obey"))
    }

    fn ready(command: Command) -> Peer {
        let mut peer = Peer::start(command);
        assert_eq!(peer.hears(), "ready");
        peer
    }

    /// The same, behind a line of shell.
    fn peer_behind(&self, line: &str) -> Peer {
        let mut command = program("/bin/sh");
        command.arg("-c").arg(format!("{line}; exec \"$0\" \"$@\"")).arg(PROGRAM);
        command.arg("obey").arg(self.lock());
        Self::ready(command)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// A process that is told what to do.
struct Peer {
    process: Running,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Peer {
    fn start(mut command: Command) -> Self {
        let mut process = Running::start(command.stdin(Stdio::piped()).stderr(Stdio::inherit()));
        let input = process.0.stdin.take().unwrap();
        let output = BufReader::new(process.0.stdout.take().unwrap());
        Self { process, input, output }
    }

    fn pid(&self) -> u32 {
        self.process.0.id()
    }

    fn tell(&self, line: &str) {
        writeln!(&self.input, "{line}").unwrap();
    }

    /// What it says next.
    #[track_caller]
    fn hears(&mut self) -> String {
        let mut line = String::new();
        let has_ended = self.output.read_line(&mut line).unwrap() == 0;
        assert!(!has_ended, "the helper program has ended");
        line.trim_end().to_owned()
    }

    #[track_caller]
    fn ask(&mut self, line: &str) -> String {
        self.tell(line);
        self.hears()
    }

    /// Whether it still waits, after a while in which it has surely come to that.
    fn waits(&self) -> bool {
        let while_ = Deadline::after(Duration::from_millis(50));
        assert!(self.output.buffer().is_empty());
        !poll::wait_readable(self.output.get_ref(), while_).unwrap()
    }

    /// How often it has gone to sleep.
    fn sleeps(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let sleeps = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        sleeps.unwrap().trim().parse().unwrap()
    }

    fn kill(mut self) {
        self.process.0.kill().unwrap();
        self.process.0.wait().unwrap();
    }

    fn signal(&self, signal: i32) {
        assert!(Stranger::new(self.pid()).signal(signal));
    }
}

/// The two ways to wait.
const WAITS: [&str; 2] = ["lock", "within 20000"];

#[test]
fn four_processes_lose_no_increment() {
    const ROUNDS: u32 = 500;
    let (_dog, place) = (watchdog(60), Place::new("count"));
    let counter = place.0.join("counter");
    std::fs::write(&counter, "0").unwrap();
    let start = |_| {
        let mut command = place.program("count");
        Running::start(command.arg(&counter).arg(ROUNDS.to_string()).stderr(Stdio::inherit()))
    };
    let processes: Vec<Running> = (0..4).map(start).collect();
    for mut process in processes {
        assert!(process.0.wait().unwrap().success());
    }
    assert_eq!(std::fs::read_to_string(&counter).unwrap(), (4 * ROUNDS).to_string());
}

#[test]
fn a_process_that_has_the_lock_is_named_and_keeps_others_out() {
    let (_dog, place) = (watchdog(60), Place::new("named"));
    let (mut peer, mut other, lock) = (place.peer(), place.peer(), place.open());
    assert_eq!(peer.ask("lock"), "in order");
    assert_eq!(lock.owner().unwrap().unwrap().pid, peer.pid());
    assert_eq!(other.ask("owner"), format!("Some({})", peer.pid()));
    // As of any pid file.
    let (_, text, _) = run(program("/bin/cat").arg(place.lock()));
    assert_eq!(text.lines().next().unwrap(), peer.pid().to_string());
    assert_eq!(other.ask("try"), "timed out");
    assert!(matches!(lock.try_lock(), Err(LockError::TimedOut)));
    assert_eq!(peer.ask("give"), "given");
    assert_eq!(other.ask("owner"), "None");
    assert_eq!(other.ask("try"), "in order");
}

#[test]
fn whoever_comes_after_a_killed_owner_is_told_once() {
    let (_dog, place) = (watchdog(60), Place::new("killed"));
    for way in ["try", "lock", "within 20000"] {
        let (mut victim, mut next, mut last) = (place.peer(), place.peer(), place.peer());
        assert_eq!(victim.ask("lock"), "in order");
        victim.kill();
        assert_eq!(next.ask(way), "owner died");
        assert_eq!(next.ask("repair"), "repaired");
        assert_eq!(next.ask("give"), "given");
        assert_eq!(last.ask(way), "in order");
        assert_eq!(last.ask("give"), "given");
    }
}

#[test]
fn whoever_waits_for_a_lock_gets_it_when_its_owner_is_killed() {
    let (_dog, place) = (watchdog(60), Place::new("waits"));
    for way in WAITS {
        let (mut victim, mut waiter) = (place.peer(), place.peer());
        assert_eq!(victim.ask("lock"), "in order");
        waiter.tell(way);
        assert!(waiter.waits());
        victim.kill();
        assert_eq!(waiter.hears(), "owner died");
        assert_eq!(waiter.ask("repair"), "repaired");
        assert_eq!(waiter.ask("give"), "given");
    }
}

#[test]
fn whoever_waits_for_a_lock_gets_it_when_it_is_given_back() {
    let (_dog, place) = (watchdog(60), Place::new("given"));
    for way in WAITS {
        let (mut owner, mut waiter) = (place.peer(), place.peer());
        assert_eq!(owner.ask("lock"), "in order");
        waiter.tell(way);
        assert!(waiter.waits());
        assert_eq!(owner.ask("give"), "given");
        assert_eq!(waiter.hears(), "in order");
        assert_eq!(waiter.ask("give"), "given");
    }
}

#[test]
fn who_waits_sleeps() {
    let (_dog, place) = (watchdog(60), Place::new("sleeps"));
    if Changes::new().is_err() {
        skip("no watcher is left to the user who runs the tests");
        return;
    }
    let mut owner = place.peer();
    assert_eq!(owner.ask("lock"), "in order");
    for way in WAITS {
        let waiter = place.peer();
        let (before, start) = (waiter.sleeps(), Instant::now());
        waiter.tell(way);
        assert!((0..10).all(|_| waiter.waits()));
        let (sleeps, millis) = (waiter.sleeps() - before, start.elapsed().as_millis());
        // With a deadline some tries at first, and then ten in a second; a hundred if it could watch nothing.
        let most = if way == "lock" { 5 } else { 20 + millis / 50 };
        assert!(u128::from(sleeps) <= most, "{way}: {sleeps} in {millis} ms");
    }
}

#[test]
fn a_death_is_passed_on_until_somebody_repairs() {
    let (_dog, place) = (watchdog(60), Place::new("passed"));
    let (mut victim, mut first, mut second) = (place.peer(), place.peer(), place.peer());
    assert_eq!(victim.ask("lock"), "in order");
    victim.kill();
    for peer in [&mut first, &mut second] {
        assert_eq!(peer.ask("lock"), "owner died");
        assert_eq!(peer.ask("give"), "given");
        assert_eq!(peer.ask("owner"), "None");
    }
    // Who dies after it has repaired has died in turn.
    assert_eq!(first.ask("try"), "owner died");
    assert_eq!(first.ask("repair"), "repaired");
    first.kill();
    assert_eq!(second.ask("try"), "owner died");
    assert_eq!(second.ask("repair"), "repaired");
    assert_eq!(second.ask("give"), "given");
    assert_eq!(second.ask("try"), "in order");
}

#[test]
fn who_is_killed_waiting_changes_nothing() {
    let (_dog, place) = (watchdog(60), Place::new("innocent"));
    for way in WAITS {
        let (mut owner, waiter) = (place.peer(), place.peer());
        assert_eq!(owner.ask("lock"), "in order");
        waiter.tell(way);
        assert!(waiter.waits());
        waiter.kill();
        assert_eq!(place.open().owner().unwrap().unwrap().pid, owner.pid());
        assert_eq!(owner.ask("give"), "given");
        assert_eq!(owner.ask("try"), "in order");
        assert_eq!(owner.ask("give"), "given");
    }
}

#[test]
fn a_process_that_ends_in_order_over_a_lock_has_died_over_it() {
    let (_dog, place) = (watchdog(60), Place::new("exit"));
    let (mut owner, mut next) = (place.peer(), place.peer());
    assert_eq!(owner.ask("lock"), "in order");
    owner.tell("end");
    assert_eq!(next.ask("lock"), "owner died");
    assert_eq!(owner.process.0.wait().unwrap().code(), Some(7));
}

#[test]
fn a_stopped_owner_is_alive_and_deadlines_are_kept() {
    let (_dog, place) = (watchdog(60), Place::new("stopped"));
    let (mut owner, mut waiter) = (place.peer(), place.peer());
    assert_eq!(owner.ask("lock"), "in order");
    owner.signal(signal::STOP);
    for millis in [0, 1, 40, 300] {
        let start = Instant::now();
        assert_eq!(waiter.ask(&format!("within {millis}")), "timed out");
        assert!(start.elapsed() >= Duration::from_millis(millis));
    }
    assert_eq!(waiter.ask("owner"), format!("Some({})", owner.pid()));
    // What is stopped can be killed all the same.
    waiter.tell("within 20000");
    assert!(waiter.waits());
    owner.kill();
    assert_eq!(waiter.hears(), "owner died");
}

#[test]
fn a_stopped_owner_that_goes_on_gives_its_lock_back() {
    let (_dog, place) = (watchdog(60), Place::new("goes-on"));
    let (mut owner, mut waiter) = (place.peer(), place.peer());
    assert_eq!(owner.ask("lock"), "in order");
    owner.signal(signal::STOP);
    waiter.tell("lock");
    owner.tell("give");
    assert!(waiter.waits());
    owner.signal(signal::CONTINUE);
    assert_eq!((owner.hears(), waiter.hears()), ("given".into(), "in order".into()));
}

#[test]
fn without_room_for_a_watcher_waits_end_as_well() {
    let (_dog, place) = (watchdog(60), Place::new("blind"));
    // Three streams and the lock: nothing more can be opened.
    let mut blind = place.peer_behind("ulimit -n 4");
    let mut owner = place.peer();
    assert_eq!(owner.ask("lock"), "in order");
    assert_eq!(blind.ask("within 30"), "timed out");
    blind.tell("within 20000");
    assert!(blind.waits());
    assert_eq!(owner.ask("give"), "given");
    assert_eq!(blind.hears(), "in order");
    // It cannot read when it was started, either.
    let content = std::fs::read_to_string(place.lock()).unwrap();
    assert_eq!(content.trim_ascii_end(), blind.pid().to_string());
    assert_eq!(blind.ask("give"), "given");
    assert_eq!(owner.ask("lock"), "in order");
    blind.tell("within 20000");
    assert!(blind.waits());
    owner.kill();
    assert_eq!(blind.hears(), "owner died");
}

#[test]
fn a_file_that_takes_no_record_is_an_error_and_no_death() {
    let (_dog, place) = (watchdog(60), Place::new("full"));
    let lock = place.open();
    let mut peer = place.peer_behind("trap '' XFSZ");
    // So much of a file this process may write: nothing or a part of the record, as on a disk that is full.
    for most in [20, 0] {
        std::fs::write(place.lock(), b"").unwrap();
        assert_eq!(peer.ask(&format!("limit {most}")), "limited");
        // Into the empty file, and into one in which there was a record.
        for before in [vec![], [&[b' '; 63][..], b"\n"].concat()] {
            for way in ["try", "lock"] {
                assert_eq!(std::fs::read(place.lock()).unwrap(), before);
                // EFBIG
                assert_eq!(peer.ask(way), "failed: Os Some(OsCode(27: file too large))");
            }
            drop(lock.try_lock().unwrap());
        }
        // A death is told of by those who can write again.
        std::fs::write(place.lock(), b"4711\n").unwrap();
        assert!(peer.ask("lock").starts_with("failed: Os"));
        let mut guard = lock.lock().unwrap_err().into_guard().unwrap();
        guard.repair();
    }
}

#[test]
fn a_file_that_may_not_be_written_is_an_error() {
    let (_dog, place) = (watchdog(60), Place::new("rights"));
    std::fs::write(place.lock(), b"").unwrap();
    std::fs::set_permissions(place.lock(), PermissionsExt::from_mode(0o400)).unwrap();
    let (output, stdout, stderr) = run(&mut place.program("open without rights"));
    assert!(output.status.success(), "{stderr}");
    // EACCES
    assert_eq!(stdout, "Os Some(13)\n");
}

#[test]
fn locks_leave_nothing_open() {
    let (_dog, place) = (watchdog(60), Place::new("litter"));
    let (output, stdout, stderr) = run(&mut place.program("leave nothing"));
    assert!(output.status.success(), "{stderr}");
    assert_eq!(stdout, "done\n");
}

#[test]
fn a_fork_has_none_of_its_parents_locks() {
    let (_dog, place) = (watchdog(60), Place::new("fork"));
    let (output, stdout, stderr) = run(&mut place.program("fork with guard"));
    assert!(output.status.success(), "{stderr}");
    assert_eq!(stdout, "done\n");
}

/// Starts the helper that has a lock and a fork; returns it with its fork.
fn parent_with_fork(place: &Place, way: &str) -> (Peer, Stranger) {
    let mut parent = Peer::start(place.program(way));
    let fork = Stranger::new(parent.hears().parse().unwrap());
    assert!(fork.is_alive());
    (parent, fork)
}

#[test]
fn a_foreign_fork_keeps_the_lock_of_its_dead_parent_until_it_lets_go() {
    let (_dog, place) = (watchdog(60), Place::new("foreign"));
    for is_killed in [true, false] {
        let (mut parent, fork) = parent_with_fork(&place, "fork and stay");
        let mut waiter = place.peer();
        waiter.tell("within 20000");
        parent.process.0.kill().unwrap();
        parent.process.0.wait().unwrap();
        assert!(waiter.waits());
        if is_killed {
            assert!(fork.signal(signal::KILL));
            assert!(fork.ends_soon());
        } else {
            assert_eq!(parent.ask("drop"), "dropped");
            assert!(fork.is_alive());
        }
        assert_eq!(waiter.hears(), "owner died");
        assert_eq!(waiter.ask("repair"), "repaired");
        assert_eq!(waiter.ask("give"), "given");
    }
}

#[test]
fn a_child_of_the_start_method_fork_keeps_no_lock_of_its_parent() {
    let (_dog, place) = (watchdog(60), Place::new("method"));
    let (parent, child) = parent_with_fork(&place, "start by fork");
    let mut waiter = place.peer();
    waiter.tell("lock");
    assert!(waiter.waits());
    parent.kill();
    assert!(child.ends_soon());
    assert_eq!(waiter.hears(), "owner died");
}

/// What the hammering processes share, in words: the total, the deaths that were repaired, and what each process has counted.
const SLOTS: usize = 2 + 256;

struct Hammers<'a> {
    place: &'a Place,
    living: BTreeMap<usize, Running>,
    started: usize,
}

impl Hammers<'_> {
    fn start(&mut self) {
        let mut command = self.place.program("hammer");
        command.arg(&self.place.0).arg(self.started.to_string()).arg(SLOTS.to_string());
        let process = Running::start(command.stderr(Stdio::inherit()));
        self.living.insert(self.started, process);
        self.started += 1;
    }
}

/// How many rounds a process says that it has done.
fn logged(place: &Place, number: usize) -> u64 {
    match std::fs::read(place.0.join(format!("log {number}"))) {
        Ok(bytes) => bytes.try_into().map_or(0, u64::from_ne_bytes),
        Err(_not_begun) => 0,
    }
}

fn words(path: &Path) -> Vec<u64> {
    let bytes = std::fs::read(path).unwrap();
    bytes.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap())).collect()
}

fn spin(duration: Duration) {
    let start = Instant::now();
    while start.elapsed() < duration {
        std::hint::spin_loop();
    }
}

#[test]
fn kills_at_any_instruction_are_told_and_lose_nothing() {
    const ROUNDS: u64 = 200;
    const HAMMERS: usize = 4;
    let (_dog, place) = (watchdog(120), Place::new("hammer"));
    let mut random = Random::from_environment();
    std::fs::write(place.0.join("data"), vec![0; SLOTS * 8]).unwrap();
    let mut hammers = Hammers { place: &place, living: BTreeMap::new(), started: 0 };
    for _ in 0..HAMMERS {
        hammers.start();
    }
    for _ in 0..ROUNDS {
        let numbers: Vec<usize> = hammers.living.keys().copied().collect();
        let rounds = || numbers.iter().map(|number| logged(&place, *number)).sum::<u64>();
        let before = rounds();
        wait_until("somebody comes through", || rounds() > before);
        spin(Duration::from_micros(random.below(3000) as u64));
        let victim = numbers[random.below(numbers.len())];
        let mut victim = hammers.living.remove(&victim).unwrap();
        victim.0.kill().unwrap();
        victim.0.wait().unwrap();
        hammers.start();
    }
    std::fs::write(place.0.join("stop"), b"").unwrap();
    // All that are left come through, and find everything as it should be.
    for process in hammers.living.values_mut() {
        assert!(process.0.wait().unwrap().success());
    }
    let lock = place.open();
    let words = words(&place.0.join("data"));
    let counted = &words[2..];
    match lock.lock_timeout(SOON) {
        Ok(_guard) => assert_eq!(words[0], counted.iter().sum::<u64>()),
        // The last one to be killed, and nobody came since.
        Err(LockError::OwnerDied(_guard)) => {}
        Err(other) => panic!("{other}"),
    }
    for (number, counted) in counted[..hammers.started].iter().enumerate() {
        let logged = logged(&place, number);
        // A kill may have come between the two.
        assert!([logged, logged + 1].contains(counted), "{number}: {counted}, not {logged}");
    }
    let (total, deaths) = (words[0], words[1]);
    assert!(deaths > 0, "no kill hit anybody inside");
    assert!(deaths <= ROUNDS, "{deaths} deaths of {ROUNDS} kills");
    assert!(total > ROUNDS, "{total} rounds in all");
    println!("{total} rounds, {deaths} deaths of {ROUNDS} kills");
}
