//! What workers have answered, and what is left of those that have died.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use procession_core::{Error, ErrorKind, Message, Received, Result};
use procession_process::Death;
use procession_sys::clock;

use super::{Chunk, Desk};
use crate::TaskError;
use crate::dispatch::Shared;
use crate::dispatch::seat::Seat;
use crate::job::{Concluded, Outcome, cancelled};
use crate::memory;
use crate::outbox::{self, Found, Header};
use crate::piece::{Encoding, Parcel, Piece, Values};
use crate::timeline::Stretch;

/// How many workers may die when they are about to begin a task.
const MOST_DEATHS: u8 = 3;

impl Desk {
    /// Reads what workers have answered.
    pub(in crate::dispatch) fn collect(&mut self, shared: &Shared) {
        let seats = self.seats.len();
        shared.board.take_news(seats, |seat| self.listen(shared, seat));
    }

    /// Reads what one worker has answered.
    pub(in crate::dispatch) fn listen(&mut self, shared: &Shared, seat: usize) {
        loop {
            let Some(Some(worker)) = self.seats.get_mut(seat) else { return };
            if worker.silent {
                return;
            }
            match worker.reader.next(&shared.memory) {
                Ok(Some(found)) => self.take(shared, seat, found),
                Ok(None) => break,
                Err(error) => {
                    // Its memory is destroyed.
                    tracing::error!(%error, pid = worker.process.pid(), "a worker talks nonsense");
                    return worker.give_up("it talks nonsense");
                }
            }
        }
        if let Some(Some(worker)) = self.seats.get_mut(seat) {
            // It is mapped.
            drop(worker.reader.tell(&shared.memory));
            if worker.reader.frees() {
                shared.board.make_room(seat);
            }
        }
    }

    fn take(&mut self, shared: &Shared, seat: usize, found: Found) {
        let Some(Some(worker)) = self.seats.get_mut(seat) else { return };
        match found {
            Found::Values { count, records } => {
                let chunk = worker.cell.and_then(|cell| self.chunks[usize::from(cell)].as_mut());
                let Some(chunk) = chunk.filter(|chunk| chunk.left() >= count) else {
                    return worker.give_up("it answers what it was not asked");
                };
                worker.tally.bytes_out += records.len() as u64;
                let values = Values::new(chunk.next(), count, records);
                chunk.advance(count);
                worker.count(count);
                self.ended.extend(chunk.job.resolve(Parcel::Values(values)));
            }
            Found::Row { count, words } => {
                let chunk = worker.cell.and_then(|cell| self.chunks[usize::from(cell)].as_mut());
                let Some(chunk) = chunk.filter(|chunk| chunk.left() >= count) else {
                    return worker.give_up("it answers what it was not asked");
                };
                worker.tally.bytes_out += 8 * u64::from(count);
                let values = Values::of_words(chunk.next(), count, words);
                chunk.advance(count);
                worker.count(count);
                self.ended.extend(chunk.job.resolve(Parcel::Values(values)));
            }
            Found::Only { ticket, nanos, content } => {
                let value = |index| {
                    let result = Ok(Encoding::Message(Message::from_parts(content, Vec::new())));
                    Parcel::One(Outcome { index, result })
                };
                self.take_only(shared, seat, ticket, nanos, value);
            }
            Found::OnlyWord { ticket, nanos, word } => {
                self.take_only(shared, seat, ticket, nanos, |index| Parcel::Word(index, word));
            }
            Found::Record { header, content } => self.take_record(shared, seat, header, content),
        }
    }

