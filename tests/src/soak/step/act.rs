//! The acts.

use std::os::fd::OwnedFd;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use procession::waiting::{self, Policy};
use procession::{
    Barrier, BarrierError, BoundedSemaphore, Condition, Event, Handle, JoinError, Lock, LockError,
    Process, RLock, Receiver, Result, Semaphore, Sender, StartMethod, WaitError,
};
use procession_core::family::Family;
use procession_sys::memory::SharedWords;
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::SeqCst;
use procession_sys::{fd, fork};
use serde::{Deserialize, Serialize};

use super::super::random;
use crate::soak::tracer::Tracer;
use crate::{SOON, wait_until};

/// The names of the acts.
pub const NAMES: [&str; 14] = [
    "lock",
    "lock-sleeper",
    "rlock",
    "permit",
    "permit-sleeper",
    "raw-permit",
    "event-sleeper",
    "notify",
    "notified",
    "wait-timeout",
    "barrier-last",
    "barrier-first",
    "object",
    "send",
];

/// What actor and stage have in common.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Props {
    lock: Lock,
    rlock: RLock,
    semaphore: Semaphore,
    bounded: BoundedSemaphore,
    condition: Condition<Lock>,
    event: Event,
    barrier: Barrier,
}

impl Props {
    fn new() -> Result<Self> {
        let lock = Lock::new()?;
        Ok(Self {
            condition: Condition::with_lock(lock.clone())?,
            lock,
            rlock: RLock::new()?,
            semaphore: Semaphore::new(1)?,
            bounded: BoundedSemaphore::new(1)?,
            event: Event::new()?,
            barrier: Barrier::new(2)?,
        })
    }
}

/// The words that they share.
struct Marks(SharedWords);

impl Marks {
    /// The actor is ready to be traced.
    fn ready(&self) -> &AtomicU64 {
        self.0.word(0)
    }

    /// It may act.
    fn go(&self) -> &AtomicU64 {
        self.0.word(1)
    }

    /// It has what it wanted.
    fn has(&self) -> &AtomicU64 {
        self.0.word(2)
    }

    fn set_has(&self, has: u64) {
        self.has().store(has, SeqCst);
    }

    /// The act is over.
    fn over(&self) -> &AtomicU64 {
        self.0.word(3)
    }

    fn wait_for_go(&self) {
        self.ready().store(1, SeqCst);
        while self.go().load(SeqCst) == 0 {
            std::hint::spin_loop();
        }
    }
}

/// Plays an act at so many points; returns the row of the table. What is wrong is a panic.
///
/// # Panics
///
/// When anything is wrong.
pub fn play(name: &str, method: StartMethod, kills: usize, seed: u64) -> String {
    procession::force_start_method(method);
    let length = Stage::set(name).play(usize::MAX);
    let mut random = random(seed, 0, 3);
    let mut played = 0;
    for kill in 0..kills.min(length) {
        // Spread, and not always the same.
        let (from, to) =
            (kill * length / kills.min(length), (kill + 1) * length / kills.min(length));
        let at = from + random.below((to - from).max(1));
        let family = Family::current().expect("a family");
        let before = family.objects();
        Stage::set(name).play(at);
        // Another thread of this process may have been the one to recover the dead, and be at it.
        wait_until(&format!("no objects are left, killed at {at} of {length}"), || {
            family.collect().expect("the system tells");
            family.objects() == before
        });
        played += 1;
    }
    format!("{name:<24} | {length:>12} | {played:>6}")
}

struct Stage {
    name: &'static str,
    props: Props,
    marks: Marks,
    actor: Process<Result<()>>,
    receiver: Receiver<Lock>,
    /// Who waits for the actor.
    waiter: Option<Waiting>,
}

/// What a waiter got.
#[derive(Debug, PartialEq, Eq)]
enum Got {
    It,
    Death,
    Broken,
    Closed,
}

struct Waiting {
    thread: JoinHandle<Got>,
}

