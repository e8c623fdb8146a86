//! What can be seen of a family from outside: its processes, its files, and names that it leaves in the system.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use procession_sys::prim::{AtomicU32, Ordering};
use procession_sys::{pidfd, signal};

/// The private folder of a soak. It holds a copy of the family's program, so that a process belongs to the family exactly
/// when it runs that file, and the folder for temporary files that the family is told to use.
///
/// Dropping it kills what still runs the program, and removes the folder.
#[derive(Debug)]
pub(super) struct Home {
    folder: PathBuf,
    program: PathBuf,
}

impl Home {
    pub(super) fn new(program: &Path) -> Result<Self, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("procession-soak-{}-{number}", std::process::id());
        let made = || -> std::io::Result<Self> {
            // Without symbolic links, as the system names the file that a process runs.
            let folder = std::env::temp_dir().canonicalize()?.join(name);
            std::fs::create_dir(&folder)?;
            let home = Self { program: folder.join("program"), folder };
            std::fs::create_dir(home.scratch())?;
            std::fs::copy(program, &home.program)?;
            Ok(home)
        };
        made().map_err(|error| format!("no private copy of {}: {error}", program.display()))
    }

    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// Where the family keeps temporary files.
    pub(super) fn scratch(&self) -> PathBuf {
        self.folder.join("scratch")
    }

    /// Where the family's standard error goes.
    pub(super) fn errors(&self) -> PathBuf {
        self.folder.join("errors")
    }

    /// What lies in [`scratch`](Self::scratch).
    pub(super) fn litter(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.scratch()).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().display().to_string()).collect()
    }

    /// The processes of the family, zombies excluded.
    pub(super) fn members(&self) -> Vec<u32> {
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        numbers.filter(|pid| self.owns(*pid)).collect()
    }

    fn owns(&self, pid: u32) -> bool {
        std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == self.program)
    }

    /// A descriptor of the process `pid`, if that is one of the family.
    pub(super) fn open(&self, pid: u32) -> Option<OwnedFd> {
        // In this order: the number may be another's by now, and then that one does not run our program.
        pidfd::open(pid).ok().filter(|_pidfd| self.owns(pid))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // There are none, unless something was found that is being told now.
        for member in self.members().into_iter().filter_map(|pid| self.open(pid)) {
            drop(pidfd::signal(member, signal::KILL));
        }
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

/// What the system calls the parent of the process `pid`.
pub(super) fn parent_of(pid: u32) -> Option<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    text.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// Whether the process `pid`, which a fork server has forked, does not know yet what it is: perhaps it is one that the server
/// keeps in reserve.
pub(super) fn is_spare(pid: u32) -> bool {
    // First it is called as the server is, then as a spare is; the system cuts names after 15 bytes.
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
    name.is_ok_and(|name| ["procession-fork", "procession-spar"].contains(&name.trim_end()))
}

/// What a process looks like that should not be there.
pub(super) fn describe(pid: u32) -> String {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}"));
    let line = read("cmdline").unwrap_or_default().replace('\0', " ");
    let stat = read("stat").unwrap_or_default();
    let place = read("wchan").unwrap_or_default();
    format!("process {pid}, `{}`, waits in `{place}`, {}", line.trim_end(), stat.trim_end())
}

/// Names in the system that anybody can see: shared memory, and sockets that have a path or an abstract name.
///
/// Other programs come and go with names of their own, so that one round tells nothing: a name is left behind when it came
/// up during the soak and is still there at its end.
#[derive(Debug)]
pub(super) struct Names(BTreeMap<String, Option<usize>>);

impl Names {
    /// The names that were there before.
    pub(super) fn before() -> Self {
        Self(names().into_iter().map(|name| (name, None)).collect())
    }

    /// Notes the names that are new after `round`, and forgets those that are gone.
    pub(super) fn look(&mut self, round: usize) {
        let now = names();
        self.0.retain(|name, _| now.contains(name));
        for name in now {
            self.0.entry(name).or_insert(Some(round));
        }
    }

    /// The names that were not there before, with the round after which they were first seen.
    pub(super) fn left(&self) -> Vec<(&str, usize)> {
        self.0.iter().filter_map(|(name, round)| Some((name.as_str(), (*round)?))).collect()
    }
}

fn names() -> Vec<String> {
    let memory = std::fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    let mut names: Vec<String> =
        memory.map(|entry| format!("/dev/shm/{}", entry.file_name().display())).collect();
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    // The eighth column is there for sockets with a name.
    let named = sockets.lines().skip(1).filter_map(|line| line.split_whitespace().nth(7));
    names.extend(named.map(|name| format!("socket {name}")));
    names
}
