//! However a program is started, its children find its functions: CPython's `test_multiprocessing_main_handling`.
//!
//! Python's ways to start a program (scripts, modules, packages, archives) are none here; these are ours.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use procession::ErrorKind;
use procession::prelude::*;
use procession_tests::{Running, program, run, watchdog};

procession::test_support!();

const PROGRAM: &str = env!("CARGO_BIN_EXE_py_main");
const METHODS: [&str; 3] = ["forkserver", "spawn", "fork"];
const OUTPUT: &str = "[0, 1, 4, 9]\n[0, 2, 6, 12]\ndone\n";

/// A folder that is gone when the test is over.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("procession-main-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    /// A copy of a file in it. By another process: what is open for writing here cannot be executed, and a test that starts a
    /// program at the same time would hold it open for a moment longer.
    fn copy_of(&self, file: &str, name: &str) -> PathBuf {
        let copy = self.0.join(name);
        let (output, _, stderr) = run(program("/bin/cp").arg(file).arg(&copy));
        assert!(output.status.success(), "{stderr}");
        copy
    }

    /// A copy of the program in it.
    fn copy(&self, name: &str) -> PathBuf {
        self.copy_of(PROGRAM, name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is not there is gone.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// The program works when it is started so, by each method.
#[track_caller]
fn works(command: impl Fn() -> Command) {
    let _dog = watchdog(120);
    for method in METHODS {
        let (output, stdout, stderr) = run(command().arg(method));
        assert!(output.status.success(), "{method}: {stderr}");
        assert_eq!(stdout, OUTPUT, "{method}: {stderr}");
    }
}

/// The program works when this happened to its file while it ran and had started nobody.
#[track_caller]
fn works_after(name: &str, change: impl Fn(&Folder, &Path)) {
    let _dog = watchdog(120);
    for method in METHODS {
        let folder = Folder::new(&format!("{name}-{method}"));
        let copy = folder.copy("program");
        let mut command = program(&copy);
        let mut running = Running::start(command.args([method, "wait"]).stdin(Stdio::piped()));
        let mut stdout = running.0.stdout.take().unwrap();
        let mut ready = [0; 6];
        stdout.read_exact(&mut ready).unwrap();
        assert_eq!(&ready, b"ready\n");
        change(&folder, &copy);
        running.0.stdin.take().unwrap().write_all(b"go\n").unwrap();
        let mut text = String::new();
        stdout.read_to_string(&mut text).unwrap();
        assert_eq!(text, OUTPUT, "{method}");
        assert!(running.0.wait().unwrap().success());
    }
}

mod main_handling {
    use super::*;

    #[test]
    fn basic() {
        works(|| program(PROGRAM));
    }

    #[test]
    fn symlink() {
        let folder = Folder::new("symlink");
        let link = folder.0.join("another name");
        std::os::unix::fs::symlink(PROGRAM, &link).unwrap();
        works(|| program(&link));
        let link_to_link = folder.0.join("third name");
        std::os::unix::fs::symlink(&link, &link_to_link).unwrap();
        works(|| program(&link_to_link));
    }

    #[test]
    fn hard_link() {
        let folder = Folder::new("hard-link");
        let copy = folder.copy("program");
        let link = folder.0.join("another name");
        std::fs::hard_link(&copy, &link).unwrap();
        std::fs::remove_file(copy).unwrap();
        works(|| program(&link));
    }

    #[test]
    fn relative_path() {
        let folder = Folder::new("relative-path");
        folder.copy("program");
        std::fs::create_dir(folder.0.join("inner")).unwrap();
        for (directory, path) in [(".", "./program"), ("inner", "../program")] {
            works(|| {
                // The shell looks the path up where it is, and the program sees it as it was written.
                let mut command = program("/bin/sh");
                let directory = folder.0.join(directory);
                command.current_dir(directory).args(["-c", "exec \"$0\" \"$@\"", path]);
                command
            });
        }
    }

    #[test]
    fn search_path() {
        let folder = Folder::new("search-path");
        folder.copy("program-of-the-search-path");
        works(|| {
            let mut command = program("/bin/sh");
            let script = "PATH=\"$0:$PATH\"; exec program-of-the-search-path \"$@\"";
            command.args(["-c", script]).arg(&folder.0);
            command
        });
    }

    #[test]
    fn another_directory() {
        let folder = Folder::new("another-directory");
        for directory in [Path::new("/"), &folder.0] {
            works(|| {
                let mut command = program(PROGRAM);
                command.current_dir(directory);
                command
            });
        }
    }

    #[test]
    fn misleading_name() {
        for name in ["", "/bin/true", "no such file", "procession-child"] {
            works(|| {
                let mut command = program(PROGRAM);
                command.arg0(name);
                command
            });
        }
    }

    #[test]
    fn empty_environment() {
        works(|| {
            let mut command = program(PROGRAM);
            command.env_clear();
            command
        });
    }

    #[test]
    fn replaced_file() {
        works_after("replaced", |folder, path| {
            let other = folder.copy_of(env!("CARGO_BIN_EXE_forgot_init"), "other");
            std::fs::rename(&other, path).unwrap();
        });
    }

    #[test]
    fn deleted_file() {
        works_after("deleted", |_, path| std::fs::remove_file(path).unwrap());
    }

    #[test]
    fn moved_file() {
        works_after("moved", |folder, path| {
            std::fs::rename(path, folder.0.join("elsewhere")).unwrap();
        });
    }

    #[test]
    fn deleted_directory() {
        works_after("directory", |folder, _| std::fs::remove_dir_all(&folder.0).unwrap());
    }

    #[test]
    fn as_a_test_binary() {
        let _dog = watchdog(60);
        for method in [StartMethod::ForkServer, StartMethod::Spawn] {
            let context = Context::new(method);
            let place = || module_path!().to_owned();
            let child = context.process().spawn(place, ()).unwrap();
            assert_eq!(child.join().unwrap(), module_path!());
            let pool = Pool::builder().context(context).build().unwrap();
            assert_eq!(pool.map(|x: u64| x * x, 0..4).unwrap(), [0, 1, 4, 9]);
        }
        // A harness has threads, which a copy would not have.
        let fork = Context::new(StartMethod::Fork);
        let refused = fork.process().spawn(|| (), ()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported);
        assert!(refused.to_string().contains("`python_main"), "they are named: {refused}");
    }

    /// The arguments by which `cargo` builds in the folder of this test's own build.
    fn cargo() -> Command {
        let mut command = program(env!("CARGO"));
        // This program is `<target>/<profile>/py_main`.
        let target = Path::new(PROGRAM).ancestors().nth(2).unwrap();
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
        command.args(["run", "--quiet", "--manifest-path"]).arg(manifest);
        command.arg("--target-dir").arg(target);
        command
    }

    #[test]
    fn cargo_run() {
        works(|| {
            let mut command = cargo();
            command.args(["--package", "procession-tests", "--bin", "py_main", "--"]);
            command
        });
    }

    #[test]
    fn as_an_example() {
        let _dog = watchdog(300);
        let mut command = cargo();
        command.args(["--package", "procession-examples", "--example", "process_hello"]);
        let (output, stdout, stderr) = run(&mut command);
        assert!(output.status.success(), "{stderr}");
        assert_eq!(stdout, "hello bob\n");
    }
}
