//! CPython's tests of queues, and what those do not ask: runs the row that the first argument names, under the start method that the
//! second one names.
#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]

mod elsewhere;
mod joinable;
mod queue;
mod rules;
mod simple;
mod stage;

fn main() {
    procession::init();
    let rows = [queue::ROWS, joinable::ROWS, simple::ROWS, elsewhere::ROWS, rules::ROWS].concat();
    procession_tests::run_row(&rows);
}
