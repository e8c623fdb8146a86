//! What a worker does at the board.

use procession_core::bell::{Bell, Word};
use procession_core::{Deadline, Result};
use procession_process::trampoline::Row;
use procession_sys::clock;
use procession_sys::futex::{self, Woken};
use procession_sys::prim::Ordering::{Acquire, Relaxed, Release, SeqCst};
use procession_sys::prim::{AtomicU64, compiler_fence, fence};

use super::*;

impl Board {
    pub(crate) fn say_ready(&self, seat: usize) {
        self.seat_word(seat, READY).store(clock::nanos().max(1), Release);
    }

    fn has_mail(&self, seat: usize) -> bool {
        self.seat_word(seat, MAIL).load(SeqCst) != 0
    }

    /// Takes the next chunk.
    #[inline]
    pub(crate) fn take(&self, seat: usize) -> Option<u16> {
        let mail = self.seat_word(seat, MAIL);
        let head = self.word(HEAD);
        let mut at = head.load(Acquire);
        loop {
            let entry = self.entry(at);
            let word = entry.load(Acquire);
            // ORDERING: behind the Acquire load of the entry: who sees one that was put up after the mail sees the mail.
            if let Some(cell) = mail.load(Acquire).checked_sub(1) {
                mail.store(0, Relaxed);
                return u16::try_from(cell).ok();
            }
            if word >> 32 != stamp(at) >> 32 {
                match head.load(Acquire) {
                    now if now == at => return None,
                    now => at = now,
                }
                continue;
            }
            let mine = word | (seat as u64 + 1);
            let is_mine =
                word & REVOKED == 0 && entry.compare_exchange(word, mine, SeqCst, Acquire).is_ok();
            // Or others have moved it on.
            let _moved = head.compare_exchange(at, at + 1, SeqCst, Relaxed);
            if is_mine {
                return u16::try_from(word >> 16 & REVOKED).ok();
            }
            at += 1;
        }
    }

    /// Whether a chunk is up.
    #[inline]
    pub(crate) fn has_work(&self) -> bool {
        let mut at = self.word(HEAD).load(SeqCst);
        loop {
            let word = self.entry(at).load(Acquire);
            if word >> 32 != stamp(at) >> 32 {
                return false;
            }
            if word & REVOKED == 0 {
                return true;
            }
            // It lags behind what is taken.
            at += 1;
        }
    }

    /// Becomes the first, and looks for work; whether nobody else is.
    pub(crate) fn begin_to_look(&self, seat: usize) -> bool {
        self.word(FIRST).compare_exchange(0, looking(seat), SeqCst, Relaxed).is_ok()
    }

    /// Sleeps as the first, until a chunk is up or there is something for this worker alone, unless that is so.
    ///
    /// Tells whether the deadline passed.
    pub(crate) fn sleep_first(&self, seat: usize, deadline: Deadline) -> Result<bool> {
        let first = self.word(FIRST);
        let asleep = looking(seat) | ASLEEP_HERE;
        first.store(asleep, SeqCst);
        fence(SeqCst);
        let mut woken = Woken::Maybe;
        if !self.has_work() && !self.is_called(seat) {
            let expected = u32::try_from(asleep).unwrap_or_default();
            woken = futex::wait_low(first, expected, deadline)?;
        }
        // Whoever has woken it has taken it off.
        let _on_its_own = first.compare_exchange(asleep, 0, SeqCst, Relaxed);
        fence(SeqCst);
        Ok(woken == Woken::TimedOut)
    }

    /// Whether there is something for this worker alone.
    pub(crate) fn is_called(&self, seat: usize) -> bool {
        self.has_mail(seat) || self.shall_end(seat)
    }

    /// Stops to look. Look once more.
    pub(crate) fn stop_looking(&self) {
        self.word(FIRST).store(0, SeqCst);
        fence(SeqCst);
    }

    /// The same, where the fence is made, and it is looked, by [`call_next`](Self::call_next).
    pub(crate) fn leave_first(&self) {
        // ORDERING: Relaxed: it need not be there before the fence; and there it does not hold up what is read between.
        self.word(FIRST).store(0, Relaxed);
    }

    /// Wakes another worker if there is more to do than this one does. `was_first`: it has just [left](Self::leave_first).
    #[inline]
    pub(crate) fn call_next(&self, was_first: bool) {
        if was_first {
            fence(SeqCst);
        }
        let first = self.word(FIRST).load(Relaxed);
        let is_somebody_asleep = first & ASLEEP_HERE != 0 || first == 0 && self.bell().may_sleep();
        if is_somebody_asleep && self.has_work() {
            self.wake_first();
        }
    }

    /// Sleeps until a chunk is up or this worker shall end, unless that is so.
    ///
    /// Tells whether the deadline passed.
    pub(crate) fn sleep(&self, seat: usize, deadline: Deadline) -> Result<bool> {
        let expected = self.bell().announce();
        let mut woken = Woken::Maybe;
        if !self.has_work() && !self.is_called(seat) {
            woken = futex::wait_low(self.word(BELL), expected, deadline)?;
        }
        Ok(woken == Woken::TimedOut)
    }

