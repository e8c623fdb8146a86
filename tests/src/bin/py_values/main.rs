//! CPython's tests of values and arrays in shared memory, and what they do not ask: runs the row that the first argument names,
//! under the start method that the second one names.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failure here fails the test")]

mod array;
mod ctypes;
mod death;
mod forks;
mod handles;
mod heap;
mod stage;
mod value;

fn main() {
    procession::init();
    let rows = [
        value::ROWS,
        array::ROWS,
        ctypes::ROWS,
        heap::ROWS,
        handles::ROWS,
        death::ROWS,
        forks::ROWS,
    ]
    .concat();
    procession_tests::run_row(&rows);
}
