//! What decoding a value may do while it is received: anything.

use std::cell::RefCell;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;

use procession_connection::{RecvTimeoutError, TryRecvError, pipe};
use procession_core::Handle;
use serde::{Deserialize, Deserializer, Serialize};

use crate::pipe::SOON;

type Hook = Box<dyn Fn(u32)>;

thread_local! {
    /// Runs when this thread decodes a value.
    static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
}

#[derive(Serialize, Debug)]
struct Hooked(u32, Vec<u8>, Option<Handle<File>>);

impl<'de> Deserialize<'de> for Hooked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (number, bytes, handle) = Deserialize::deserialize(deserializer)?;
        HOOK.with_borrow(|hook| hook.iter().for_each(|hook| hook(number)));
        Ok(Self(number, bytes, handle))
    }
}

fn hooked(number: u32, len: usize, path: &str) -> Hooked {
    Hooked(number, vec![7; len], Some(Handle(File::open(path).unwrap())))
}

fn is_dev_zero(value: &Hooked) -> bool {
    let mut byte = [1];
    let mut file = &value.2.as_ref().unwrap().0;
    std::io::Read::read(&mut file, &mut byte).unwrap() == 1 && byte == [0]
}

#[test]
fn a_panic_uses_up_its_message_with_its_handles_and_no_other() {
    HOOK.set(Some(Box::new(|number| assert!(number != 13, "a value that cannot be decoded"))));
    for len in [0, 5_000, 100_000] {
        let (tx, rx) = pipe::<Hooked>().unwrap();
        tx.send(hooked(13, len, "/dev/null")).unwrap();
        tx.send(hooked(2, 0, "/dev/zero")).unwrap();
        let receive = || rx.recv_timeout(SOON);
        assert!(catch_unwind(AssertUnwindSafe(receive)).is_err());
        let next = receive().unwrap();
        assert_eq!(next.0, 2);
        assert!(is_dev_zero(&next));
        assert!(matches!(rx.try_recv(), Err(TryRecvError::Empty)));
        drop(tx);
        assert!(matches!(receive(), Err(RecvTimeoutError::Closed)));
    }
}

#[test]
fn a_value_that_takes_long_to_decode_holds_up_nobody_else() {
    let (tx, rx) = pipe::<Hooked>().unwrap();
    let (begins, began) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let slow = scope.spawn(|| {
            HOOK.set(Some(Box::new(move |_number| {
                begins.send(()).unwrap();
                // Until the other message is received, or this side is.
                assert!(may_go_on.recv_timeout(SOON).is_ok(), "nobody received the other message");
            })));
            rx.recv_timeout(SOON).unwrap().0
        });
        tx.send(hooked(1, 0, "/dev/null")).unwrap();
        began.recv().unwrap();
        assert!(matches!(rx.try_recv(), Err(TryRecvError::Empty)));
        tx.send(hooked(2, 0, "/dev/zero")).unwrap();
        let other = rx.recv_timeout(SOON).unwrap();
        assert_eq!(other.0, 2);
        assert!(is_dev_zero(&other));
        go_on.send(()).unwrap();
        assert_eq!(slow.join().unwrap(), 1);
    });
}

#[test]
fn a_value_may_receive_from_its_own_pipe_while_it_is_decoded() {
    let (tx, rx) = pipe::<Hooked>().unwrap();
    tx.send(hooked(1, 100_000, "/dev/null")).unwrap();
    tx.send(hooked(2, 70_000, "/dev/zero")).unwrap();
    tx.send(hooked(3, 0, "/dev/zero")).unwrap();
    let rx = std::rc::Rc::new(rx);
    let within = std::rc::Rc::clone(&rx);
    HOOK.set(Some(Box::new(move |number| {
        if number == 1 {
            let inner = within.recv_timeout(SOON).unwrap();
            assert_eq!((inner.0, inner.1.len()), (2, 70_000));
            assert!(is_dev_zero(&inner));
        }
    })));
    let first = rx.recv_timeout(SOON).unwrap();
    assert_eq!((first.0, first.1.len()), (1, 100_000));
    assert_eq!(rx.recv_timeout(SOON).unwrap().0, 3);
    HOOK.set(None);
}
