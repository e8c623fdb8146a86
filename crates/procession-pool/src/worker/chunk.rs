//! A chunk that a worker runs.

use std::os::fd::OwnedFd;
use std::panic::AssertUnwindSafe;

use procession_core::codec::Block;
use procession_core::{Error, ErrorKind, Message, Result};
use procession_process::trampoline::{self, Failure, FunctionRef, RowEnd};
use procession_process::{Panic, panic};
use procession_sys::clock;
use procession_sys::prim::{AtomicU64, Ordering};

use super::Worker;
use crate::board::{ASLEEP, AWAKE, Gauge, Order, RECORDED, SINGLE};
use crate::outbox::{self, Header, Writer};
use crate::piece::{LONG, next_argument};

/// What was said of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing: the value of its only task says all, if it is like most.
    Only,
    /// That it has begun.
    Begun,
    /// All.
    Ended,
}

/// A chunk that is being run.
pub(super) struct Chunk<'a, 'b> {
    pub(super) worker: &'a mut Worker<'b>,
    pub(super) gauge: Gauge<'b>,
    pub(super) order: Order,
    pub(super) arguments: &'a [u8],
    pub(super) handles: Vec<OwnedFd>,
    /// Where the next argument lies.
    pub(super) at: usize,
    /// Which task is the next one to be answered.
    pub(super) place: u32,
    pub(super) is_timed: bool,
    /// Whether that task was given out.
    pub(super) is_out: bool,
    /// Why nothing can be answered any more.
    pub(super) failure: Option<Error>,
    /// Whether the next task shall not be begun.
    pub(super) is_stopped: bool,
    pub(super) began: u64,
    pub(super) ended: u64,
    pub(super) stage: Stage,
}

