//! From paths to tasks: a lazy walk that holds a few folders in memory, never the tree.
//!
//! Paths are taken in the order given, folders in the order of their names. Skipped are: names that
//! start with a dot, symbolic links, everything that is neither file nor folder, and folders marked
//! by a `CACHEDIR.TAG` (cargo's `target` is one). A path that the user names is never skipped for
//! its name, its tag or for being a link. Files reached through two paths are counted twice.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, File, ReadDir};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Least and most bytes of a task, but for the last one. Delivering and merging the table of a task takes as long as
/// counting about one of its megabytes.
const TASK_BYTES: std::ops::RangeInclusive<u64> = (8 << 20)..=(64 << 20);
/// How many files the walk looks ahead, to know how much work there is at least.
const FILES_AHEAD: usize = 256;
/// Most files (and complaints) in one task.
const TASK_FILES: usize = 256;
/// Most names of one folder that are held and sorted at a time. A larger folder comes in sorted
/// runs, so that a million files in one folder need no more memory than this.
const RUN_NAMES: usize = 1 << 16;
/// How a `CACHEDIR.TAG` begins: <https://bford.info/cachedir/>.
const CACHE_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// A piece of work: some whole files or one range of a large file.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Task {
    /// Position in the walk, from zero.
    pub(crate) id: usize,
    pub(crate) pieces: Vec<Piece>,
    /// What the walk could not see. It travels with the task, so that there is one stream only.
    pub(crate) troubles: Vec<Trouble>,
}

impl Task {
    /// One task for each piece, numbered from `first_id` on. If a file is bad for the worker that
    /// counts it, it then takes no other files with it.
    pub(crate) fn split(self, first_id: usize) -> impl Iterator<Item = Task> {
        let troubles = (!self.troubles.is_empty()).then_some((Vec::new(), self.troubles));
        let alone = self.pieces.into_iter().map(|piece| (vec![piece], Vec::new()));
        let numbered = troubles.into_iter().chain(alone).enumerate();
        numbered.map(move |(i, (pieces, troubles))| Task { id: first_id + i, pieces, troubles })
    }
}

/// Bytes `start..end` of a file. `end` is at most the length that the walk saw: a file that grows
/// meanwhile is counted up to there.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Piece {
    pub(crate) path: OsString,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) share: Share,
}

/// How much of its file a piece is.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) enum Share {
    Whole,
    /// The first of several: it alone decides how the file is counted.
    First,
    Later,
}

/// A file, folder or range that could not be counted.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Trouble {
    pub(crate) path: OsString,
    pub(crate) share: Share,
    pub(crate) kind: TroubleKind,
    pub(crate) reason: String,
}

/// What became of the file.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) enum TroubleKind {
    Unreadable,
    /// Seen by the walk and gone since.
    Vanished,
}

impl Trouble {
    /// Judges an error on something that the walk has seen before.
    pub(crate) fn on_seen(path: OsString, share: Share, error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => TroubleKind::Vanished,
            _ => TroubleKind::Unreadable,
        };
        Self { path, share, kind, reason: error.to_string() }
    }

    /// For what cannot be read at all.
    pub(crate) fn unreadable(path: OsString, share: Share, reason: String) -> Self {
        Self { path, share, kind: TroubleKind::Unreadable, reason }
    }
}

/// The walk, an iterator of tasks.
#[derive(Debug)]
pub(crate) struct Walk {
    roots: std::vec::IntoIter<PathBuf>,
    folders: Vec<Folder>,
    /// What was found and is in no task yet.
    ahead: VecDeque<Result<Found, Trouble>>,
    ahead_bytes: u64,
    large: Option<Large>,
    /// How many tasks of the present size shall make up the work that is known.
    shares: u64,
    next_id: usize,
}

#[derive(Debug)]
struct Found {
    path: PathBuf,
    len: u64,
}