    /// Resolves a task that was alone in its chunk.
    fn take_only(
        &mut self,
        shared: &Shared,
        seat: usize,
        ticket: u64,
        nanos: u64,
        value: impl FnOnce(usize) -> Parcel,
    ) {
        let Some(Some(worker)) = self.seats.get_mut(seat) else { return };
        let cell = u16::try_from(ticket & u64::from(u16::MAX)).unwrap_or_default();
        let chunk = self.chunks.get(usize::from(cell)).and_then(Option::as_ref);
        let is_its = |chunk: &Chunk| chunk.ticket == ticket && chunk.count == 1;
        if worker.cell.is_some() || !chunk.is_some_and(is_its) {
            return worker.give_up("it answers what it was not asked");
        }
        worker.count(1);
        if let Some(chunk) = self.remove(shared, cell) {
            if let Some(Some(worker)) = self.seats.get_mut(seat) {
                worker.tally.note(nanos, chunk.len);
            }
            self.ended.extend(chunk.job.resolve_timed(value(chunk.first), nanos));
        }
    }

    /// Takes the values of a row that a worker could not close, because it died.
    fn harvest(&mut self, shared: &Shared, seat: usize, worker: &mut Seat) {
        let count = shared.board.in_row(seat, worker.reader.tail());
        let chunk = worker.cell.and_then(|cell| self.chunks[usize::from(cell)].as_mut());
        let Some(chunk) = chunk.filter(|chunk| count > 0 && chunk.left() >= count) else { return };
        if let Ok(words) = worker.reader.harvest(&shared.memory, count) {
            let values = Values::of_words(chunk.next(), count, words);
            chunk.advance(count);
            self.ended.extend(chunk.job.resolve(Parcel::Values(values)));
        }
    }

    fn take_record(&mut self, shared: &Shared, seat: usize, header: Header, content: Vec<u8>) {
        let Some(Some(worker)) = self.seats.get_mut(seat) else { return };
        let number = header.number();
        match (header.kind(), worker.cell) {
            (outbox::BEGIN, None) => {
                let cell = u16::try_from(number & u64::from(u16::MAX)).unwrap_or_default();
                let chunk = self.chunks.get_mut(usize::from(cell)).and_then(Option::as_mut);
                match chunk.filter(|chunk| chunk.ticket == number) {
                    Some(chunk) => {
                        chunk.seat = Some(seat);
                        worker.cell = Some(cell);
                    }
                    None => worker.give_up("it begins what is not up"),
                }
            }
            (outbox::BEGIN, Some(_)) => worker.give_up("it begins before it has ended"),
            (outbox::END, Some(cell)) => {
                let chunk = self.chunks[usize::from(cell)].as_ref();
                if chunk.is_some_and(|chunk| chunk.left() > 0) {
                    return worker.give_up("it ends before it has answered");
                }
                worker.cell = None;
                let len = chunk.map_or(0, |chunk| chunk.len);
                worker.tally.note(number, len);
                if let Some(chunk) = self.remove(shared, cell) {
                    chunk.job.note_pace(chunk.count, number);
                }
            }
            (outbox::TIMES, Some(cell)) => self.note_times(seat, cell, &content),
            (outbox::STOPPED, Some(cell)) => {
                worker.cell = None;
                self.put_back_rest(shared, cell);
            }
            (outbox::BLOCK, Some(cell)) => {
                worker.count(1);
                worker.tally.bytes_out += content.len() as u64;
                let chunk = self.chunks[usize::from(cell)].as_ref();
                if chunk.is_some_and(|chunk| chunk.left() > 0) {
                    let value = Encoding::Block(content, header.handles());
                    self.conclude(shared, cell, Ok(value));
                }
            }
            (kind, Some(cell)) => {
                worker.count(1);
                worker.tally.bytes_out += content.len() as u64;
                let handles = match header.handles() {
                    0 => Ok(Vec::new()),
                    _ => worker.receive_handles(),
                };
                self.settle(shared, cell, kind, content, handles);
            }
            (_, None) => worker.give_up("it answers what it was not asked"),
        }
    }

