//! CPython's tests of managers, and of what they manage: runs the row that the first argument names, under the start method that the
//! second one names.
#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]

mod containers;
mod managers;
mod queue;
mod stage;
mod sync;
mod types;

fn main() {
    procession::init();
    let rows = [containers::ROWS, managers::ROWS, queue::ROWS, sync::ROWS, types::ROWS].concat();
    procession_tests::run_row(&rows);
}
