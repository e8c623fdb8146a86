//! A child sends its parent one value through a pipe.
//!
//! ```text
//! (42, None, "hello")
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use procession::prelude::*;

type Message = (i32, Option<bool>, String);

fn answer(connection: Sender<Message>) -> procession::Result<()> {
    connection.send((42, None, "hello".into()))
}

fn main() -> procession::Result<()> {
    procession::init();

    let (tx, rx) = pipe()?;
    let child = Process::spawn(answer, (tx,))?;
    println!("{:?}", rx.recv()?);
    child.join()??;
    Ok(())
}