    /// Notes when a chunk was begun and ended.
    fn note_times(&mut self, worker: usize, cell: u16, content: &[u8]) {
        let (Some(timeline), Some(chunk), Some(Some(seat))) =
            (&mut self.timeline, &self.chunks[usize::from(cell)], self.seats.get(worker))
        else {
            return;
        };
        let (words, _) = content.as_chunks::<8>();
        let &[began, ended] = words else { return };
        let name = chunk.job.function.and_then(|function| function.name().ok());
        timeline.add(Stretch {
            worker,
            pid: seat.process.pid(),
            function: name.unwrap_or("a function"),
            index: chunk.first,
            count: chunk.done,
            began: u64::from_le_bytes(began),
            ended: u64::from_le_bytes(ended),
        });
    }

    /// Resolves the task that was answered.
    fn settle(
        &mut self,
        shared: &Shared,
        cell: u16,
        kind: u8,
        content: Vec<u8>,
        handles: Result<Vec<OwnedFd>>,
    ) {
        let Some(chunk) = self.chunks[usize::from(cell)].as_mut() else { return };
        if chunk.left() == 0 {
            return;
        }
        let index = chunk.next();
        let message = handles.map(|handles| Message::from_parts(content, handles));
        let lost = |error| TaskError::Value { index, error };
        let result = match (kind, message) {
            (outbox::VALUE, Ok(message)) => Ok(Encoding::Message(message)),
            (outbox::PANICKED, Ok(message)) => {
                let panic = message.decode();
                Err(panic.map_or_else(lost, |panic| TaskError::Panicked { index, panic }))
            }
            (outbox::NOT_CALLED, Ok(message)) => {
                Err(TaskError::NotCalled { index, error: message.decode().unwrap_or_else(|e| e) })
            }
            // And UNSENDABLE, or nonsense.
            (_, Ok(message)) => Err(lost(message.decode().unwrap_or_else(|e| e))),
            (_, Err(error)) => Err(lost(error)),
        };
        self.conclude(shared, cell, result);
    }

    /// Says what became of the next task of a chunk, or tries it again.
    fn conclude(&mut self, shared: &Shared, cell: u16, result: Result<Encoding, TaskError>) {
        let Some(chunk) = self.chunks[usize::from(cell)].as_mut() else { return };
        let (index, job, tries) = (chunk.next(), Arc::clone(&chunk.job), chunk.tries);
        let error = match result {
            Ok(value) => {
                chunk.advance(1);
                let outcome = Outcome { index, result: Ok(value) };
                return self.ended.extend(job.resolve(Parcel::One(outcome)));
            }
            Err(error) => error,
        };
        let is_tried_again = !chunk.has_handles && job.options.retry(tries + 1, &error).is_some();
        let task = is_tried_again.then(|| rest_of(shared, chunk).split_off(1, usize::MAX));
        chunk.advance(1);
        match job.conclude(task, index, tries, error) {
            Concluded::Now(ended) => self.ended.extend(ended),
            Concluded::Later => {
                self.needs_keeper = true;
                if !self.retrying.iter().any(|known| Arc::ptr_eq(known, &job)) {
                    self.retrying.push(job);
                }
            }
        }
    }

    /// Has what is left of a chunk wait again.
    fn put_back_rest(&mut self, shared: &Shared, cell: u16) {
        let Some(chunk) = self.chunks[usize::from(cell)].as_ref() else { return };
        if chunk.left() > 0 && !chunk.has_handles {
            let piece = rest_of(shared, chunk);
            let job = Arc::clone(&chunk.job);
            self.ended.extend(job.put_back(piece));
            self.list_first(&job);
        } else if chunk.left() > 0 {
            let outcome = cancelled(chunk.next());
            self.ended.extend(chunk.job.resolve(Parcel::One(outcome)));
        }
        self.remove(shared, cell);
    }