impl Chunk<'_, '_> {
    /// Runs tasks whose arguments are words.
    pub(super) fn run_words(&mut self, function: FunctionRef) -> Result<()> {
        let (words, _) = self.arguments.as_chunks();
        if words.len() != self.order.count as usize {
            let text = "a pool and its worker do not understand each other";
            self.refuse(&Error::new(ErrorKind::Decode, text));
        }
        while self.place < self.order.count && self.failure.is_none() && self.worker.left > 0 {
            let rest = &words[self.place as usize..];
            let most = usize::try_from(self.worker.left).unwrap_or(usize::MAX).min(rest.len());
            match self.stage {
                Stage::Only => self.run_only(function, rest[0])?,
                _ => self.run_row(function, &rest[..most])?,
            }
            if self.is_stopped {
                break;
            }
        }
        match self.failure.take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Runs the only task of a chunk.
    fn run_only(&mut self, function: FunctionRef, word: [u8; 8]) -> Result<()> {
        let value = [AtomicU64::new(0)];
        let nobody = AtomicU64::new(AWAKE);
        let mut buffer = std::mem::take(&mut self.worker.buffer);
        let words = [word];
        let mut row = self.gauge.row(&words, &value, 0, 0, false, &mut buffer);
        // It is told with the chunk, and counts when that is visible.
        (row.done_word, row.wants) = (&nobody, &nobody);
        let called = panic::catch(AssertUnwindSafe(|| function.call_row(&mut row)));
        let done = row.done;
        self.worker.buffer = buffer;
        if done == 0 {
            self.begin()?;
            return self.settle_row(called);
        }
        self.worker.left -= 1;
        let now = clock::nanos();
        let (ticket, nanos) = (self.order.ticket, now.saturating_sub(self.began));
        let value = value[0].load(Ordering::Relaxed);
        while !self.worker.outbox.put_only_word(ticket, nanos, value) {
            self.worker.wait_for_room(Writer::row_needs(1))?;
        }
        (self.place, self.stage, self.ended) = (1, Stage::Ended, now);
        Ok(())
    }

    /// Runs as many tasks as there is room for values.
    fn run_row(&mut self, function: FunctionRef, words: &[[u8; 8]]) -> Result<()> {
        let Some(values) = self.worker.outbox.open_row(words.len()) else {
            return self.worker.wait_for_room(Writer::row_needs(words.len()));
        };
        let tail = self.worker.outbox.tail();
        let mut buffer = std::mem::take(&mut self.worker.buffer);
        let mut row = self.gauge.row(words, values, self.place, tail, self.is_timed, &mut buffer);
        let called = panic::catch(AssertUnwindSafe(|| function.call_row(&mut row)));
        let done = row.done;
        self.worker.buffer = buffer;
        self.worker.outbox.close_row(done);
        self.place += u32::try_from(done).unwrap_or_default();
        self.worker.left -= done as u64;
        if done > 0 && self.place < self.order.count && self.gauge.bring_news() {
            self.worker.wake(ASLEEP);
        }
        self.settle_row(called)
    }

    /// Answers the task at which a row has ended, if it was begun.
    fn settle_row(&mut self, called: Result<Result<RowEnd>, Panic>) -> Result<()> {
        self.is_out = true;
        match called {
            Ok(Ok(RowEnd::Done)) => {}
            Ok(Ok(RowEnd::Stopped)) => self.is_stopped = true,
            Ok(Ok(RowEnd::Value(handles))) => {
                self.worker.left -= 1;
                trampoline::Tasks::done(self, handles);
            }
            Ok(Ok(RowEnd::Failed(failure))) => {
                self.worker.left -= 1;
                trampoline::Tasks::failed(self, failure);
            }
            Ok(Err(error)) => self.refuse(&error),
            Err(panic) => {
                self.worker.left -= 1;
                self.panicked(&panic);
            }
        }
        Ok(())
    }

    /// Says that no further task of it is answered; when that was.
    pub(super) fn end(&mut self) -> Result<u64> {
        self.begin()?;
        self.ended = clock::nanos();
        if self.order.flags & RECORDED != 0 {
            let header = Header::new(outbox::TIMES, 0, 16);
            let times = [self.began.to_le_bytes(), self.ended.to_le_bytes()].concat();
            self.worker.put(header, &times)?;
        }
        let header = match self.place == self.order.count {
            true => Header::new(outbox::END, 0, self.ended.saturating_sub(self.began)),
            false => Header::new(outbox::STOPPED, 0, 0),
        };
        self.worker.put(header, &[])?;
        Ok(self.ended)
    }

    /// Says that it has begun, if that was not said.
    pub(super) fn begin(&mut self) -> Result<()> {
        if self.stage == Stage::Only {
            self.stage = Stage::Begun;
            self.worker.put(Header::new(outbox::BEGIN, 0, self.order.ticket), &[])?;
        }
        Ok(())
    }

    /// Writes the answer of the only task, if it is like most; whether it is written.
    #[inline(always)]
    fn answer_only(&mut self) -> bool {
        let now = clock::nanos();
        let worker = &mut *self.worker;
        let nanos = now.saturating_sub(self.began);
        if !worker.outbox.put_only(self.order.ticket, nanos, &worker.buffer) {
            return false;
        }
        self.stage = Stage::Ended;
        self.ended = now;
        self.is_out = false;
        self.place = 1;
        true
    }

    /// Writes the answer of the task that was given out.
    #[inline(always)]
    fn answer(&mut self, kind: u8, handles: u8) {
        if self.stage == Stage::Only {
            if kind == outbox::VALUE && handles == 0 && self.answer_only() {
                return;
            }
            if let Err(error) = self.begin() {
                self.failure = Some(error);
                return;
            }
        }
        let buffer = std::mem::take(&mut self.worker.buffer);
        let header = Header::new(kind, handles, buffer.len() as u64);
        let put = self.worker.put(header, &buffer);
        self.worker.buffer = buffer;
        self.is_answered(put);
    }

    /// Goes on behind the task that was given out, whose answer is written, or cannot be.
    #[inline(always)]
    fn is_answered(&mut self, put: Result<()>) {
        self.is_out = false;
        self.place += 1;
        if let Err(error) = put {
            self.failure = Some(error);
        }
        // The last one is told with the end of the chunk.
        if self.place < self.order.count && self.gauge.bring_news() {
            self.worker.wake(ASLEEP);
        }
    }

    #[cold]
    pub(super) fn fail(&mut self, kind: u8, error: &Error) {
        self.begin_if_not();
        self.worker.buffer.clear();
        // An error can be encoded.
        drop(Message::encode_onto(&mut self.worker.buffer, error));
        self.answer(kind, 0);
    }

    /// Answers all tasks by an error.
    #[cold]
    pub(super) fn refuse(&mut self, error: &Error) {
        while self.place < self.order.count && self.failure.is_none() {
            self.worker.left = self.worker.left.saturating_sub(1);
            self.worker.buffer.clear();
            drop(Message::encode_onto(&mut self.worker.buffer, error));
            self.answer(outbox::NOT_CALLED, 0);
        }
    }

    #[cold]
    pub(super) fn panicked(&mut self, panic: &Panic) {
        self.begin_if_not();
        self.worker.buffer.clear();
        drop(Message::encode_onto(&mut self.worker.buffer, panic));
        self.answer(outbox::PANICKED, 0);
    }

    /// Counts a task that could not be called, and takes out its argument.
    fn begin_if_not(&mut self) {
        if self.is_out {
            return;
        }
        self.worker.left = self.worker.left.saturating_sub(1);
        if self.order.flags & SINGLE == 0 {
            next_argument(self.arguments, &mut self.at);
        }
    }
}

impl trampoline::Tasks for Chunk<'_, '_> {
    #[inline(always)]
    fn next(&mut self) -> Option<(&[u8], Vec<OwnedFd>)> {
        if self.place >= self.order.count || self.failure.is_some() {
            return None;
        }
        let since = self.is_timed.then(clock::nanos);
        if self.worker.left == 0 || !self.gauge.begin(self.place, since) {
            return None;
        }
        self.worker.left -= 1;
        self.is_out = true;
        let argument = match self.order.flags & SINGLE {
            0 => next_argument(self.arguments, &mut self.at),
            _ => self.arguments,
        };
        Some((argument, std::mem::take(&mut self.handles)))
    }

