//! What cargo knows about the workspace: members, their targets, their dependencies.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use xshell::{Shell, cmd};

/// The answer of `cargo metadata --no-deps`, as far as the tasks read it.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    pub(crate) target_directory: PathBuf,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) manifest_path: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) targets: Vec<Target>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `None` is a normal dependency.
    pub(crate) kind: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) kind: Vec<String>,
}

impl Metadata {
    /// Asks cargo about the workspace that this program belongs to.
    pub(crate) fn load(sh: &Shell) -> Result<Self, String> {
        let json = cmd!(sh, "cargo metadata --format-version 1 --no-deps")
            .quiet()
            .read()
            .map_err(|error| error.to_string())?;
        serde_json::from_str(&json).map_err(|error| format!("cargo metadata: {error}"))
    }

    pub(crate) fn package(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.name == name)
    }
}

impl Package {
    pub(crate) fn folder(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(&self.manifest_path)
    }

    pub(crate) fn targets_of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a str> {
        let of_kind = move |target: &&Target| target.kind.iter().any(|own| own == kind);
        self.targets.iter().filter(of_kind).map(|target| target.name.as_str())
    }

    /// Whether rustdoc finds a library here to take examples from.
    pub(crate) fn has_library(&self) -> bool {
        ["lib", "rlib", "proc-macro"].iter().any(|kind| self.targets_of_kind(kind).next().is_some())
    }
}

/// The folder that holds the workspace.
pub(crate) fn root() -> PathBuf {
    // The variable is cargo's at run time; the constant serves a program that was started by hand.
    let own = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    own.parent().map_or_else(|| own.clone(), Path::to_path_buf)
}

/// A shell that stands in the root folder.
pub(crate) fn shell() -> Result<Shell, String> {
    let sh = Shell::new().map_err(|error| error.to_string())?;
    sh.change_dir(root());
    Ok(sh)
}
