//! What the acts need, and what their actors do.

use std::os::fd::OwnedFd;

use procession::waiting::{self, Policy};
use procession::{Handle, Process, Result};
use procession_sys::fd;
use procession_sys::memory::SharedWords;
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::SeqCst;
use serde::{Deserialize, Serialize};

use super::item::{Flavour, Item, Line, Shape};
use crate::{SOON, wait_until};

/// The number of the item that an act is about; those in front of it are for warming up.
pub(super) const FIRST: u64 = 10;

/// How many items are put and got across the end of a chunk.
pub(super) const CROSSED: u64 = 4;

/// Slots of a chunk.
const CHUNK: usize = 256;

/// The words that stage and actor share.
#[derive(Debug)]
pub(super) struct Board(SharedWords);

impl Board {
    pub(super) fn new() -> Self {
        Self(SharedWords::create(64).expect("memory"))
    }

    fn copy(&self) -> Handle<OwnedFd> {
        Handle(fd::duplicate(&self.0).expect("a descriptor"))
    }

    /// The actor is ready.
    pub(super) fn ready(&self) -> &AtomicU64 {
        self.0.word(0)
    }

    /// It may act.
    pub(super) fn go(&self) -> &AtomicU64 {
        self.0.word(8)
    }

    /// It has done what it wanted.
    pub(super) fn done(&self) -> &AtomicU64 {
        self.0.word(16)
    }

    /// The act is over.
    pub(super) fn over(&self) -> &AtomicU64 {
        self.0.word(24)
    }

    /// How many items it has begun to put, has put, has begun to get, has got.
    pub(super) fn count(&self, which: usize) -> &AtomicU64 {
        self.0.word(32 + which)
    }

    fn wait_for_go(&self) {
        self.ready().store(1, SeqCst);
        while self.go().load(SeqCst) == 0 {
            std::hint::spin_loop();
        }
    }
}

/// What the actor has.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Props {
    name: String,
    board: Handle<OwnedFd>,
    line: Line,
    writer: Option<Handle<OwnedFd>>,
}

impl Props {
    pub(super) fn new(name: &str, board: &Board, line: &Line, writer: Option<&OwnedFd>) -> Self {
        let writer = writer.map(|fd| Handle(fd::duplicate(fd).expect("a descriptor")));
        Self { name: name.to_owned(), board: board.copy(), line: line.clone(), writer }
    }
}

/// How long the content of an act's items is.
pub(super) fn len(name: &str) -> usize {
    match name {
        "put-span" | "get-span" | "put-bytes" | "get-bytes" | "attach-and-retire" => 1024,
        "put-large" | "get-large" | "lease-done" => 100_000,
        _ => 4,
    }
}

pub(super) fn has_handle(name: &str) -> bool {
    name.ends_with("-handle")
}

/// The queue of an act.
pub(super) fn shape(name: &str) -> Shape {
    let (flavour, attempts) = match name {
        "lease-done" | "lease-back" => (Flavour::Leases, None),
        "task-done" => (Flavour::Tasks, None),
        "settle" => (Flavour::Leases, Some(1)),
        _ => (Flavour::Plain, None),
    };
    // Two of the items go in.
    let bytes = name.ends_with("-bytes").then_some(2_300);
    Shape { flavour, items: None, bytes, attempts }
}

/// The position of the item that an act is about; where a debt is settled, of the last one that is.
pub(super) fn position(name: &str) -> u64 {
    u64::from(["put", "get", "settle"].iter().any(|front| name.starts_with(front)))
}

pub(super) fn item(name: &str, number: u64, writer: Option<&OwnedFd>) -> Item {
    let number = usize::try_from(number).expect("a small number");
    let copy = writer.map(|fd| fd::duplicate(fd).expect("a descriptor"));
    Item::new(0, number, len(name)).with(copy)
}

