//! What is up on the board, and who has it.
//!
//! # A chunk
//!
//! ```text
//! waiting (in its job) --> up --> taken by a worker --> ended, or stopped
//!    ^                     |         |
//!    +---------------------+---------+   taken down; its worker died, or stopped in the middle: what was not begun waits again
//! ```
//!
//! A chunk is a row of tasks of one job. Its memory is the pool's until it has ended; a worker only reads it.

mod report;
mod settle;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use procession_core::Error;
use procession_process::trampoline::FunctionRef;
use procession_sys::prim::Ordering::{Relaxed, SeqCst};

use crate::TaskError;
use crate::board::{
    BLOCK, CELL_COUNT, ENTRY_COUNT, HANDLES, HERE, Order, Owner, RECORDED, SINGLE, TIMED,
    WORDS_ONLY,
};
use crate::job::{AtEnd, Job, Outcome, Refused, Taken};
use crate::memory::{self, Block, Blocks};
use crate::piece::{Layout, Parcel, Piece};
use crate::spare;
use crate::stats::Tally;
use crate::timeline::Timeline;
use crate::worker::Parting;

use super::seat::Seat;
use super::{Closing, Force, Load, Shared};

/// How many bytes of arguments may be up, unless a few chunks have more.
const MOST_BYTES_UP: usize = 32 << 20;

/// An argument that takes more memory is not dropped while the desk is locked.
const MUCH: usize = 128 << 10;

/// Results come fast when chunks take less than this, in nanoseconds.
const BRISK_NANOS: u64 = 400_000;

/// What is up, or taken.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) job: Arc<Job>,
    /// The place of the first task in the input.
    first: usize,
    count: u32,
    /// How many are resolved, from the first on.
    done: u32,
    layout: Layout,
    deaths: u8,
    tries: u32,
    block: Block,
    len: usize,
    /// Whether its arguments hold descriptors, which have left.
    has_handles: bool,
    pub(super) ticket: u64,
    /// Where it is up, unless it is for one worker alone.
    position: Option<u64>,
    /// Who has taken it.
    seat: Option<usize>,
}

impl Chunk {
    /// The place of the first task that is not resolved.
    fn next(&self) -> usize {
        self.first + self.done as usize
    }

    fn left(&self) -> u32 {
        self.count - self.done
    }

    fn advance(&mut self, count: u32) {
        self.done += count;
        self.deaths = 0;
    }
}

pub(crate) struct Desk {
    blocks: Blocks,
    chunks: Vec<Option<Chunk>>,
    free: Vec<u16>,
    /// The position of the next entry.
    tail: u64,
    /// Up to where it is known who has taken the chunks.
    noted: u64,
    sequence: u64,
    /// How many chunks are up or taken, and how many bytes they have.
    up: usize,
    up_bytes: usize,
    pub(super) seats: Vec<Option<Seat>>,
    /// Jobs that may have tasks that wait; the first one is served next.
    jobs: VecDeque<Arc<Job>>,
    /// Jobs with tasks that are tried again later.
    pub(super) retrying: Vec<Arc<Job>>,
    /// Jobs whose tasks have a time limit.
    pub(super) timed: usize,
    /// How many seats there shall be: those behind these are being left.
    pub(super) wanted: usize,
    pub(super) new_size: Option<usize>,
    /// What workers have left that have ended in order.
    pub(super) partings: Vec<Parting>,
    /// What workers have done that have ended.
    pub(super) past: Tally,
    /// How many workers were started, and how many ended that nobody had asked to.
    pub(super) started: u64,
    pub(super) died: u64,
    /// If what workers run is recorded.
    pub(super) timeline: Option<Timeline>,
    pub(super) closing: Closing,
    pub(super) force: Force,
    /// Why the pool is out of order, if it is: there is no keeper any more.
    pub(super) broken: Option<Error>,
    /// Why nothing is put up any more, once there is no keeper.
    pub(super) refused: Option<Refused>,
    ended: Vec<AtEnd>,
    /// Long arguments that have been written.
    spent: Vec<Vec<u8>>,
    needs_keeper: bool,
}

