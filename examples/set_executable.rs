//! Has children run another file than this program's own: a copy of it, say, that lies where they can read it.
//!
//! It must be the same build. Whatever else the file is, it is refused before anything of it is believed.
//!
//! ```text
//! children run `set_executable`
//! children run `a copy`
//! /bin/true ended without an answer: `procession::init()` must be the first line of its `main`
//! children run `set_executable`
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::PathBuf;

use procession::ErrorKind;
use procession::prelude::*;

/// The name of the file that this process runs.
fn own_file() -> procession::Result<PathBuf> {
    let path = std::env::current_exe()?;
    Ok(path.file_name().map(PathBuf::from).unwrap_or_default())
}

fn ask_a_child() -> procession::Result<()> {
    // A fork server that runs goes on to run what it runs.
    let spawn = Context::new(StartMethod::Spawn);
    let file = spawn.process().spawn(own_file, ())?.join()??;
    println!("children run `{}`", file.display());
    Ok(())
}

fn main() -> procession::Result<()> {
    procession::init();
    ask_a_child()?;

    let folder = std::env::temp_dir().join(format!("procession-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let copy = folder.join("a copy");
    std::fs::copy(std::env::current_exe()?, &copy)?;
    procession::set_executable(Some(&copy));
    ask_a_child()?;
    std::fs::remove_dir_all(&folder)?;

    procession::set_executable(Some("/bin/true"));
    match ask_a_child() {
        Err(error) if error.kind() == ErrorKind::NotInitialized => println!("{error}"),
        other => other?,
    }

    procession::set_executable(None::<PathBuf>);
    ask_a_child()
}
