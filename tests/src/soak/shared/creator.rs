//! Whoever makes blocks and sends them is killed: what has arrived stays and is whole, and its names go.

use std::time::Instant;

use procession::{ErrorKind, Process, Receiver, Result, Sender, pipe};
use procession_shared::{SharedMemory, SharedMemoryScope};

use super::killer::{Killer, Moment, board, is_killed, say_ready};
use super::stage::{Plan, Tally};
use crate::wait_until;

/// How many blocks the victim and the stage keep.
const KEPT: usize = 6;

pub(super) fn play(plan: &mut Plan, tally: &mut Tally) {
    let moment = Moment::draw(&mut plan.random);
    let sizes = [100, 5_000, 300_000][plan.random.below(3)];
    let board = board();
    let (tx, rx) = pipe::<(u64, SharedMemory)>().expect("a pipe");
    let victim = Process::builder().daemon(true).spawn(create, (board.clone(), tx, sizes));
    let victim = victim.expect("a victim");
    let killer = Killer::start(victim.pid(), moment, &board);
    let (kept, told) = receive(&rx, tally);
    tally.answered(killer.died_at(), told);
    is_killed(&victim);
    for (number, memory) in &kept {
        check(*number, memory);
        memory.fill(0).expect("it is ours");
    }
    let prefix = format!("procession.{}.", victim.pid());
    wait_until("its names are gone", || names(&prefix) == 0);
    tally.saw("kept", kept.len());
}

fn names(prefix: &str) -> usize {
    let names = std::fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    names.filter(|name| name.file_name().to_string_lossy().starts_with(prefix)).count()
}

/// Receives until the death is told; returns the last blocks, and when that was.
fn receive(
    rx: &Receiver<(u64, SharedMemory)>,
    tally: &mut Tally,
) -> (Vec<(u64, SharedMemory)>, Instant) {
    let mut kept = Vec::new();
    loop {
        match rx.recv() {
            Ok((number, memory)) => {
                check(number, &memory);
                tally.saw("blocks", 1);
                if kept.len() == KEPT {
                    kept.remove(0);
                }
                kept.push((number, memory));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Its maker is dead, and its name was taken away before it was received.
                tally.saw("gone", 1);
            }
            Err(error) => {
                let told = Instant::now();
                let is_end = matches!(error.kind(), ErrorKind::Closed | ErrorKind::Torn);
                assert!(is_end, "{error:?}");
                return (kept, told);
            }
        }
    }
}

/// Makes blocks with and without names until it is killed.
fn create(board: SharedMemory, tx: Sender<(u64, SharedMemory)>, size: usize) -> Result<()> {
    let scope = SharedMemoryScope::new()?;
    say_ready(&board)?;
    let mut kept = Vec::new();
    for number in 0.. {
        let memory = match number % 3 {
            0 => scope.shared_memory(size)?,
            1 => SharedMemory::new(size)?,
            _ => SharedMemory::recycled(size)?,
        };
        memory.fill(byte(number))?;
        tx.send((number, memory.clone()))?;
        if kept.len() == KEPT {
            // Those with names are unlinked early, now and then.
            let oldest: SharedMemory = kept.remove(0);
            if oldest.name().is_some() {
                oldest.unlink()?;
            }
        }
        kept.push(memory);
    }
    Ok(())
}

fn byte(number: u64) -> u8 {
    number.to_le_bytes()[0] | 1
}

#[track_caller]
fn check(number: u64, memory: &SharedMemory) {
    let bytes = memory.read_vec(0..memory.size()).expect("it is there");
    assert!(bytes.iter().all(|found| *found == byte(number)), "block {number} is not whole");
}
