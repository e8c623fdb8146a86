//! Relative links in Markdown point at files that exist.

use std::path::Path;

use super::Spot;

/// The relative links of the file `path` that lead nowhere.
///
/// `is_crate_page`: the page is also rustdoc's, so a link may be the path of an item; rustdoc checks those.
pub(super) fn broken(path: &Path, text: &str, is_crate_page: bool) -> Vec<Spot> {
    let mut spots = Vec::new();
    let mut fence: Option<&str> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let start = line.trim_start();
        let mark = ["```", "~~~"].into_iter().find(|mark| start.starts_with(mark));
        if mark.is_some() {
            match fence {
                None => fence = mark,
                Some(_) if fence == mark => fence = None,
                Some(_) => {}
            }
            continue;
        }
        if fence.is_some() {
            continue;
        }
        for target in targets(line) {
            if is_crate_page && is_item_path(&target) {
                continue;
            }
            if is_relative(&target) && !exists_beside(path, &target) {
                spots.push(Spot::new(number, format!("the link to `{target}` leads nowhere")));
            }
        }
    }
    spots
}

/// What `[text](target)`, `[text](<target> "title")` and `[label]: target` point at.
fn targets(line: &str) -> Vec<String> {
    let line = without_code(line);
    let mut found = Vec::new();
    if let Some((label, rest)) =
        line.trim_start().strip_prefix('[').and_then(|rest| rest.split_once("]:"))
        && !label.contains(']')
    {
        found.extend(rest.split_whitespace().next().map(str::to_owned));
    }
    for (at, opening) in line.match_indices("](") {
        let rest = &line[at + opening.len()..];
        let Some(end) = rest.find(')') else { continue };
        found.extend(rest[..end].split_whitespace().next().map(str::to_owned));
    }
    found.into_iter().map(|target| target.trim_matches(['<', '>']).to_owned()).collect()
}

/// The line without its code spans, whose brackets are no links.
fn without_code(line: &str) -> String {
    let parts: Vec<&str> = line.split('`').collect();
    let is_balanced = parts.len() % 2 == 1;
    if is_balanced { parts.into_iter().step_by(2).collect() } else { line.to_owned() }
}

fn is_item_path(target: &str) -> bool {
    let is_identifier = |c: char| c == '_' || c == ':' || c.is_alphanumeric();
    let path = target.split_once('#').map_or(target, |(path, _)| path);
    let path = path.rsplit_once('@').map_or(path, |(_, path)| path);
    path.trim_end_matches(['(', ')', '!']).chars().all(is_identifier)
}

fn is_relative(target: &str) -> bool {
    let scheme = target
        .split_once(':')
        .is_some_and(|(scheme, _)| scheme.chars().all(|c| c.is_ascii_alphabetic()));
    !scheme && !target.starts_with('#') && !target.is_empty()
}

fn exists_beside(page: &Path, target: &str) -> bool {
    let file = target.split(['#', '?']).next().unwrap_or(target);
    page.parent().is_some_and(|folder| folder.join(file).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, is_crate_page: bool) -> Vec<usize> {
        let page = crate::metadata::root().join("xtask/PAGE.md");
        broken(&page, text, is_crate_page).into_iter().map(|spot| spot.line).collect()
    }

    #[test]
    fn missing_files_are_found_with_their_line() {
        let text =
            "[a](Cargo.toml) and [b](gone.md)\n\n![c](src/gone.png \"title\")\n[d]: ../gone/d.md\n";
        assert_eq!(found(text, false), [1, 3, 4]);
    }

    #[test]
    fn what_exists_is_accepted() {
        let text =
            "[a](../Cargo.toml#part), [b](<src/main.rs>), [c](src)\n[d]: Cargo.toml 'title'\n";
        assert_eq!(found(text, false), [0; 0]);
    }

    #[test]
    fn other_kinds_of_links_are_left_alone() {
        let text = "[a](https://x.y/z), [b](#part), [c](mailto:a@b.c), `[d](gone.md)`\n```\n[e](gone.md)\n```\n";
        assert_eq!(found(text, false), [0; 0]);
        assert_eq!(found("```\ncode\n```\n[e](gone.md)\n", false), [4]);
    }

    #[test]
    fn items_are_rustdocs_business_on_crate_pages_only() {
        let text = "[`Pool`](Pool) and [a](crate::Pool::map) and [b](mod@gone)\n[gone](gone.md)\n";
        assert_eq!(found(text, true), [2]);
        assert_eq!(found("[a](LICENSE)", false), [1]);
    }
}
