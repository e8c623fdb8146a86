//! Family `sync`: ours, through the public face. The argument says how processes wait: `adaptive`
//! (the default), `sleep` or `spin`.

use std::error::Error;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use procession::{Handle, Process};
use procession_benches::board::{Board, WORDS};
use procession_benches::sync::{
    Pace, SIZES, await_wakes, bump, circle, hammer, lead_hammers, lead_wakes, report_barrier,
    report_contended, report_wakes, uncontended,
};
use procession_core::waiting::{Policy, set_policy};
use procession_sync::{Barrier, Condition, Event, Lock, RLock, Semaphore};
use procession_sys::memory::SharedWords;
use serde::{Deserialize, Serialize};

/// Why no wait ends in an error.
const NOBODY_DIES: &str = "nobody dies while this is measured";

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> Outcome {
    procession::init();
    let policy = std::env::args().nth(1).unwrap_or_else(|| "adaptive".to_owned());
    set_policy(policy_of(&policy)?);
    by_one()?;
    let bench = Bench { policy, words: SharedWords::create(WORDS)? };
    bench.contend()?;
    bench.wake_by_event()?;
    bench.wake_by_condition()?;
    bench.meet()
}

fn policy_of(name: &str) -> io::Result<Policy> {
    match name {
        "adaptive" => Ok(Policy::Adaptive),
        "sleep" => Ok(Policy::Sleep),
        "spin" => Ok(Policy::Spin),
        _ => Err(io::Error::other(format!("unknown way `{name}`; one of adaptive, sleep, spin"))),
    }
}

/// What one process measures for itself.
fn by_one() -> Outcome {
    let lock = Lock::new()?;
    uncontended("lock_uncontended", || drop(lock.lock().expect(NOBODY_DIES)))?;
    let lock = RLock::new()?;
    uncontended("rlock_uncontended", || drop(lock.lock().expect(NOBODY_DIES)))?;
    let semaphore = Semaphore::new(1)?;
    uncontended("sem_uncontended", || {
        semaphore.acquire_raw().expect(NOBODY_DIES);
        semaphore.release().expect(NOBODY_DIES);
    })?;
    uncontended("permit_uncontended", || drop(semaphore.acquire().expect(NOBODY_DIES)))?;
    Ok(())
}

/// What every process of a measurement needs to take part.
#[derive(Serialize, Deserialize)]
struct Place {
    policy: String,
    words: Handle<OwnedFd>,
}

impl Place {
    /// Runs `role` in the process that this was sent to.
    fn play(self, role: impl FnOnce(&Board<'_>)) {
        set_policy(policy_of(&self.policy).expect("the parent understood it"));
        let words = SharedWords::open(self.words.into_inner()).expect("the parent made it");
        role(&Board::over(|index| words.word(index)));
    }
}

/// The process that starts the others.
struct Bench {
    policy: String,
    words: SharedWords,
}

impl Bench {
    fn board(&self) -> Board<'_> {
        Board::over(|index| self.words.word(index))
    }

    fn place(&self) -> io::Result<Place> {
        let words = self.words.as_fd().try_clone_to_owned()?;
        Ok(Place { policy: self.policy.clone(), words: Handle(words) })
    }

    fn contend(&self) -> Outcome {
        let board = self.board();
        for size in SIZES {
            board.clear();
            let lock = Lock::new()?;
            let start = |_seat| {
                let role = |place: Place, lock: Lock| {
                    place.play(|board| {
                        hammer(board, |counter| {
                            let guard = lock.lock().expect(NOBODY_DIES);
                            bump(counter);
                            drop(guard);
                        });
                    });
                };
                Ok(Process::builder().daemon(true).spawn(role, (self.place()?, lock.clone()))?)
            };
            let members: Vec<Process> = (0..size).map(start).collect::<Outcome<_>>()?;
            let length = lead_hammers(&board, size)?;
            join(members)?;
            report_contended(&board, size, length)?;
        }
        Ok(())
    }

    fn wake_by_event(&self) -> Outcome {
        let board = self.board();
        for &pace in Pace::all() {
            board.clear();
            let event = Event::new()?;
            let role = |place: Place, event: Event| {
                let wait = || event.wait().expect(NOBODY_DIES);
                let reset = || {
                    event.clear().expect(NOBODY_DIES);
                };
                place.play(|board| await_wakes(board, wait, reset));
            };
            let waiter =
                Process::builder().daemon(true).spawn(role, (self.place()?, event.clone()))?;
            let wake = || {
                event.set().expect(NOBODY_DIES);
            };
            let latencies = lead_wakes(&board, pace, wake)?;
            join([waiter])?;
            report_wakes("event", pace, latencies)?;
        }
        Ok(())
    }

    /// The flag is the counter of the board, which nobody else uses here.
    fn wake_by_condition(&self) -> Outcome {
        let board = self.board();
        for &pace in Pace::all() {
            board.clear();
            let condition = Condition::new()?;
            let role = |place: Place, condition: Condition| {
                place.play(|board| {
                    let wait = || {
                        let mut guard = condition.lock().expect(NOBODY_DIES);
                        while board.counter.load(Relaxed) == 0 {
                            condition.wait(&mut guard).expect(NOBODY_DIES);
                        }
                        board.counter.store(0, Relaxed);
                    };
                    await_wakes(board, wait, || ());
                });
            };
            let waiter =
                Process::builder().daemon(true).spawn(role, (self.place()?, condition.clone()))?;
            let wake = || {
                let mut guard = condition.lock().expect(NOBODY_DIES);
                board.counter.store(1, Relaxed);
                condition.notify_one(&mut guard).expect(NOBODY_DIES);
            };
            let latencies = lead_wakes(&board, pace, wake)?;
            join([waiter])?;
            report_wakes("cond", pace, latencies)?;
        }
        Ok(())
    }

    fn meet(&self) -> Outcome {
        let board = self.board();
        let processors = thread::available_parallelism()?.get();
        // Where some have no processor, those who spin for them take theirs.
        let can_meet = |size: &usize| self.policy != "spin" || *size <= processors;
        for size in SIZES.into_iter().filter(can_meet) {
            board.clear();
            let barrier = Barrier::new(size)?;
            let start = |seat| {
                let role = |place: Place, barrier: Barrier, seat: usize, parties: usize| {
                    let wait = || {
                        barrier.wait().expect(NOBODY_DIES);
                    };
                    place.play(|board| circle(board, seat, parties, wait));
                };
                let arguments = (self.place()?, barrier.clone(), seat, size);
                Ok(Process::builder().daemon(true).spawn(role, arguments)?)
            };
            let members: Vec<Process> = (0..size).map(start).collect::<Outcome<_>>()?;
            join(members)?;
            report_barrier(&board, size)?;
        }
        Ok(())
    }
}

/// They are daemons: if one fails, the others end with this process.
fn join(members: impl IntoIterator<Item = Process>) -> Outcome {
    for member in members {
        member.join()?;
    }
    Ok(())
}
