//! What stands for a value of a user's own type.

use std::any::type_name;

use procession_core::Result;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::call::{Call, tell};
use crate::custom::{Made, signature};
use crate::wire::{kind, op};
use crate::{Manager, Shared};

proxy! {
    /// What the proxies are made of that `#[shared]` makes.
    SharedProxy<T>, "shared"
}

impl<T> SharedProxy<T> {
    /// Has a function of the type's make a value.
    ///
    /// # Errors
    ///
    /// [`NotFound`](procession_core::ErrorKind::NotFound) when the server does not know the type; as [`Call::run`].
    pub fn make<A: Serialize>(manager: &Manager, function: &str, arguments: &A) -> Result<Self>
    where
        T: Shared,
    {
        manager.create(kind::SHARED, |written| {
            written.text(type_name::<T>());
            written.text(function);
            written.number(signature::<A, Made>());
            written.value(arguments);
        })
    }

    /// Calls a method.
    ///
    /// # Errors
    ///
    /// [`Panicked`](procession_core::ErrorKind::Panicked) when it panics; as [`Call::run`].
    pub fn call<A, R>(&self, method: &str, arguments: &A) -> Result<R>
    where
        A: Serialize,
        R: DeserializeOwned,
    {
        Call::new(&self.core, op::CALL, tell::value, |written| {
            written.text(method);
            written.number(signature::<A, R>());
            written.value(arguments);
        })
        // A method takes as long as it takes.
        .run_until(procession_core::Deadline::NEVER)
    }
}
