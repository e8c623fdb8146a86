//! A worker: takes chunks of tasks, runs these one after the other, answers each as soon as it is done.
//!
//! Which task it runs stands in its words on the [board](crate::board), and what came of it in its [outbox](crate::outbox). So whenever it is killed, the
//! pool knows which task it was running: the one that the words name, unless its answer is there. Tasks that have neither are as good as
//! never taken.

mod chunk;
mod current;
mod state;

use std::os::fd::OwnedFd;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use procession_core::waiting::{self, Policy, Spin};
use procession_core::{Courier, Deadline, Error, ErrorKind, Handle, Message, Result};
use procession_process::trampoline::{FunctionRef, Reply};
use procession_process::{Process, panic};
use procession_sys::doorbell::Doorbell;
use procession_sys::sparse::SparseFile;
use procession_sys::{clock, fd, usage};

use serde::{Deserialize, Serialize};

use crate::board::{
    AWAKE, BLOCK, Board, HANDLES, HERE, LAZY, Order, RECORDED, STARVED, TIMED, WORDS_ONLY,
};
use crate::memory;
use crate::outbox::{self, Header, Writer};
use crate::piece::append_head;
use chunk::{Chunk, Stage};
pub(crate) use current::here;
pub use current::{Progress, TaskContext, current_task, current_worker};
pub(crate) use state::{keep, part_with, with};

/// How long a worker lets a caller sleep that lets results come together, in nanoseconds, as long as there is more to do.
const TOGETHER: u64 = 50_000;

/// What each worker calls before its first task: a function that returns a `Result<()>`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Initializer {
    function: FunctionRef,
    arguments: Vec<u8>,
    /// What the arguments hold.
    handles: Vec<Handle<OwnedFd>>,
}

impl Initializer {
    pub(crate) fn new(function: FunctionRef, args: &impl Serialize) -> Result<Self> {
        let (arguments, handles) = Message::encode(args)?.into_parts();
        Ok(Self { function, arguments, handles: handles.into_iter().map(Handle).collect() })
    }

    /// For another worker.
    pub(crate) fn try_clone(&self) -> Result<Self> {
        let mut handles = Vec::with_capacity(self.handles.len());
        for handle in &self.handles {
            handles.push(Handle(fd::duplicate(&handle.0)?));
        }
        Ok(Self { function: self.function, arguments: self.arguments.clone(), handles })
    }

    fn call(self) -> Result<()> {
        let handles = self.handles.into_iter().map(Handle::into_inner).collect();
        match self.function.call(Message::from_parts(self.arguments, handles), Vec::new())? {
            Reply::Value(message) => message.decode::<Result<()>>()?,
            Reply::Refused(error) | Reply::Unsendable(error) => Err(error),
        }
    }
}

/// What ties a worker to its pool.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ties {
    pub(crate) seat: usize,
    pub(crate) board: Handle<OwnedFd>,
    pub(crate) memory: Handle<OwnedFd>,
    /// Wakes the keeper.
    pub(crate) bell: Handle<OwnedFd>,
    /// How many tasks it runs before it ends.
    pub(crate) tasks: Option<u64>,
    pub(crate) initializer: Option<Initializer>,
    /// What it calls when it ends in order: see [`keep`].
    pub(crate) exit: Option<FunctionRef>,
    /// How many bytes of resident memory it may have before it says so.
    pub(crate) memory_limit: Option<u64>,
    /// Whether the keeper waits for it to be ready.
    pub(crate) is_awaited: bool,
}

/// A worker, as its pool has it.
pub(crate) type WorkerProcess = Process<Result<Option<Parting>>>;

/// What a worker leaves that ends in order: the encoded value of its exit function, and what it holds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Parting {
    bytes: Vec<u8>,
    handles: Vec<Handle<OwnedFd>>,
}

impl Parting {
    pub(crate) fn into_message(self) -> Message {
        let handles = self.handles.into_iter().map(Handle::into_inner).collect();
        Message::from_parts(self.bytes, handles)
    }
}

