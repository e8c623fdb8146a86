//! Values of different types under names.
//!
//! ```text
//! x = 10, y = hello
//! names: ["x", "y"]
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use procession::Manager;

fn main() -> procession::Result<()> {
    procession::init();

    let manager = Manager::start()?;
    let global = manager.namespace()?;
    global.set("x", &10)?;
    global.set("y", "hello")?;
    // What is this process's own is a variable, and not in the namespace.
    let _z = 12.3;
    let (x, y) = (global.get::<i32>("x")?, global.get::<String>("y")?);
    println!("x = {}, y = {}", x.unwrap_or_default(), y.unwrap_or_default());
    println!("names: {:?}", Vec::from_iter(global.names()?));
    Ok(())
}
