//! Whoever writes under a lock is killed: the lock says so, and what it wrote is whole, or half done and known to be.

use std::time::Instant;

use procession::{LockError, Process, RLock, Result};
use procession_shared::SharedMemory;

use super::killer::{Killer, Moment, board, is_killed, say_ready};
use super::stage::{Plan, Tally};
use crate::SOON;

/// Where the number of the turn stands that was begun, the one that was done, and the words that are written in each.
const BEGUN: usize = 0;
const DONE: usize = 8;
const WORDS: usize = 64;

pub(super) fn play(plan: &mut Plan, tally: &mut Tally) {
    let moment = Moment::draw(&mut plan.random);
    let count = [4, 60, 4_000][plan.random.below(3)];
    let memory = SharedMemory::new(WORDS + count * 8).expect("memory");
    let lock = RLock::new().expect("a lock");
    let board = board();
    let victim = Process::builder()
        .daemon(true)
        .spawn(write, (board.clone(), memory.clone(), lock.clone()))
        .expect("a victim");
    let killer = Killer::start(victim.pid(), moment, &board);
    let mut told = None;
    loop {
        let was_dead = killer.has_killed();
        match lock.lock_timeout(SOON) {
            Ok(_guard) => {
                let (begun, done, words) = look(&memory);
                assert!(begun == done && words.iter().all(|word| *word == done), "not whole");
                tally.saw("turns", 1);
            }
            Err(LockError::OwnerDied(mut guard)) => {
                told = Some(Instant::now());
                tally.saw("half done", usize::from(is_half_done(&memory)));
                put_in_order(&memory);
                guard.repair();
            }
            Err(other) => panic!("{other:?}"),
        }
        if told.is_some() || was_dead {
            break;
        }
        // The victim shall have its turn.
        std::thread::yield_now();
    }
    let death = killer.died_at();
    match told {
        Some(told) => tally.answered(death, told),
        None => tally.saw("not held", 1),
    }
    // It is as any other lock again.
    drop(lock.lock_timeout(SOON).expect("it was repaired, or was not held"));
    is_killed(&victim);
}

fn look(memory: &SharedMemory) -> (u64, u64, Vec<u64>) {
    let view = memory.view().expect("it is there");
    let get = |at| view.get::<u64>(at).expect("a word");
    (get(BEGUN), get(DONE), (WORDS..view.len()).step_by(8).map(get).collect())
}

/// What the victim has begun, it has done up to some word, and not beyond.
fn is_half_done(memory: &SharedMemory) -> bool {
    let (begun, done, words) = look(memory);
    assert!(begun == done || begun == done + 1, "turn {begun} was begun, and {done} done");
    let written = words.iter().take_while(|word| **word == begun).count();
    assert!(words[written..].iter().all(|word| *word == done), "beyond what it wrote");
    begun != done
}

fn put_in_order(memory: &SharedMemory) {
    let view = memory.view().expect("it is there");
    let begun = view.get::<u64>(BEGUN).expect("a word");
    for at in (WORDS..view.len()).step_by(8).chain([DONE]) {
        view.set(at, begun).expect("a word");
    }
}

/// Writes the words under the lock, turn by turn, until it is killed.
fn write(board: SharedMemory, memory: SharedMemory, lock: RLock) -> Result<()> {
    say_ready(&board)?;
    let view = memory.view()?;
    for turn in 1u64.. {
        let _guard = lock.lock()?;
        view.set(BEGUN, turn)?;
        for at in (WORDS..view.len()).step_by(8) {
            view.set(at, turn)?;
        }
        view.set(DONE, turn)?;
    }
    Ok(())
}
