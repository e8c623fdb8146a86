//! Types of one's own at a server: one that shows a part of what it can, one that makes numbers as they are asked for, and one that computes for
//! others. After `mp_newtype.py` of Python's documentation.
//!
//! ```text
//! you called Foo.f()
//! you called Foo.g()
//! you called Foo.g()
//! you called Foo._h()
//! 0 1 4 9 16 25 36 49 64 81
//! repeat: [7, 7, 7], pow(2, 94) = 19807040628566084398385987584
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use procession::manager::share;
use procession::{Manager, shared};

/// What both of the following do.
struct Foo;

impl Foo {
    fn called(name: &str) -> String {
        format!("you called Foo.{name}()")
    }
}

/// Shows `f` and `g`.
struct Foo1;

#[shared]
impl Foo1 {
    fn new() -> Self {
        Self
    }
    fn f(&self) -> String {
        Foo::called("f")
    }
    fn g(&self) -> String {
        Foo::called("g")
    }
}

/// Shows `g` and `_h`.
struct Foo2;

#[shared]
impl Foo2 {
    fn new() -> Self {
        Self
    }
    fn g(&self) -> String {
        Foo::called("g")
    }
    fn _h(&self) -> String {
        Foo::called("_h")
    }
}

/// The squares of numbers, one after the other.
struct Squares(std::ops::Range<u64>);

#[shared]
impl Squares {
    fn next(&mut self) -> Option<u64> {
        self.0.next().map(|number| number * number)
    }
}

/// What stands for a module of functions.
struct Operator;

#[shared]
impl Operator {
    fn new() -> Self {
        Self
    }
    /// A value of another type: its proxy is what is returned.
    fn squares(&self, end: u64) -> procession::Result<SquaresProxy> {
        share(Squares(0..end))
    }
    fn repeat(&self, item: i32, times: usize) -> Vec<i32> {
        vec![item; times]
    }
    fn pow(&self, base: u128, exponent: u32) -> u128 {
        base.pow(exponent)
    }
}

fn main() -> procession::Result<()> {
    procession::init();

    let builder = Manager::builder().register::<Foo1>().register::<Foo2>();
    let manager = builder.register::<Operator>().start()?;
    let (foo1, foo2) = (Foo1Proxy::new(&manager)?, Foo2Proxy::new(&manager)?);
    println!("{}\n{}", foo1.f()?, foo1.g()?);
    println!("{}\n{}", foo2.g()?, foo2._h()?);

    let operator = OperatorProxy::new(&manager)?;
    let squares = operator.squares(10)??;
    let mut shown = Vec::new();
    while let Some(square) = squares.next()? {
        shown.push(square.to_string());
    }
    println!("{}", shown.join(" "));
    let (repeated, power) = (operator.repeat(7, 3)?, operator.pow(2, 94)?);
    println!("repeat: {repeated:?}, pow(2, 94) = {power}");
    Ok(())
}