    #[inline(always)]
    fn buffer(&mut self) -> &mut Vec<u8> {
        self.worker.buffer.clear();
        &mut self.worker.buffer
    }

    #[inline(always)]
    fn done(&mut self, handles: Vec<OwnedFd>) {
        if handles.is_empty() {
            return self.answer(outbox::VALUE, 0);
        }
        // Before the record about them.
        match self.worker.courier.send(&Message::from_parts(Vec::new(), handles)) {
            Ok(()) => self.answer(outbox::VALUE, 1),
            // The system has no room for them, say.
            Err(error) if error.kind() != ErrorKind::Closed => {
                self.fail(outbox::UNSENDABLE, &error)
            }
            Err(error) => self.failure = Some(error),
        }
    }

    fn take_block(&mut self, block: &Block<'_>) -> bool {
        let bytes = block.bytes();
        let Some(width) = bytes.len().checked_div(block.count()) else { return false };
        let (Ok(width), true) = (u8::try_from(width), bytes.len() > LONG) else { return false };
        let header = Header::new(outbox::BLOCK, width, bytes.len() as u64);
        let put = self.begin().and_then(|()| self.worker.put(header, bytes));
        self.is_answered(put);
        true
    }

    #[cold]
    fn failed(&mut self, failure: Failure) {
        match failure {
            Failure::Refused(error) => self.fail(outbox::NOT_CALLED, &error),
            Failure::Unsendable(error) => self.fail(outbox::UNSENDABLE, &error),
        }
    }
}
