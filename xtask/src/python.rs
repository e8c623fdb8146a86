//! CPython, for what is compared with it.

use std::path::{Path, PathBuf};

use xshell::{Shell, cmd};

use crate::report::complain;

/// CPython 3.13 itself: what is found on the path may be a script that looks for it.
pub(crate) fn find(sh: &Shell) -> Result<PathBuf, String> {
    let home = std::env::home_dir().unwrap_or_default();
    let candidates = [
        std::env::var_os("PYTHON_3_13").map(PathBuf::from),
        Some(PathBuf::from("python3.13")),
        Some(home.join(".pyenv/versions/3.13.0/bin/python")),
    ];
    let ask = "import sys; print(sys.executable if sys.version_info[:2] == (3, 13) else '')";
    for candidate in candidates.into_iter().flatten() {
        let answer = cmd!(sh, "{candidate} -c {ask}").quiet().ignore_stderr().read();
        if let Some(path) = answer.ok().filter(|path| !path.is_empty()) {
            return Ok(path.into());
        }
        complain(&format!("# {} is not CPython 3.13", candidate.display()));
    }
    Err("CPython 3.13 was not found; PYTHON_3_13 may say where it is".to_owned())
}

/// Makes an environment at `home` with just the packages of a list, each as it was when it was listed; its interpreter.
pub(crate) fn furnish(
    sh: &Shell,
    python: &Path,
    home: &Path,
    list: &Path,
) -> Result<PathBuf, String> {
    let furnished = home.join("bin/python");
    cmd!(sh, "{python} -m venv {home}")
        .quiet()
        .run()
        .and_then(|()| {
            cmd!(sh, "{furnished} -m pip install --quiet --disable-pip-version-check")
                .args(["--require-hashes", "--only-binary", ":all:", "--requirement"])
                .arg(list)
                .quiet()
                .run()
        })
        .map_err(|error| format!("its packages could not be installed: {error}"))?;
    Ok(furnished)
}
