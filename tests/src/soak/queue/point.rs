//! Where an actor is killed: after so many instructions, or near something that others can see, which is a system call or a word of
//! the memory that processes share.
//!
//! What others cannot see does not matter to them: a death between two such places is like a death at the first. So a few points
//! near them find what thousands of others find, also in programs that are built without optimizations.

#![expect(unsafe_code, reason = "where a file has data is not to be had otherwise")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use super::super::tracer::Tracer;
use crate::Random;

/// Where it is killed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Point {
    /// After so many instructions.
    Steps(usize),
    /// So many instructions behind the n-th beginning or end of a system call.
    Call(usize, usize),
    /// So many instructions behind the n-th touch of this word.
    Word(Word, usize, usize),
    /// The same, where it was written.
    Written(Word, usize, usize),
    /// When the act is over, to see what it does.
    Over,
}

/// A word of the queue's file, or of the family's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Word {
    is_of_queue: bool,
    at: u64,
}

/// What the queue's file is called; there is one in an act. And what the family's is called, as others are, which are short.
const QUEUE: &str = "/memfd:procession-sparse";
const FAMILY: &str = "/memfd:procession-words";
const SHORT: u64 = 1 << 16;

/// So far the words of the books reach in the queue's file.
const BOOKS: u64 = 4096;

/// Where the counts lie there, where it says which chunks there are, and the slots.
const COUNTS: Range<u64> = 128..224;
const DIRECTORY: Range<u64> = 8 << 20..16 << 20;
const SLOTS: Range<u64> = 1 << 36..2 << 36;

/// Where the books say which chunks and extents are in use.
const USED: Range<u64> = 1 << 20..4 << 20;

/// What an act does that others can see.
#[derive(Debug, Clone, Default)]
pub(super) struct Survey {
    calls: usize,
    /// All that it changes, and what lies beside them; those in the queue's file; of these the stamps of slots, the counts of the
    /// books and the chunks, which decide what became of an item.
    words: [Vec<Word>; 3],
}

/// What is in the memory that this process shares, without the boards of the acts, which are short.
struct Snapshot(BTreeMap<Word, u64>);

impl Snapshot {
    fn take() -> io::Result<Self> {
        let mut words = BTreeMap::new();
        for entry in std::fs::read_dir("/proc/self/fd")?.flatten() {
            let name = std::fs::read_link(entry.path()).unwrap_or_default();
            let is_of_queue = name.to_string_lossy().starts_with(QUEUE);
            if !is_of_queue && !name.to_string_lossy().starts_with(FAMILY) {
                continue;
            }
            let file = File::open(entry.path())?;
            let len = file.metadata()?.len();
            let mut at = 0;
            while len > SHORT
                && let Some((from, to)) = data_behind(&file, at)
            {
                let mut bytes = vec![0; usize::try_from(to - from).map_err(io::Error::other)?];
                file.read_exact_at(&mut bytes, from)?;
                for (step, word) in (0..).step_by(8).zip(bytes.chunks_exact(8)) {
                    let word = u64::from_ne_bytes(word.try_into().map_err(io::Error::other)?);
                    words.insert(Word { is_of_queue, at: from + step }, word);
                }
                at = to;
            }
        }
        Ok(Self(words))
    }

    /// The words that differ, and those beside them.
    fn changed(&self, before: &Self) -> [Vec<Word>; 3] {
        let is_new = |(word, value): &(&Word, &u64)| before.0.get(word).unwrap_or(&0) != *value;
        let changed: BTreeSet<Word> = self.0.iter().filter(is_new).map(|(word, _)| *word).collect();
        let (mut of_queue, mut some) = (BTreeSet::new(), BTreeSet::new());
        let mut run = 0;
        let mut last = Word { is_of_queue: false, at: 0 };
        for word in &changed {
            // Of many in a row, which are what an item holds, or the slots of a new chunk, the first, and some.
            let is_next = word.is_of_queue == last.is_of_queue && word.at <= last.at + 64;
            run = if is_next { run + 1 } else { 0 };
            last = *word;
            if run > 24 && run % 1024 != 0 {
                continue;
            }
            let line = word.at / 64 * 64;
            // What is beside it may have been changed back.
            let beside = (line..line + 64).step_by(8).map(|at| Word { at, ..*word });
            some.extend(beside.clone());
            match (word.is_of_queue, word.at < BOOKS) {
                (true, true) => of_queue.extend(beside),
                (true, false) => {
                    of_queue.insert(*word);
                }
                (false, _) => {}
            }
        }
        let decides = |word: &&Word| {
            let is_stamp = SLOTS.contains(&word.at) && word.at.is_multiple_of(64);
            is_stamp || COUNTS.contains(&word.at) || DIRECTORY.contains(&word.at)
        };
        let deciding: BTreeSet<Word> = of_queue.iter().filter(decides).copied().collect();
        [some, of_queue, deciding].map(|words| words.into_iter().collect())
    }
}

