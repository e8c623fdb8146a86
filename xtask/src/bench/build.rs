//! Making the programs that take part.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use xshell::{Shell, cmd};

use super::family::{Contender, Source};
use crate::metadata::{self, Metadata};
use crate::python;

/// Builds programs on demand, each once.
pub(crate) struct Workshop {
    sh: Shell,
    target: PathBuf,
    made: BTreeMap<String, Result<Vec<OsString>, String>>,
    /// CPython 3.13, and the same with the packages of the peers.
    python: OnceCell<Result<PathBuf, String>>,
    furnished: OnceCell<Result<PathBuf, String>>,
}

impl Workshop {
    pub(crate) fn open() -> Result<Self, String> {
        let sh = metadata::shell()?;
        let target = Metadata::load(&sh)?.target_directory;
        Ok(Self {
            sh,
            target,
            made: BTreeMap::new(),
            python: OnceCell::new(),
            furnished: OnceCell::new(),
        })
    }

    /// Where things that are made once may be kept.
    pub(crate) fn target(&self) -> &PathBuf {
        &self.target
    }

    /// Builds the cage and the `tools` of a family; without them nothing can be measured.
    pub(crate) fn build_cage(&mut self, tools: &[&str]) -> Result<PathBuf, String> {
        for tool in tools {
            self.build_bin(tool)?;
        }
        self.build_bin("cage")
    }

    /// The words that start a contender, or why it cannot take part.
    pub(crate) fn argv(&mut self, contender: &Contender) -> Result<Vec<OsString>, String> {
        let key = format!("{:?}", contender.source);
        let start = match self.made.get(&key) {
            Some(start) => start.clone(),
            None => {
                let start = self.make(contender.source);
                self.made.insert(key, start.clone());
                start
            }
        };
        let mut argv = start?;
        argv.extend(contender.args.iter().cloned());
        Ok(argv)
    }

    fn make(&self, source: Source) -> Result<Vec<OsString>, String> {
        match source {
            Source::Bin(name) => Ok(vec![self.build_bin(name)?.into()]),
            Source::PeerBin(name) => Ok(vec![self.build_peer(name)?.into()]),
            Source::PeerBinWith(name, needed) => {
                find_on_path(needed)?;
                Ok(vec![self.build_peer(name)?.into()])
            }
            Source::Nowhere(reason) => Err(reason.to_owned()),
            Source::Example(name) => Ok(vec![self.build_example(name)?.into()]),
            Source::Python(script) => Ok(vec![self.python()?.into(), peer_file(script)?.into()]),
            Source::PythonWith(script, package) => {
                Ok(vec![self.python_with(package)?.into(), peer_file(script)?.into()])
            }
        }
    }

    fn build_bin(&self, name: &str) -> Result<PathBuf, String> {
        let sh = &self.sh;
        let package = "procession-benches";
        cmd!(sh, "cargo build --quiet --release --package {package} --bin {name}")
            .quiet()
            .run()
            .map_err(|error| format!("could not be built: {error}"))?;
        self.fresh_copy(&self.target.join("release").join(name))
    }

    /// A copy of a program, made in one go. What a linker has written page by page lies in the file cache in small pieces, and a
    /// process that runs it takes a page fault for each: a tenth of what a start costs, or not, by chance.
    fn fresh_copy(&self, program: &Path) -> Result<PathBuf, String> {
        let folder = self.target.join("bench-programs");
        let name = program.file_name().unwrap_or_default();
        let copy = folder.join(name);
        let made = std::fs::create_dir_all(&folder).and_then(|()| {
            // Not over the old one, whose pages would stay.
            match std::fs::remove_file(&copy) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            std::fs::copy(program, &copy)
        });
        made.map_err(|error| format!("could not be copied: {error}"))?;
        Ok(copy)
    }

    fn build_example(&self, name: &str) -> Result<PathBuf, String> {
        let sh = &self.sh;
        let package = "procession-examples";
        cmd!(sh, "cargo build --quiet --release --package {package} --example {name}")
            .quiet()
            .run()
            .map_err(|error| format!("could not be built: {error}"))?;
        self.fresh_copy(&self.target.join("release/examples").join(name))
    }

    /// The peers live in a workspace of their own, so that nobody else needs their dependencies.
    fn build_peer(&self, name: &str) -> Result<PathBuf, String> {
        let sh = &self.sh;
        let target = self.target.join("peers");
        cmd!(sh, "cargo build --quiet --release --locked --target-dir {target} --bin {name}")
            .arg("--manifest-path")
            .arg(metadata::root().join("benches/peers/Cargo.toml"))
            .quiet()
            .run()
            .map_err(|error| format!("could not be built: {error}"))?;
        self.fresh_copy(&target.join("release").join(name))
    }

    fn python(&self) -> Result<PathBuf, String> {
        self.python.get_or_init(|| python::find(&self.sh)).clone()
    }

    /// CPython 3.13 with a package: itself, where that is installed, or else one that has those of the peers in the build folder.
    fn python_with(&self, package: &str) -> Result<PathBuf, String> {
        let python = self.python()?;
        if self.imports(&python, package) {
            return Ok(python);
        }
        let furnished = self.furnished.get_or_init(|| self.furnish(&python)).clone()?;
        match self.imports(&furnished, package) {
            true => Ok(furnished),
            false => Err(format!("CPython cannot import {package}")),
        }
    }

    /// An environment with just the packages of the peers.
    fn furnish(&self, python: &Path) -> Result<PathBuf, String> {
        let list = peer_file("pool_requirements.txt")?;
        python::furnish(&self.sh, python, &self.target.join("peers-python"), &list)
    }

    fn imports(&self, python: &Path, package: &str) -> bool {
        let sh = &self.sh;
        let import = format!("import {package}");
        cmd!(sh, "{python} -c {import}").quiet().ignore_stdout().ignore_stderr().run().is_ok()
    }
}

/// A file that belongs to the Python peers.
fn peer_file(name: &str) -> Result<PathBuf, String> {
    let file = metadata::root().join("benches/peers/py").join(name);
    match file.is_file() {
        true => Ok(file),
        false => Err(format!("{} does not exist", file.display())),
    }
}

/// Programs that the system's packages bring, which nobody has to have.
fn find_on_path(program: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
        .ok_or_else(|| format!("{program} was not found in PATH"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_installed_is_told_by_name() {
        assert!(find_on_path("sh").is_ok_and(|file| file.ends_with("sh")));
        let problem = find_on_path("no-such-program-of-ours").unwrap_err();
        assert_eq!(problem, "no-such-program-of-ours was not found in PATH");
    }
}
