//! Rules of `docs/style.md` that no lint knows.
//!
//! All findings are collected and printed as `file:line: what`, so that one run shows the whole work.

mod links;
mod rust;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::layers::{Plan, Unsafety};
use crate::metadata::Metadata;
use crate::source;

/// The folders whose files are checked, below the root.
const FOLDERS: [&str; 7] = ["crates", "xtask", "tests", "examples", "benches", "fuzz", "docs"];

/// One broken rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Relative to the root.
    path: PathBuf,
    line: usize,
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.line, self.what)
    }
}

/// A broken rule inside a file that the caller knows.
#[derive(Debug, PartialEq, Eq)]
struct Spot {
    /// Counted from 1.
    line: usize,
    what: String,
}

impl Spot {
    fn new(line: usize, what: impl Into<String>) -> Self {
        Self { line, what: what.into() }
    }
}

/// Checks the whole repository.
///
/// # Errors
///
/// When a file cannot be read: a check that did not happen is no success.
pub(crate) fn findings(
    root: &Path,
    plan: &Plan,
    workspace: &Metadata,
) -> Result<Vec<Finding>, String> {
    let mut found = Vec::new();
    for path in files(root)? {
        let absolute = root.join(&path);
        let text = std::fs::read_to_string(&absolute)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        let mut spots = whitespace(&text);
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("rs") => spots.extend(rust_file(&path, &text, plan)),
            Some("md") => spots.extend(links::broken(&absolute, &text, path.starts_with("crates"))),
            _ => {}
        }
        found.extend(spots.into_iter().map(|Spot { line, what }| Finding {
            path: path.clone(),
            line,
            what,
        }));
    }
    for package in &workspace.packages {
        let manifest = &package.manifest_path;
        let text = std::fs::read_to_string(manifest)
            .map_err(|error| format!("{}: {error}", manifest.display()))?;
        let path = manifest.strip_prefix(root).unwrap_or(manifest).to_path_buf();
        found.extend(lints_table(&text).map(|Spot { line, what }| Finding { path, line, what }));
    }
    found.extend(stale_unsafe_lists(root, plan));
    found.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    Ok(found)
}

fn rust_file(path: &Path, text: &str, plan: &Plan) -> Vec<Spot> {
    let lines = source::scan(text);
    let mut spots = rust::general(&lines);
    let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
    if let ["crates", name, "src", inner @ ..] = parts.as_slice() {
        let inner = inner.join("/");
        match plan.crates.get(*name).map(|rule| &rule.unsafety) {
            Some(Unsafety::Nowhere(_)) if inner == "lib.rs" => {
                spots.extend(rust::forbids_unsafe(&lines))
            }
            Some(Unsafety::In(listed)) if !listed.contains(&inner) => {
                spots.extend(rust::opens_no_unsafe(&lines))
            }
            _ => {}
        }
        if (*name, inner.as_str()) != ("procession-sys", "prim.rs") {
            spots.extend(rust::uses_the_door(&lines));
        }
        if *name == "procession-sys" && inner.starts_with("backend/") {
            spots.extend(rust::names_sources(&lines));
        }
    }
    spots
}

/// Every text file that is checked, relative to the root, in order.
fn files(root: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for entry in entries(root)? {
        if entry.is_file() && is_checked(&entry) {
            found.push(entry);
        }
    }
    let mut folders: Vec<PathBuf> =
        FOLDERS.iter().map(|folder| root.join(folder)).filter(|folder| folder.is_dir()).collect();
    while let Some(folder) = folders.pop() {
        for entry in entries(&folder)? {
            let is_output = entry.file_name().is_some_and(|name| name == "target");
            if entry.is_symlink() || is_output {
                continue;
            }
            if entry.is_dir() {
                folders.push(entry);
            } else if is_checked(&entry) {
                found.push(entry);
            }
        }
    }
    let relative = |path: PathBuf| path.strip_prefix(root).map(Path::to_path_buf).unwrap_or(path);
    let mut found: Vec<PathBuf> = found.into_iter().map(relative).collect();
    found.sort();
    Ok(found)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let read = || -> std::io::Result<Vec<PathBuf>> {
        std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect()
    };
    read().map_err(|error| format!("{}: {error}", folder.display()))
}

fn is_checked(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "rs" || extension == "md" || extension == "toml")
}

fn whitespace(text: &str) -> Vec<Spot> {
    let mut spots = Vec::new();
    for (number, line) in (1..).zip(text.split('\n')) {
        if line.ends_with(char::is_whitespace) {
            spots.push(Spot::new(number, "white space at the end of the line"));
        }
        if line.contains('\t') {
            spots.push(Spot::new(number, "a tab"));
        }
    }
    if !text.is_empty() && !text.ends_with('\n') {
        spots.push(Spot::new(text.lines().count(), "no line break at the end of the file"));
    }
    spots
}

/// The table stands last, so that a reader finds it without a search and no key slips in below it.
fn lints_table(text: &str) -> Option<Spot> {
    let mut last = text.lines().map(str::trim).rev().filter(|line| !line.is_empty());
    let ends_so = last.next() == Some("workspace = true") && last.next() == Some("[lints]");
    (!ends_so).then(|| {
        Spot::new(text.lines().count().max(1), "does not end with `[lints]`, `workspace = true`")
    })
}

fn stale_unsafe_lists(root: &Path, plan: &Plan) -> Vec<Finding> {
    let mut found = Vec::new();
    for (name, rule) in &plan.crates {
        let Unsafety::In(listed) = &rule.unsafety else { continue };
        for file in listed
            .iter()
            .filter(|file| !root.join("crates").join(name).join("src").join(file).is_file())
        {
            let what =
                format!("`{name}` lists `{file}` for unsafe code, but there is no such file");
            found.push(Finding { path: "layers.toml".into(), line: 1, what });
        }
    }
    found
}

#[cfg(test)]
mod tests;
