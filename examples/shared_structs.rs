//! A child changes a number, a float without a lock, a text, and structures, all in shared memory, three of them under one lock.
//!
//! ```text
//! 49
//! 0.1111111111111111
//! HELLO WORLD
//! [(3.515625, 39.0625), (33.0625, 4.0), (5.640625, 90.25)]
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use procession::prelude::*;
use procession_shared::{Array, Plain, RawArray, RawValue, Value};

#[derive(Debug, Clone, Copy, Plain)]
#[plain(crate = "procession_shared")]
struct Point {
    x: f64,
    y: f64,
}

fn modify(
    n: Value<i32>,
    x: RawValue<f64>,
    text: Array<u8>,
    points: Array<Point>,
) -> procession::Result<()> {
    n.update(|n| n.pow(2))?;
    x.set(x.get()?.powi(2))?;
    let upper = text.value()?.to_ascii_uppercase();
    text.set_value(&upper)?;
    points.update(.., |points| {
        for point in points {
            *point = Point { x: point.x.powi(2), y: point.y.powi(2) };
        }
    })?;
    Ok(())
}

fn main() -> procession::Result<()> {
    procession::init();

    let lock = RLock::new()?;
    let n = Value::new(7)?;
    let x = RawValue::new(1.0 / 3.0)?;
    let text = Array::synchronized(RawArray::from_slice(b"hello world")?, lock.clone());
    let points = [(1.875, -6.25), (-5.75, 2.0), (2.375, 9.5)].map(|(x, y)| Point { x, y });
    let points = Array::synchronized(RawArray::from_slice(&points)?, lock);

    let arguments = (n.clone(), x.clone(), text.clone(), points.clone());
    Process::spawn(modify, arguments)?.join()??;

    println!("{}", n.get()?);
    println!("{}", x.get()?);
    println!("{}", String::from_utf8_lossy(&text.value()?));
    let points: Vec<(f64, f64)> = points.to_vec()?.iter().map(|point| (point.x, point.y)).collect();
    println!("{points:?}");
    Ok(())
}