/// What a worker process runs; returns when it is to end.
pub(crate) fn run(courier: Courier, ties: Ties) -> Result<Option<Parting>> {
    let seat = ties.seat;
    let memory = memory::open(ties.memory.into_inner())?;
    let board = Board::open(ties.board.into_inner())?;
    let board = current::set(board, seat)?;
    let courier = Arc::new(courier);
    let mut worker = Worker {
        seat,
        board,
        outbox: Writer::open(&memory, seat)?,
        memory: &memory,
        bell: Doorbell::from(ties.bell.into_inner()),
        courier: Arc::clone(&courier),
        left: ties.tasks.unwrap_or(u64::MAX),
        memory_limit: ties.memory_limit,
        weighed: 0,
        told: 0,
        owes: false,
        is_first: false,
        is_warm: false,
        buffer: Vec::new(),
        arguments: Vec::new(),
    };
    if let Some(initializer) = ties.initializer {
        state::initialize(initializer)?;
    }
    panic::set_last_words(move |panic| {
        // When it does not go, the pool sees the death of this process, which is next.
        drop(Message::encode(panic).and_then(|panic| courier.send(&panic)));
    });
    worker.board.say_ready(seat);
    worker.tell(true);
    if ties.is_awaited {
        worker.ring();
    }
    while worker.left > 0
        && let Some(cell) = worker.next_chunk()?
    {
        worker.run_chunk(cell)?;
    }
    // It may have been the one that was woken, or that looked.
    worker.look_no_more();
    worker.board.pass_on();
    let Some(exit) = ties.exit else { return Ok(None) };
    match exit.call(Message::encode(&())?, Vec::new())? {
        Reply::Value(message) => {
            let (bytes, handles) = message.into_parts();
            let handles = handles.into_iter().map(Handle).collect();
            Ok(Some(Parting { bytes, handles }))
        }
        Reply::Refused(error) | Reply::Unsendable(error) => Err(error),
    }
}

struct Worker<'a> {
    seat: usize,
    board: &'static Board,
    memory: &'a SparseFile,
    outbox: Writer<'a>,
    bell: Doorbell,
    courier: Arc<Courier>,
    /// How many tasks it may still run.
    left: u64,
    /// How many bytes of resident memory it may have before it says so, and when it looked last.
    memory_limit: Option<u64>,
    weighed: u64,
    /// When it looked last how the pool's process waits.
    told: u64,
    /// Whether it has woken nobody when it looked last.
    owes: bool,
    /// Whether it is the one that looks for work, or will at once.
    is_first: bool,
    /// Whether it has had to do with much memory.
    is_warm: bool,
    /// The value of a task.
    buffer: Vec<u8>,
    /// The arguments of a chunk.
    arguments: Vec<u8>,
}

impl<'a> Worker<'a> {
    /// The next chunk; nothing when this worker shall end.
    fn next_chunk(&mut self) -> Result<Option<u16>> {
        loop {
            if self.board.is_held(self.seat) {
                // The keeper waits for the task that was run, or is about to end this process.
                self.ring();
                if self.look_no_more() {
                    self.board.pass_on();
                }
                self.board.sleep_while_held(self.seat)?;
            }
            if self.board.shall_leave(self.seat) {
                self.look_no_more();
                return Ok(None);
            }
            if let Some(cell) = self.board.take(self.seat) {
                return Ok(Some(cell));
            }
            if std::mem::take(&mut self.owes)
                && let Some(how) = self.board.unheard(self.seat)
            {
                // There is no more to do: somebody else took it, or it was taken down.
                self.wake(how);
            }
            if self.board.shall_end(self.seat) {
                self.look_no_more();
                return Ok(None);
            }
            self.wait()?;
        }
    }

    /// Is not the first any more, if it is, and tells so. Then look once more, or pass on what may be up.
    fn look_no_more(&mut self) -> bool {
        let was_first = std::mem::take(&mut self.is_first);
        if was_first {
            self.board.stop_looking();
        }
        was_first
    }

