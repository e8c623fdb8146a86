//! Rules for Rust files, on lines as `source` takes them apart.

use super::Spot;
use crate::source::Line;

/// A file of more lines of code is split.
const MOST_CODE_LINES: usize = 500;

/// The rules that hold for every Rust file.
pub(super) fn general(lines: &[Line<'_>]) -> Vec<Spot> {
    let mut spots = Vec::new();
    let first = lines.iter().position(|line| !line.raw.trim().is_empty()).unwrap_or(0);
    let opening = lines.get(first).map_or("", |line| line.raw);
    if !opening.starts_with("//!") && !opening.starts_with("#![doc = include_str!") {
        spots.push(Spot::new(first + 1, "the file does not open with `//!`"));
    }
    let size = lines[..own_tests(lines)].iter().filter(|line| line.is_code).count();
    if size > MOST_CODE_LINES {
        spots.push(Spot::new(1, format!("{size} lines of code, the limit is {MOST_CODE_LINES}")));
    }
    for (number, line) in (1..).zip(lines) {
        for name in ["todo", "unimplemented"] {
            if line.has_word(name) && line.code.contains(&format!("{name}!")) {
                spots.push(Spot::new(number, format!("`{name}!`")));
            }
        }
        if line.code.contains("#[ignore") {
            spots.push(Spot::new(number, "an ignored test"));
        }
        if line.doc().map(str::trim).is_some_and(is_ignored_example) {
            spots.push(Spot::new(
                number,
                "an ignored example; `no_run`, `compile_fail` or `text` say why",
            ));
        }
    }
    spots
}

fn is_ignored_example(doc: &str) -> bool {
    doc.strip_prefix("```")
        .is_some_and(|info| info.split(',').any(|word| word.trim().starts_with("ignore")))
}

/// Where the module of unit tests at the end of a file begins; the length when there is none.
fn own_tests(lines: &[Line<'_>]) -> usize {
    let opens_module = |line: &Line<'_>| {
        let code = line.code.trim();
        code.starts_with("mod ") && code.ends_with('{')
    };
    let is_start = |at: &usize| {
        let after =
            lines[at + 1..].iter().find(|line| line.is_code && !line.code.trim().starts_with("#["));
        lines[*at].code.trim() == "#[cfg(test)]" && after.is_some_and(opens_module)
    };
    (0..lines.len()).find(is_start).unwrap_or(lines.len())
}

/// What a model checker must be able to stand in for.
const MODELLED: [&str; 8] =
    ["atomic", "Mutex", "Condvar", "OnceLock", "LazyLock", "RwLock", "Once", "Barrier"];

/// For library files that are not `procession_sys::prim`, the one door to these types.
pub(super) fn uses_the_door(lines: &[Line<'_>]) -> Vec<Spot> {
    let goes_round = |line: &Line<'_>| {
        let names_std = line.code.contains("std::sync") || line.code.contains("core::sync");
        names_std && MODELLED.iter().any(|name| line.has_word(name))
    };
    let found = (1..).zip(lines).filter(|(_, line)| goes_round(line));
    found.map(|(number, _)| Spot::new(number, "take this from `procession_sys::prim`")).collect()
}

/// For the root of a crate that has no unsafe code.
pub(super) fn forbids_unsafe(lines: &[Line<'_>]) -> Option<Spot> {
    let forbids = lines.iter().any(|line| line.code.trim() == "#![forbid(unsafe_code)]");
    (!forbids).then(|| {
        Spot::new(1, "layers.toml says unsafe = \"none\", but `#![forbid(unsafe_code)]` is missing")
    })
}

/// For a file that is not on its crate's list. The keyword counts too: an attribute reaches a module's children.
pub(super) fn opens_no_unsafe(lines: &[Line<'_>]) -> Vec<Spot> {
    let is_closed = |line: &Line<'_>| line.code.contains("forbid(") || line.code.contains("deny(");
    let opens = |line: &Line<'_>| {
        line.has_word("unsafe") || (line.has_word("unsafe_code") && !is_closed(line))
    };
    let found = (1..).zip(lines).filter(|(_, line)| opens(line));
    found
        .map(|(number, _)| {
            Spot::new(number, "unsafe code in a file that layers.toml does not list")
        })
        .collect()
}

/// For the operating-system backends: a function that makes a call says where the call is described.
///
/// That is every free `pub fn`, and every public method that returns a `Result`.
pub(super) fn names_sources(lines: &[Line<'_>]) -> Vec<Spot> {
    let mut spots = Vec::new();
    let mut has_source = false;
    let mut attribute_depth = 0;
    for (at, line) in lines[..own_tests(lines)].iter().enumerate() {
        if let Some(doc) = line.doc() {
            has_source |= doc.trim() == "# Source";
            continue;
        }
        let code = line.code.trim();
        if attribute_depth > 0 || code.starts_with("#[") {
            attribute_depth += code.matches('[').count();
            attribute_depth = attribute_depth.saturating_sub(code.matches(']').count());
            continue;
        }
        if !line.is_code {
            continue;
        }
        let is_free = !line.raw.starts_with(' ');
        if is_public_function(code) && !has_source && (is_free || returns_result(&lines[at..])) {
            spots.push(Spot::new(at + 1, "the function's documentation has no `# Source`"));
        }
        has_source = false;
    }
    spots
}

fn is_public_function(code: &str) -> bool {
    let Some(rest) = code.strip_prefix("pub ") else { return false };
    rest.split_whitespace()
        .find(|word| !["const", "unsafe", "async", "extern", "\"\""].contains(word))
        == Some("fn")
}

/// Whether the signature that begins on the first line returns a `Result`.
fn returns_result(lines: &[Line<'_>]) -> bool {
    let mut signature = String::new();
    for line in lines {
        let (part, has_ended) = match line.code.find(['{', ';']) {
            Some(end) => (&line.code[..end], true),
            None => (line.code.as_str(), false),
        };
        signature.push_str(part);
        if has_ended {
            break;
        }
    }
    signature.rsplit_once("->").is_some_and(|(_, result)| result.contains("Result"))
}
