//! Rust source by lines, with comments removed and literals emptied, so that a search finds code only.

/// One line of a source file.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    /// As written.
    pub(crate) raw: &'a str,
    /// Without comments and without what stands between quotes.
    pub(crate) code: String,
    /// Whether anything but comment and white space stands here, the inside of a long string included.
    pub(crate) is_code: bool,
}

impl Line<'_> {
    /// Whether `word` stands in the code as a whole word.
    pub(crate) fn has_word(&self, word: &str) -> bool {
        self.code.match_indices(word).any(|(at, _)| {
            let before = self.code[..at].chars().next_back();
            let after = self.code[at + word.len()..].chars().next();
            !before.is_some_and(is_identifier) && !after.is_some_and(is_identifier)
        })
    }

    /// The text of a `///` or `//!` comment.
    pub(crate) fn doc(&self) -> Option<&str> {
        let line = self.raw.trim_start();
        line.strip_prefix("///").or_else(|| line.strip_prefix("//!"))
    }
}

/// Takes a file apart.
pub(crate) fn scan(text: &str) -> Vec<Line<'_>> {
    let chars: Vec<char> = text.chars().collect();
    let mut lines = Vec::new();
    let mut raw = text.lines();
    let mut code = String::new();
    let mut is_code = false;
    let mut state = State::Code;
    let mut at = 0;
    while at <= chars.len() {
        let current = chars.get(at).copied();
        if current.is_none_or(|c| c == '\n') {
            if let Some(raw) = raw.next() {
                lines.push(Line { raw, code: std::mem::take(&mut code), is_code });
            }
            is_code = false;
            if state == State::LineComment {
                state = State::Code;
            }
            at += 1;
            continue;
        }
        let previous = at.checked_sub(1).and_then(|before| chars.get(before)).copied();
        let step = state.step(&chars[at..], previous);
        is_code |= step.is_code;
        code.push_str(&step.kept);
        state = step.next;
        at += step.taken;
    }
    lines
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Code,
    LineComment,
    /// How deep comments are nested.
    BlockComment(usize),
    Text,
    /// How many `#` close the literal.
    RawText(usize),
}

struct Step {
    taken: usize,
    kept: String,
    is_code: bool,
    next: State,
}

impl State {
    /// Looks at `rest`, whose first character is no line break, and takes at least one character of it.
    fn step(self, rest: &[char], previous: Option<char>) -> Step {
        let silent = |taken, next| Step { taken, kept: String::new(), is_code: false, next };
        match self {
            Self::Code => code_step(rest, previous),
            Self::LineComment => silent(1, self),
            Self::BlockComment(depth) if rest.starts_with(&['/', '*']) => {
                silent(2, Self::BlockComment(depth + 1))
            }
            Self::BlockComment(1) if rest.starts_with(&['*', '/']) => silent(2, Self::Code),
            Self::BlockComment(depth) if rest.starts_with(&['*', '/']) => {
                silent(2, Self::BlockComment(depth - 1))
            }
            Self::BlockComment(_) => silent(1, self),
            Self::Text => {
                let taken =
                    if rest[0] == '\\' && rest.get(1).is_some_and(|c| *c != '\n') { 2 } else { 1 };
                let next = if rest[0] == '"' { Self::Code } else { self };
                text_step(rest[0], taken, next)
            }
            Self::RawText(hashes) => {
                let closes = rest[0] == '"'
                    && rest[1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes;
                let (taken, next) = if closes { (1 + hashes, Self::Code) } else { (1, self) };
                text_step(rest[0], taken, next)
            }
        }
    }
}

fn text_step(first: char, taken: usize, next: State) -> Step {
    let kept = if next == State::Code { "\"".to_owned() } else { String::new() };
    Step { taken, kept, is_code: !first.is_whitespace(), next }
}

fn code_step(rest: &[char], previous: Option<char>) -> Step {
    let kept = |taken, kept: &str, next| Step { taken, kept: kept.to_owned(), is_code: true, next };
    if rest.starts_with(&['/', '/']) {
        return Step { taken: 2, kept: String::new(), is_code: false, next: State::LineComment };
    }
    if rest.starts_with(&['/', '*']) {
        return Step {
            taken: 2,
            kept: String::new(),
            is_code: false,
            next: State::BlockComment(1),
        };
    }
    if rest[0] == '"' {
        return kept(1, "\"", State::Text);
    }
    if rest[0] == 'r' && previous.is_none_or(|c| !is_identifier(c) || c == 'b' || c == 'c') {
        let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
        if rest.get(1 + hashes) == Some(&'"') {
            return kept(2 + hashes, "r\"", State::RawText(hashes));
        }
    }
    if let Some(length) = character_literal(rest) {
        return kept(length, "' '", State::Code);
    }
    Step {
        taken: 1,
        kept: rest[0].to_string(),
        is_code: !rest[0].is_whitespace(),
        next: State::Code,
    }
}

/// The length of the character literal that `rest` begins with; a lifetime is none.
fn character_literal(rest: &[char]) -> Option<usize> {
    match rest {
        ['\'', '\\', _, tail @ ..] => Some(3 + tail.iter().position(|c| *c == '\'')? + 1),
        ['\'', _, '\'', ..] => Some(3),
        _ => None,
    }
}

fn is_identifier(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> Vec<String> {
        scan(text).into_iter().map(|line| line.code).collect()
    }

    #[test]
    fn comments_vanish_and_nest() {
        assert_eq!(code("a // b\nc /* d /* e */ f\n g */ h"), ["a ", "c ", " h"]);
        assert_eq!(code("let u = \"http://x\"; // y"), ["let u = \"\"; "]);
    }

    #[test]
    fn literals_are_emptied() {
        assert_eq!(code(r#"f("to\"do!()", 'x', '\'', '"')"#), ["f(\"\", ' ', ' ', ' ')"]);
        assert_eq!(code("r#\"a \" b\"# c br\"\\\" d"), ["r\"\" c br\"\" d"]);
        assert_eq!(code("fn f<'a>(x: &'a str) {}"), ["fn f<'a>(x: &'a str) {}"]);
        assert_eq!(code("let r#type = \"x\";"), ["let r#type = \"\";"]);
    }

    #[test]
    fn lines_of_a_long_string_are_code() {
        let text = "let s = \"one\ntwo\n\nthree\";\n// note\n\n    b();\n";
        let is_code: Vec<bool> = scan(text).iter().map(|line| line.is_code).collect();
        assert_eq!(is_code, [true, true, false, true, false, false, true]);
    }

    #[test]
    fn every_line_keeps_its_number() {
        let text = "a\n\n\"b\\\nc\"\n/* d\n*/ e";
        let raw: Vec<&str> = scan(text).iter().map(|line| line.raw).collect();
        assert_eq!(raw, text.lines().collect::<Vec<_>>());
        assert_eq!(scan(text).last().map(|line| line.code.clone()), Some(" e".to_owned()));
    }

    #[test]
    fn words_are_whole() {
        let line = &scan("unsafe_code(unsafe)")[0];
        assert!(line.has_word("unsafe") && line.has_word("unsafe_code"));
        assert!(!scan("unsafe_code()")[0].has_word("unsafe"));
    }
}