/// A large file that is being handed out.
#[derive(Debug)]
struct Large {
    path: PathBuf,
    len: u64,
    at: u64,
}

/// A folder that is being read: names of the present run in descending order, and the rest.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    names: Vec<(OsString, bool)>,
    rest: Option<ReadDir>,
}

impl Walk {
    /// A walk for so many workers: tasks are a third of each one's share of the work that is known, so that they get
    /// smaller towards the end and the workers finish together.
    pub(crate) fn new(roots: Vec<PathBuf>, workers: usize) -> Self {
        Self {
            roots: roots.into_iter(),
            folders: Vec::new(),
            ahead: VecDeque::new(),
            ahead_bytes: 0,
            large: None,
            shares: 3 * workers as u64,
            next_id: 0,
        }
    }

    /// How many bytes the next task shall have.
    fn look_ahead(&mut self) -> u64 {
        while self.ahead.len() < FILES_AHEAD
            && let Some(found) = self.next_found()
        {
            self.ahead_bytes += found.as_ref().map_or(0, |found| found.len);
            self.ahead.push_back(found);
        }
        let large = self.large.as_ref().map_or(0, |large| large.len - large.at);
        ((large + self.ahead_bytes) / self.shares).clamp(*TASK_BYTES.start(), *TASK_BYTES.end())
    }

    fn take_ahead(&mut self) -> Option<Result<Found, Trouble>> {
        let found = self.ahead.pop_front()?;
        self.ahead_bytes -= found.as_ref().map_or(0, |found| found.len);
        Some(found)
    }

    fn next_found(&mut self) -> Option<Result<Found, Trouble>> {
        while let Some(folder) = self.folders.last_mut() {
            let Some((name, is_folder)) = folder.names.pop() else {
                match folder.refill() {
                    Ok(true) => {}
                    Ok(false) => drop(self.folders.pop()),
                    Err(trouble) => return Some(Err(trouble)),
                }
                continue;
            };
            let path = folder.path.join(name);
            let step = if is_folder { self.enter(path) } else { look_at_file(path) };
            if step.is_some() {
                return step;
            }
        }
        loop {
            let root = self.roots.next()?;
            let step = self.enter_root(root);
            if step.is_some() {
                return step;
            }
            if !self.folders.is_empty() {
                return self.next_found();
            }
        }
    }

    fn enter_root(&mut self, path: PathBuf) -> Option<Result<Found, Trouble>> {
        let refuse = |path: PathBuf, reason: String| {
            Some(Err(Trouble::unreadable(path.into(), Share::Whole, reason)))
        };
        match fs::metadata(&path) {
            Ok(data) if data.is_file() => Some(Ok(Found { path, len: data.len() })),
            Ok(data) if data.is_dir() => match fs::read_dir(&path) {
                Ok(rest) => {
                    self.folders.push(Folder { path, names: Vec::new(), rest: Some(rest) });
                    None
                }
                Err(error) => refuse(path, error.to_string()),
            },
            Ok(_) => refuse(path, "neither a file nor a folder".to_owned()),
            Err(error) => refuse(path, error.to_string()),
        }
    }

    fn enter(&mut self, path: PathBuf) -> Option<Result<Found, Trouble>> {
        if is_cache(&path) {
            return None;
        }
        match fs::read_dir(&path) {
            Ok(rest) => {
                self.folders.push(Folder { path, names: Vec::new(), rest: Some(rest) });
                None
            }
            Err(error) => Some(Err(Trouble::on_seen(path.into(), Share::Whole, &error))),
        }
    }
}

impl Iterator for Walk {
    type Item = Task;

