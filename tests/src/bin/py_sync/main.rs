//! CPython's tests of what processes take turns by and wait for, and what follows when one of them dies: runs the row that the
//! first argument names, under the start method that the second one names.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failure here fails the test")]

mod alone;
mod barrier;
mod broken;
mod condition;
mod death;
mod event;
mod forks;
mod handles;
mod lock;
mod policies;
mod resources;
mod semaphore;
mod stage;

fn main() {
    procession::init();
    let rows = [
        lock::ROWS,
        semaphore::ROWS,
        condition::ROWS,
        event::ROWS,
        barrier::ROWS,
        handles::ROWS,
        forks::ROWS,
        death::ROWS,
        alone::ROWS,
        broken::ROWS,
        resources::ROWS,
        policies::ROWS,
    ]
    .concat();
    procession_tests::run_row(&rows);
}
