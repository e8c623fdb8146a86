//! Family `sync`, the limits: what the C library has for processes.
//!
//! The argument is `plain`, `robust` (the mutex notices that its owner died) or `semaphore`.
#![expect(unsafe_code, reason = "the C library itself is what is measured")]

use std::cell::UnsafeCell;
use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use libc::{
    PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_ROBUST, PTHREAD_MUTEX_STALLED,
    PTHREAD_PROCESS_SHARED, pthread_barrier_t, pthread_barrierattr_t, pthread_cond_t,
    pthread_condattr_t, pthread_mutex_t, pthread_mutexattr_t, sem_t,
};
use procession_benches::forks::{Forks, share};
use procession_benches::sync::{Bench, SIZES, bump, uncontended};

fn main() -> io::Result<()> {
    let way = std::env::args().nth(1).unwrap_or_default();
    let bench = Bench::forked()?;
    match way.as_str() {
        "plain" => {
            by_mutex(&bench, PTHREAD_MUTEX_STALLED)?;
            by_barrier(&bench)
        }
        "robust" => by_mutex(&bench, PTHREAD_MUTEX_ROBUST),
        "semaphore" => by_semaphore(&bench),
        _ => Err(io::Error::other(format!("unknown way `{way}`; one of plain, robust, semaphore"))),
    }
}

fn by_mutex(bench: &Bench<'_, Forks>, robustness: libc::c_int) -> io::Result<()> {
    let mutex = Mutex::shared(PTHREAD_MUTEX_NORMAL, robustness)?;
    uncontended("lock_uncontended", || {
        mutex.lock();
        mutex.unlock();
    })?;
    let reentrant = Mutex::shared(PTHREAD_MUTEX_RECURSIVE, robustness)?;
    uncontended("rlock_uncontended", || {
        reentrant.lock();
        reentrant.unlock();
    })?;
    bench.contended(|counter| {
        mutex.lock();
        bump(counter);
        mutex.unlock();
    })?;
    let (condition, flag) = (Condition::shared()?, share(AtomicBool::new(false))?);
    let set_flag = |value: bool, tell: &dyn Fn()| {
        mutex.lock();
        flag.store(value, Relaxed);
        tell();
        mutex.unlock();
    };
    let wait = |leaves: bool| {
        mutex.lock();
        while !flag.load(Relaxed) {
            condition.wait(&mutex);
        }
        flag.store(leaves, Relaxed);
        mutex.unlock();
    };
    // An event, as one would write it over these two.
    let set = || set_flag(true, &|| condition.notify_all());
    bench.wakes("event", || wait(true), || set_flag(false, &|| ()), set)?;
    let notify = || set_flag(true, &|| condition.notify_one());
    bench.wakes("cond", || wait(false), || (), notify)
}

fn by_barrier(bench: &Bench<'_, Forks>) -> io::Result<()> {
    for size in SIZES {
        let barrier = Barrier::shared(u32::try_from(size).map_err(io::Error::other)?)?;
        bench.barrier(size, || barrier.wait())?;
    }
    Ok(())
}

fn by_semaphore(bench: &Bench<'_, Forks>) -> io::Result<()> {
    let semaphore = Semaphore::shared()?;
    semaphore.release();
    for metric in ["lock_uncontended", "sem_uncontended"] {
        uncontended(metric, || {
            semaphore.acquire();
            semaphore.release();
        })?;
    }
    bench.contended(|counter| {
        semaphore.acquire();
        bump(counter);
        semaphore.release();
    })?;
    semaphore.acquire();
    bench.wakes("event", || semaphore.acquire(), || (), || semaphore.release())
}

/// An object of the C library, which stays where it is.
struct Object<T>(UnsafeCell<MaybeUninit<T>>);

// SAFETY: these objects exist to be used by many at once, through the C library only.
unsafe impl<T> Sync for Object<T> {}

impl<T> Object<T> {
    /// Room for an object, in memory that forks share.
    fn shared() -> io::Result<&'static Self> {
        share(Self(UnsafeCell::new(MaybeUninit::zeroed())))
    }

    fn ptr(&self) -> *mut T {
        self.0.get().cast()
    }
}

/// Turns the result of a pthread function, which is an error number, into ours.
fn check(code: libc::c_int) -> io::Result<()> {
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) }
}

/// For what cannot fail on an object that is in order.
#[inline]
fn must(code: libc::c_int) {
    assert!(code == 0, "the C library answered {code}");
}