    fn next(&mut self) -> Option<Task> {
        let mut task = Task { id: self.next_id, pieces: Vec::new(), troubles: Vec::new() };
        let target = self.look_ahead();
        let mut bytes = 0;
        while bytes < target && task.pieces.len() + task.troubles.len() < TASK_FILES {
            if let Some(large) = &mut self.large {
                let piece = large.next_piece(target - bytes);
                bytes += piece.end - piece.start;
                task.pieces.push(piece);
                if large.at == large.len {
                    self.large = None;
                }
                continue;
            }
            // A file that goes a little beyond is taken whole.
            let fits = |found: &Found| bytes + found.len <= target + target / 4;
            match self.ahead.front() {
                // Rather a whole file in the next task, or a range of some size, than the scrap that fits here.
                Some(Ok(found)) if !fits(found) && (found.len <= target || bytes > target / 2) => {
                    break;
                }
                _ => {}
            }
            match self.take_ahead() {
                None => break,
                Some(Err(trouble)) => task.troubles.push(trouble),
                Some(Ok(Found { path, len })) if bytes + len > target + target / 4 => {
                    self.large = Some(Large { path, len, at: 0 });
                }
                Some(Ok(Found { path, len })) => {
                    bytes += len;
                    task.pieces.push(Piece {
                        path: path.into(),
                        start: 0,
                        end: len,
                        share: Share::Whole,
                    });
                }
            }
        }
        if task.pieces.is_empty() && task.troubles.is_empty() {
            return None;
        }
        self.next_id += 1;
        Some(task)
    }
}

impl Large {
    /// The next range, of `wanted` bytes, or what is left if that is little more.
    fn next_piece(&mut self, wanted: u64) -> Piece {
        let left = self.len - self.at;
        let len = if left <= wanted + wanted / 4 { left } else { wanted };
        let start = self.at;
        self.at += len;
        let share = if start > 0 {
            Share::Later
        } else if self.at < self.len {
            Share::First
        } else {
            Share::Whole
        };
        Piece { path: self.path.clone().into(), start, end: self.at, share }
    }
}

impl Folder {
    /// Reads the next run of names; `false` at the end of the folder.
    fn refill(&mut self) -> Result<bool, Trouble> {
        let Some(rest) = &mut self.rest else { return Ok(false) };
        let mut trouble = None;
        while self.names.len() < RUN_NAMES && trouble.is_none() {
            match rest.next() {
                None => {
                    self.rest = None;
                    break;
                }
                Some(Ok(entry)) => match entry.file_type() {
                    Ok(kind) => {
                        let name = entry.file_name();
                        let hidden = name.as_encoded_bytes().first() == Some(&b'.');
                        if !hidden && (kind.is_file() || kind.is_dir()) {
                            self.names.push((name, kind.is_dir()));
                        }
                    }
                    Err(error) => trouble = Some((entry.path(), error)),
                },
                Some(Err(error)) => {
                    self.rest = None;
                    trouble = Some((self.path.clone(), error));
                    break;
                }
            }
        }
        self.names.sort_unstable_by(|a, b| b.0.cmp(&a.0));
        match trouble {
            None => Ok(true),
            Some((path, error)) => Err(Trouble::on_seen(path.into(), Share::Whole, &error)),
        }
    }
}

fn look_at_file(path: PathBuf) -> Option<Result<Found, Trouble>> {
    match fs::symlink_metadata(&path) {
        Ok(data) if data.is_file() => Some(Ok(Found { path, len: data.len() })),
        Ok(_) => None,
        Err(error) => Some(Err(Trouble::on_seen(path.into(), Share::Whole, &error))),
    }
}

/// Whether a folder says of itself that it holds nothing but what can be made again.
fn is_cache(folder: &Path) -> bool {
    let tag = folder.join("CACHEDIR.TAG");
    let mut start = Vec::new();
    // A pipe of that name would block the open, hence the look before it.
    fs::symlink_metadata(&tag).is_ok_and(|data| data.is_file())
        && File::open(&tag)
            .and_then(|file| file.take(CACHE_SIGNATURE.len() as u64).read_to_end(&mut start))
            .is_ok()
        && start == CACHE_SIGNATURE
}

#[cfg(test)]
mod tests;
