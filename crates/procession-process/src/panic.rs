//! Panics as values.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo, UnwindSafe};

use procession_sys::prim::{Mutex, OnceLock, lock};

use crate::Panic;

thread_local! {
    /// What the last panic of this thread was, while somebody catches here.
    static CAUGHT: RefCell<Option<Caught>> = const { RefCell::new(None) };
}

#[derive(Default)]
struct Caught {
    last: Option<Panic>,
}

/// Where a panic goes that cannot be caught, because the program is built to abort.
type LastWords = Box<dyn Fn(&Panic) + Send + Sync>;
static LAST_WORDS: Mutex<Option<LastWords>> = Mutex::new(None);

/// Calls `f`, and returns its panic if it panics.
///
/// The usual panic message is printed all the same: the hook that was in place when this was called first still runs.
/// In a program that is built with `panic = "abort"` nothing is caught; see [`set_last_words`].
///
/// # Errors
///
/// The panic.
pub fn catch<T>(f: impl FnOnce() -> T + UnwindSafe) -> Result<T, Panic> {
    install_hook();
    let outer = CAUGHT.replace(Some(Caught::default()));
    let result = panic::catch_unwind(f);
    let caught = CAUGHT.replace(outer);
    result.map_err(|payload| {
        let noted = caught.and_then(|caught| caught.last);
        let message = message_of(payload.as_ref());
        // A payload may panic when it is dropped, and what it panics with may do so again: that one is left alone.
        drop(panic::catch_unwind(AssertUnwindSafe(|| drop(payload))).map_err(ManuallyDrop::new));
        noted.unwrap_or_else(|| Panic {
            // Raised without the hook: by `resume_unwind`.
            message,
            location: "an unknown place".into(),
            backtrace: String::new(),
        })
    })
}

/// Says what to do with a panic inside [`catch`] before a program that is built with `panic = "abort"` ends: send it to
/// somebody. Not called in programs that unwind.
pub fn set_last_words(say: impl Fn(&Panic) + Send + Sync + 'static) {
    *lock(&LAST_WORDS) = Some(Box::new(say));
}

/// Installs what [`catch`] needs, so that forks of this process find it there.
pub(crate) fn install_hook() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // At the end of a thread, when exit handlers run, there is nothing left of it.
            let catching = CAUGHT.try_with(|caught| caught.borrow().is_some()).unwrap_or(false);
            if catching {
                note(describe(info));
            }
            previous(info);
        }));
    });
}

fn note(panic: Panic) {
    if cfg!(panic = "abort")
        && let Some(say) = &*lock(&LAST_WORDS)
    {
        say(&panic);
    }
    CAUGHT.with_borrow_mut(|caught| {
        if let Some(caught) = caught {
            caught.last = Some(panic);
        }
    });
}

fn describe(info: &PanicHookInfo<'_>) -> Panic {
    let off = std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value == "0");
    let backtrace = if off { Backtrace::disabled() } else { Backtrace::force_capture() };
    Panic {
        message: message_of(info.payload()),
        location: info.location().map_or_else(|| "an unknown place".into(), ToString::to_string),
        backtrace: match backtrace.status() {
            BacktraceStatus::Captured => backtrace.to_string(),
            _ => String::new(),
        },
    }
}

fn message_of(payload: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic whose payload is no text".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_caught_says_what_and_where() {
        let panic = catch(|| panic!("number {}", 7)).unwrap_err();
        assert_eq!(panic.message, "number 7");
        assert!(panic.location.contains("panic.rs:"), "{}", panic.location);
        assert!(panic.backtrace.contains("panic::tests"), "{}", panic.backtrace);
    }

    #[test]
    fn an_inner_panic_that_was_caught_is_forgotten() {
        assert_eq!(catch(|| panic::catch_unwind(|| panic!("inner")).is_err()), Ok(true));
        let outer = catch(|| {
            let inner = catch(|| panic!("inner")).unwrap_err();
            panic!("after {}", inner.message)
        });
        assert_eq!(outer.map(drop).unwrap_err().message, "after inner");
    }

    #[test]
    fn payloads_that_panic_when_dropped_are_caught() {
        struct Bomb(u8);
        impl Drop for Bomb {
            fn drop(&mut self) {
                if self.0 > 0 {
                    panic::panic_any(Bomb(self.0 - 1));
                }
            }
        }
        let panic = catch(|| panic::panic_any(Bomb(2))).unwrap_err();
        assert_eq!(panic.message, "a panic whose payload is no text");
    }

    #[test]
    fn payloads_that_are_no_text_are_noted() {
        let panic = catch(|| panic::panic_any(7)).unwrap_err();
        assert_eq!(panic.message, "a panic whose payload is no text");
        let resumed = catch(|| panic::resume_unwind(Box::new("resumed"))).unwrap_err();
        assert_eq!(resumed.message, "resumed");
    }
}
