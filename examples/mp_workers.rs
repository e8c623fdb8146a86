//! Four workers take tasks from one queue and put results into another, in whatever order they come. Which worker does which task
//! is anybody's guess; all tasks of the first lot are done before the second is given out.
//!
//! A pool does the same with less: see `wordcount`.
//!
//! ```text
//! Unordered results:
//!      Process-1 says that mul(0, 7) = 0
//!      Process-3 says that mul(2, 7) = 14
//!      Process-2 says that mul(1, 7) = 7
//!      ..
//!      Process-4 says that plus(9, 8) = 17
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use procession::prelude::*;
use serde::{Deserialize, Serialize};

const WORKERS: usize = 4;

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Task {
    Mul(i32, i32),
    Plus(i32, i32),
}

/// What a worker finds in its queue: a type of its own for the end, so that no task can be taken for it.
#[derive(Debug, Serialize, Deserialize)]
enum Order {
    Do(Task),
    Stop,
}

fn work(orders: Queue<Order>, results: Queue<String>) -> procession::Result<()> {
    while let Order::Do(task) = orders.get()? {
        results.put(calculate(task))?;
    }
    Ok(())
}

fn calculate(task: Task) -> String {
    let (name, a, b, result) = match task {
        Task::Mul(a, b) => ("mul", a, b, a * b),
        Task::Plus(a, b) => ("plus", a, b, a + b),
    };
    // Stands for work: some tasks take longer than others.
    std::thread::park_timeout(Duration::from_millis(u64::from(result.unsigned_abs() % 25)));
    let worker = procession::current_process();
    format!("{} says that {name}({a}, {b}) = {result}", worker.name())
}

fn print_results(results: &Queue<String>, count: usize) -> procession::Result<()> {
    for _ in 0..count {
        println!("     {}", results.get()?);
    }
    Ok(())
}

fn main() -> procession::Result<()> {
    procession::init();

    let first: Vec<Task> = (0..20).map(|i| Task::Mul(i, 7)).collect();
    let second: Vec<Task> = (0..10).map(|i| Task::Plus(i, 8)).collect();
    let orders = Queue::new()?;
    let results = Queue::new()?;
    orders.put_many(first.iter().copied().map(Order::Do))?;
    let workers: Vec<_> = (0..WORKERS)
        .map(|_| Process::spawn(work, (orders.clone(), results.clone())))
        .collect::<Result<_, _>>()?;
    println!("Unordered results:");
    print_results(&results, first.len())?;

    // The workers wait for more.
    for task in &second {
        orders.put(Order::Do(*task))?;
    }
    print_results(&results, second.len())?;

    // One for each. `orders.close()` would tell them all at once.
    for _ in &workers {
        orders.put(Order::Stop)?;
    }
    for worker in &workers {
        worker.join()??;
    }
    Ok(())
}
