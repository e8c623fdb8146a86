//! What a worker keeps between tasks: the value of the function that its pool was given for that.
//!
//! The value lives in the worker's main thread, which runs the tasks. A task has it to itself. When a task panics, whatever it has left behind
//! is dropped, and the next one gets a value that is made anew.

use std::any::{Any, type_name};
use std::cell::RefCell;

use procession_core::Result;

use super::Initializer;

#[derive(Default)]
struct Kept {
    value: Option<Box<dyn Any>>,
    /// What makes it.
    initializer: Option<Initializer>,
}

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::default();
}

/// Calls what a worker calls before its first task.
pub(super) fn initialize(initializer: Initializer) -> Result<()> {
    let again = initializer.try_clone()?;
    KEPT.with_borrow_mut(|kept| kept.initializer = Some(again));
    initializer.call()
}

/// Keeps a value for tasks.
pub(crate) fn keep<S: 'static>(value: S) {
    KEPT.with_borrow_mut(|kept| kept.value = Some(Box::new(value)));
}

/// The value, for good, if there is one.
pub(crate) fn part_with<S: 'static>() -> Option<S> {
    let value = KEPT.with_borrow_mut(|kept| kept.value.take())?;
    value.downcast().ok().map(|value| *value)
}

/// Does something with the value.
///
/// # Panics
///
/// When it has to be made anew, and cannot be.
pub(crate) fn with<S: 'static, R>(run: impl FnOnce(&mut S) -> R) -> R {
    let mut value = KEPT.with_borrow_mut(|kept| kept.value.take()).unwrap_or_else(make);
    let Some(state) = value.downcast_mut() else {
        // Whoever makes the calls gives the type to both.
        panic!("a worker keeps no `{}`", type_name::<S>());
    };
    let result = run(state);
    KEPT.with_borrow_mut(|kept| kept.value = Some(value));
    result
}

#[cold]
fn make() -> Box<dyn Any> {
    let made = KEPT.with_borrow(|kept| kept.initializer.as_ref().map(Initializer::try_clone));
    match made.map(|initializer| initializer.and_then(Initializer::call)) {
        Some(Ok(())) => {}
        Some(Err(error)) => panic!("what the worker keeps cannot be made anew: {error}"),
        None => panic!("the worker keeps nothing"),
    }
    let value = KEPT.with_borrow_mut(|kept| kept.value.take());
    value.unwrap_or_else(|| panic!("the worker keeps nothing"))
}
