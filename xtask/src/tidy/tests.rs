//! Each rule on text that breaks it, and the real repository.

use super::*;
use crate::metadata;

fn lines_of(spots: impl IntoIterator<Item = Spot>) -> Vec<usize> {
    spots.into_iter().map(|spot| spot.line).collect()
}

fn general(text: &str) -> Vec<usize> {
    lines_of(rust::general(&source::scan(text)))
}

const NO_LINE: [usize; 0] = [];

#[test]
fn file_opens_with_its_purpose() {
    assert_eq!(general("//! Purpose.\n"), NO_LINE);
    assert_eq!(general("#![doc = include_str!(\"../README.md\")]\n"), NO_LINE);
    assert_eq!(general("// Purpose.\nuse a;\n"), [1]);
    assert_eq!(general("\nuse a;\n"), [2]);
    assert_eq!(general(""), [1]);
}

#[test]
fn size_counts_code_before_the_tests() {
    let body = "//! Long.\n".to_owned() + &"a();\n\n// note\n".repeat(500);
    assert_eq!(general(&body), NO_LINE);
    assert_eq!(general(&(body.clone() + "b();\n")), [1]);
    let tests = "#[cfg(test)]\n#[rustfmt::skip]\nmod tests {\n    b();\n}\n";
    assert_eq!(general(&(body.clone() + tests)), NO_LINE);
    // A declaration is no end of the file: what follows it counts.
    assert_eq!(general(&("//! X.\n#[cfg(test)]\nmod tests;\n".to_owned() + &body)), [1]);
}

#[test]
fn atomics_and_locks_come_through_the_door() {
    let door = |text: &str| lines_of(rust::uses_the_door(&source::scan(text)));
    assert_eq!(door("use std::sync::Arc;\nuse procession_sys::prim::Mutex;\n"), NO_LINE);
    assert_eq!(door("use std::sync::atomic::AtomicU8;\nuse std::sync::{Arc, Mutex};\n"), [1, 2]);
    assert_eq!(door("// std::sync::Mutex\nlet m = std::sync::RwLock::new(1);\n"), [2]);
}

#[test]
fn unfinished_code_is_found_but_not_in_text() {
    assert_eq!(general("//! X.\nfn f() { todo!() }\nfn g() { unimplemented!(\"x\") }\n"), [2, 3]);
    assert_eq!(general("//! X.\n#[test]\n#[ignore = \"slow\"]\nfn f() {}\n"), [3]);
    assert_eq!(
        general("//! todo!()\nlet a = \"#[ignore] todo!\"; // todo!\nmytodo!();\n"),
        NO_LINE
    );
    assert_eq!(
        general("//! X.\n/// ```ignore\n/// a\n/// ```\n/// ```rust,ignore\n/// ```\n"),
        [2, 5]
    );
}

#[test]
fn unsafe_code_stays_in_listed_files() {
    let opens = |text: &str| lines_of(rust::opens_no_unsafe(&source::scan(text)));
    assert_eq!(opens("#![expect(\n    unsafe_code,\n    reason = \"x\"\n)]\n"), [2]);
    assert_eq!(opens("fn f() {\n    unsafe { g() }\n}\n"), [2]);
    assert_eq!(opens("#![forbid(unsafe_code)]\n// unsafe\nlet a = \"unsafe\";\n"), NO_LINE);
    let forbids = |text: &str| lines_of(rust::forbids_unsafe(&source::scan(text)));
    assert_eq!(forbids("//! X.\n#![forbid(unsafe_code)]\n"), NO_LINE);
    assert_eq!(forbids("//! X.\n// #![forbid(unsafe_code)]\n#![deny(unsafe_code)]\n"), [1]);
}