struct Mutex(&'static Object<pthread_mutex_t>);

impl Mutex {
    fn shared(kind: libc::c_int, robustness: libc::c_int) -> io::Result<Self> {
        let mut attributes = MaybeUninit::<pthread_mutexattr_t>::uninit();
        let attributes = attributes.as_mut_ptr();
        let object = Object::shared()?;
        // SAFETY: the pointer is to room for one object.
        check(unsafe { libc::pthread_mutexattr_init(attributes) })?;
        // SAFETY: the object was initialised above.
        check(unsafe { libc::pthread_mutexattr_setpshared(attributes, PTHREAD_PROCESS_SHARED) })?;
        // SAFETY: the object was initialised above.
        check(unsafe { libc::pthread_mutexattr_settype(attributes, kind) })?;
        // SAFETY: the object was initialised above.
        check(unsafe { libc::pthread_mutexattr_setrobust(attributes, robustness) })?;
        // SAFETY: there is room for one object, which nobody uses yet; the attributes are whole.
        check(unsafe { libc::pthread_mutex_init(object.ptr(), attributes) })?;
        Ok(Self(object))
    }

    #[inline]
    fn lock(&self) {
        // SAFETY: the object was initialised when this was made, and stays where it is.
        must(unsafe { libc::pthread_mutex_lock(self.0.ptr()) });
    }

    #[inline]
    fn unlock(&self) {
        // SAFETY: the object was initialised when this was made; the caller has the lock.
        must(unsafe { libc::pthread_mutex_unlock(self.0.ptr()) });
    }
}

struct Condition(&'static Object<pthread_cond_t>);

impl Condition {
    fn shared() -> io::Result<Self> {
        let mut attributes = MaybeUninit::<pthread_condattr_t>::uninit();
        let attributes = attributes.as_mut_ptr();
        let object = Object::shared()?;
        // SAFETY: the pointer is to room for one object.
        check(unsafe { libc::pthread_condattr_init(attributes) })?;
        // SAFETY: the object was initialised above.
        check(unsafe { libc::pthread_condattr_setpshared(attributes, PTHREAD_PROCESS_SHARED) })?;
        // SAFETY: there is room for one object, which nobody uses yet; the attributes are whole.
        check(unsafe { libc::pthread_cond_init(object.ptr(), attributes) })?;
        Ok(Self(object))
    }

    fn wait(&self, mutex: &Mutex) {
        // SAFETY: both objects were initialised; the caller has the lock.
        must(unsafe { libc::pthread_cond_wait(self.0.ptr(), mutex.0.ptr()) });
    }

    fn notify_one(&self) {
        // SAFETY: the object was initialised when this was made.
        must(unsafe { libc::pthread_cond_signal(self.0.ptr()) });
    }

    fn notify_all(&self) {
        // SAFETY: the object was initialised when this was made.
        must(unsafe { libc::pthread_cond_broadcast(self.0.ptr()) });
    }
}

struct Barrier(&'static Object<pthread_barrier_t>);

impl Barrier {
    fn shared(parties: libc::c_uint) -> io::Result<Self> {
        let mut attributes = MaybeUninit::<pthread_barrierattr_t>::uninit();
        let attributes = attributes.as_mut_ptr();
        let object = Object::shared()?;
        // SAFETY: the pointer is to room for one object.
        check(unsafe { libc::pthread_barrierattr_init(attributes) })?;
        // SAFETY: the object was initialised above.
        check(unsafe { libc::pthread_barrierattr_setpshared(attributes, PTHREAD_PROCESS_SHARED) })?;
        // SAFETY: there is room for one object, which nobody uses yet; the attributes are whole.
        check(unsafe { libc::pthread_barrier_init(object.ptr(), attributes, parties) })?;
        Ok(Self(object))
    }

    fn wait(&self) {
        // SAFETY: the object was initialised when this was made.
        let code = unsafe { libc::pthread_barrier_wait(self.0.ptr()) };
        assert!(matches!(code, 0 | libc::PTHREAD_BARRIER_SERIAL_THREAD), "answered {code}");
    }
}

struct Semaphore(&'static Object<sem_t>);

impl Semaphore {
    /// Without permits.
    fn shared() -> io::Result<Self> {
        let object = Object::shared()?;
        // SAFETY: there is room for one object, which nobody uses yet.
        match unsafe { libc::sem_init(object.ptr(), 1, 0) } {
            0 => Ok(Self(object)),
            _ => Err(io::Error::last_os_error()),
        }
    }

    #[inline]
    fn acquire(&self) {
        // SAFETY: the object was initialised when this was made, and stays where it is.
        must(unsafe { libc::sem_wait(self.0.ptr()) });
    }

    #[inline]
    fn release(&self) {
        // SAFETY: the object was initialised when this was made, and stays where it is.
        must(unsafe { libc::sem_post(self.0.ptr()) });
    }
}
