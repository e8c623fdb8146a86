//! Proxies of what a `SyncManager` has: locks and their kin. Who has a lock is a thread: each has a connection of its own.

use std::marker::PhantomData;
use std::time::Duration;

use super::client::Manager;
use super::error::CallError;
use super::proxies::{methods, proxies};
use super::proxy::{Proxy, unless};

proxies! {
    /// A `Lock`, `RLock`, `Semaphore` or `BoundedSemaphore` in a manager.
    AcquirerProxy;
    /// An `Event` in a manager.
    EventProxy;
    /// A `Condition` in a manager, with its lock.
    ConditionProxy;
    /// A `Barrier` in a manager.
    BarrierProxy;
}

/// Has acquired, and releases when it is dropped, in the thread that has acquired.
///
/// When the manager is gone by then, nothing is released. A program that is killed meanwhile has the lock for ever, as in CPython.
#[derive(Debug)]
#[must_use = "what was acquired is released when this is dropped"]
pub struct Acquired<'a> {
    proxy: &'a Proxy,
    /// Another thread is somebody else to the manager.
    stays_here: PhantomData<*const ()>,
}

impl Drop for Acquired<'_> {
    fn drop(&mut self) {
        // Of a manager that is gone nobody has anything.
        drop(self.proxy.call::<()>("release", ()));
    }
}

impl<'a> Acquired<'a> {
    fn new(proxy: &'a Proxy) -> Self {
        Self { proxy, stays_here: PhantomData }
    }
}

impl Manager {
    /// Makes a `Lock`.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub fn lock(&self) -> Result<AcquirerProxy, CallError> {
        self.create("Lock", ()).map(AcquirerProxy)
    }

    /// Makes an `RLock`.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub fn rlock(&self) -> Result<AcquirerProxy, CallError> {
        self.create("RLock", ()).map(AcquirerProxy)
    }

    /// Makes a `Semaphore`.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub fn semaphore(&self, permits: u32) -> Result<AcquirerProxy, CallError> {
        self.create("Semaphore", (permits,)).map(AcquirerProxy)
    }

    /// Makes a `BoundedSemaphore`.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub fn bounded_semaphore(&self, permits: u32) -> Result<AcquirerProxy, CallError> {
        self.create("BoundedSemaphore", (permits,)).map(AcquirerProxy)
    }

    /// Makes an `Event`.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub fn event(&self) -> Result<EventProxy, CallError> {
        self.create("Event", ()).map(EventProxy)
    }

    /// Makes a `Condition`.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub fn condition(&self) -> Result<ConditionProxy, CallError> {
        self.create("Condition", ()).map(ConditionProxy)
    }

    /// Makes a `Barrier`.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub fn barrier(&self, parties: u32) -> Result<BarrierProxy, CallError> {
        self.create("Barrier", (parties,)).map(BarrierProxy)
    }
}

impl AcquirerProxy {
    /// Acquires, waiting for it.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    pub fn acquire(&self) -> Result<Acquired<'_>, CallError> {
        self.0.call::<bool>("acquire", ())?;
        Ok(Acquired::new(&self.0))
    }

    /// Acquires if that is possible at once.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    pub fn try_acquire(&self) -> Result<Option<Acquired<'_>>, CallError> {
        let has = self.0.call("acquire", (false,))?;
        Ok(bool::then(has, || Acquired::new(&self.0)))
    }

    /// Acquires, waiting for it at most this long.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Option<Acquired<'_>>, CallError> {
        let has = self.0.call("acquire", (true, timeout.as_secs_f64()))?;
        Ok(bool::then(has, || Acquired::new(&self.0)))
    }

    /// Releases what somebody has acquired: semaphores may be released by anybody. What this program has is released by dropping.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    pub fn release(&self) -> Result<(), CallError> {
        self.0.call("release", ())
    }
}

methods!(EventProxy {
    /// Sets it: who waits goes on.
    fn set() -> () = "set";
    /// Takes that back.
    fn clear() -> () = "clear";
    /// Whether it is set.
    fn is_set() -> bool = "is_set";
});

impl EventProxy {
    /// Waits until it is set.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    pub fn wait(&self) -> Result<(), CallError> {
        self.0.call::<bool>("wait", ()).map(drop)
    }

    /// Waits until it is set, at most this long; tells whether it is.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool, CallError> {
        self.0.call("wait", (timeout.as_secs_f64(),))
    }
}

methods!(ConditionProxy {
    /// Wakes all who wait. Its lock has to be this thread's.
    fn notify_all() -> () = "notify_all";
});

impl ConditionProxy {
    /// Acquires its lock, waiting for it.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    pub fn acquire(&self) -> Result<Acquired<'_>, CallError> {
        self.0.call::<bool>("acquire", ())?;
        Ok(Acquired::new(&self.0))
    }

    /// Wakes one who waits. Its lock has to be this thread's.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    pub fn notify_one(&self) -> Result<(), CallError> {
        // Before 3.7 it takes no number.
        self.0.call("notify", ())
    }

    /// Gives up the lock, waits for being woken, and has the lock again.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    pub fn wait(&self, _lock: &mut Acquired<'_>) -> Result<(), CallError> {
        self.0.call::<bool>("wait", ()).map(drop)
    }

    /// As [`wait`](Self::wait), at most this long; tells whether it was woken.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    pub fn wait_timeout(
        &self,
        _lock: &mut Acquired<'_>,
        timeout: Duration,
    ) -> Result<bool, CallError> {
        self.0.call("wait", (timeout.as_secs_f64(),))
    }
}

methods!(BarrierProxy {
    /// Breaks it: who waits gets an error.
    fn abort() -> () = "abort";
    /// Makes it as new: who waits gets an error.
    fn reset() -> () = "reset";
});

impl BarrierProxy {
    /// Waits until all parties do; the number of this one among them. `None` when it is broken.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    pub fn wait(&self) -> Result<Option<u32>, CallError> {
        unless(self.0.call("wait", ()), "BrokenBarrierError")
    }

    /// As [`wait`](Self::wait), at most this long: after that it is broken for all.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Option<u32>, CallError> {
        unless(self.0.call("wait", (timeout.as_secs_f64(),)), "BrokenBarrierError")
    }

    /// How many wait at the moment.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    #[doc(alias = "n_waiting")]
    pub fn waiting(&self) -> Result<u32, CallError> {
        self.0.call("__getattribute__", ("n_waiting",))
    }

    /// How many have to come.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    pub fn parties(&self) -> Result<u32, CallError> {
        self.0.call("__getattribute__", ("parties",))
    }

    /// Whether it is broken.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    #[doc(alias = "broken")]
    pub fn is_broken(&self) -> Result<bool, CallError> {
        self.0.call("__getattribute__", ("broken",))
    }
}
