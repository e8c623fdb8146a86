//! CPython's tests of connections, listeners, clients and waiting for many, between processes, and what those do not ask: runs the
//! row that the first argument names, under the start method that the second one names.
#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]

mod auth;
mod connection;
mod handles;
mod listener;
mod moving;
mod polling;
mod signals;
mod stage;
mod waiting;

fn main() {
    procession::init();
    let rows = [
        connection::ROWS,
        listener::ROWS,
        polling::ROWS,
        handles::ROWS,
        moving::ROWS,
        auth::ROWS,
        waiting::ROWS,
        signals::ROWS,
    ]
    .concat();
    procession_tests::run_row(&rows);
}
