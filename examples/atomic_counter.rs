//! Four processes count to a common total, in three ways.
//!
//! To read a number, add one and write it back is three steps: others come in between, and counts are lost. Under the lock of a value nobody
//! does; and an atomic number needs none.
//!
//! ```text
//! under the lock: 40000
//! by atomic additions: 40000
//! by reading and writing: at most 40000
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use procession::RawValue;
use procession::prelude::*;

const PROCESSES: u64 = 4;
const COUNTS: u64 = 10_000;

type Counters = (Value<u64>, RawValue<u64>, RawValue<u64>);

fn count(
    locked: Value<u64>,
    atomic: RawValue<u64>,
    careless: RawValue<u64>,
) -> procession::Result<()> {
    for _ in 0..COUNTS {
        // The same as `let guard = locked.lock()?; guard.set(guard.get()? + 1)?;`.
        locked.update(|count| count + 1)?;
        atomic.fetch_add(1)?;
        careless.set(careless.get()? + 1)?;
    }
    Ok(())
}

fn main() -> procession::Result<()> {
    procession::init();

    let counters: Counters = (Value::new(0)?, RawValue::new(0)?, RawValue::new(0)?);
    let children: Vec<_> = (0..PROCESSES)
        .map(|_| Process::spawn(count, counters.clone()))
        .collect::<Result<_, _>>()?;
    for child in &children {
        child.join()??;
    }
    let (locked, atomic, careless) = counters;
    println!("under the lock: {}", locked.get()?);
    println!("by atomic additions: {}", atomic.get()?);
    assert!(careless.get()? <= PROCESSES * COUNTS);
    println!("by reading and writing: at most {}", PROCESSES * COUNTS);
    Ok(())
}