impl Waiting {
    /// Starts a waiter, and comes back once it sleeps.
    fn start(wait: impl FnOnce() -> Got + Send + 'static) -> Self {
        let (tx, rx) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            tx.send(fork::thread_id()).expect("somebody listens");
            wait()
        });
        let id = rx.recv().expect("it begins");
        // The number of the system call that it is in: futex.
        let sleeps = || {
            let call = std::fs::read_to_string(format!("/proc/self/task/{id}/syscall"));
            let number = libc::SYS_futex.to_string();
            call.is_ok_and(|call| call.split(' ').next() == Some(&number))
        };
        wait_until("the waiter sleeps", sleeps);
        Self { thread }
    }

    fn got(self) -> Got {
        self.thread.join().expect("a waiter")
    }
}

fn locked<G>(locked: Result<G, LockError<G>>) -> Got {
    match locked {
        Ok(_) => Got::It,
        Err(LockError::OwnerDied(_)) => Got::Death,
        Err(other) => panic!("{other}"),
    }
}

fn waited(waited: Result<(), WaitError>) -> Got {
    match waited {
        Ok(()) => Got::It,
        Err(WaitError::OwnerDied) => Got::Death,
        Err(WaitError::Closed) => Got::Closed,
        Err(other) => panic!("{other}"),
    }
}

/// What the actor does; alone, and killed somewhere on the way.
fn act(name: String, props: Props, words: Handle<OwnedFd>, tx: Sender<Lock>) -> Result<()> {
    let marks = Marks(SharedWords::open(words.into_inner())?);
    match name.as_str() {
        "lock" | "lock-sleeper" | "rlock" => act_with_a_lock(&name, &props, &marks)?,
        "permit" | "permit-sleeper" | "raw-permit" => act_with_permits(&name, &props, &marks)?,
        _ => act_otherwise(&name, &props, &marks, &tx)?,
    }
    marks.over().store(1, SeqCst);
    loop {
        std::hint::spin_loop();
    }
}

fn act_with_a_lock(name: &str, props: &Props, marks: &Marks) -> Result<()> {
    match name {
        "lock" => {
            marks.wait_for_go();
            let guard = props.lock.lock()?;
            marks.set_has(1);
            marks.set_has(0);
            drop(guard);
        }
        "lock-sleeper" => {
            let guard = props.lock.lock()?;
            marks.set_has(1);
            marks.wait_for_go();
            marks.set_has(0);
            drop(guard);
        }
        "rlock" => {
            marks.wait_for_go();
            let outer = props.rlock.lock()?;
            marks.set_has(1);
            let inner = props.rlock.lock()?;
            drop(outer);
            marks.set_has(0);
            drop(inner);
        }
        other => panic!("no act `{other}`"),
    }
    Ok(())
}

fn act_with_permits(name: &str, props: &Props, marks: &Marks) -> Result<()> {
    match name {
        "permit" => {
            marks.wait_for_go();
            drop(props.semaphore.acquire()?);
        }
        "permit-sleeper" => {
            let permit = props.semaphore.acquire()?;
            marks.wait_for_go();
            drop(permit);
        }
        "raw-permit" => {
            marks.wait_for_go();
            props.bounded.acquire_raw()?;
            marks.set_has(1);
            marks.set_has(0);
            props.bounded.release()?;
        }
        other => panic!("no act `{other}`"),
    }
    Ok(())
}

fn act_otherwise(name: &str, props: &Props, marks: &Marks, tx: &Sender<Lock>) -> Result<()> {
    match name {
        "event-sleeper" => {
            marks.wait_for_go();
            props.event.set()?;
            marks.set_has(1);
        }
        "notify" => {
            marks.wait_for_go();
            let mut guard = props.condition.lock()?;
            props.condition.notify_one(&mut guard)?;
            marks.set_has(1);
            drop(guard);
        }
        "notified" | "wait-timeout" => {
            // Spinning is many instructions of which one is like the other.
            waiting::set_policy(Policy::Sleep);
            let mut guard = props.condition.lock()?;
            marks.ready().store(1, SeqCst);
            match name {
                "notified" => props.condition.wait(&mut guard)?,
                _ => drop(props.condition.wait_timeout(&mut guard, Duration::from_micros(50))),
            }
            marks.set_has(1);
            drop(guard);
        }
        "barrier-last" | "barrier-first" => {
            marks.wait_for_go();
            match props.barrier.wait() {
                Ok(_) => marks.set_has(1),
                Err(error) => return Err(error.into()),
            }
        }
        "object" => {
            marks.wait_for_go();
            let lock = Lock::new()?;
            marks.set_has(1);
            drop(lock);
        }
        "send" => {
            marks.wait_for_go();
            tx.send(Lock::new()?)?;
        }
        other => panic!("no act `{other}`"),
    }
    Ok(())
}

