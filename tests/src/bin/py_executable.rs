//! The program that children execute: runs the row that the first argument names, under the start method that the second one
//! names. The third one names a program of ours that does not call `procession::init()`.
#![expect(clippy::print_stdout, reason = "a helper program talks to its test")]
#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use procession::prelude::*;
use procession::{ErrorKind, active_children, executable};
use procession_sys::signal;
use procession_tests::{SOON, Stranger, children, fork_server};

/// A row, and what tells whether it holds.
type Row = (&'static str, fn(&Path));

const ROWS: [Row; 4] = [
    ("set_executable", set_executable),
    ("another_program", another_program),
    ("a_refused_program_leaves_nothing", nothing_is_left),
    ("a_silent_program_is_refused_after_ten_seconds", silent_program),
];

/// What is set holds from the next start of the server on.
fn end_server() {
    if let Some(pid) = fork_server() {
        let server = Stranger::new(pid);
        assert!(server.signal(signal::KILL) && server.ends_soon());
    }
}

/// Children run that program, and work.
#[track_caller]
fn children_run(program: &Path) {
    end_server();
    for _ in 0..2 {
        let work = |x: u32| (x + 1, std::env::current_exe().unwrap());
        let child = Process::spawn(work, (41,)).unwrap();
        assert_eq!(child.join().unwrap(), (42, program.to_owned()));
        assert_eq!(child.exit_status().unwrap(), Some(ExitStatus::Exited(0)));
        // It is as much a child as any other: it panics and dies as such, and has children of its own.
        let child = Process::spawn(|| -> () { panic!("on purpose") }, ());
        assert!(matches!(child.unwrap().join(), Err(JoinError::Panicked(_))));
        let nested = || Process::spawn(|| 7, ()).unwrap().join().unwrap();
        assert_eq!(Process::spawn(nested, ()).unwrap().join().unwrap(), 7);
    }
}

fn set_executable(folder: &Path) {
    let this = std::env::current_exe().unwrap();
    assert_eq!(executable(), None);
    children_run(&this);
    let copies: Vec<_> = (0..6).map(|number| folder.join(format!("copy {number}"))).collect();
    for copy in &copies {
        std::fs::copy(&this, copy).unwrap();
    }
    procession::set_executable(Some(copies[0].to_str().unwrap()));
    assert_eq!(executable().as_ref(), Some(&copies[0]));
    children_run(&copies[0]);
    procession::set_executable(Some(copies[1].to_str().unwrap().to_owned()));
    children_run(&copies[1]);
    procession::set_executable(Some(copies[2].clone()));
    children_run(&copies[2]);
    procession::set_executable(Some(copies[3].clone().into_os_string()));
    children_run(&copies[3]);
    // From where this process is at the start.
    std::env::set_current_dir(folder).unwrap();
    for name in ["copy 4", "./copy 5"] {
        procession::set_executable(Some(name));
        children_run(&folder.join(name));
    }
    // By a link, which leads to this program.
    let link = folder.join("link");
    std::os::unix::fs::symlink(&this, &link).unwrap();
    procession::set_executable(Some(link));
    children_run(&this);
    procession::set_executable(None::<PathBuf>);
    assert_eq!(executable(), None);
    children_run(&this);
}

/// A start is refused with this kind of error, and nothing is left of it.
#[track_caller]
fn is_refused(program: impl Into<OsString>, kind: ErrorKind) {
    end_server();
    let program = program.into();
    procession::set_executable(Some(program.clone()));
    let error = Process::spawn(|x: u32| x + 1, (41,)).unwrap_err();
    assert_eq!(error.kind(), kind, "{}: {error:?}", program.display());
    if kind == ErrorKind::NotInitialized {
        let text = error.to_string();
        assert!(text.contains(&*program.to_string_lossy()) && text.contains("init()"), "{text}");
    }
    assert!(active_children().unwrap().is_empty());
}

/// No zombie either.
fn nothing_is_left(_: &Path) {
    is_refused("/bin/true", ErrorKind::NotInitialized);
    assert!(children().is_empty(), "{:?}", children());
}

fn another_program(folder: &Path) {
    is_refused("/bin/true", ErrorKind::NotInitialized);
    // A word that is no time ends it at once.
    is_refused("/bin/sleep", ErrorKind::NotInitialized);
    // It reads a file that is not there.
    is_refused("/bin/cat", ErrorKind::NotInitialized);
    is_refused(std::env::args().nth(3).unwrap(), ErrorKind::NotInitialized);
    is_refused(folder.join("nothing"), ErrorKind::Os);
    is_refused(folder, ErrorKind::Os);
    // And everything is well again.
    end_server();
    procession::set_executable(None::<PathBuf>);
    assert_eq!(Process::spawn(|| 7, ()).unwrap().join().unwrap(), 7);
}

/// One that does nothing at all is given ten seconds.
fn silent_program(folder: &Path) {
    let script = folder.join("script");
    std::fs::write(&script, "#!/bin/sh\necho $$ > \"$0.pid\"\nexec sleep 1000\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let start = Instant::now();
    is_refused(&script, ErrorKind::NotInitialized);
    let patience = Duration::from_secs(10);
    assert!(start.elapsed() >= patience && start.elapsed() < patience + SOON);
    let pid = std::fs::read_to_string(folder.join("script.pid")).unwrap();
    let command = std::fs::read_to_string(format!("/proc/{}/comm", pid.trim()));
    assert_ne!(command.ok().as_deref(), Some("sleep\n"), "it was ended");
}

/// A folder that is gone when the test is over.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What is not there is gone.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn main() {
    procession::init();
    let words: Vec<String> = std::env::args().collect();
    procession::force_start_method(words[2].parse().unwrap());
    let name = format!("procession-{}-{}", words[1], std::process::id());
    let folder = Folder(std::env::temp_dir().canonicalize().unwrap().join(name));
    std::fs::create_dir(&folder.0).unwrap();
    let (_, row) = ROWS.into_iter().find(|(name, _)| *name == words[1]).unwrap();
    row(&folder.0);
    drop(folder);
    println!("done");
}
