//! Runs a scene, sends the signals, and looks at what is left.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use procession_sys::{Deadline, pidfd, poll, signal};

use super::{FOLDER, PATIENCE, TOKEN, now};

/// How long after the end of a parent its workers may go on before they are orphans.
const ORPHANED: Duration = Duration::from_secs(4);

/// How long after an interrupt's end whatever is on its way may still end.
const SETTLE: Duration = Duration::from_secs(1);

/// Runs the program, and says what became of it.
pub(crate) fn drive(scene: &str, seconds: &str, command: Vec<String>) {
    let token = format!("{}-{}", std::process::id(), now());
    let folder = std::env::temp_dir().join(format!("procession-crash-{token}"));
    std::fs::create_dir(&folder).unwrap();
    let patience = Duration::from_secs(seconds.parse().unwrap());
    let child = start(&folder, &token, seconds, &command);
    let scene_of = Scene { folder: &folder, token: &token, patience };
    match scene {
        "interrupt" => scene_of.interrupt(child),
        "orphan" => scene_of.orphan(child),
        _ => scene_of.watch(child),
    }
    scene_of.kill_all();
    drop(std::fs::remove_dir_all(folder));
}

/// In a process group of its own, as a shell starts what is in the foreground.
#[expect(clippy::disallowed_methods, reason = "a program of whatever sort")]
fn start(folder: &Path, token: &str, seconds: &str, command: &[String]) -> Child {
    let create = |name: &str| File::create(folder.join(name)).unwrap();
    std::process::Command::new(&command[0])
        .args(&command[1..])
        .env(FOLDER, folder)
        .env(TOKEN, token)
        .env(PATIENCE, seconds)
        .env("RUST_BACKTRACE", "0")
        .process_group(0)
        .stdin(std::process::Stdio::null())
        .stdout(create("out"))
        .stderr(create("err"))
        .spawn()
        .unwrap()
}

struct Scene<'a> {
    folder: &'a Path,
    token: &'a str,
    patience: Duration,
}

impl Scene<'_> {
    fn read(&self, name: &str) -> String {
        let bytes = std::fs::read(self.folder.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Lets it come to its end.
    fn watch(&self, mut child: Child) {
        if !self.ends(&child, self.patience * 2 + Duration::from_secs(10)) {
            println!("hung");
            child.kill().unwrap();
        }
        child.wait().unwrap();
        print!("{}", self.read("out"));
        println!("starts {}", self.read("starts").len());
        if self.read("out").is_empty() {
            println!("said {}", self.read("err").lines().last().unwrap_or_default());
        }
    }

    fn ends(&self, child: &Child, time: Duration) -> bool {
        let process = pidfd::open(child.id()).unwrap();
        poll::wait_readable(&process, Deadline::after(time)).unwrap()
    }

    /// Waits until both workers have begun a task.
    fn wait_for_tasks(&self) {
        let start = Instant::now();
        while self.read("begun").len() < 2 && start.elapsed() < self.patience {
            pause(Duration::from_millis(5));
        }
        // And are in the middle of it.
        pause(Duration::from_millis(200));
    }

    /// Ctrl-C: what a terminal sends to all that is in the foreground.
    fn interrupt(&self, mut child: Child) {
        self.wait_for_tasks();
        let start = Instant::now();
        signal_group(child.id());
        match self.ends(&child, self.patience) {
            true => println!("exit {:.3}", start.elapsed().as_secs_f64()),
            false => {
                println!("hung");
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        pause(SETTLE);
        println!("left {}", self.members().len());
        let said = self.read("err");
        let lines: Vec<_> = said.lines().filter(|line| !line.trim().is_empty()).collect();
        println!("lines {}", lines.len());
        println!("traces {}", said.matches("Traceback (most recent call last)").count());
        if let Some(first) = lines.first() {
            println!("said {first}");
        }
    }

    /// The program is killed and can do nothing about it.
    fn orphan(&self, mut child: Child) {
        self.wait_for_tasks();
        let start = Instant::now();
        child.kill().unwrap();
        child.wait().unwrap();
        let mut members = self.members();
        while !members.is_empty() && start.elapsed() < ORPHANED {
            pause(Duration::from_millis(1));
            members = self.members();
        }
        println!("gone {:.3}", start.elapsed().as_secs_f64());
        println!("orphans {}", members.len());
    }

    /// The processes of the scene, zombies excluded.
    fn members(&self) -> Vec<u32> {
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        numbers.filter(|pid| self.owns(*pid)).collect()
    }

    fn owns(&self, pid: u32) -> bool {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let entry = format!("{TOKEN}={}", self.token);
        environment.split(|byte| *byte == 0).any(|one| one == entry.as_bytes())
    }

    fn kill_all(&self) {
        // Whoever starts others may do so meanwhile.
        for _ in 0..100 {
            let members = self.members();
            if members.is_empty() {
                return;
            }
            for pid in members {
                let member: Option<OwnedFd> = pidfd::open(pid).ok();
                // The number may have been another's by then.
                if let Some(member) = member.filter(|_| self.owns(pid)) {
                    drop(pidfd::signal(member, signal::KILL));
                }
            }
            pause(Duration::from_millis(5));
        }
    }
}

fn pause(time: Duration) {
    drop(poll::wait(&mut [], Deadline::after(time)));
}

#[expect(unsafe_code, reason = "groups are not to be signalled otherwise")]
fn signal_group(leader: u32) {
    let group = -libc::pid_t::try_from(leader).unwrap();
    // SAFETY: The call touches no memory of ours. The group is that of a child that has not been waited for, so that it is no other.
    let sent = unsafe { libc::kill(group, signal::INTERRUPT) };
    assert_eq!(sent, 0, "the group is there");
}