impl Stage {
    fn set(name: &str) -> Self {
        let name = NAMES.into_iter().find(|known| *known == name).expect("an act");
        let props = Props::new().expect("objects");
        let marks = Marks(SharedWords::create(8).expect("memory"));
        let words = Handle(fd::duplicate(&marks.0).expect("a descriptor"));
        let (tx, receiver) = procession::pipe().expect("a pipe");
        let actor = Process::spawn(act, (name.to_owned(), props.clone(), words, tx));
        let actor = actor.expect("an actor");
        wait_until("the actor is ready", || marks.ready().load(SeqCst) == 1);
        let mut stage = Self { name, props, marks, actor, receiver, waiter: None };
        stage.waiter = stage.waiter();
        stage
    }

    /// Who waits for the actor before it acts.
    fn waiter(&self) -> Option<Waiting> {
        let props = self.props.clone();
        Some(match self.name {
            "lock-sleeper" => Waiting::start(move || locked(props.lock.lock_timeout(SOON))),
            "permit-sleeper" => {
                Waiting::start(move || waited(props.semaphore.acquire_timeout(SOON).map(drop)))
            }
            "event-sleeper" => Waiting::start(move || waited(props.event.wait_timeout(SOON))),
            "notify" | "notified" => {
                // The actor waits first, where it waits.
                let others = usize::from(self.name == "notified");
                let condition = props.condition.clone();
                let waiters = |count| {
                    wait_until("they wait", || condition.waiting() == count);
                    // Whoever counts as waiting has unlocked by then.
                    drop(condition.lock().expect("nobody died yet"));
                };
                waiters(others);
                let waiter = Waiting::start(move || {
                    let mut guard = props.condition.lock().expect("nobody died yet");
                    let got = waited(props.condition.wait_timeout(&mut guard, SOON));
                    if guard.is_after_death() { Got::Death } else { got }
                });
                waiters(others + 1);
                waiter
            }
            "barrier-last" => Waiting::start(move || match props.barrier.wait_timeout(SOON) {
                Ok(_) => Got::It,
                Err(BarrierError::Broken) => Got::Broken,
                Err(other) => panic!("{other}"),
            }),
            _ => return None,
        })
    }

    /// Plays until the actor has run so many instructions, and kills it; tells how many it had run.
    fn play(mut self, kill_at: usize) -> usize {
        let mut actor = Tracer::stop(self.actor.pid()).expect("a trace");
        self.begin();
        let (mut steps, mut waits) = (0, 0);
        while steps < kill_at && self.marks.over().load(SeqCst) == 0 {
            assert!(actor.step().expect("a step"), "the actor ended: {:?}", self.actor.join());
            steps += 1;
            assert!(steps < 200_000, "the act does not end");
            // It would wait for ever.
            waits += usize::from(self.name == "barrier-first" && self.props.barrier.waiting() == 1);
            if waits == 500 {
                break;
            }
        }
        actor.kill().expect("it dies");
        self.check();
        let ended = self.actor.join();
        assert!(matches!(ended, Err(JoinError::Died(_))), "{ended:?}");
        steps
    }

    /// Lets the actor act.
    fn begin(&mut self) {
        self.marks.go().store(1, SeqCst);
        if self.name == "notified" {
            let mut guard = self.props.condition.lock().expect("nobody died yet");
            self.props.condition.notify_one(&mut guard).expect("it is there");
        }
    }

