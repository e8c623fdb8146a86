//! A worker: takes assignments, runs their tasks one after the other, answers each as soon as it is done.
//!
//! Before a worker looks at a task it writes the task's ticket into its seat's word of the shared claims, and clears the
//! word after the answer has gone. So whenever it is killed, the pool knows which task it was running: the one in the
//! word, unless its answer has arrived. Tasks that have neither are as good as never assigned.

use std::os::fd::OwnedFd;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use procession_core::{Courier, ErrorKind, Handle, Message, Result};
use procession_process::panic;
use procession_process::trampoline::FunctionRef;
use procession_sys::memory::SharedWords;
use procession_sys::prim::Ordering;

use crate::protocol::{self, Ticket};

/// What a worker process runs; returns when the pool has gone away.
pub(crate) fn run(courier: Courier, claims: Handle<OwnedFd>, seat: usize) -> Result<()> {
    let claims = Arc::new(SharedWords::open(claims.into_inner())?);
    let courier = Arc::new(courier);
    courier.send(&protocol::ready())?;
    {
        let (courier, claims) = (Arc::clone(&courier), Arc::clone(&claims));
        panic::set_last_words(move |panic| {
            let ticket = claims.word(seat).load(Ordering::Relaxed);
            let answer = protocol::answer(ticket, Err(panic.clone()));
            // When it does not go, the pool sees the death of this process, which is next.
            drop(answer.and_then(|answer| courier.send(&answer)));
        });
    }
    let claim = claims.word(seat);
    while let Some(assignment) = courier.recv()? {
        let (function, tasks) = protocol::read_assignment(assignment)?;
        for (ticket, argument) in tasks {
            // ORDERING: pairs with the Acquire load in `Seat::claimed`, which happens after this process has died.
            claim.store(ticket, Ordering::Release);
            let heard = run_task(&courier, function, ticket, argument)?;
            claim.store(0, Ordering::Release);
            if !heard {
                return Ok(());
            }
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
