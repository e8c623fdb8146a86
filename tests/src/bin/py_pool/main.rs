//! CPython's tests of pools and executors, and what those do not ask: runs the row that the first argument names, under the start
//! method that the second one names.
#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]

mod as_completed;
mod deadlock;
mod executor;
mod future;
mod init;
mod lifetime;
mod process_pool;
mod results;
mod shutdown;
mod stage;
mod tasks;
mod wait;

fn main() {
    stage::be_silent_about_what_is_on_purpose();
    procession::init();
    let rows = [
        tasks::ROWS,
        results::ROWS,
        lifetime::ROWS,
        executor::ROWS,
        process_pool::ROWS,
        deadlock::ROWS,
        shutdown::ROWS,
        init::ROWS,
        future::ROWS,
        wait::ROWS,
        as_completed::ROWS,
    ]
    .concat();
    procession_tests::run_row(&rows);
}
