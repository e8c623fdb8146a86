//! A worker: takes assignments, runs their tasks one after the other, answers each as soon as it is done.
//!
//! Each seat has three words in the shared page. Before a worker looks at a task it writes the task's ticket into the first, its claim, and clears it
//! after the answer has gone. So whenever it is killed, the pool knows which task it was running: the one in the
//! word, unless its answer has arrived. Tasks that have neither are as good as never assigned.

use std::os::fd::OwnedFd;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use procession_core::{Courier, ErrorKind, Handle, Message, Result};
use procession_process::panic;
use procession_process::trampoline::{FunctionRef, Reply};
use procession_sys::memory::SharedWords;
use procession_sys::prim::Ordering;
use procession_sys::wipe::WipedWord;
use procession_sys::{clock, fd};

use serde::{Deserialize, Serialize};

use crate::protocol::{self, Ticket};

/// How many words a seat has.
pub(crate) const WORDS: usize = 3;

/// The word that names the task which the worker in this seat runs.
pub(crate) fn claim_of(seat: usize) -> usize {
    WORDS * seat
}

/// The word that names the last task which the worker in this seat need not run, if it has not.
pub(crate) fn unwanted_of(seat: usize) -> usize {
    WORDS * seat + 1
}

/// The word that says since when, in [rough milliseconds](clock::rough_millis).
pub(crate) fn since_of(seat: usize) -> usize {
    WORDS * seat + 2
}

/// One more than the seat of this worker; zero in a process that is none.
static SEAT: WipedWord = WipedWord::new();

/// The seat in its pool, from zero, of the worker that this process is; nothing in a process that is none, and in one that a worker has
/// forked. At any time, each worker of a pool has another.
pub fn current_worker() -> Option<usize> {
    let seat = SEAT.get().ok()?.load(Ordering::Relaxed);
    usize::try_from(seat.checked_sub(1)?).ok()
}

/// What each worker calls before its first task.
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
            Reply::Value(_) => Ok(()),
            Reply::Refused(error) | Reply::Unsendable(error) => Err(error),
        }
    }
}

/// What a worker process runs; returns when the pool has gone away.
pub(crate) fn run(
    courier: Courier,
    claims: Handle<OwnedFd>,
    seat: usize,
    initializer: Option<Initializer>,
) -> Result<()> {
    SEAT.get()?.store(seat as u64 + 1, Ordering::Relaxed);
    let claims = Arc::new(SharedWords::open(claims.into_inner())?);
    let courier = Arc::new(courier);
    if let Some(initializer) = initializer {
        initializer.call()?;
    }
    courier.send(&protocol::ready())?;
    {
        let (courier, claims) = (Arc::clone(&courier), Arc::clone(&claims));
        panic::set_last_words(move |panic| {
            let ticket = claims.word(claim_of(seat)).load(Ordering::Relaxed);
            let answer = protocol::answer(ticket, Err(panic.clone()));
            // When it does not go, the pool sees the death of this process, which is next.
            drop(answer.and_then(|answer| courier.send(&answer)));
        });
    }
    let words = [claim_of, unwanted_of, since_of].map(|word| claims.word(word(seat)));
    let [claim, unwanted, since] = words;
    while let Some(assignment) = courier.recv()? {
        if assignment.bytes().is_empty() {
            return Ok(());
        }
        let (function, tasks) = protocol::read_assignment(assignment)?;
        let mut skipped = None;
        for (ticket, argument) in tasks {
            // ORDERING: Relaxed. A task that is skipped late is run for nothing, and nothing else hangs on it.
            if ticket <= unwanted.load(Ordering::Relaxed) {
                skipped = Some(ticket);
                continue;
            }
            since.store(clock::rough_millis(), Ordering::Relaxed);
            // ORDERING: pairs with the Acquire load in `Seat::claimed`, which happens after this process has died.
            claim.store(ticket, Ordering::Release);
            let heard = run_task(&courier, function, ticket, argument)?;
            claim.store(0, Ordering::Release);
            if !heard {
                return Ok(());
            }
        }
        if let Some(ticket) = skipped {
            courier.send(&protocol::skipped(ticket))?;
        }
    }
    Ok(())
}

/// Runs a task and answers; tells whether anybody heard it.
fn run_task(
    courier: &Courier,
    function: FunctionRef,
    ticket: Ticket,
    argument: Message,
) -> Result<bool> {
    let head = protocol::value_head(ticket);
    let reply = panic::catch(AssertUnwindSafe(|| function.call(argument, head)));
    let sent = protocol::answer(ticket, reply).and_then(|answer| courier.send(&answer));
    match sent {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::Closed => Ok(false),
        // The value did not go (the system has no room for its descriptors, say); the news of that may.
        Err(error) => courier.send(&protocol::unsendable(ticket, &error)?).map(|()| true),
    }
}