/// What is done before there is an actor.
pub(super) fn prepare(name: &str, line: &Line, writer: Option<&OwnedFd>) {
    match name {
        "settle" => {
            for number in 0..2 {
                line.put(item(name, number, None)).expect("there is room");
            }
        }
        "attach-and-retire" => {
            for _ in 0..CHUNK - 3 {
                line.put(item(name, 0, None)).expect("there is room");
                line.take(SOON).expect("it is there");
            }
        }
        "lease-done" | "lease-back" | "task-done" => {
            line.put(item(name, FIRST, None)).expect("there is room");
        }
        name if name.starts_with("get") => {
            for number in [0, FIRST] {
                line.put(item(name, number, writer)).expect("there is room");
            }
        }
        _ => {}
    }
}

/// Somebody gets an item, leases one, puts some, and dies. Whoever looks next has to settle that.
pub(super) fn leave_debts(line: &Line) {
    let board = Board::new();
    let args = (board.copy(), line.clone());
    let debtor = Process::builder().daemon(true).spawn(borrow, args).expect("a debtor");
    wait_until("it has what it wants", || board.over().load(SeqCst) == 1);
    debtor.kill().expect("a signal");
    debtor.join().expect_err("it was killed");
}

/// The lengths of what the debtor puts.
const PUT: [usize; 3] = [4, 1024, 100_000];

fn borrow(board: Handle<OwnedFd>, line: Line) -> Result<()> {
    let board = Board(SharedWords::open(board.into_inner())?);
    let queue = line.joinable().expect("it can be joined");
    queue.get()?;
    let _lease = queue.lease()?;
    for (number, len) in PUT.into_iter().enumerate() {
        line.put(Item::new(1, number, len))?;
    }
    board.over().store(1, SeqCst);
    loop {
        std::thread::park();
    }
}

/// What it put is there.
pub(super) fn take_debts(line: &Line) {
    for (number, len) in PUT.into_iter().enumerate() {
        let item = line.take(SOON).expect("it is there");
        assert_eq!((item.putter, item.number), (1, number as u64));
        item.check(len, false);
    }
}

/// What the actor does; alone, and killed somewhere on the way.
pub(super) fn act(props: Props) -> Result<()> {
    // Spinning is many instructions of which one is like the other.
    waiting::set_policy(Policy::Sleep);
    let Props { name, board, line, writer } = props;
    let board = Board(SharedWords::open(board.into_inner())?);
    let writer = writer.map(Handle::into_inner);
    match (name.as_str(), &line) {
        ("lease-done" | "lease-back", Line::Leases(queue)) => {
            let lease = queue.lease()?;
            board.wait_for_go();
            if name == "lease-done" { lease.done()? } else { lease.give_back()? }
        }
        ("task-done", Line::Tasks(queue)) => {
            queue.get()?;
            board.wait_for_go();
            queue.task_done()?;
        }
        ("settle", _) => {
            board.wait_for_go();
            line.joinable().expect("it can be joined").len()?;
        }
        ("close", Line::Plain(queue)) => {
            board.wait_for_go();
            queue.close()?;
        }
        ("attach-and-retire", Line::Plain(queue)) => {
            let items: Vec<_> = (0..CROSSED).map(|at| item(&name, FIRST + at, None)).collect();
            board.wait_for_go();
            for item in items {
                board.count(0).fetch_add(1, SeqCst);
                queue.put(item)?;
                board.count(1).fetch_add(1, SeqCst);
            }
            for _ in 0..CROSSED {
                board.count(2).fetch_add(1, SeqCst);
                drop(queue.get()?);
                board.count(3).fetch_add(1, SeqCst);
            }
        }
        (name, Line::Plain(queue)) if name.starts_with("put") => {
            queue.put(item(name, 0, writer.as_ref()))?;
            queue.get()?;
            // What is prepared costs no instructions.
            let item = item(name, FIRST, writer.as_ref());
            board.wait_for_go();
            queue.put(item)?;
        }
        (_, Line::Plain(queue)) => {
            queue.get()?;
            board.wait_for_go();
            let item = queue.get()?;
            board.done().store(1, SeqCst);
            drop(item);
        }
        (name, _) => panic!("no act `{name}`"),
    }
    board.done().store(1, SeqCst);
    board.over().store(1, SeqCst);
    loop {
        std::hint::spin_loop();
    }
}
