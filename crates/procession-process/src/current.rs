//! What this process is in its family.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use procession_sys::prim::{AtomicU32, OnceLock, Ordering};
use procession_sys::process;
use serde::{Deserialize, Serialize};

/// Who started this process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Parent {
    pub(crate) pid: u32,
    pub(crate) name: String,
    /// Its command line, without its own name.
    arguments: Vec<Vec<u8>>,
}

#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) name: String,
    path: Vec<u32>,
    parent: Option<Parent>,
    children: AtomicU32,
}

static CURRENT: OnceLock<Current> = OnceLock::new();

impl Current {
    /// This process; the root of the family unless [`become_child`](Self::become_child) was called.
    pub(crate) fn get() -> &'static Self {
        CURRENT.get_or_init(|| Self {
            name: "MainProcess".into(),
            path: Vec::new(),
            parent: None,
            children: AtomicU32::new(0),
        })
    }

    /// Makes this process the child that it was started as; before anybody asks.
    pub(crate) fn become_child(name: String, path: Vec<u32>, parent: Parent) {
        let children = AtomicU32::new(0);
        let child = Self { name, path, parent: Some(parent), children };
        let first = CURRENT.set(child).is_ok();
        debug_assert!(first, "a child learns what it is before it does anything");
    }

    /// The place of the next child, and its name unless it is given one: `Process-1:2` is the second child of the first.
    pub(crate) fn next_child(&self) -> (Vec<u32>, String) {
        let mut path = self.path.clone();
        path.push(self.children.fetch_add(1, Ordering::Relaxed) + 1);
        let steps: Vec<_> = path.iter().map(u32::to_string).collect();
        (path, format!("Process-{}", steps.join(":")))
    }

    /// This process, as its children know it.
    pub(crate) fn as_parent(&self) -> Parent {
        let arguments = if self.parent.is_some() { Vec::new() } else { own_arguments() };
        Parent { pid: process::id(), name: self.name.clone(), arguments }
    }
}

fn own_arguments() -> Vec<Vec<u8>> {
    std::env::args_os().skip(1).map(|argument| argument.as_bytes().to_vec()).collect()
}

/// The command line of the process that started this one, without the name of the program; `None` in a process that was
/// not started by this library.
///
/// A child's own command line holds nothing of it, so that a program which reads its arguments before `init()`, or a
/// library that does, cannot take the child for the program itself. A grandchild sees an empty one: what its parent was
/// started with is for nobody.
///
/// # Source
///
/// CPython hands `sys.argv` on (`spawn.get_preparation_data`).
pub fn parent_args() -> Option<Vec<OsString>> {
    let parent = Current::get().parent.as_ref()?;
    Some(parent.arguments.iter().cloned().map(OsString::from_vec).collect())
}