    /// Looks for work for some time, if nobody else does, then sleeps.
    fn wait(&mut self) -> Result<()> {
        let spins = waiting::policy() == Policy::Spin;
        if std::mem::take(&mut self.is_first) || self.board.begin_to_look(self.seat) {
            let mut spin = Spin::new(1).eager();
            while !self.board.has_work() && !self.board.is_called(self.seat) {
                if !spin.turn() && !spins {
                    break;
                }
            }
            if self.board.has_work() || self.board.is_called(self.seat) || spins {
                // Until it has something to do.
                self.is_first = true;
                return Ok(());
            }
            let is_late = self.board.sleep_first(self.seat, self.cools())?;
            return self.cool(is_late);
        }
        if spins {
            return Ok(());
        }
        let is_late = self.board.sleep(self.seat, self.cools())?;
        self.cool(is_late)
    }

    /// How long it sleeps before it gives memory back.
    fn cools(&self) -> Deadline {
        match self.is_warm {
            true => Deadline::after(IDLE),
            false => Deadline::NEVER,
        }
    }

    /// Gives memory back, when it has slept for so long.
    fn cool(&mut self, is_late: bool) -> Result<()> {
        if is_late {
            self.is_warm = false;
            (self.arguments, self.buffer) = Default::default();
            procession_sys::memory::give_back_free();
        }
        Ok(())
    }

    fn run_chunk(&mut self, cell: u16) -> Result<()> {
        let was_first = std::mem::take(&mut self.is_first);
        if was_first {
            self.board.leave_first();
        }
        let order = self.board.read_cell(cell);
        let is_quick = order.len <= QUICK && order.flags & HANDLES == 0;
        if !is_quick {
            self.board.call_next(was_first);
        }
        let handles = match order.flags & HANDLES {
            0 => Vec::new(),
            // They were sent before.
            _ => self.courier.recv()?.map(Message::into_parts).unwrap_or_default().1,
        };
        let mut arguments = std::mem::take(&mut self.arguments);
        let read = self.read_arguments(&order, &mut arguments);
        if is_quick {
            // What is read has come from another processor while this one left its place.
            self.board.call_next(was_first);
        }
        let began = clock::nanos();
        self.board.begin_chunk(self.seat, order.ticket, began);
        let is_words = order.flags & WORDS_ONLY != 0;
        let is_only = order.count == 1 && read.is_ok() && order.flags & RECORDED == 0;
        if !is_only {
            self.put(Header::new(outbox::BEGIN, 0, order.ticket), &[])?;
        }
        let function = FunctionRef::from_bits(order.function);
        let mut chunk = Chunk {
            is_timed: order.flags & TIMED != 0,
            gauge: self.board.gauge(self.seat, cell),
            worker: self,
            order,
            arguments: &arguments,
            handles,
            at: 0,
            place: 0,
            is_out: false,
            failure: None,
            is_stopped: false,
            began,
            ended: 0,
            stage: if is_only { Stage::Only } else { Stage::Begun },
        };
        if let Err(error) = read {
            chunk.refuse(&error);
        }
        if is_words {
            chunk.run_words(function)?;
        }
        while !is_words && chunk.place < chunk.order.count && chunk.failure.is_none() {
            let called = panic::catch(AssertUnwindSafe(|| function.call_each(&mut chunk)));
            match called {
                Ok(Ok(())) => break,
                Ok(Err(error)) => chunk.fail(outbox::NOT_CALLED, &error),
                Err(panic) => chunk.panicked(&panic),
            }
        }
        if let Some(error) = chunk.failure.take() {
            return Err(error);
        }
        let now = match chunk.stage {
            Stage::Ended => chunk.ended,
            _ => chunk.end()?,
        };
        self.end_chunk(now);
        self.is_warm |= arguments.capacity().max(self.buffer.capacity()) > MUCH;
        self.arguments = arguments;
        Ok(())
    }

    /// Says that it runs nothing, and that there are answers.
    fn end_chunk(&mut self, now: u64) {
        self.board.rest(self.seat);
        self.weigh(now);
        let high_time = now.saturating_sub(self.told) >= TOGETHER;
        if self.tell(high_time || self.left == 0) {
            self.told = now;
        }
    }