    /// Sleeps until this worker may go on.
    pub(crate) fn sleep_while_held(&self, seat: usize) -> Result<()> {
        while self.is_held(seat) {
            let expected = self.bell().announce();
            if self.is_held(seat) {
                futex::wait_low(self.word(BELL), expected, Deadline::NEVER)?;
                // It may have been rung for what is up.
                self.pass_on();
            }
        }
        Ok(())
    }

    /// Whether this worker shall end when it has nothing to do.
    pub(crate) fn shall_end(&self, seat: usize) -> bool {
        self.word(CLOSING).load(SeqCst) != 0 || self.seat_word(seat, LEAVE).load(SeqCst) != 0
    }

    /// Whether this worker shall end even if there is something to do.
    pub(crate) fn shall_leave(&self, seat: usize) -> bool {
        // What was given to it alone it has to do.
        self.seat_word(seat, LEAVE).load(SeqCst) != 0 && !self.has_mail(seat)
    }

    #[inline(always)]
    pub(crate) fn is_held(&self, seat: usize) -> bool {
        self.seat_word(seat, HOLD).load(Relaxed) != 0
    }

    pub(crate) fn read_cell(&self, cell: u16) -> Order {
        let words = self.cell(cell);
        let load = |at: usize| words[at].load(Relaxed);
        let index = load(INDEX);
        let [count, flags] = [load(COUNT) & u64::from(u32::MAX), load(COUNT) >> 32];
        Order {
            function: [load(FUNCTION), load(FUNCTION + 1)],
            at: load(AT),
            len: load(LEN),
            count: u32::try_from(count).unwrap_or_default(),
            flags: u32::try_from(flags).unwrap_or_default(),
            ticket: load(TICKET),
            index: low(index & FEW),
            tries: u32::try_from(index >> 48).unwrap_or_default(),
        }
    }

    /// Which task this worker runs.
    pub(crate) fn place(&self, seat: usize) -> Option<Place> {
        let running = self.running(seat)?;
        let cell = u16::try_from(running.ticket & u64::from(u16::MAX)).ok()?;
        let word = self.cell(cell)[INDEX].load(Relaxed);
        let index = low(word & FEW) + running.place as usize;
        Some(Place { running, index, attempt: u32::try_from(word >> 48).unwrap_or_default() })
    }

    /// Whether a task of this worker shall end.
    pub(crate) fn is_unwanted(&self, seat: usize, place: &Place) -> bool {
        let Running { ticket, place, .. } = place.running;
        let cell = self.cell(u16::try_from(ticket & u64::from(u16::MAX)).unwrap_or_default());
        let is_noticed = self.seat_word(seat, NOTICE).load(Relaxed) == ticket
            && self.seat_word(seat, NOTICE + 1).load(Relaxed) == u64::from(place) + 1;
        is_noticed || cell[TICKET].load(Relaxed) == ticket && cell[UNWANTED].load(Relaxed) != 0
    }

    /// Says how far a task of this worker is.
    pub(crate) fn report(&self, seat: usize, place: &Place, progress: Progress) {
        let say = |word, number| self.seat_word(seat, word).store(number, Relaxed);
        say(DONE, progress.done);
        say(DONE + 1, progress.total);
        say(TOLD + 1, u64::from(place.running.place) + 1);
        say(TOLD, place.running.ticket);
    }

    /// Says that this worker has more memory than it should; whether it is the first to say so.
    pub(crate) fn say_full(&self, seat: usize) -> bool {
        self.seat_word(seat, HAS).fetch_or(IS_FULL, Relaxed) & IS_FULL == 0
    }

    /// Takes at most so many tokens for this worker; how many there were.
    pub(crate) fn take_tokens(&self, seat: usize, wanted: u64) -> u64 {
        let seats = low(self.word(SEAT_COUNT).load(Relaxed)).min(MOST_WORKERS);
        let taken = (0..seats).map(|seat| self.seat_word(seat, HAS).load(Relaxed) & !IS_FULL);
        let taken = taken.fold(0, u64::saturating_add);
        let tokens = wanted.min(self.word(TOKENS).load(Relaxed).saturating_sub(taken));
        self.seat_word(seat, HAS).fetch_add(tokens, Relaxed);
        tokens
    }

    pub(crate) fn give_tokens_back(&self, seat: usize, tokens: u64) {
        self.seat_word(seat, HAS).fetch_sub(tokens, Relaxed);
    }

    /// Says which chunk this worker has begun.
    pub(crate) fn begin_chunk(&self, seat: usize, ticket: u64, now: u64) {
        self.seat_word(seat, RUN_AT).store(0, Relaxed);
        self.seat_word(seat, SINCE).store(now, Release);
        self.seat_word(seat, RUN_CHUNK).store(ticket, Release);
    }

