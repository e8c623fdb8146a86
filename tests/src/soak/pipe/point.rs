//! Where an actor is killed: after so many instructions, or near something that others can see, which is a system call or a word of
//! a ring.
//!
//! What others cannot see does not matter to them: a death between two such places is like a death at the first. So a few points
//! near them find what thousands of others find, also in programs that are built without optimizations and take a million
//! instructions to send one long message.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::MetadataExt;

use procession_sys::fd;
use procession_sys::memory::SharedWords;
use procession_sys::prim::Ordering::SeqCst;

use super::super::tracer::Tracer;
use crate::Random;

/// Where it is killed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Point {
    /// After so many instructions.
    Steps(usize),
    /// So many instructions behind the n-th beginning or end of a system call.
    Call(usize, usize),
    /// So many instructions behind the first touch of this word of that ring.
    Word(usize, usize, usize),
    /// When the act is over, or after so many instructions, to count them.
    Over,
}

/// The memory that the pipes of an act have.
#[derive(Debug)]
pub(super) struct Rings(BTreeMap<u64, SharedWords>);

/// What an act does that others can see.
#[derive(Debug, Clone, Default)]
pub(super) struct Survey {
    calls: usize,
    /// Rings and words.
    words: Vec<(usize, usize)>,
}

impl Rings {
    /// All memory without a name that this process has open.
    pub(super) fn all() -> io::Result<Self> {
        let mut rings = BTreeMap::new();
        for entry in std::fs::read_dir("/proc/self/fd")?.flatten() {
            let name = std::fs::read_link(entry.path()).unwrap_or_default();
            if name.to_string_lossy().starts_with("/memfd:procession-words") {
                let file = OpenOptions::new().read(true).write(true).open(entry.path())?;
                let inode = file.metadata()?.ino();
                rings.insert(inode, SharedWords::open(file.into()).map_err(io::Error::other)?);
            }
        }
        Ok(Self(rings))
    }

    /// Those that are not among the others.
    pub(super) fn without(mut self, others: &Self) -> Self {
        self.0.retain(|inode, _| !others.0.contains_key(inode));
        self
    }

    /// The same once more.
    pub(super) fn again(&self) -> Self {
        let open =
            |ring: &SharedWords| SharedWords::open(fd::duplicate(ring).expect("a descriptor"));
        let rings = self.0.iter().map(|(inode, ring)| (*inode, open(ring).expect("memory")));
        Self(rings.collect())
    }

    /// What is in them now.
    pub(super) fn snapshot(&self) -> Vec<Vec<u64>> {
        let words = |ring: &SharedWords| {
            ring.words(0, ring.len()).iter().map(|word| word.load(SeqCst)).collect()
        };
        self.0.values().map(words).collect()
    }

    /// Where this word lies in the process `pid`.
    fn address(&self, pid: u32, (ring, word): (usize, usize)) -> Option<u64> {
        let inode = self.0.keys().nth(ring)?.to_string();
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
        let is_it = |line: &&str| line.split_whitespace().nth(4) == Some(&inode);
        let (start, _) = maps.lines().find(is_it)?.split_once('-')?;
        Some(u64::from_str_radix(start, 16).ok()? + word as u64 * 8)
    }
}

impl Survey {
    /// The words that were changed, and some of what was there.
    pub(super) fn new(calls: usize, before: &[Vec<u64>], after: &[Vec<u64>]) -> Self {
        let mut words = BTreeSet::new();
        for (ring, (before, after)) in before.iter().zip(after).enumerate() {
            let both = || before.iter().zip(after).enumerate();
            let changed: Vec<_> =
                both().filter(|(_, (old, new))| old != new).map(|(at, _)| at).collect();
            let there: Vec<_> =
                both().filter(|(_, (old, _))| **old != 0).map(|(at, _)| at).collect();
            for list in [changed, there] {
                // All of the few that lead, and of the many that follow the first, the last and some between.
                let step = (list.len() / 8).max(1);
                let some = list.iter().take(16).chain(list.iter().step_by(step)).chain(list.last());
                words.extend(some.map(|at| (ring, *at)));
            }
        }
        Self { calls, words: words.into_iter().collect() }
    }

    /// One of the points near what others can see.
    pub(super) fn draw(&self, random: &mut Random) -> Point {
        let behind = [4, 40, 400, 1_000][random.below(4)];
        let behind = random.below(behind);
        match random.below(8) {
            0 => Point::Steps(random.below(2_000)),
            1..4 if self.calls > 0 => Point::Call(1 + random.below(self.calls), behind),
            _ if self.words.is_empty() => Point::Steps(behind),
            _ => {
                let (ring, word) = self.words[random.below(self.words.len())];
                Point::Word(ring, word, behind)
            }
        }
    }
}

impl Point {
    /// Runs an actor to this point, or to where `is_over`; tells how many steps that were: instructions, or system calls where it is
    /// run to the end.
    pub(super) fn run(
        self,
        actor: &mut Tracer,
        pid: u32,
        rings: &Rings,
        is_over: &dyn Fn() -> bool,
    ) -> io::Result<usize> {
        let steps = match self {
            Self::Over => {
                let mut calls = 0;
                while actor.run_to_call(is_over)? {
                    calls += 1;
                }
                return Ok(calls);
            }
            Self::Steps(steps) => steps,
            Self::Call(number, steps) => {
                for _ in 0..number {
                    if !actor.run_to_call(is_over)? {
                        break;
                    }
                }
                steps
            }
            Self::Word(ring, word, steps) => {
                if let Some(at) = rings.address(pid, (ring, word)) {
                    actor.run_to_touch(at, is_over)?;
                }
                steps
            }
        };
        let mut done = 0;
        while done < steps && !is_over() {
            if !actor.step()? {
                return Err(io::Error::other("the actor ended by itself"));
            }
            done += 1;
        }
        Ok(done)
    }
}