/// From where to where the next data of a file lies.
fn data_behind(file: &File, at: u64) -> Option<(u64, u64)> {
    let seek = |at: i64, what| {
        // SAFETY: Moves the place of a file that is open and nobody else's; reads and writes no memory.
        let at = unsafe { libc::lseek(file.as_raw_fd(), at, what) };
        (at >= 0).then_some(at)
    };
    let from = seek(i64::try_from(at).ok()?, libc::SEEK_DATA)?;
    let to = seek(from, libc::SEEK_HOLE)?;
    Some((u64::try_from(from).ok()?, u64::try_from(to).ok()?))
}

impl Word {
    /// Where it lies in the process `pid`.
    fn address(self, pid: u32) -> Option<u64> {
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
        let name = if self.is_of_queue { QUEUE } else { FAMILY };
        maps.lines().find_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let [range, _, offset, _, _, found, ..] = fields[..] else { return None };
            let (start, end) = range.split_once('-')?;
            let hex = |text| u64::from_str_radix(text, 16).ok();
            let (start, len) = (hex(start)?, hex(end)?.checked_sub(hex(start)?)?);
            let inside = self.at.checked_sub(hex(offset)?)?;
            (found == name && len > SHORT && inside < len).then(|| start + inside)
        })
    }
}

impl Survey {
    /// One of the points near what others can see.
    pub(super) fn draw(&self, random: &mut Random) -> Point {
        // What is seen changes with the next such place only, which is often some hundred instructions away.
        let behind = [4, 20, 40, 40, 400, 1_000][random.below(6)];
        let behind = random.below(behind);
        match random.below(8) {
            0 => Point::Steps(random.below(2_000)),
            1 if self.calls > 0 => Point::Call(1 + random.below(self.calls), behind),
            which => {
                let words = &self.words[[0, 0, 0, 1, 1, 2, 2, 2][which]];
                if words.is_empty() {
                    return Point::Steps(behind);
                }
                let word = words[random.below(words.len())];
                match random.below(2) {
                    0 => Point::Word(word, [1, 2, 2, 3][random.below(4)], behind),
                    _ => Point::Written(word, [1, 1, 2, 4][random.below(4)], behind),
                }
            }
        }
    }
}

/// How far an item is, as its slot says: see `raw::stamp` of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    /// Nobody has it yet, or its putter writes it.
    Unborn,
    Published,
    Taken,
    Held,
    Leased,
    Returned,
    Done,
}

/// How many extents and chunks are in use, in the only queue that this process has.
pub(super) fn in_use() -> io::Result<u32> {
    let file = queue_file()?;
    let (mut count, mut at) = (0, USED.start);
    while let Some((from, to)) = data_behind(&file, at).filter(|(from, _)| *from < USED.end) {
        let to = to.min(USED.end);
        let mut bits = vec![0; usize::try_from(to - from).map_err(io::Error::other)?];
        file.read_exact_at(&mut bits, from)?;
        count += bits.iter().map(|byte| byte.count_ones()).sum::<u32>();
        at = to;
    }
    Ok(count)
}

fn queue_file() -> io::Result<File> {
    for entry in std::fs::read_dir("/proc/self/fd")?.flatten() {
        let name = std::fs::read_link(entry.path()).unwrap_or_default();
        if name.to_string_lossy().starts_with(QUEUE) {
            return File::open(entry.path());
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

impl Slot {
    /// That of the item at a position of the first chunk, in the only queue that this process has.
    pub(super) fn read(position: u64) -> io::Result<Self> {
        let mut bytes = [0; 8];
        queue_file()?.read_exact_at(&mut bytes, SLOTS.start + position * 64)?;
        Ok(match u64::from_le_bytes(bytes) >> 12 & 0xf {
            1 | 2 => Self::Unborn,
            3 => Self::Published,
            4 => Self::Taken,
            5 => Self::Done,
            7 => Self::Held,
            8 | 9 => Self::Leased,
            10 | 11 => Self::Returned,
            other => return Err(io::Error::other(format!("a slot in state {other}"))),
        })
    }
}

impl Point {
    /// Runs an actor to this point, or to where `is_over`; tells how many instructions it ran one by one, and what others could see
    /// if it ran to the end.
    pub(super) fn run(
        self,
        actor: &mut Tracer,
        pid: u32,
        is_over: &dyn Fn() -> bool,
    ) -> io::Result<(usize, Survey)> {
        let steps = match self {
            Self::Over => {
                let before = Snapshot::take()?;
                let mut calls = 0;
                while actor.run_to_call(is_over)? {
                    calls += 1;
                }
                return Ok((0, Survey { calls, words: Snapshot::take()?.changed(&before) }));
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
            Self::Word(word, times, steps) | Self::Written(word, times, steps) => {
                let at = word.address(pid);
                for at in at.into_iter().flat_map(|at| std::iter::repeat_n(at, times)) {
                    let is_there = match self {
                        Self::Word(..) => actor.run_to_touch(at, is_over)?,
                        _ => actor.run_to_write(at, is_over)?,
                    };
                    if !is_there {
                        break;
                    }
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
        Ok((done, Survey::default()))
    }
}