    /// What a worker looks at and writes between two tasks of a chunk.
    pub(crate) fn gauge(&self, seat: usize, cell: u16) -> Gauge<'_> {
        Gauge {
            run_at: self.seat_word(seat, RUN_AT),
            since: self.seat_word(seat, SINCE),
            hold: self.seat_word(seat, HOLD),
            unwanted: &self.cell(cell)[UNWANTED],
            news: self.word(NEWS + seat / 64),
            parent: self.word(PARENT),
            row: self.seat_word(seat, ROW),
            bit: 1 << (seat % 64),
            is_fenced: self.is_fenced,
        }
    }

    /// Says that this worker runs nothing.
    pub(crate) fn rest(&self, seat: usize) {
        self.seat_word(seat, RUN_AT).store(0, Release);
    }

    /// Says that this worker has answered, and tells how the pool's process waits.
    #[inline]
    pub(crate) fn bring_news(&self, seat: usize) -> u64 {
        // ORDERING: SeqCst: a fence between the answers and the look.
        self.word(NEWS + seat / 64).fetch_or(1 << (seat % 64), SeqCst);
        self.word(PARENT).load(SeqCst)
    }

    /// How the pool's process waits, if it has not heard this worker.
    pub(crate) fn unheard(&self, seat: usize) -> Option<u64> {
        let how = self.word(PARENT).load(SeqCst);
        let news = self.word(NEWS + seat / 64).load(SeqCst);
        (how != AWAKE && news & 1 << (seat % 64) != 0).then_some(how)
    }

    /// Wakes whoever waits so; whether the keeper is to be told.
    #[cold]
    pub(crate) fn wake_parent(&self, how: u64) -> bool {
        let word = self.word(PARENT);
        if word.compare_exchange(how, AWAKE, SeqCst, Relaxed).is_err() {
            return false;
        }
        if how == KEEPER || how == STARVED {
            return true;
        }
        Word::wake(word, 1);
        false
    }

    /// Sleeps until there may be room in the outbox, unless `has_room`.
    pub(crate) fn sleep_for_room(&self, seat: usize, has_room: impl Fn() -> bool) -> Result<()> {
        let word = self.seat_word(seat, ROOM);
        let expected = Bell(word).announce();
        fence(SeqCst);
        if !has_room() {
            futex::wait_low(word, expected, Deadline::NEVER)?;
        }
        Ok(())
    }
}

/// A task that a worker runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    running: Running,
    /// Its place in the input.
    pub(crate) index: usize,
    /// How often it was tried before.
    pub(crate) attempt: u32,
}

/// What a worker looks at and writes between two tasks of a chunk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gauge<'a> {
    run_at: &'a AtomicU64,
    since: &'a AtomicU64,
    hold: &'a AtomicU64,
    unwanted: &'a AtomicU64,
    news: &'a AtomicU64,
    parent: &'a AtomicU64,
    row: &'a AtomicU64,
    bit: u64,
    is_fenced: bool,
}

impl<'a> Gauge<'a> {
    /// A row of tasks, whose values go behind what was written up to `tail` of the outbox.
    pub(crate) fn row(
        &self,
        arguments: &'a [[u8; 8]],
        values: &'a [AtomicU64],
        place: u32,
        tail: u64,
        is_timed: bool,
        buffer: &'a mut Vec<u8>,
    ) -> Row<'a> {
        Row {
            arguments,
            values,
            begun: self.run_at,
            place: place.into(),
            since: is_timed.then_some(self.since),
            done_word: self.row,
            row: tail << 32,
            stops: [self.hold, self.unwanted],
            wants: self.parent,
            wanted: ASLEEP,
            is_fenced: self.is_fenced,
            buffer,
            done: 0,
        }
    }

    /// The fence of who does not sleep, where those who do cannot have the system make one.
    #[inline(always)]
    fn light_fence(&self) {
        match self.is_fenced {
            true => fence(SeqCst),
            false => compiler_fence(SeqCst),
        }
    }

    /// Says which task is begun; whether it may be.
    #[inline(always)]
    pub(crate) fn begin(&self, place: u32, since: Option<u64>) -> bool {
        if let Some(since) = since {
            self.since.store(since, Relaxed);
        }
        // ORDERING: pairs with the Acquire load in `running`.
        self.run_at.store(u64::from(place) + 1, Release);
        self.light_fence();
        let may = self.hold.load(Relaxed) == 0 && self.unwanted.load(Relaxed) == 0;
        if !may {
            self.run_at.store(0, Release);
        }
        may
    }

    /// Says that this worker has answered, if a caller wants to know; tells so.
    #[inline(always)]
    pub(crate) fn bring_news(&self) -> bool {
        self.light_fence();
        let is_wanted = self.parent.load(Relaxed) == ASLEEP;
        if is_wanted {
            self.news.fetch_or(self.bit, SeqCst);
        }
        is_wanted
    }
}
