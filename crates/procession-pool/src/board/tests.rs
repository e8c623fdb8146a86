//! What a worker leaves undone that is killed between two steps of waking somebody.

use std::thread;
use std::time::Duration;

use procession_core::Deadline;
use procession_sys::prim::AtomicBool;
use procession_sys::{futex, poll};

use super::*;

/// Nobody needs longer to come to sleep, or to be woken.
const SOON: Duration = Duration::from_secs(20);

/// Runs `sleep` beside this until it sleeps, does what a worker does that is killed in the middle, and sees that `repair` wakes it.
fn is_woken(
    board: &Board,
    sleep: impl Fn() + Sync,
    is_asleep: impl Fn() -> bool,
    half: impl Fn(),
    repair: impl Fn(),
) -> bool {
    let is_back = AtomicBool::new(false);
    let deadline = Deadline::after(SOON);
    let wait_for = |what: &dyn Fn() -> bool| {
        while !what() && !deadline.has_passed() {
            drop(poll::wait(&mut [], Deadline::after(Duration::from_millis(1))));
        }
        what()
    };
    let number = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            number.store(u64::from(procession_sys::fork::thread_id()), SeqCst);
            sleep();
            is_back.store(true, SeqCst);
        });
        let waits = || {
            let place = format!("/proc/self/task/{}/wchan", number.load(SeqCst));
            std::fs::read_to_string(place).is_ok_and(|place| place.contains("futex"))
        };
        assert!(wait_for(&|| is_asleep() && waits()), "it does not come to sleep");
        half();
        assert!(!is_back.load(SeqCst), "it is awake too early");
        repair();
        let woken = wait_for(&|| is_back.load(SeqCst));
        // Or this would wait for ever.
        for word in [FIRST, BELL, PARENT] {
            Word::wake(board.word(word), u32::MAX);
        }
        woken
    })
}

#[test]
fn the_first_is_woken_when_who_took_it_off_its_word_is_dead() {
    let board = Board::create(0).unwrap();
    let first = board.word(FIRST);
    assert!(board.begin_to_look(1));
    let half = || first.store(0, SeqCst);
    let sleep = || assert!(!board.sleep_first(1, Deadline::NEVER).unwrap());
    let is_asleep = || first.load(SeqCst) & ASLEEP_HERE != 0;
    assert!(is_woken(&board, sleep, is_asleep, half, || board.replace(0)));
}

#[test]
fn who_sleeps_on_the_bell_is_woken_when_who_took_it_off_is_dead() {
    let board = Board::create(0).unwrap();
    let half = || board.word(BELL).store(0, SeqCst);
    let sleep = || assert!(!board.sleep(1, Deadline::NEVER).unwrap());
    assert!(is_woken(&board, sleep, || board.bell().may_sleep(), half, || board.replace(0)));
}

#[test]
fn a_caller_is_woken_when_the_worker_that_said_so_is_dead() {
    let board = Board::create(0).unwrap();
    let parent = board.parent();
    let sleep = || {
        parent.store(ASLEEP, SeqCst);
        futex::wait_low(parent, u32::try_from(ASLEEP).unwrap(), Deadline::NEVER).unwrap();
    };
    let half = || parent.store(AWAKE, SeqCst);
    assert!(is_woken(&board, sleep, || parent.load(SeqCst) == ASLEEP, half, || board.rouse()));
}