    fn read_arguments(&self, order: &Order, arguments: &mut Vec<u8>) -> Result<()> {
        let len = usize::try_from(order.len).unwrap_or(usize::MAX);
        arguments.clear();
        // With what stands in front, and the rest of the last word.
        arguments.try_reserve_exact(len.saturating_add(16)).map_err(|error| {
            let text = format!("a worker has no room for {len} bytes of arguments");
            Error::new(ErrorKind::Decode, text).caused_by(&error)
        })?;
        if order.flags & HERE != 0 {
            arguments.extend_from_slice(&order.at.to_le_bytes());
            return Ok(());
        }
        if order.flags & BLOCK != 0 {
            append_head(order.len, arguments)?;
        }
        memory::read(self.memory, order.at, len, arguments)
    }

    /// Says that there are answers; whether somebody was woken. Who is in no hurry is not, unless it is `high_time`.
    fn tell(&mut self, high_time: bool) -> bool {
        let how = self.board.bring_news(self.seat);
        let can_wait = match how {
            AWAKE => true,
            LAZY => !high_time && self.board.has_work(),
            STARVED => self.board.has_work(),
            _ => false,
        };
        self.owes = can_wait;
        if can_wait {
            return false;
        }
        if self.left > 0 && !self.is_first && waiting::yields() {
            // Who is woken may run at once instead of this process: what he puts up then waits for this one, and no other is woken.
            self.is_first = self.board.begin_to_look(self.seat);
        }
        self.wake(how);
        true
    }

    fn wake(&self, how: u64) {
        if self.board.wake_parent(how) {
            self.ring();
        }
    }

    /// Wakes the keeper.
    fn ring(&self) {
        // The pool's process is gone if this fails, and so this one is next.
        drop(self.bell.ring());
    }

    /// Says so when it has more memory than it should.
    fn weigh(&mut self, now: u64) {
        let Some(limit) = self.memory_limit else { return };
        if now.saturating_sub(self.weighed) < WEIGHED_EVERY {
            return;
        }
        self.weighed = now;
        // It has no descriptor left if this fails, and looks again later.
        if usage::resident().is_ok_and(|resident| resident > limit)
            && self.board.say_full(self.seat)
        {
            self.ring();
        }
    }

    /// Writes a record; waits while there is no room.
    #[inline(always)]
    fn put(&mut self, header: Header, content: &[u8]) -> Result<()> {
        match self.outbox.put(header, content) {
            Some(done) if done == content.len() => Ok(()),
            other => self.put_slowly(header, content, other),
        }
    }

    /// Waits until there is room for so many words in the outbox.
    #[cold]
    fn wait_for_room(&mut self, words: u64) -> Result<()> {
        // Whatever else there is to do: this worker does not do it.
        let how = self.board.bring_news(self.seat);
        if how != AWAKE {
            self.wake(how);
        }
        let mut spin = Spin::new(1);
        while !self.outbox.sees_room(words) {
            if !spin.turn() {
                let has_room = || self.outbox.sees_room(words);
                self.board.sleep_for_room(self.seat, has_room)?;
            }
        }
        Ok(())
    }

    #[cold]
    fn put_slowly(
        &mut self,
        header: Header,
        content: &[u8],
        mut done: Option<usize>,
    ) -> Result<()> {
        let needs = Writer::needs(content.len() as u64);
        loop {
            let words = match done {
                Some(done) if done == content.len() => return Ok(()),
                Some(done) => Writer::needs((content.len() - done) as u64),
                None => needs,
            };
            self.wait_for_room(words)?;
            done = match done {
                Some(done) => Some(self.outbox.go_on(content, done)),
                None => self.outbox.put(header, content),
            };
        }
    }
}

/// How often a worker looks at its memory, in nanoseconds.
const WEIGHED_EVERY: u64 = 5_000_000;

/// So many bytes of arguments are read before it is seen to it that somebody else looks for work.
const QUICK: u64 = 4096;

/// When a worker has had to do with so many bytes, it gives memory back when it has nothing to do.
const MUCH: usize = 64 << 10;

/// How long it waits before.
const IDLE: Duration = Duration::from_millis(100);
