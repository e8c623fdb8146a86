//! Methods that are called by their names, and what is said when there is no such method, or no such item.
//!
//! ```text
//! 10
//! [2, 3, 4, 5, 6]
//! NotFound: there is no item 20
//! Unsupported: no method `sort`
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use procession::{ErrorKind, Manager, shared};

struct Numbers(Vec<u32>);

#[shared]
impl Numbers {
    fn up_to(end: u32) -> Self {
        Self((0..end).collect())
    }
    fn len(&self) -> usize {
        self.0.len()
    }
    fn slice(&self, from: usize, to: usize) -> Vec<u32> {
        self.0.get(from..to).unwrap_or_default().to_vec()
    }
    fn item(&self, at: usize) -> procession::Result<u32> {
        let none = || procession::Error::new(ErrorKind::NotFound, format!("there is no item {at}"));
        self.0.get(at).copied().ok_or_else(none)
    }
}

fn main() -> procession::Result<()> {
    procession::init();

    let manager = Manager::builder().register::<Numbers>().start()?;
    let numbers = NumbersProxy::up_to(&manager, 10)?;
    println!("{}", numbers.call_by_name::<_, usize>("len", &())?);
    println!("{:?}", numbers.call_by_name::<_, Vec<u32>>("slice", &(2usize, 7usize))?);
    let item: procession::Result<u32> = numbers.call_by_name("item", &(20usize,))?;
    if let Err(error) = item {
        println!("{:?}: {error}", error.kind());
    }
    if let Err(error) = numbers.call_by_name::<_, ()>("sort", &()) {
        println!("{:?}: no method `sort`", error.kind());
    }
    Ok(())
}
