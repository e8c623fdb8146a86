//! A dictionary and a list behind a manager's server, which a child changes.
//!
//! ```text
//! 1: "1", 2: "two", 25: none
//! [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use procession::prelude::*;
use procession::{DictProxy, ListProxy, Manager};

fn change(dict: DictProxy<i32, Option<String>>, list: ListProxy<i32>) -> procession::Result<()> {
    dict.set(&1, &Some("1".into()))?;
    dict.set(&2, &Some("two".into()))?;
    dict.set(&25, &None)?;
    list.reverse()
}

fn main() -> procession::Result<()> {
    procession::init();

    let manager = Manager::start()?;
    let dict = manager.dict()?;
    let list = manager.list_of(0..10)?;
    let child = Process::spawn(change, (dict.clone(), list.clone()))?;
    child.join()??;

    let shown: Vec<String> = dict
        .iter()
        .map(|entry| {
            let (key, value) = entry?;
            Ok(format!("{key}: {}", value.map_or("none".into(), |text| format!("{text:?}"))))
        })
        .collect::<procession::Result<_>>()?;
    println!("{}", shown.join(", "));
    println!("{:?}", list.to_vec()?);
    Ok(())
}