#[test]
fn plan_decides_which_rule_a_file_gets() {
    let plan = "\
        [crates.procession-sys]\nlayer = 0\nunsafe = 'all'\n\
        [crates.some]\nlayer = 1\nunsafe = ['ring.rs']\n\
        [crates.none]\nlayer = 2\nunsafe = 'none'\n\
        [leaves]\nnames = []\n";
    let plan = toml::from_str(plan).expect("a sound plan");
    let spots = |path: &str, text: &str| lines_of(rust_file(Path::new(path), text, &plan));
    let has_unsafe = "//! X.\nunsafe fn f() {}\n";
    assert_eq!(spots("crates/procession-sys/src/prim.rs", has_unsafe), NO_LINE);
    assert_eq!(spots("crates/some/src/ring.rs", has_unsafe), NO_LINE);
    assert_eq!(spots("crates/some/src/ring/other.rs", has_unsafe), [2]);
    assert_eq!(spots("crates/none/src/lib.rs", "//! X.\n"), [1]);
    assert_eq!(spots("crates/none/src/other.rs", "//! X.\n"), NO_LINE);
    let no_source = "//! X.\n/// Calls.\npub fn f() {}\n";
    assert_eq!(spots("crates/procession-sys/src/backend/linux/fd.rs", no_source), [3]);
    assert_eq!(spots("crates/procession-sys/src/fd.rs", no_source), NO_LINE);
}

#[test]
fn backend_functions_name_their_sources() {
    let sources = |text: &str| lines_of(rust::names_sources(&source::scan(text)));
    let documented = "/// Does.\n///\n/// # Source\n///\n/// `a(2)`.\n";
    assert_eq!(sources(&format!("{documented}pub fn a() {{}}\n")), NO_LINE);
    assert_eq!(
        sources(&format!(
            "{documented}#[must_use]\n#[expect(\n    x,\n)]\npub unsafe fn a() {{}}\n"
        )),
        NO_LINE
    );
    assert_eq!(
        sources(&format!("{documented}pub fn a() {{}}\n\n/// Other.\npub const fn b() {{}}\n")),
        [9]
    );
    assert_eq!(
        sources("pub unsafe extern \"C\" fn a() {}\nfn b() {}\npub(super) fn c() {}\n"),
        [1]
    );
    let methods = "impl A {\n    pub fn is_b(&self) -> bool {\n    }\n    pub fn c(\n        &self,\n    ) -> Result<()> {\n";
    assert_eq!(sources(methods), [4]);
}

#[test]
fn whitespace_is_found() {
    assert_eq!(lines_of(whitespace("a\nb \n\tc\n")), [2, 3]);
    assert_eq!(lines_of(whitespace("a\r\nb")), [1, 2]);
    assert_eq!(lines_of(whitespace("")), NO_LINE);
}

#[test]
fn manifest_ends_with_the_lints() {
    assert_eq!(lines_of(lints_table("[package]\n\n[lints]\nworkspace = true\n")), NO_LINE);
    assert_eq!(lines_of(lints_table("[lints]\nworkspace = true\n\n[dependencies]\n")), [4]);
    assert_eq!(lines_of(lints_table("[dependencies.a]\nworkspace = true\n")), [2]);
}

#[test]
fn listed_file_that_is_gone_is_found() {
    let root = metadata::root();
    let plan = "[crates.procession-core]\nlayer = 0\nunsafe = [\"lib.rs\", \"gone.rs\"]\n[leaves]\nnames = []\n";
    let plan = toml::from_str(plan).expect("a sound plan");
    let found = stale_unsafe_lists(&root, &plan);
    assert!(found.len() == 1 && found[0].what.contains("gone.rs"), "{found:?}");
}

#[test]
fn walk_reaches_every_kind_of_file() {
    let files = files(&metadata::root()).expect("the folders are readable");
    for path in
        ["Cargo.toml", "docs/style.md", "xtask/src/tidy/tests.rs", "crates/procession/README.md"]
    {
        assert!(files.iter().any(|file| file == Path::new(path)), "{path}");
    }
    assert!(files.iter().all(|file| !file.iter().any(|part| part == "target")));
}

#[test]
fn repository_is_tidy() {
    let root = metadata::root();
    let sh = metadata::shell().expect("a current directory");
    let workspace = Metadata::load(&sh).expect("cargo describes the workspace");
    let plan = Plan::load(&root).expect("layers.toml reads");
    let found = findings(&root, &plan, &workspace).expect("every file is readable");
    let lines: Vec<String> = found.iter().map(Finding::to_string).collect();
    assert!(lines.is_empty(), "{}", lines.join("\n"));
}
