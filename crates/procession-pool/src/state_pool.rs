//! Pools whose workers keep something between tasks.

use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroUsize;

use procession_core::Result;
use procession_process::Context;
use procession_process::trampoline::FunctionRef;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::worker::{part_with, with};
use crate::{AsyncResult, Builder, Imap, ImapUnordered, Pool, TaskError, Tasks};

/// Describes a pool whose workers keep an `S` each: [`Builder::init`].
#[must_use = "a builder starts nothing until `build` is called"]
pub struct StateBuilder<S, E = ()> {
    builder: Builder,
    keeps: PhantomData<fn(S) -> E>,
}

impl<S: 'static> StateBuilder<S> {
    pub(crate) fn new(builder: Builder) -> Self {
        Self { builder, keeps: PhantomData }
    }

    /// Has each worker call `function` with what it keeps when it ends in order: when the pool is closed, or it is idle and the pool is dropped or
    /// terminated, or it has run as many tasks as it [may](Builder::tasks_per_worker), or another one takes its place. What that returns is
    /// fetched by [`exit_values`](StatePool::exit_values). A worker that is killed does not call it.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](procession_core::ErrorKind::Unsupported) for a function of a library that was loaded at run time.
    pub fn exit<F, E>(self, function: F) -> Result<StateBuilder<S, E>>
    where
        F: Fn(S) -> E + Copy + Send + 'static,
        E: Serialize + DeserializeOwned + 'static,
    {
        let call = move || part_with::<S>().map(function);
        let builder = self.builder.exit(FunctionRef::of::<_, ()>(call)?);
        Ok(StateBuilder { builder, keeps: PhantomData })
    }
}

impl<S: 'static, E> StateBuilder<S, E> {
    /// Changes what the pool shall be otherwise: `.with(|pool| pool.name("Render"))`.
    pub fn with(mut self, change: impl FnOnce(Builder) -> Builder) -> Self {
        self.builder = change(self.builder);
        self
    }

    /// As [`Builder::workers`].
    pub fn workers(self, workers: NonZeroUsize) -> Self {
        self.with(|builder| builder.workers(workers))
    }

    /// As [`Builder::context`].
    pub fn context(self, context: Context) -> Self {
        self.with(|builder| builder.context(context))
    }

    /// Starts the pool.
    ///
    /// # Errors
    ///
    /// As [`Builder::build`].
    pub fn build(self) -> Result<StatePool<S, E>> {
        Ok(StatePool { pool: self.builder.build()?, keeps: PhantomData })
    }
}

/// The calls of a pool whose workers keep something, for whoever has a view of its tasks.
macro_rules! calls {
    ($this:ident, ($($me:tt)*), $pool:lifetime) => {
        /// As [`Pool::apply`], of a function of what the worker keeps and of one argument.
        ///
        /// # Errors
        ///
        /// As [`Pool::apply`].
        pub fn apply<F, T, R>($($me)*, function: F, arg: T) -> Result<R, TaskError>
        where
            F: Fn(&mut S, T) -> R + Copy + Send + 'static,
            T: Serialize + DeserializeOwned + 'static,
            R: Serialize + DeserializeOwned + 'static,
        {
            $this.view().apply(on_state(function), (arg,))
        }

        /// As [`Pool::apply_async`], likewise.
        pub fn apply_async<F, T, R>($($me)*, function: F, arg: T) -> AsyncResult<R>
        where
            F: Fn(&mut S, T) -> R + Copy + Send + 'static,
            T: Serialize + DeserializeOwned + 'static,
            R: Serialize + DeserializeOwned + 'static,
        {
            $this.view().apply_async(on_state(function), (arg,))
        }

        /// As [`Pool::map`], likewise.
        ///
        /// # Errors
        ///
        /// As [`Pool::map`].
        pub fn map<F, T, R, I>($($me)*, function: F, items: I) -> Result<Vec<R>, TaskError>
        where
            F: Fn(&mut S, T) -> R + Copy + Send + 'static,
            T: Serialize + DeserializeOwned + 'static,
            R: Serialize + DeserializeOwned + 'static,
            I: IntoIterator<Item = T>,
        {
            $this.view().map(on_state(function), items)
        }

        /// As [`Pool::try_map`], likewise.
        pub fn try_map<F, T, R, I>($($me)*, function: F, items: I) -> Vec<Result<R, TaskError>>
        where
            F: Fn(&mut S, T) -> R + Copy + Send + 'static,
            T: Serialize + DeserializeOwned + 'static,
            R: Serialize + DeserializeOwned + 'static,
            I: IntoIterator<Item = T>,
        {
            $this.view().try_map(on_state(function), items)
        }

        /// As [`Pool::map_async`], likewise.
        pub fn map_async<F, T, R, I>($($me)*, function: F, items: I) -> AsyncResult<Vec<R>>
        where
            F: Fn(&mut S, T) -> R + Copy + Send + 'static,
            T: Serialize + DeserializeOwned + 'static,
            R: Serialize + DeserializeOwned + 'static,
            I: IntoIterator<Item = T>,
        {
            $this.view().map_async(on_state(function), items)
        }

        /// As [`Pool::imap`], likewise.
        pub fn imap<F, T, R, I>($($me)*, function: F, items: I) -> Imap<$pool, R, I::IntoIter>
        where
            F: Fn(&mut S, T) -> R + Copy + Send + 'static,
            T: Serialize + DeserializeOwned + 'static,
            R: Serialize + DeserializeOwned + 'static,
            I: IntoIterator<Item = T>,
        {
            $this.view().imap(on_state(function), items)
        }

        /// As [`Pool::imap_unordered`], likewise.
        pub fn imap_unordered<F, T, R, I>($($me)*,
            function: F,
            items: I,
        ) -> ImapUnordered<$pool, R, I::IntoIter>
        where
            F: Fn(&mut S, T) -> R + Copy + Send + 'static,
            T: Serialize + DeserializeOwned + 'static,
            R: Serialize + DeserializeOwned + 'static,
            I: IntoIterator<Item = T>,
        {
            $this.view().imap_unordered(on_state(function), items)
        }
    };
}

