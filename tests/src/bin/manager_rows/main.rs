//! Managers, in processes of all start methods: runs the row that the first argument names, under the start method that the second one
//! names.
#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]

mod containers;
mod custom;
mod lifetimes;
mod servers;
mod waits;

fn main() {
    procession::init();
    let rows =
        [containers::ROWS, lifetimes::ROWS, waits::ROWS, servers::ROWS, custom::ROWS].concat();
    procession_tests::run_row(&rows);
}