    /// What must be true after the death of the actor; before its parent has buried it.
    fn check(&mut self) {
        let had = self.marks.has().load(SeqCst) == 1;
        let got = self.waiter.take();
        match self.name {
            "lock" => self.check_lock(locked(self.props.lock.lock_timeout(SOON)), had),
            "lock-sleeper" => self.check_lock(got.expect("a waiter").got(), had),
            "rlock" => {
                let got = locked(self.props.rlock.lock_timeout(SOON));
                assert!(!had || got == Got::Death, "{got:?}");
            }
            "permit" => drop(self.props.semaphore.acquire_timeout(SOON).expect("it comes back")),
            "permit-sleeper" => assert_eq!(got.expect("a waiter").got(), Got::It),
            "raw-permit" => {
                let value = self.props.bounded.value();
                assert!(!had || value == 0, "what was taken stays taken");
                if value == 0 {
                    self.props.bounded.release().expect("it was taken");
                }
                assert!(self.props.bounded.release().is_err(), "there is one permit");
            }
            "event-sleeper" => {
                let got = got.expect("a waiter").got();
                let is_set = self.props.event.is_set().expect("it is there");
                // Whether the actor set it or nobody is left to do so.
                assert!(got == Got::It || !is_set && got == Got::Closed, "{got:?}, set: {is_set}");
                assert!(!had || got == Got::It);
            }
            "notify" => self.check_notify(got.expect("a waiter"), had),
            "notified" => {
                let got = got.expect("a waiter");
                if had {
                    // The notification was the actor's own.
                    self.notify_all();
                }
                // It was either acted upon or handed on. Who died with the lock may have done the one or the other. And who
                // acted upon it leaves a waiter that is alone, and may see that before it is notified.
                let got = got.got();
                let is_alone = had && got == Got::Closed;
                assert!(is_alone || matches!(got, Got::It | Got::Death), "{got:?}, had: {had}");
            }
            "wait-timeout" => assert_eq!(self.waiting(), 0),
            "barrier-last" => {
                let got = got.expect("a waiter").got();
                assert!(got == Got::Broken || got == Got::It, "{got:?}");
                assert!(!had || got == Got::It);
            }
            "barrier-first" => {
                // Who has arrived before it died, and is not known to be dead, is a party.
                let had_arrived = self.props.barrier.waiting() == 1;
                match self.props.barrier.wait_timeout(SOON) {
                    Err(BarrierError::Broken) => {}
                    Ok(1) if had_arrived => {}
                    other => panic!("{other:?}"),
                }
            }
            _ => self.check_message(),
        }
    }

    fn check_lock(&self, got: Got, had: bool) {
        assert!(!had || got == Got::Death, "{got:?}");
        // It was not repaired: that is told again, and then no more.
        let again = self.props.lock.lock_timeout(SOON);
        let guard = match (got, again) {
            (Got::It, Ok(guard)) => guard,
            (Got::Death, Err(LockError::OwnerDied(mut guard))) => {
                guard.repair();
                guard
            }
            (got, again) => panic!("{got:?}, then {again:?}"),
        };
        drop(guard);
        assert_eq!(locked(self.props.lock.try_lock()), Got::It);
    }

    fn check_notify(&self, waiter: Waiting, had: bool) {
        if !had {
            self.notify_all();
        }
        let got = waiter.got();
        assert!(matches!(got, Got::It | Got::Death | Got::Closed), "{got:?}");
        assert!(!had || got != Got::Closed, "it was notified");
        assert_eq!(self.waiting(), 0);
    }

    fn notify_all(&self) {
        let locked = self.props.condition.as_lock().lock_timeout(SOON);
        let mut guard = locked.or_else(LockError::into_guard).expect("the lock comes back");
        guard.repair();
        self.props.condition.notify_all(&mut guard).expect("it is there");
    }

    /// How many wait once the dead is recovered.
    fn waiting(&self) -> usize {
        let condition = &self.props.condition;
        wait_until("the dead waits no more", || {
            drop(condition.as_lock().lock_timeout(SOON).or_else(LockError::into_guard));
            self.actor.try_join().is_some() && condition.waiting() == 0
        });
        0
    }

    fn check_message(&mut self) {
        match self.receiver.recv_timeout(SOON) {
            Ok(lock) => assert_eq!(locked(lock.try_lock()), Got::It),
            Err(error) => assert!(
                matches!(
                    error,
                    procession::RecvTimeoutError::Closed | procession::RecvTimeoutError::Failed(_)
                ),
                "{error}"
            ),
        }
    }
}