/// A pool whose workers keep an `S` each, which their tasks have to themselves, one at a time. What it keeps lives in one process and never
/// leaves it, so it need not be a value that can be sent: a model, a connection, a cache.
///
/// It has the methods of the [pool](Self::pool), which say how tasks are run, and how it ends.
///
/// # Drop, kill, fork
///
/// As [`Pool`]. What a killed worker kept is gone with it, and another worker makes its own.
///
/// # Source
///
/// `worker_init`, `worker_exit` and `use_worker_state` of Python's mpire.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # procession_process::init();
/// use std::collections::HashMap;
/// use std::num::NonZeroUsize;
/// use procession_pool::Pool;
///
/// let pool = Pool::builder()
///     .init(|| Ok::<_, String>(HashMap::<String, usize>::new()), ())?
///     .exit(|counts| counts)?
///     .workers(NonZeroUsize::MIN)
///     .build()?;
/// let words = ["to", "be", "or", "not", "to", "be"].map(String::from);
/// let seen = pool.map(|counts, word: String| { *counts.entry(word).or_default() += 1; counts.len() }, words)?;
/// assert_eq!(seen, [1, 2, 3, 4, 4, 4]);
/// let counts = pool.exit_values()?;
/// assert_eq!(counts[0]["to"], 2);
/// # Ok(())
/// # }
/// ```
pub struct StatePool<S, E = ()> {
    pool: Pool,
    keeps: PhantomData<fn(S) -> E>,
}

impl<S: 'static, E> StatePool<S, E> {
    /// The pool itself, whose tasks do without what workers keep.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// A view of this pool that says how tasks are run: `.tasks_by(|tasks| tasks.timeout(..))`.
    pub fn tasks_by(&self, how: impl FnOnce(Tasks<'_>) -> Tasks<'_>) -> StateTasks<'_, S> {
        StateTasks { tasks: how(self.pool.tasks()), keeps: PhantomData }
    }

    fn view(&self) -> Tasks<'_> {
        self.pool.tasks()
    }

    calls!(self, (&self), '_);
}

impl<S: 'static, E: DeserializeOwned> StatePool<S, E> {
    /// Closes the pool, waits for what has begun and for the ends of the workers, and gives what their [exit](StateBuilder::exit) functions have
    /// returned, in the order in which they ended: those of workers that were replaced as well. Nothing of workers that were killed, or without
    /// such a function.
    ///
    /// # Errors
    ///
    /// [`Decode`](procession_core::ErrorKind::Decode) when a value cannot be decoded.
    pub fn exit_values(self) -> Result<Vec<E>> {
        self.pool.close();
        self.pool.join()?;
        let mut values = Vec::new();
        for message in self.pool.take_partings() {
            values.extend(message.decode::<Option<E>>()?);
        }
        Ok(values)
    }
}

/// A [`StatePool`], and how tasks are run there. It has the methods of the pool.
#[derive(Debug)]
#[must_use = "this says how, and runs nothing"]
pub struct StateTasks<'pool, S> {
    tasks: Tasks<'pool>,
    keeps: PhantomData<fn(S)>,
}

impl<'pool, S: 'static> StateTasks<'pool, S> {
    fn view(self) -> Tasks<'pool> {
        self.tasks
    }

    calls!(self, (self), 'pool);
}

/// The function of the argument alone, for a worker.
fn on_state<S, T, R>(
    function: impl Fn(&mut S, T) -> R + Copy + Send + 'static,
) -> impl Fn(T) -> R + Copy + Send + 'static
where
    S: 'static,
    T: 'static,
    R: 'static,
{
    move |item| with(|state| function(state, item))
}

impl<S, E> fmt::Debug for StatePool<S, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StatePool").field(&self.pool).finish()
    }
}

impl<S, E> fmt::Debug for StateBuilder<S, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StateBuilder").field(&self.builder).finish()
    }
}
