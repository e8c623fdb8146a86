//! A pool of threads for what waits, and whose functions capture: the sizes of all files below a folder.
//!
//! ```sh
//! cargo run --example thread_pool -- crates
//! ```

#![expect(clippy::print_stdout, reason = "a program that talks")]

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use procession::ThreadPool;

/// What is in a folder: folders, and how many files of how many bytes.
fn look(root: &Path, folder: &Path) -> std::io::Result<(Vec<PathBuf>, u64, u64)> {
    let (mut folders, mut files, mut bytes) = (Vec::new(), 0, 0);
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            folders.push(folder.join(entry.file_name()));
        } else if kind.is_file() {
            (files, bytes) = (files + 1, bytes + entry.metadata()?.len());
        }
    }
    Ok((folders, files, bytes))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(std::env::args_os().nth(1).unwrap_or_else(|| ".".into()));
    // More than there are processors: they wait for the disk.
    let pool = ThreadPool::builder().workers(NonZeroUsize::new(16).expect("not zero")).build()?;
    let (mut files, mut bytes) = (0, 0);
    let mut level = vec![PathBuf::new()];
    while !level.is_empty() {
        // Captured, not sent; and an error of the system is a value as it is.
        let base = root.clone();
        let found = pool.imap_unordered(move |folder: PathBuf| look(&base, &folder), level);
        let mut next = Vec::new();
        for result in found {
            match result? {
                Ok((folders, more, size)) => {
                    next.extend(folders);
                    (files, bytes) = (files + more, bytes + size);
                }
                Err(error) => println!("a folder is left out: {error}"),
            }
        }
        level = next;
    }
    println!("{files} files, {bytes} bytes");
    Ok(())
}
