//! The start method `thread`: a thread of this process stands for a process.
//!
//! Arguments and return value are encoded and decoded all the same, so that a program which works with threads works with
//! processes.

use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::thread;

use procession_core::{Message, Result};
use procession_sys::doorbell::Doorbell;
use procession_sys::prim::{Mutex, lock};
use procession_sys::process;

use crate::child::{Body, Booth, Child, Traits};
use crate::current::{Current, Parent};
use crate::panic;
use crate::report::VALUE;
use crate::run::report_of;
use crate::trampoline::FunctionRef;

thread_local! {
    /// In a thread that stands for a process.
    static OWN: RefCell<Option<Arc<Booth>>> = const { RefCell::new(None) };
}

/// Starts the thread.
pub(crate) fn start(
    traits: Traits,
    path: Vec<u32>,
    parent: Parent,
    function: FunctionRef,
    arguments: Message,
) -> Result<Child> {
    let booth = Arc::new(Booth { done: Doorbell::new()?, report: Mutex::new(None) });
    let (own, name, is_daemon) = (Arc::clone(&booth), traits.name.clone(), traits.is_daemon);
    // Nobody joins the thread itself: its last act is to ring.
    let _thread = thread::Builder::new().name(name.clone()).spawn(move || {
        Current::become_thread(name, path, is_daemon, parent);
        OWN.set(Some(Arc::clone(&own)));
        let call = AssertUnwindSafe(|| function.call(arguments, vec![VALUE]));
        let report = report_of(panic::catch(call));
        *lock(&own.report) = Some(report);
        // Cannot fail for a doorbell.
        drop(own.done.ring());
    })?;
    Ok(Child::new(process::id(), traits, Body::Thread(booth)))
}

/// Whether the calling thread stands for this process.
pub(crate) fn is_current(booth: &Arc<Booth>) -> bool {
    let is_own = |own: &RefCell<Option<Arc<Booth>>>| {
        own.borrow().as_ref().is_some_and(|own| Arc::ptr_eq(own, booth))
    };
    // At the end of a thread there is nothing left of it.
    OWN.try_with(is_own).unwrap_or(false)
}
