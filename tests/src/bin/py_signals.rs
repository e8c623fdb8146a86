//! Rows of CPython's tests about signals with a handler, which interrupt what a process waits in: runs the row that the first
//! argument names, under the start method that the second one names.
#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]
#![expect(unsafe_code, reason = "asks for calls that are not restarted")]

use std::ffi::c_int;
use std::thread;

use procession::prelude::*;
use procession_sys::doorbell::Doorbell;
use procession_sys::prim::{AtomicU32, Ordering};
use procession_sys::signal::{self, Mask};
use procession_sys::{Deadline, pidfd, poll};
use procession_tests::{SOON, wait_until};

const ROWS: [(&str, fn()); 2] = [("poll_eintr", poll_eintr), ("ignore", ignore)];

/// How often a process is interrupted in each of its waits.
const TIMES: u32 = 20;

unsafe extern "C" {
    // Source: `siginterrupt(3)`. The handlers of the library have interrupted calls restarted; those of most programs do not.
    safe fn siginterrupt(signal: c_int, is_interrupting: c_int) -> c_int;
}

static CAUGHT: AtomicU32 = AtomicU32::new(0);

/// Has this signal interrupt whatever the calling thread waits in, and do nothing else. It goes to that thread alone: the one
/// that counts blocks it.
fn interrupt_calls_by(number: i32) {
    let bell: &'static Doorbell = Box::leak(Box::new(Doorbell::new().unwrap()));
    let catch = move || {
        signal::catch(number, bell, 1).unwrap();
        assert_eq!(siginterrupt(number, 1), 0);
    };
    let count = move || loop {
        poll::wait_readable(bell, Deadline::NEVER).unwrap();
        bell.silence().unwrap();
        // The second one would kill: count anew.
        catch();
        CAUGHT.fetch_add(1, Ordering::SeqCst);
    };
    signal::while_blocked(|| thread::spawn(count)).unwrap();
    catch();
}

/// Whether the main thread of that process sleeps.
fn sleeps(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.starts_with('S')
}

/// Interrupts a process in its sleep, many times; `caught` tells how often it has been.
fn interrupt(pid: u32, caught: impl Fn() -> u32) {
    let victim = pidfd::open(pid).unwrap();
    let before = caught();
    for time in 0..TIMES {
        wait_until("it sleeps", || sleeps(pid));
        assert!(pidfd::signal(&victim, signal::USER_1).unwrap());
        wait_until("it has caught the signal", || caught() > before + time);
    }
}

/// A signal with a handler comes while this process joins another one.
fn poll_eintr() {
    let work = |go: Receiver<()>| {
        go.recv().unwrap();
        7
    };
    let (go, wait) = pipe().unwrap();
    let sleeper = Process::spawn(work, (wait,)).unwrap();
    let kill = |parent: u32, (caught, go): (Receiver<u32>, Sender<()>)| {
        // What the parent has caught: it tells after each.
        let latest = std::cell::Cell::new(0);
        interrupt(parent, || {
            while let Ok(count) = caught.try_recv() {
                latest.set(count);
            }
            latest.get()
        });
        go.send(()).unwrap();
    };
    let (tell, told) = pipe().unwrap();
    let killer = Process::spawn(kill, (std::process::id(), (told, go))).unwrap();
    interrupt_calls_by(signal::USER_1);
    let telling = move || {
        signal::set_thread_mask(Mask::from_bits(u64::MAX)).unwrap();
        let mut last = 0;
        while last < TIMES {
            let count = CAUGHT.load(Ordering::SeqCst);
            if count > last {
                tell.send(count).unwrap();
                last = count;
            }
            thread::yield_now();
        }
        tell
    };
    let telling = signal::while_blocked(|| thread::spawn(telling)).unwrap();
    assert_eq!(sleeper.join().unwrap(), 7);
    assert_eq!(sleeper.exit_status().unwrap(), Some(ExitStatus::Exited(0)));
    killer.join().unwrap();
    drop(telling.join().unwrap());
    assert_eq!(CAUGHT.load(Ordering::SeqCst), TIMES);
}

/// Far more than a pipe holds.
const LARGE: usize = 8 << 20;

fn echo(pipe: Duplex<Vec<u8>, Vec<u8>>, tell: Sender<u32>) {
    interrupt_calls_by(signal::USER_1);
    let telling = move || {
        signal::set_thread_mask(Mask::from_bits(u64::MAX)).unwrap();
        let mut last = 0;
        tell.send(0).unwrap();
        while last < 2 * TIMES {
            let count = CAUGHT.load(Ordering::SeqCst);
            if count > last {
                tell.send(count).unwrap();
                last = count;
            }
            thread::yield_now();
        }
    };
    let telling = signal::while_blocked(|| thread::spawn(telling)).unwrap();
    let small = pipe.recv().unwrap();
    pipe.send(small).unwrap();
    pipe.send(vec![b'x'; LARGE]).unwrap();
    telling.join().unwrap();
}

/// Signals with a handler come while a process receives, and while it sends more than the pipe holds.
fn ignore() {
    let (end, theirs) = duplex::<Vec<u8>, Vec<u8>>().unwrap();
    let (tell, told) = pipe().unwrap();
    let child = Process::spawn(echo, (theirs, tell)).unwrap();
    assert_eq!(told.recv_timeout(SOON).unwrap(), 0, "it is ready");
    let latest = std::cell::Cell::new(0);
    let caught = || {
        while let Ok(count) = told.try_recv() {
            latest.set(count);
        }
        latest.get()
    };
    interrupt(child.pid(), caught);
    end.send(b"1234".to_vec()).unwrap();
    assert_eq!(end.recv_timeout(SOON).unwrap(), b"1234");
    // It fills the pipe by now, and waits for room.
    interrupt(child.pid(), caught);
    assert!(end.recv_timeout(SOON).unwrap() == vec![b'x'; LARGE]);
    child.join().unwrap();
    assert_eq!(child.exit_status().unwrap(), Some(ExitStatus::Exited(0)));
}

fn main() {
    procession::init();
    procession_tests::run_row(&ROWS);
}
