//! Ctrl-C in a terminal: one line, exit code 130, nothing left; a second one kills.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};

use procession_sys::{Deadline, poll, signal, terminal, tree};
use procession_tests::{Running, SOON, program, wait_until, watchdog};

/// A family in a terminal, and all that descend from its root.
struct Family {
    root: Running,
    master: File,
    members: Vec<(u32, OwnedFd)>,
}

const CTRL_C: &[u8] = b"\x03";

impl Family {
    fn start(mode: &str) -> Self {
        let (master, path) = terminal::open().unwrap();
        let mut command = program(env!("CARGO_BIN_EXE_ctrl_c"));
        command.arg(path).arg(mode).stdout(Stdio::null()).stderr(Stdio::inherit());
        let root = Running::start(&mut command);
        let mut this = Self { root, master: master.into(), members: Vec::new() };
        let mut text = String::new();
        wait_until("the family is there", || {
            text.push_str(&this.read());
            text.contains("ready")
        });
        this.members = tree::descendants(this.root.0.id()).unwrap();
        assert!(!this.members.is_empty());
        this
    }

    /// What was printed, if anything is.
    fn read(&mut self) -> String {
        let mut bytes = [0; 1000];
        if !poll::wait_readable(&self.master, Deadline::after(SOON / 100)).unwrap() {
            return String::new();
        }
        // Once nobody has the other end, reading is an error.
        let count = self.master.read(&mut bytes).unwrap_or(0);
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    }

    fn press(&mut self) {
        self.master.write_all(CTRL_C).unwrap();
    }

    /// Waits for the end of all; tells how the root ended and what was printed.
    fn end(mut self) -> (ExitStatus, String) {
        let mut text = String::new();
        let mut status = None;
        wait_until("the root has ended", || {
            text.push_str(&self.read());
            status = self.root.0.try_wait().unwrap();
            status.is_some()
        });
        for (pid, member) in &self.members {
            assert!(poll::wait_readable(member, Deadline::after(SOON)).unwrap(), "{pid} lives");
        }
        text.push_str(&self.read());
        // What the terminal itself shows for the key.
        (status.unwrap(), text.replace("^C", ""))
    }
}

#[test]
fn one_ctrl_c_is_one_line_and_code_130() {
    let _dog = watchdog(120);
    for _ in 0..3 {
        let mut family = Family::start("busy");
        assert!(family.members.len() > 10, "{:?}", family.members);
        family.press();
        let (status, text) = family.end();
        assert_eq!((status.code(), &*text), (Some(130), "interrupted\r\n"));
    }
}

#[test]
fn ctrl_c_ends_a_program_that_waits_for_its_children_at_its_end() {
    let _dog = watchdog(120);
    let mut family = Family::start("exiting");
    family.press();
    let (status, text) = family.end();
    assert_eq!((status.code(), &*text), (Some(130), "interrupted\r\n"));
}

#[test]
fn a_second_ctrl_c_kills() {
    let _dog = watchdog(120);
    let mut family = Family::start("stuck");
    family.press();
    let mut text = String::new();
    wait_until("it says so", || {
        text.push_str(&family.read());
        text.contains("interrupted")
    });
    assert!(family.root.0.try_wait().unwrap().is_none(), "it is stuck");
    family.press();
    let (status, rest) = family.end();
    assert_eq!(status.signal(), Some(signal::INTERRUPT), "{text}{rest}");
    assert_eq!(rest, "");
}

#[test]
fn without_a_word_ctrl_c_ends_all_without_a_word() {
    let _dog = watchdog(120);
    let mut family = Family::start("unprepared");
    family.press();
    let (status, text) = family.end();
    assert_eq!((status.signal(), &*text), (Some(signal::INTERRUPT), ""));
}

/// What a program says that finishes what its pool runs.
const FINISHING: &str = "interrupted: what runs is finished; Ctrl-C again to end it\r\n";

#[test]
fn the_first_ctrl_c_lets_a_pool_finish_what_it_runs() {
    let _dog = watchdog(120);
    let mut family = Family::start("draining");
    family.press();
    let (status, text) = family.end();
    assert!(status.success(), "{status:?} {text}");
    assert_eq!(text, format!("{FINISHING}cancelled: true\r\nOk(())\r\nOk(())\r\n"));
}

#[test]
fn the_second_ctrl_c_ends_what_a_pool_runs() {
    let _dog = watchdog(120);
    let mut family = Family::start("endless");
    family.press();
    let mut text = String::new();
    wait_until("what waits is cancelled", || {
        text.push_str(&family.read());
        text.contains("cancelled: true")
    });
    family.press();
    let (status, rest) = family.end();
    assert_eq!(status.code(), Some(130), "{text}{rest}");
    // The program may still say what became of its tasks.
    assert!(rest.starts_with("interrupted\r\n"), "{text}{rest}");
}
