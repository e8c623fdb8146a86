//! What was got from a container is a copy: to change it there, it is put back, or changed there.
//!
//! ```text
//! changed here: {}
//! put back: {"a": 1}
//! changed there: {"a": 2}
//! the same object: true, the same content: false
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::BTreeMap;

use procession::{ErrorKind, Manager};

fn main() -> procession::Result<()> {
    procession::init();

    let manager = Manager::start()?;
    let list = manager.list_of([BTreeMap::<String, i32>::new()])?;
    let first = || {
        let none = || procession::Error::new(ErrorKind::NotFound, "the list is empty");
        list.get(0)?.ok_or_else(none)
    };

    let mut copy = first()?;
    copy.insert("a".into(), 1);
    println!("changed here: {:?}", first()?);
    list.set(0, &copy)?;
    println!("put back: {:?}", first()?);
    // Nobody comes in between.
    list.update_all(|items| items[0].insert("a".into(), 2))?;
    println!("changed there: {:?}", first()?);

    // Proxies are compared by what they stand for, and not by what is in it.
    let (one, other) = (manager.list_of(0..3)?, manager.list_of(0..3)?);
    println!("the same object: {}, the same content: {}", one == one.clone(), one == other);
    Ok(())
}
