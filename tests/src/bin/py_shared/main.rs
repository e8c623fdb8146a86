//! CPython's `_TestSharedMemory`, and what becomes of blocks when processes die: runs the row that the first argument names, under
//! the start method that the second one names.
#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]

mod blocks;
mod lifetime;
mod sequences;

fn main() {
    procession::init();
    let rows = [blocks::ROWS, lifetime::ROWS, sequences::ROWS].concat();
    procession_tests::run_row(&rows);
}

/// A row: its name, and what it does.
type Row = (&'static str, fn());

/// A name of a row's own; unlinked when this is dropped.
struct Name(String);

impl Name {
    fn new(what: &str) -> Self {
        Self(format!("procession-test-{}-{what}", std::process::id()))
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        drop(std::fs::remove_file(format!("/dev/shm/{}", self.0)));
    }
}

/// Whether there is a block of that name.
fn is_there(name: &str) -> bool {
    std::fs::exists(format!("/dev/shm/{name}")).unwrap()
}

/// What a child returned.
#[track_caller]
fn value<R: serde::Serialize + for<'de> serde::Deserialize<'de> + 'static>(
    child: &procession::Process<R>,
) -> R {
    child.join_timeout(procession_tests::SOON).unwrap().unwrap()
}
