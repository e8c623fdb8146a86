//! Text to count words in: made once from what lies on the machine, and kept.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::metadata;
use crate::report::complain;

/// A vocabulary is smaller than this, as that of prose is.
const VOCABULARY: usize = 20_000;
/// How much different text is enough; the rest is repetition.
const BASE_BYTES: usize = 8_000_000;
/// A file of the corpus is at least this long.
const FILE_BYTES: usize = 8_000_000;
/// After so many files that would make the vocabulary too large, no more are looked at.
const MOST_REFUSED: usize = 100;

/// What the corpus holds, for checking what a program counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Corpus {
    pub(crate) folder: PathBuf,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) words: u64,
    pub(crate) distinct: u64,
}

/// The corpus of at least `megabytes`, in the file cache; made if it is not there.
pub(crate) fn prepare(target: &Path, megabytes: u64) -> Result<Corpus, String> {
    let describe = |error: io::Error| format!("could not make the corpus: {error}");
    let home = target.join("bench-corpus");
    let manifest = home.join(format!("{megabytes}MB.json"));
    let known = fs::read(&manifest).ok().and_then(|json| serde_json::from_slice(&json).ok());
    let corpus: Corpus = match known {
        Some(corpus) => corpus,
        None => {
            let folder = home.join(format!("{megabytes}MB"));
            complain(&format!("# making {megabytes} MB of text in {}", folder.display()));
            let corpus = make(&folder, megabytes).map_err(describe)?;
            let json = serde_json::to_vec(&corpus).map_err(|error| error.to_string())?;
            // Last, so that a corpus that is described is whole.
            fs::write(&manifest, json).map_err(describe)?;
            corpus
        }
    };
    let bytes = read_all(&corpus.folder).map_err(describe)?;
    if bytes != corpus.bytes {
        return Err(format!("the corpus has changed; remove {}", home.display()));
    }
    Ok(corpus)
}

fn make(folder: &Path, megabytes: u64) -> io::Result<Corpus> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    let base = Base::collect(sources());
    if base.text.is_empty() {
        return Err(io::Error::other("no text was found to make it of"));
    }
    let content = base.text.repeat(FILE_BYTES.div_ceil(base.text.len()));
    let [size, base_size] = [content.len(), base.text.len()].map(|size| size as u64);
    let files = (megabytes * 1_000_000).div_ceil(size);
    for number in 0..files {
        fs::write(folder.join(format!("{number:03}.txt")), &content)?;
    }
    Ok(Corpus {
        folder: folder.to_owned(),
        files,
        bytes: files * size,
        words: files * (size / base_size) * base.words,
        distinct: base.vocabulary.len() as u64,
    })
}

/// Text with a bounded vocabulary. Ends in a line break, so that repeating it makes no new words.
#[derive(Debug, Default)]
struct Base {
    text: Vec<u8>,
    words: u64,
    vocabulary: HashSet<Vec<u8>>,
}

impl Base {
    fn collect(sources: impl IntoIterator<Item = PathBuf>) -> Self {
        let mut base = Self::default();
        let mut refused = 0;
        for path in sources {
            let Ok(text) = fs::read(path) else { continue };
            if !base.add(&text) {
                refused += 1;
            }
            if base.text.len() >= BASE_BYTES || refused >= MOST_REFUSED {
                break;
            }
        }
        base
    }

    /// Takes a text if the vocabulary stays small enough and nothing in it is binary.
    fn add(&mut self, text: &[u8]) -> bool {
        let found: Vec<Vec<u8>> = words(text).map(<[u8]>::to_ascii_lowercase).collect();
        let new: HashSet<&Vec<u8>> =
            found.iter().filter(|word| !self.vocabulary.contains(*word)).collect();
        if text.contains(&0) || self.vocabulary.len() + new.len() >= VOCABULARY {
            return false;
        }
        self.words += found.len() as u64;
        self.vocabulary.extend(found);
        self.text.extend_from_slice(text);
        self.text.push(b'\n');
        true
    }
}

/// Runs of ASCII letters, digits and bytes that are not ASCII.
fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let is_gap = |byte: &u8| !(byte.is_ascii_alphanumeric() || *byte >= 0x80);
    text.split(is_gap).filter(|word| !word.is_empty())
}

/// Prose first, then programs, of the workspace and of the packages that cargo unpacked; sorted, so
/// that the same machine makes the same text again.
fn sources() -> Vec<PathBuf> {
    let cargo = std::env::var_os("CARGO_HOME")
        .map_or_else(|| std::env::home_dir().unwrap_or_default().join(".cargo"), PathBuf::from);
    let mut files = Vec::new();
    for root in [metadata::root(), cargo.join("registry/src")] {
        // A folder that cannot be read has nothing to give.
        walk(&root, &mut files).ok();
    }
    let is_program = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "rs");
    files.sort_by_cached_key(|path| (is_program(path), path.clone()));
    files
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() && name != "target" && !name.as_encoded_bytes().starts_with(b".") {
            walk(&path, files).ok();
        } else if kind.is_file()
            && path.extension().is_some_and(|kind| kind == "md" || kind == "rs")
        {
            files.push(path);
        }
    }
    Ok(())
}

/// Reads every file once, so that all contenders find them in memory.
fn read_all(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        bytes += io::copy(&mut fs::File::open(entry?.path())?, &mut io::sink())?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
