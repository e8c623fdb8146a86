//! What runs in this process: which worker it is, and which task it runs.

use procession_core::Result;
use procession_sys::prim::Ordering;
use procession_sys::wipe::{PerProcess, WipedWord};

use crate::board::{Board, Place};

/// One more than the seat of this worker; zero in a process that is none.
static SEAT: WipedWord = WipedWord::new();

/// The board of the pool that this process is a worker of. A worker may be a fork of another pool's.
static BOARD: PerProcess<Option<&'static Board>> = PerProcess::new();

/// Says which worker this process is.
pub(super) fn set(board: Board, seat: usize) -> Result<&'static Board> {
    // For as long as the process lives, which is not much longer.
    let board: &'static Board = Box::leak(Box::new(board));
    *BOARD.lock()? = Some(board);
    SEAT.get()?.store(seat as u64 + 1, Ordering::Relaxed);
    Ok(board)
}

/// The board of the pool that this process is a worker of, and its seat.
pub(crate) fn here() -> Option<(&'static Board, usize)> {
    let seat = current_worker()?;
    Some(((*BOARD.lock().ok()?)?, seat))
}

/// The seat in its pool, from zero, of the worker that this process is; nothing in a process that is none, and in one that a worker has
/// forked. At any time, each worker of a pool has another.
pub fn current_worker() -> Option<usize> {
    let seat = SEAT.get().ok()?.load(Ordering::Relaxed);
    usize::try_from(seat.checked_sub(1)?).ok()
}

/// The task that this process runs as the worker of a pool, whichever thread asks; nothing between tasks, and in every other process.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # procession_process::init();
/// # let pool = procession_pool::Pool::builder().workers(std::num::NonZeroUsize::MIN).build()?;
/// use procession_pool::current_task;
///
/// let indices = pool.map(|_: char| current_task().unwrap().index(), "abc".chars())?;
/// assert_eq!(indices, [0, 1, 2]);
/// assert!(current_task().is_none());
/// # Ok(())
/// # }
/// ```
pub fn current_task() -> Option<TaskContext> {
    let (board, worker) = here()?;
    Some(TaskContext { board, worker, place: board.place(worker)? })
}

/// A task, for the function that it calls: [`current_task`].
///
/// It is a name: it stays valid when the task has ended, and says nothing new then.
#[derive(Debug, Clone, Copy)]
pub struct TaskContext {
    board: &'static Board,
    worker: usize,
    place: Place,
}

impl TaskContext {
    /// The worker's seat in its pool, from zero: [`current_worker`].
    pub fn worker(&self) -> usize {
        self.worker
    }

    /// The task's place in the input, from zero.
    pub fn index(&self) -> usize {
        self.place.index
    }

    /// How often the task was tried before: zero, unless it may have more [attempts](crate::Tasks::attempts).
    pub fn attempt(&self) -> u32 {
        self.place.attempt
    }

    /// Whether this task shall end: it was [cancelled](crate::AsyncResult::cancel), or nobody wants its value any more, or it has
    /// run out of [time](crate::Tasks::timeout). A task that looks at this from time to time, and returns, keeps its worker alive, if it was given
    /// [notice](crate::Tasks::notice): without that, its worker is ended at once.
    pub fn is_cancelled(&self) -> bool {
        self.board.is_unwanted(self.worker, &self.place)
    }

    /// Says how much of this task is done, `done` of `total`, in whatever unit. Whoever has its [`AsyncResult`](crate::AsyncResult::progress) sees
    /// the last such report, and so do the pool's [statistics](crate::Pool::stats). It takes some nanoseconds and wakes nobody.
    pub fn report_progress(&self, done: u64, total: u64) {
        self.board.report(self.worker, &self.place, Progress { done, total });
    }
}

/// How much of a task is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Progress {
    /// So much of it is,
    pub done: u64,
    /// of so much.
    pub total: u64,
}
