//! How the examples with Python find their other half.

use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Who plays Python's part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plays {
    /// The `python3` of this machine, or what `PYTHON` names.
    Python,
    /// A process of ours.
    Rust,
}

impl Plays {
    /// As the command line says.
    pub(crate) fn from_arguments() -> Self {
        match std::env::args().any(|argument| argument == "--rust") {
            true => Self::Rust,
            false => Self::Python,
        }
    }
}

/// Starts a script that lies beside this file.
#[expect(clippy::disallowed_methods, reason = "it is a program of Python's")]
pub(crate) fn python_script(name: &str, arguments: &[&str]) -> std::io::Result<Child> {
    let python = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    Command::new(python).arg(script).args(arguments).stdout(Stdio::piped()).spawn()
}
