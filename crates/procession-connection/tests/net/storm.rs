//! Everything, while signals come ten thousand times a second. CPython: TestIgnoreEINTR.

#![expect(unsafe_code, reason = "sets a timer, which the library has no need for")]

use std::ffi::{c_int, c_long};

use procession_sys::prim::AtomicU32;
use procession_sys::prim::Ordering::Relaxed;
use procession_sys::signal::{Mask, set_thread_mask, thread_mask};

use super::*;

const ALARM: c_int = 14;
const REAL: c_int = 0;

static COUNT: AtomicU32 = AtomicU32::new(0);

#[repr(C)]
struct Interval {
    every: [c_long; 2],
    first: [c_long; 2],
}

// As the C library declares them: `setitimer(2)`, `signal(2)`, `siginterrupt(3)`.
unsafe extern "C" {
    fn setitimer(which: c_int, new: *const Interval, old: *mut Interval) -> c_int;
    fn signal(number: c_int, handler: extern "C" fn(c_int)) -> usize;
    fn siginterrupt(number: c_int, interrupts: c_int) -> c_int;
}

extern "C" fn count(_signal: c_int) {
    COUNT.fetch_add(1, Relaxed);
}

/// The main thread of a test program waits and would take every signal; blocked there, it is blocked in all threads but those that
/// want it.
fn block_alarms() {
    let mask = thread_mask().unwrap().bits() | 1 << (ALARM - 1);
    set_thread_mask(Mask::from_bits(mask)).unwrap();
}

procession_sys::before_main!(block_alarms);

/// Has this thread be interrupted every 100 µs.
fn want_alarms() {
    let mask = thread_mask().unwrap().bits() & !(1 << (ALARM - 1));
    set_thread_mask(Mask::from_bits(mask)).unwrap();
}

fn storm(work: impl FnOnce()) {
    // SAFETY: The handler touches an atomic and nothing else.
    unsafe { signal(ALARM, count) };
    // SAFETY: Calls that it interrupts fail, instead of being repeated by the system.
    assert_eq!(unsafe { siginterrupt(ALARM, 1) }, 0);
    let every = Interval { every: [0, 100], first: [0, 100] };
    // SAFETY: The pointer is to a local; no old value is asked for.
    assert_eq!(unsafe { setitimer(REAL, &raw const every, std::ptr::null_mut()) }, 0);
    work();
    let never = Interval { every: [0, 0], first: [0, 0] };
    // SAFETY: As above.
    assert_eq!(unsafe { setitimer(REAL, &raw const never, std::ptr::null_mut()) }, 0);
}

#[test]
fn signals_interrupt_nothing() {
    let before = COUNT.load(Relaxed);
    storm(|| {
        for family in [Family::Unix, Family::Tcp4] {
            for with_key in [false, true] {
                let secret = with_key.then(|| key(b"secret"));
                let builder = Listener::builder().family(family);
                let listener = match &secret {
                    Some(key) => builder.authkey(key),
                    None => builder,
                };
                let listener = listener.bind().unwrap();
                thread::scope(|scope| {
                    scope.spawn(|| {
                        want_alarms();
                        for _ in 0..20 {
                            let client = connect(listener.address(), secret.as_ref()).unwrap();
                            echo(&client);
                        }
                    });
                    want_alarms();
                    for _ in 0..20 {
                        let server = listener.accept().unwrap();
                        answer(&server);
                    }
                });
            }
        }
    });
    let came = COUNT.load(Relaxed) - before;
    assert!(came > 100, "only {came} signals came");
}

const SIZES: [usize; 4] = [0, 100, 20_000, 1_000_000];

fn echo(client: &Connection) {
    for size in SIZES {
        let message = vec![7; size];
        client.send_bytes(&message).unwrap();
        assert!(client.poll(SOON).unwrap());
        assert_eq!(client.recv_bytes().unwrap(), message);
    }
}

fn answer(server: &Connection) {
    for _ in SIZES {
        let message = server.recv_bytes().unwrap();
        server.send_bytes(&message).unwrap();
    }
}