    /// Settles what a worker had that has ended and whose outbox was read: `worker` has left its seat.
    pub(in crate::dispatch) fn bury(
        &mut self,
        shared: &Shared,
        seat: usize,
        mut worker: Seat,
        death: &Death,
    ) {
        self.note_claims(shared);
        self.harvest(shared, seat, &mut worker);
        let running = shared.board.running(seat);
        let of_seat =
            |chunk: &Option<Chunk>| chunk.as_ref().is_some_and(|chunk| chunk.seat == Some(seat));
        let cells: Vec<u16> =
            (0..).zip(&self.chunks).filter(|(_, c)| of_seat(c)).map(|(n, _)| n).collect();
        for cell in cells {
            let Some(chunk) = self.chunks[usize::from(cell)].as_mut() else { continue };
            if chunk.left() == 0 {
                self.remove(shared, cell);
                continue;
            }
            let (index, place) = (chunk.next(), chunk.done);
            let was_running =
                running.is_some_and(|it| it.ticket == chunk.ticket && it.place == place);
            let ending = worker
                .ending
                .as_ref()
                .filter(|ending| ending.ticket == chunk.ticket && ending.place == place);
            // Who was ended for another task is not blamed on this one.
            if worker.ending.is_none() && !was_running {
                chunk.deaths += 1;
            }
            let ran_for = running
                .filter(|_| was_running)
                .map(|running| Duration::from_nanos(clock::nanos().saturating_sub(running.since)));
            let is_blamed = was_running && (worker.ending.is_none() || ending.is_some());
            if is_blamed || chunk.has_handles || chunk.deaths >= MOST_DEATHS {
                if let Some(panic) = worker.last_words.clone() {
                    self.conclude(shared, cell, Err(TaskError::Panicked { index, panic }));
                } else {
                    let error = match ending.map(|ending| ending.ran_for) {
                        None => TaskError::WorkerDied {
                            index,
                            worker: seat,
                            death: Box::new(death.clone()),
                            ended_by_pool: worker.ended_by_pool.clone(),
                            ran_for,
                            stderr: worker.stderr.clone(),
                        },
                        Some(Some(ran_for)) => TaskError::TimedOut { index, ran_for },
                        Some(None) => TaskError::Cancelled { index },
                    };
                    self.conclude(shared, cell, Err(error));
                }
            }
            self.put_back_rest(shared, cell);
        }
    }
}

/// The tasks of a chunk that are not resolved.
fn rest_of(shared: &Shared, chunk: &Chunk) -> Piece {
    let mut bytes = Vec::new();
    // It is mapped: it was written.
    drop(memory::read(&shared.memory, chunk.block.at, chunk.len, &mut bytes));
    let mut piece = Piece {
        first: chunk.first,
        count: chunk.count,
        layout: chunk.layout,
        bytes,
        deaths: chunk.deaths,
        tries: chunk.tries,
        ..Piece::default()
    };
    piece.skip(chunk.done);
    piece.deaths = chunk.deaths;
    piece
}

impl Seat {
    /// Sends it what an argument holds; gives it back if the worker has just died.
    pub(super) fn give_handles(&mut self, handles: Vec<OwnedFd>) -> Result<Option<Vec<OwnedFd>>> {
        let mut message = Message::from_parts(Vec::new(), handles);
        match self.courier.try_send(&message) {
            Ok(true) => Ok(None),
            // Its socket is full, which it is not while it is idle: something else writes into it.
            Ok(false) => {
                self.give_up("its socket is full while it is idle");
                Ok(Some(message.take_handles()))
            }
            // It is buried when the system says so.
            Err(error) if error.kind() == ErrorKind::Closed => Ok(Some(message.take_handles())),
            Err(error) => Err(error),
        }
    }

    /// The descriptors of a value, which were sent before the record about them.
    fn receive_handles(&self) -> Result<Vec<OwnedFd>> {
        match self.courier.try_recv()? {
            Received::Message(message) => Ok(message.into_parts().1),
            Received::Nothing | Received::Closed => {
                Err(Error::new(ErrorKind::Decode, "the handles of a value did not come"))
            }
        }
    }
}
