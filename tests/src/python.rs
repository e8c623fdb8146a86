//! The CPythons of this machine, for tests that exchange something with them.

use std::path::PathBuf;

use crate::{program, skip};

/// The releases that are asked for, 3.9 to 3.13.
const MINORS: std::ops::RangeInclusive<u32> = 9..=13;

/// A CPython, 3.`minor`.
#[derive(Debug, Clone)]
pub struct Python {
    /// Of its version.
    pub minor: u32,
    /// Where it is.
    pub path: PathBuf,
}

/// One CPython of each release that is installed; a release that is not is skipped aloud.
///
/// `PYTHON_3_<minor>` says where one is; otherwise it is looked for on the path, and where pyenv puts it.
pub fn pythons() -> Vec<Python> {
    MINORS.filter_map(find).collect()
}

fn find(minor: u32) -> Option<Python> {
    let given = std::env::var_os(format!("PYTHON_3_{minor}")).map(PathBuf::from);
    let found = given.into_iter().chain([PathBuf::from(format!("python3.{minor}"))]);
    let path = found.chain(of_pyenv(minor)).find_map(|candidate| itself(&candidate, minor));
    if path.is_none() {
        skip(&format!("CPython 3.{minor} is not installed; PYTHON_3_{minor} may say where it is"));
    }
    path.map(|path| Python { minor, path })
}

fn of_pyenv(minor: u32) -> impl Iterator<Item = PathBuf> {
    let versions = std::env::home_dir().unwrap_or_default().join(".pyenv/versions");
    let folders = std::fs::read_dir(versions).into_iter().flatten().flatten();
    folders
        .filter(move |folder| {
            folder.file_name().to_string_lossy().starts_with(&format!("3.{minor}."))
        })
        .map(|folder| folder.path().join("bin/python"))
}

/// The program itself: what is found on the path may be a script that looks for it.
fn itself(candidate: &PathBuf, minor: u32) -> Option<PathBuf> {
    let ask = format!(
        "import sys; print(sys.executable if sys.version_info[:2] == (3, {minor}) else '')"
    );
    let output = program(candidate).args(["-c", &ask]).output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    Some(path.trim()).filter(|path| !path.is_empty()).map(PathBuf::from)
}
