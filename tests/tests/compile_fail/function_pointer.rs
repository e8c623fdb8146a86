//! A function pointer, which is a value and not a function.

use procession::prelude::*;

fn double(x: i32) -> i32 {
    x * 2
}

fn main() {
    let pool = Pool::new().unwrap();
    let function: fn(i32) -> i32 = double;
    let _doubled = pool.map(function, [1, 2]);
}