impl Desk {
    pub(super) fn new() -> Self {
        Self {
            blocks: Blocks::new(),
            chunks: Vec::new(),
            free: Vec::new(),
            tail: 0,
            noted: 0,
            sequence: 0,
            up: 0,
            up_bytes: 0,
            seats: Vec::new(),
            jobs: VecDeque::new(),
            retrying: Vec::new(),
            timed: 0,
            wanted: 0,
            new_size: None,
            partings: Vec::new(),
            past: Tally::new(),
            started: 0,
            died: 0,
            timeline: None,
            closing: Closing::No,
            force: Force::default(),
            broken: None,
            refused: None,
            ended: Vec::new(),
            spent: Vec::new(),
            needs_keeper: false,
        }
    }

    /// Whether there is something to be called.
    pub(super) fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    /// What is to be called when nothing is locked.
    pub(super) fn take_ended(&mut self) -> Vec<AtEnd> {
        std::mem::take(&mut self.ended)
    }

    /// What is to be dropped when nothing is locked: to give much memory back takes the system long.
    pub(super) fn take_spent(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.spent)
    }

    /// Whether there is something that only the keeper can see to; told once.
    pub(super) fn needs_keeper(&mut self) -> bool {
        std::mem::take(&mut self.needs_keeper)
    }

    pub(super) fn load(&self, job: &Job) -> Load {
        let is_short = || job.chunk_nanos().is_some_and(|nanos| nanos < BRISK_NANOS);
        let is_brisk = self.up > 1 && is_short();
        Load { seats: self.seats.len(), busy: self.up.min(self.wanted), is_brisk }
    }

    /// Whether there is memory to be given back when nothing is to be done.
    pub(super) fn is_warm(&self) -> bool {
        self.blocks.is_warm()
    }

    /// Gives memory back, if there is nothing to do.
    pub(super) fn cool(&mut self, shared: &Shared) {
        if self.up == 0 {
            self.blocks.cool(&shared.memory);
        }
    }

    /// Whether nothing is up or taken, and nothing waits.
    pub(super) fn is_idle(&self) -> bool {
        self.up == 0 && self.jobs.is_empty() && self.retrying.is_empty()
    }

    /// Notes that a job may have tasks that wait.
    pub(super) fn list(&mut self, job: &Arc<Job>) {
        if !job.is_listed.swap(true, Relaxed) {
            self.jobs.push_back(Arc::clone(job));
        }
    }

    fn list_first(&mut self, job: &Arc<Job>) {
        if !job.is_listed.swap(true, Relaxed) {
            self.jobs.push_front(Arc::clone(job));
        }
    }

    /// Puts up what waits, as far as it makes sense, one job after the other.
    pub(super) fn pump(&mut self, shared: &Shared) {
        let before = self.tail;
        let mut in_vain = 0;
        while in_vain < self.jobs.len() && self.has_capacity(shared) {
            let Some(job) = self.jobs.pop_front() else { break };
            match job.take(self.wanted.max(1), self.jobs.len()) {
                // Whoever gives it more comes here afterwards.
                Taken::Nothing => job.is_listed.store(false, Relaxed),
                Taken::Enough => {
                    in_vain += 1;
                    self.jobs.push_back(job);
                }
                Taken::Piece { piece, is_last } => {
                    if !self.place(shared, &job, piece) {
                        // Nothing overtakes what needs a worker that has nothing to do.
                        self.jobs.push_front(job);
                        break;
                    }
                    in_vain = 0;
                    match is_last {
                        true => job.is_listed.store(false, Relaxed),
                        false => self.jobs.push_back(job),
                    }
                }
            }
        }
        if self.tail != before {
            shared.board.call_worker();
        }
        shared.is_waiting.store(!self.jobs.is_empty(), Relaxed);
    }

    /// Puts the only task of a job up, if nothing waits; otherwise gives it back.
    pub(super) fn give_at_once(
        &mut self,
        shared: &Shared,
        job: &Arc<Job>,
        function: FunctionRef,
        piece: Piece,
    ) -> Option<Piece> {
        let is_simple = piece.handles.is_empty() && self.jobs.is_empty() && self.refused.is_none();
        if !is_simple || !self.has_capacity(shared) {
            return Some(piece);
        }
        let before = self.tail;
        // It is up, or resolved.
        let _done = self.give(shared, job, piece, function, None);
        if self.tail != before {
            shared.board.call_worker();
        }
        None
    }

    fn has_capacity(&mut self, shared: &Shared) -> bool {
        let is_full = |this: &Self| this.tail - this.noted >= ENTRY_COUNT as u64;
        if is_full(self) {
            self.note_claims(shared);
        }
        let few = 2 * self.wanted;
        !is_full(self) && (self.up_bytes < MOST_BYTES_UP || self.up < few)
    }

    /// Puts up a chunk, or puts it back where nobody can take it now; whether it is up, or resolved.
    fn place(&mut self, shared: &Shared, job: &Arc<Job>, piece: Piece) -> bool {
        let Some(function) = job.function else { return true };
        if piece.handles.is_empty() {
            return self.give(shared, job, piece, function, None);
        }
        if self.idle_seat(shared, 0).is_none() {
            return self.put_back(job, piece);
        }
        // Nobody takes anything else while it is given what only one can have.
        let down = self.take_down(shared);
        let is_placed = match self.idle_seat(shared, down.len()) {
            Some(seat) => self.give(shared, job, piece, function, Some(seat)),
            None => self.put_back(job, piece),
        };
        for cell in down {
            if let Some(chunk) = &mut self.chunks[usize::from(cell)] {
                chunk.position = Some(self.tail);
                shared.board.put_up(self.tail, cell);
                self.tail += 1;
            }
        }
        is_placed
    }

    /// Puts a chunk up, or gives it to one worker; whether it is up, or resolved.
    fn give(
        &mut self,
        shared: &Shared,
        job: &Arc<Job>,
        mut piece: Piece,
        function: FunctionRef,
        to_seat: Option<usize>,
    ) -> bool {
        let block = match self.blocks.reserve(&shared.memory, piece.len()) {
            Ok(block) => block,
            Err(error) => return self.refuse(job, &piece, &error),
        };
        if let Some(seat) = to_seat
            && let Some(worker) = &mut self.seats[seat]
        {
            let handles = std::mem::take(&mut piece.handles);
            match worker.give_handles(handles) {
                Ok(None) => {}
                Ok(Some(back)) => {
                    piece.handles = back;
                    self.blocks.take_back(&shared.memory, block);
                    return self.put_back(job, piece);
                }
                Err(error) => {
                    self.blocks.take_back(&shared.memory, block);
                    return self.refuse(job, &piece, &error);
                }
            }
        }
        self.put_up(shared, job, &piece, function, block, to_seat);
        match piece.bytes.capacity() > MUCH {
            true => self.spent.push(piece.bytes),
            false => spare::give(piece.bytes),
        }
        true
    }

    fn put_back(&mut self, job: &Job, piece: Piece) -> bool {
        self.ended.extend(job.put_back(piece));
        false
    }

    /// Resolves tasks that no worker can be given.
    fn refuse(&mut self, job: &Job, piece: &Piece, error: &Error) -> bool {
        for index in piece.first..piece.first + piece.count as usize {
            let result = Err(TaskError::NotCalled { index, error: error.clone() });
            self.ended.extend(job.resolve(Parcel::One(Outcome { index, result })));
        }
        true
    }

    fn put_up(
        &mut self,
        shared: &Shared,
        job: &Arc<Job>,
        piece: &Piece,
        function: FunctionRef,
        block: Block,
        to_seat: Option<usize>,
    ) {
        let cell = self.free.pop().unwrap_or_else(|| {
            self.chunks.push(None);
            u16::try_from(self.chunks.len() - 1).unwrap_or_default()
        });
        debug_assert!(self.chunks.len() <= CELL_COUNT, "more chunks than cells");
        self.sequence += 1;
        let ticket = (self.sequence & u64::from(u32::MAX)) << 16 | u64::from(cell);
        let is_timed = job.options.timeout.is_some();
        let flag = |is_set: bool, flag: u32| if is_set { flag } else { 0 };
        // One word needs no memory but the cell's; it lies there all the same, for who tries it again.
        let word = piece
            .arguments()
            .first_chunk()
            .filter(|_| piece.count == 1 && piece.layout == Layout::Words);
        let order = Order {
            function: function.to_bits(),
            at: word.map_or(block.at, |word| u64::from_le_bytes(*word)),
            len: piece.len() as u64,
            count: piece.count,
            flags: flag(piece.layout == Layout::Single, SINGLE)
                | flag(piece.layout == Layout::Block, SINGLE | BLOCK)
                | flag(piece.layout == Layout::Words, WORDS_ONLY)
                | flag(word.is_some(), HERE)
                | flag(to_seat.is_some(), HANDLES)
                | flag(is_timed, TIMED)
                | flag(self.timeline.is_some(), RECORDED),
            ticket,
            index: piece.first,
            tries: piece.tries,
        };
        let chunk = Chunk {
            job: Arc::clone(job),
            first: piece.first,
            count: piece.count,
            done: 0,
            layout: piece.layout,
            deaths: piece.deaths,
            tries: piece.tries,
            block,
            len: piece.len(),
            has_handles: to_seat.is_some(),
            ticket,
            position: to_seat.is_none().then_some(self.tail),
            seat: to_seat,
        };
        job.up.fetch_add(1, Relaxed);
        self.up += 1;
        if chunk.count > 1 {
            shared.bulk.fetch_add(1, SeqCst);
        }
        self.up_bytes += chunk.len;
        if is_timed {
            self.timed += 1;
            self.needs_keeper = true;
        }
        self.chunks[usize::from(cell)] = Some(chunk);
        // From here on nothing makes a fence before the chunk is up: each would wait for what lies in the caches of workers.
        memory::write(&shared.memory, block, piece.arguments());
        shared.board.write_cell(cell, &order);
        match to_seat {
            None => {
                shared.board.put_up(self.tail, cell);
                self.tail += 1;
            }
            Some(seat) => shared.board.mail(seat, cell),
        }
    }

    /// A worker that has nothing to do, to be given what only one can have: one that is not needed for what is up already, nor for what was taken `down`.
    fn idle_seat(&mut self, shared: &Shared, down: usize) -> Option<usize> {
        self.note_claims(shared);
        let up = usize::try_from(self.tail - self.noted).unwrap_or(usize::MAX) + down;
        let has_chunk = |seat| self.chunks.iter().flatten().any(|chunk| chunk.seat == Some(seat));
        let is_idle = |&(seat, worker): &(usize, &Option<Seat>)| {
            worker.as_ref().is_some_and(|worker| worker.may_begin())
                && shared.board.is_ready(seat)
                && !has_chunk(seat)
        };
        self.seats.iter().enumerate().filter(is_idle).map(|(seat, _)| seat).nth(up)
    }

    /// Resolves what is left of a chunk that no worker has.
    fn fail(&mut self, shared: &Shared, cell: u16, why: impl Fn(usize) -> TaskError) {
        let Some(chunk) = self.remove(shared, cell) else { return };
        for index in chunk.next()..chunk.next() + chunk.left() as usize {
            let outcome = Outcome { index, result: Err(why(index)) };
            self.ended.extend(chunk.job.resolve(Parcel::One(outcome)));
        }
    }

    /// Takes a chunk out of the books.
    fn remove(&mut self, shared: &Shared, cell: u16) -> Option<Chunk> {
        let chunk = self.chunks.get_mut(usize::from(cell))?.take()?;
        self.free.push(cell);
        self.blocks.take_back(&shared.memory, chunk.block);
        chunk.job.up.fetch_sub(1, Relaxed);
        self.up -= 1;
        if chunk.count > 1 {
            shared.bulk.fetch_sub(1, SeqCst);
        }
        self.up_bytes -= chunk.len;
        self.timed -= usize::from(chunk.job.options.timeout.is_some());
        if self.up == 0 && self.blocks.is_warm() {
            // Which gives memory back, when it stays so.
            self.needs_keeper = true;
        }
        Some(chunk)
    }

    /// Notes who has taken chunks.
    pub(super) fn note_claims(&mut self, shared: &Shared) {
        while self.noted < self.tail {
            match shared.board.owner_of(self.noted) {
                Owner::Nobody => break,
                Owner::Pool => {}
                Owner::Worker(seat) => {
                    let cell = usize::from(shared.board.cell_at(self.noted));
                    // Or it has ended, and its cell is another's.
                    let here = |chunk: &&mut Chunk| chunk.position == Some(self.noted);
                    let chunk = self.chunks.get_mut(cell).and_then(Option::as_mut);
                    if let Some(chunk) = chunk.filter(here) {
                        chunk.seat = Some(seat);
                    }
                }
            }
            self.noted += 1;
        }
        shared.board.pass(self.noted);
    }

    /// Takes down all that no worker has taken; their cells.
    pub(super) fn take_down(&mut self, shared: &Shared) -> Vec<u16> {
        let cell_of =
            |position| shared.board.revoke(position).then(|| shared.board.cell_at(position));
        let down = (self.noted..self.tail).filter_map(cell_of).collect();
        self.note_claims(shared);
        down
    }

    /// Takes down what is up of a job that is cancelled or abandoned, and has workers stop that have something of it.
    pub(super) fn withdraw(&mut self, shared: &Shared, job: &Arc<Job>) {
        if job.up.load(Relaxed) == 0 {
            return;
        }
        let is_of = |chunk: &Option<Chunk>| {
            chunk.as_ref().is_some_and(|chunk| Arc::ptr_eq(&chunk.job, job))
        };
        for position in self.noted..self.tail {
            let cell = shared.board.cell_at(position);
            let chunk = &self.chunks[usize::from(cell)];
            if is_of(chunk)
                && chunk.as_ref().is_some_and(|chunk| chunk.position == Some(position))
                && shared.board.owner_of(position) == Owner::Nobody
                && shared.board.revoke(position)
            {
                self.fail(shared, cell, |index| TaskError::Cancelled { index });
            }
        }
        for (cell, chunk) in self.chunks.iter().enumerate() {
            if is_of(chunk) {
                shared.board.set_unwanted(u16::try_from(cell).unwrap_or_default());
            }
        }
        self.pump(shared);
    }

    /// The chunk that a worker runs, and which of its tasks, and since when.
    pub(super) fn running(&self, shared: &Shared, seat: usize) -> Option<(&Chunk, u32, u64)> {
        let running = shared.board.running(seat)?;
        let cell = usize::try_from(running.ticket & u64::from(u16::MAX)).ok()?;
        let chunk = self.chunks.get(cell)?.as_ref()?;
        (chunk.ticket == running.ticket).then_some((chunk, running.place, running.since))
    }

    /// Whether a worker has something to do, as far as is known.
    pub(super) fn is_busy(&self, seat: usize) -> bool {
        self.chunks.iter().flatten().any(|chunk| chunk.seat == Some(seat))
    }

    /// The shortest time limit of what is up.
    pub(super) fn shortest_timeout(&self) -> Duration {
        let timeouts = self.chunks.iter().flatten().filter_map(|chunk| chunk.job.options.timeout);
        timeouts.min().unwrap_or(Duration::MAX)
    }

    /// Cancels all that has not begun, and all to come.
    pub(super) fn cancel_pending(&mut self, shared: &Shared) {
        let refused = Refused::Cancelled;
        self.refused.get_or_insert_with(|| refused.clone());
        self.collect(shared);
        for cell in self.take_down(shared) {
            self.fail(shared, cell, |index| refused.error(index));
        }
        let mut jobs: Vec<_> = self.jobs.drain(..).chain(self.retrying.drain(..)).collect();
        for (cell, chunk) in (0..).zip(&self.chunks) {
            if let Some(chunk) = chunk {
                // Its worker stops behind the task that it runs; what is put back is cancelled.
                shared.board.set_unwanted(cell);
                jobs.push(Arc::clone(&chunk.job));
            }
        }
        for job in jobs {
            job.is_listed.store(false, Relaxed);
            self.ended.extend(job.refuse(&refused));
        }
        shared.is_waiting.store(false, Relaxed);
    }

    /// Resolves everything as impossible.
    pub(super) fn refuse_all(&mut self, shared: &Shared, refused: &Refused) {
        // The first reason is the reason.
        self.refused.get_or_insert_with(|| refused.clone());
        for cell in 0..self.chunks.len() {
            let cell = u16::try_from(cell).unwrap_or_default();
            self.fail(shared, cell, |index| refused.error(index));
        }
        let jobs = self.jobs.drain(..).chain(self.retrying.drain(..));
        for job in jobs {
            job.is_listed.store(false, Relaxed);
            self.ended.extend(job.refuse(refused));
        }
        shared.is_waiting.store(false, Relaxed);
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { up, seats, wanted, closing, .. } = self;
        f.debug_struct("Desk")
            .field("up", up)
            .field("seats", seats)
            .field("wanted", wanted)
            .field("closing", closing)
            .finish_non_exhaustive()
    }
}
