//! A proxy, and what it stands for.
//!
//! ```text
//! [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]
//! item 4: 16
//! items 2 to 5: [4, 9, 16]
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use procession::Manager;

fn main() -> procession::Result<()> {
    procession::init();

    let manager = Manager::start()?;
    let list = manager.list_of((0..10).map(|number| number * number))?;
    // What it stands for is asked for; `{list:?}` says where that is.
    println!("{:?}", list.to_vec()?);
    println!("item 4: {}", list.get(4)?.unwrap_or_default());
    println!("items 2 to 5: {:?}", list.range(2..5)?);
    Ok(())
}
