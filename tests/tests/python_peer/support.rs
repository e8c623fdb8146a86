//! CPythons that take part in a test, from 3.6 on, and what they say.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use procession_tests::{Running, program, skip};

/// A CPython, 3.`minor`.
#[derive(Debug, Clone)]
pub(crate) struct Python {
    pub(crate) minor: u32,
    pub(crate) path: PathBuf,
}

/// One CPython of each release from 3.6 to 3.13 that is installed; one that is not is skipped aloud.
pub(crate) fn pythons() -> Vec<Python> {
    (6..=13).filter_map(find).collect()
}

fn find(minor: u32) -> Option<Python> {
    let given = std::env::var_os(format!("PYTHON_3_{minor}")).map(PathBuf::from);
    let named = PathBuf::from(format!("python3.{minor}"));
    let versions = std::env::home_dir().unwrap_or_default().join(".pyenv/versions");
    let folders = std::fs::read_dir(versions).into_iter().flatten().flatten();
    let of_pyenv = folders
        .filter(|folder| folder.file_name().to_string_lossy().starts_with(&format!("3.{minor}.")));
    let of_pyenv = of_pyenv.map(|folder| folder.path().join("bin/python"));
    let path = given.into_iter().chain([named]).chain(of_pyenv).find_map(|candidate| {
        let ask =
            format!("import sys; sys.version_info[:2] == (3, {minor}) and print(sys.executable)");
        let output = program(candidate).args(["-c", &ask]).output().ok()?;
        let path = String::from_utf8(output.stdout).ok()?;
        Some(path.trim()).filter(|path| !path.is_empty()).map(PathBuf::from)
    });
    if path.is_none() {
        skip(&format!("CPython 3.{minor} is not installed; PYTHON_3_{minor} may say where it is"));
    }
    path.map(|path| Python { minor, path })
}

/// A script of `tests/src/python_peer` that runs, and prints lines.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) running: Running,
    lines: BufReader<std::process::ChildStdout>,
    what: String,
}

impl Script {
    #[track_caller]
    pub(crate) fn start(python: &Python, script: &str, arguments: &[&str]) -> Self {
        let path = format!("{}/src/python_peer/{script}", env!("CARGO_MANIFEST_DIR"));
        let mut command: Command = program(&python.path);
        // Without what this machine has installed for it.
        command.args(["-I", &path]).args(arguments).stderr(Stdio::inherit());
        let mut running = Running::start(&mut command);
        let lines = BufReader::new(running.0.stdout.take().unwrap());
        Self { running, lines, what: format!("CPython 3.{} {arguments:?}", python.minor) }
    }

    /// The next line that it prints.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "{} said no more than {line:?}", self.what);
        line.trim_end().to_owned()
    }

    #[track_caller]
    pub(crate) fn ends(mut self) {
        let status = self.running.0.wait().unwrap();
        assert!(status.success(), "{}: {status:?}", self.what);
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
