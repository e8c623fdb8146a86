//! Whoever uses another's block is killed: the other's data stay, the name stays, and the block can be used again.

use std::time::Instant;

use procession::{Process, Result};
use procession_shared::SharedMemory;
use procession_sys::prim::Ordering::SeqCst;

use super::killer::{Killer, Moment, board, is_killed, say_ready};
use super::stage::{Plan, Tally};

pub(super) fn play(plan: &mut Plan, tally: &mut Tally) {
    let moment = Moment::draw(&mut plan.random);
    let size = [4096, 65_536, 1 << 20][plan.random.below(3)];
    let mark = plan.seed ^ plan.round as u64;
    let name = (plan.random.below(2) == 0)
        .then(|| format!("procession-test-{}-{}", std::process::id(), plan.round));
    let memory = match &name {
        Some(name) => SharedMemory::create(name, size),
        None => SharedMemory::new(size),
    };
    let memory = memory.expect("memory");
    // The first half is ours, the second the victim's.
    let ours = mark.to_le_bytes().repeat(size / 16);
    memory.write(0, &ours).expect("room");
    let board = board();
    let victim = Process::builder().daemon(true).spawn(work, (board.clone(), memory.clone(), mark));
    let victim = victim.expect("a victim");
    let killer = Killer::start(victim.pid(), moment, &board);
    // Meanwhile it is used here as well.
    while !killer.has_killed() {
        assert!(memory.read_vec(0..size / 2).expect("it is there") == ours, "ours is not whole");
    }
    let death = killer.died_at();
    is_killed(&victim);
    tally.answered(death, Instant::now());
    assert!(memory.read_vec(0..size / 2).expect("it is there") == ours, "ours is not whole");
    check_theirs(&memory);
    match name {
        Some(_) => {
            SharedMemory::attach(memory.name().expect("a name")).expect("its name stays");
            memory.unlink().expect("its name stays");
            tally.saw("named", 1);
        }
        None => {
            drop(memory);
            assert!(is_used_again(size, &ours), "the block is held by somebody");
            procession_shared::pool::trim().expect("a look");
            tally.saw("used again", 1);
        }
    }
}

/// Whether a new block of that size is made of the one that begins with `ours`.
fn is_used_again(size: usize, ours: &[u8]) -> bool {
    let memory = SharedMemory::recycled(size).expect("memory");
    memory.read_vec(0..ours.len()).expect("it is there") == ours
}

/// Each word of the victim's was written whole, and they were written in this order.
fn check_theirs(memory: &SharedMemory) {
    let view = memory.view().expect("it is there");
    let words = (view.len() / 2..view.len()).step_by(8);
    let words: Vec<u64> = words.map(|at| view.get(at).expect("a word")).collect();
    let is_step = |pair: &[u64]| pair[0] == pair[1] || pair[0] == pair[1] + 1;
    assert!(words.windows(2).all(is_step), "the words of the victim are not as it wrote them");
    assert!(words[0] - words[words.len() - 1] <= 1, "only one of its turns is unfinished");
}

/// Writes the second half, word by word, and looks at the first, until it is killed.
fn work(board: SharedMemory, memory: SharedMemory, mark: u64) -> Result<()> {
    say_ready(&board)?;
    let view = memory.view()?;
    for turn in 1.. {
        for at in (view.len() / 2..view.len()).step_by(8) {
            view.atomic_u64(at)?.store(turn, SeqCst);
        }
        if view.get::<u64>(0)? != mark {
            return Ok(());
        }
    }
    Ok(())
}
