//! Workers that keep something between tasks, tasks that say how far they are, and what a pool tells of itself.
//!
//! Each worker opens a dictionary once, which takes long; each task looks words up in it. In the end each worker says how many it has found.
#![expect(clippy::print_stdout, reason = "an example prints")]

use std::collections::HashSet;
use std::num::NonZeroUsize;

use procession::current_task;
use procession::prelude::*;

struct Dictionary {
    words: HashSet<String>,
    found: usize,
}

/// Runs in each worker, before its first task.
fn open(text: String) -> Result<Dictionary, String> {
    let words: HashSet<_> = text.split_whitespace().map(str::to_lowercase).collect();
    match words.is_empty() {
        true => Err("an empty dictionary".into()),
        false => Ok(Dictionary { words, found: 0 }),
    }
}

/// Which words of a line are not in the dictionary.
fn check(dictionary: &mut Dictionary, line: String) -> Vec<String> {
    let words: Vec<_> = line.split_whitespace().collect();
    let mut unknown = Vec::new();
    for (done, word) in words.iter().enumerate() {
        if let Some(task) = current_task() {
            task.report_progress(done as u64, words.len() as u64);
        }
        match dictionary.words.contains(&word.to_lowercase()) {
            true => dictionary.found += 1,
            false => unknown.push((*word).to_owned()),
        }
    }
    unknown
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    procession::init();
    let text = "the quick brown fox jumps over a lazy dog".to_owned();
    let pool = Pool::builder()
        .init(open, (text,))?
        .exit(|dictionary: Dictionary| dictionary.found)?
        .workers(NonZeroUsize::new(2).ok_or("two workers")?)
        .build()?;
    let lines = ["The quick brown fax", "jumps over", "the lazy doc"].map(String::from);
    for (line, unknown) in lines.iter().zip(pool.map(check, lines.clone())?) {
        println!("{line}: {unknown:?}");
    }
    let stats = pool.pool().stats();
    println!("{} tasks by {} workers", stats.tasks, stats.workers.len());
    let found: usize = pool.exit_values()?.into_iter().sum();
    println!("{found} words found");
    Ok(())
}
