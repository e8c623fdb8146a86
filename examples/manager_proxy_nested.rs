//! Proxies within what other proxies stand for.
//!
//! ```text
//! [["hello"], []]
//! first: a = 1, second: b = 2
//! the first is kept by the list alone: a = 1
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use procession::{DictProxy, ListProxy, Manager};

fn main() -> procession::Result<()> {
    procession::init();

    let manager = Manager::start()?;
    let (inner, other) = (manager.list::<String>()?, manager.list::<String>()?);
    let outer = manager.list_of([inner.clone(), other])?;
    inner.push("hello")?;
    let contents: Result<Vec<_>, _> = outer.iter().map(|list| list?.to_vec()).collect();
    println!("{:?}", contents?);

    let dicts: ListProxy<DictProxy<String, i32>> = manager.list()?;
    for (name, number) in [("a", 1), ("b", 2)] {
        dicts.push(&manager.dict_of([(name.to_owned(), number)])?)?;
    }
    let get = |at: usize, name: &str| -> procession::Result<i32> {
        let dict = dicts.get(at)?;
        Ok(dict.map_or(Ok(None), |dict| dict.get(name))?.unwrap_or_default())
    };
    println!("first: a = {}, second: b = {}", get(0, "a")?, get(1, "b")?);
    drop(dicts.pop()?);
    println!("the first is kept by the list alone: a = {}", get(0, "a")?);
    Ok(())
}
