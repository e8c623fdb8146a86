//! `conformance`: whether each behaviour that CPython's tests assert is asserted here, and by a test that exists.
//!
//! `docs/conformance.md` says which row of CPython's is tested where, in words. This reads its tables, looks for each test that they name, and
//! compares the rows with the list of CPython's tests ([`CPYTHON`]). A row whose test is gone is an error; one that nobody has written yet is open.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use xshell::Shell;

use crate::metadata;
use crate::report::{Outcome, say};

/// CPython's tests: class, name, and whether it makes sense here.
const CPYTHON: &str = include_str!("conformance/cpython.txt");

/// Where the tests are that the page names.
const TESTS: [&str; 3] = ["tests/tests", "tests/src", "crates"];

/// `conformance [--open]`.
pub(crate) fn conformance(lists_open: bool) -> Result<(), String> {
    let sh = metadata::shell()?;
    let page = read(&sh.current_dir().join("docs/conformance.md"))?;
    let (rows, known) = (rows_of(&page), functions(&sh.current_dir())?);
    let mut open = 0;
    for (class, tests) in classes() {
        let is_open =
            |name: &&str| !rows.iter().any(|row| row.class == class && row.names.contains(*name));
        let missing: Vec<&str> = tests.iter().copied().filter(is_open).collect();
        open += missing.len();
        if !missing.is_empty() {
            say(&format!("{class}: {} of {} open\n", missing.len(), tests.len()));
            if lists_open {
                missing.iter().for_each(|name| say(&format!("  {name}\n")));
            }
        }
    }
    let asked = rows.iter().filter(|row| !row.tests.is_empty()).count();
    let all: usize = classes().values().map(Vec::len).sum();
    say(&format!("{} rows of CPython's, {open} open; {asked} rows here have a test\n", all));
    lost(&rows, &known)
}

/// The step of the same name: rows keep their tests.
pub(crate) fn check(sh: &Shell) -> Result<Outcome, String> {
    let page = read(&sh.current_dir().join("docs/conformance.md"))?;
    lost(&rows_of(&page), &functions(&sh.current_dir())?)?;
    Ok(Outcome::Passed)
}

fn lost(rows: &[Row], known: &BTreeSet<String>) -> Result<(), String> {
    let is_lost = |row: &&Row| {
        !row.tests.is_empty() && !row.tests.iter().any(|test| known.contains(test.as_str()))
    };
    let lost: Vec<String> = rows
        .iter()
        .filter(is_lost)
        .map(|row| format!("{} {:?}: no test of {:?}", row.class, row.names, row.tests))
        .collect();
    match lost.is_empty() {
        true => Ok(()),
        false => {
            Err(format!("rows of docs/conformance.md without their test:\n{}", lost.join("\n")))
        }
    }
}

/// The tests of each class that make sense here.
fn classes() -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut classes = BTreeMap::<_, Vec<_>>::new();
    for line in CPYTHON.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split(' ');
        if let (Some(class), Some(name), Some("R" | "r")) =
            (words.next(), words.next(), words.next())
        {
            classes.entry(class).or_default().push(name);
        }
    }
    classes
}

/// A row of the page.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    class: String,
    names: BTreeSet<String>,
    /// Any of which is the test; none when it cannot be asked here.
    tests: BTreeSet<String>,
}

/// The rows of all tables that have a column of that name.
fn rows_of(page: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    let (mut titled, mut class) = (String::new(), String::new());
    let mut header = Vec::new();
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            titled = quoted(title).into_iter().next().unwrap_or_default();
            class.clone_from(&titled);
        }
        let Some(cells) = line.strip_prefix("| ") else {
            if !line.starts_with('|') {
                header.clear();
            }
            continue;
        };
        let cells: Vec<&str> = cells.split('|').map(str::trim).collect();
        let column = |header: &[&str], name: &str| header.iter().position(|it| *it == name);
        if header.is_empty() {
            header = cells;
            class.clone_from(&titled);
            continue;
        }
        let cell = |name: &str| column(&header, name).and_then(|at| cells.get(at)).copied();
        if let Some(named) = cell("class").filter(|named| !named.is_empty()) {
            class = quoted(named).into_iter().next().unwrap_or_else(|| named.to_owned());
        }
        let Some(names) = cell("row").map(quoted) else { continue };
        let asserted = cell("what is asserted here").unwrap_or_default();
        let is_asked = !asserted.starts_with('–');
        let tests = [cell("test").map(quoted), Some(quoted(asserted)), Some(names.clone())];
        let tests = tests.into_iter().flatten().flatten().filter(|_| is_asked);
        let last = |name: String| name.rsplit("::").next().unwrap_or_default().to_owned();
        let tests = tests.map(last).collect();
        let names = names.into_iter().collect();
        rows.push(Row { class: class.clone(), names, tests });
    }
    rows
}

/// What stands between backquotes.
fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The names of all functions in the tests, and of what is made into one.
fn functions(root: &Path) -> Result<BTreeSet<String>, String> {
    let mut names = BTreeSet::new();
    for folder in TESTS {
        visit(&root.join(folder), &mut names)?;
    }
    Ok(names)
}

fn visit(folder: &Path, names: &mut BTreeSet<String>) -> Result<(), String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            visit(&path, names)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = read(&path)?;
            let is_part = |character: char| character.is_alphanumeric() || character == '_';
            for rest in text.split("fn ").skip(1) {
                let rest = rest.strip_prefix("r#").unwrap_or(rest);
                let end = rest.find(|character| !is_part(character)).unwrap_or(rest.len());
                names.insert(rest[..end].to_owned());
            }
            // A macro makes tests of these: a name, and under which methods it runs.
            for rows in text.split("rows!(").skip(1) {
                let rows = rows.split(");").next().unwrap_or_default();
                let words = rows.split(|character| !is_part(character));
                names.extend(words.filter(|word| !word.is_empty()).map(str::to_owned));
            }
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
## `_TestOne`: `tests/tests/one.rs`

| row | methods | what is asserted here |
|---|---|---|
| `first` | each | as it is |
| `second` | | – |

## Others: somewhere

| class | module | row | methods | what is asserted here |
|---|---|---|---|---|
| `_TestTwo` | `two` | `third`, `fourth` | all | `another_name`: as said |
| | | `fifth` | all | by `words` |
";

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn rows_have_a_class_and_tests() {
        let rows = rows_of(PAGE);
        let expected = [
            ("_TestOne", &["first"][..], &["first"][..]),
            ("_TestOne", &["second"], &[]),
            ("_TestTwo", &["third", "fourth"], &["another_name", "third", "fourth"]),
            ("_TestTwo", &["fifth"], &["words", "fifth"]),
        ];
        let expected = expected.map(|(class, names, tests)| Row {
            class: class.into(),
            names: set(names),
            tests: set(tests),
        });
        assert_eq!(rows, expected);
    }

    #[test]
    fn a_row_that_has_lost_its_test_is_an_error() {
        let rows = rows_of(PAGE);
        assert_eq!(lost(&rows, &set(&["first", "fourth", "fifth"])), Ok(()));
        let error = lost(&rows, &set(&["first", "fifth"])).unwrap_err();
        assert!(error.contains("another_name") && !error.contains("second"), "{error}");
    }

    #[test]
    fn the_list_of_cpythons_tests_is_whole() {
        let classes = classes();
        assert_eq!(classes["_TestBarrier"].len(), 11);
        assert!(classes.values().map(Vec::len).sum::<usize>() >= 210);
    }
}
