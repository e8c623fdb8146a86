//! The example `wordcount` from outside: every mode against `tr | sort | uniq`, and its manners.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// The definition of a word, told by other programs. Every file ends its last word.
const REFERENCE: &str = r#"
export LC_ALL=C
for file in "$@"; do cat "$file"; echo; done | tr A-Z a-z | tr -cs 'a-z0-9\200-\377' '\n' |
    grep -v '^$' | sort | uniq -c | sort -k1,1nr -k2,2
"#;

const MODES: [&[&str]; 6] = [
    &["--serial"],
    &["--threads", "1"],
    &["--threads", "3"],
    &["--workers", "1"],
    &["--workers", "2"],
    &["--workers", "5"],
];

#[expect(
    clippy::disallowed_methods,
    reason = "the program is tested as a user starts it, and the reference is made of other programs"
)]
fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    command
}

fn succeed(command: &mut Command) -> Vec<u8> {
    let output = command.stderr(Stdio::inherit()).output().expect("start a program");
    assert!(output.status.success(), "{command:?}: {}", output.status);
    output.stdout
}

/// The program, built with the profile of this test. `PROCESSION_WORDCOUNT` names another build.
fn wordcount() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(program) = env::var_os("PROCESSION_WORDCOUNT") {
            return program.into();
        }
        // This test is `<target>/<profile>/deps/wordcount-<hash>`.
        let this = env::current_exe().expect("path of the test");
        let profile = this.ancestors().nth(2).expect("folder of the profile");
        let target = profile.parent().expect("target folder");
        // Also if the program is there: it might be older than its source.
        let mut build = command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args(["build", "--quiet", "--package", "procession-examples"]);
        build.args(["--example", "wordcount", "--target-dir"]).arg(target);
        if profile.ends_with("release") {
            build.arg("--release");
        }
        succeed(&mut build);
        profile.join("examples/wordcount")
    })
}

/// The program under a watchdog, which ends it with status 124 or 137.
fn guarded(program: &Path) -> Command {
    let mut guarded = command("timeout");
    guarded.args(["--kill-after=5", "100"]).arg(program).arg("--quiet");
    guarded
}

fn run(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
    guarded(wordcount()).args(args).output().expect("start timeout(1)")
}

/// What the table says: the rows but for mode and time, and the list of words.
#[derive(Debug, PartialEq)]
struct Report {
    rows: BTreeMap<String, u64>,
    words: String,
}

impl Report {
    fn parse(output: &Output) -> Self {
        let text = String::from_utf8(output.stdout.clone()).expect("the table is UTF-8");
        let (head, words) = text.split_once("\n\n").unwrap_or((&text, ""));
        let row = |line: &str| {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            Some((name.trim().to_owned(), value.parse().ok()?))
        };
        let counts =
            head.lines().filter(|line| !line.starts_with("mode") && !line.starts_with("MB/s"));
        Self { rows: counts.filter_map(row).collect(), words: squeeze(words) }
    }

    fn row(&self, name: &str) -> u64 {
        *self.rows.get(name).unwrap_or_else(|| panic!("no row {name} in {self:?}"))
    }
}

/// One space between words, so that columns of any width compare.
fn squeeze(text: &str) -> String {
    let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n";
    text.lines().map(line).collect()
}

/// A folder that is gone at the end of the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("procession-{}-{name}", std::process::id()));
        fs::create_dir(&path).expect("make a folder");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("open it to all");
        Self(path)
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("make a folder");
        fs::write(&path, content).expect("write a file");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Text from a seed: words of all lengths, upper case, digits, umlauts, punctuation.
fn text(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut below = |limit: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 40).expect("24 bits") % limit
    };
    let syllables = ["a", "Be", "cat", "DOGS", "9", "\u{fc}ber", "x", "ing", "zz", "0ne"];
    let gaps = [" ", "\n", ", ", ". ", " -- ", "\t", "'", "/", "\x7f", "  "];
    let mut text = String::with_capacity(len + 64);
    while text.len() < len {
        for _ in 0..=below(5) {
            text.push_str(syllables[below(syllables.len())]);
        }
        text.push_str(gaps[below(gaps.len())]);
    }
    text.into_bytes()
}

#[test]
fn every_mode_agrees_with_tr_and_sort() {
    let folder = Folder::new("modes");
    let mut texts: Vec<PathBuf> = (1..=300_u16)
        .map(|n| folder.file(&format!("{}/{n}", n % 7), &text(n.into(), 100 * usize::from(n))))
        .collect();
    texts.push(folder.file("large", &text(77, 34 << 20)));
    texts.push(folder.file("one-word", &[b'W'; 1000]));
    folder.file("empty", b"");
    folder.file("binary", b"words before\0and after");
    folder.file(".hidden/x", b"hidden words");
    symlink(&texts[0], folder.0.join("link")).expect("make a link");
    succeed(command("mkfifo").arg(folder.0.join("pipe")));

    let reference = succeed(command("sh").args(["-c", REFERENCE, "reference"]).args(&texts));
    let reference = squeeze(&String::from_utf8_lossy(&reference));
    let counts = |line: &str| line.split(' ').next().and_then(|count| count.parse::<u64>().ok());
    let sizes = texts.iter().map(|path| fs::metadata(path).expect("size of a file").len());
    let expected = Report {
        rows: BTreeMap::from(
            [
                ("files", texts.len() as u64 + 2),
                ("empty", 1),
                ("binary", 1),
                ("unreadable", 1),
                ("vanished", 0),
                ("bytes", sizes.sum()),
                ("words", reference.lines().filter_map(counts).sum()),
                ("distinct words", reference.lines().count() as u64),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        ),
        words: reference,
    };
    assert!(expected.row("distinct words") > 10_000, "the text is too poor to prove anything");

    let missing = folder.0.join("missing");
    for mode in MODES {
        let mut args: Vec<&OsStr> = vec![folder.0.as_os_str(), missing.as_os_str()];
        args.extend(["--top", "1000000"].map(OsStr::new));
        args.extend(mode.iter().map(OsStr::new));
        let output = run(args);
        assert_eq!(output.status.code(), Some(0), "{mode:?}");
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert_eq!(complaints.lines().count(), 1, "{mode:?}: {complaints}");
        assert!(complaints.contains("missing: No such file"), "{mode:?}: {complaints}");
        let seen = Report::parse(&output);
        assert_eq!(seen.rows, expected.rows, "{mode:?}");
        assert!(seen.words == expected.words, "{mode:?}: the words differ");
    }
}

#[test]
fn json_has_the_counts_of_the_table_in_every_mode() {
    let folder = Folder::new("json");
    folder.file("a", b"To be or not to be");
    for mode in MODES {
        let output =
            run(mode.iter().chain(&["--json"]).map(OsStr::new).chain([folder.0.as_os_str()]));
        let json = String::from_utf8(output.stdout).expect("JSON is UTF-8");
        assert!(json.ends_with("}\n") && json.lines().count() == 1, "{mode:?}: {json}");
        for pair in [
            r#""files":1"#,
            r#""bytes":18"#,
            r#""words":6"#,
            r#""distinct":4"#,
            r#""top":[["be",2],["to",2],["not",1],["or",1]]"#,
        ] {
            assert!(json.contains(pair), "{mode:?}: no {pair} in {json}");
        }
    }
}

#[test]
fn what_may_not_be_read_is_reported_and_the_rest_is_counted() {
    let folder = Folder::new("unreadable");
    folder.file("good", b"three good words");
    let closed = [folder.file("closed", b"secret"), folder.0.join("closed-folder")];
    fs::create_dir(&closed[1]).expect("make a folder");
    // A copy, because others may not be able to reach the folder of the build.
    let program = folder.0.join(".wordcount");
    fs::copy(wordcount(), &program).expect("copy the program");
    for path in &closed {
        fs::set_permissions(path, Permissions::from_mode(0o000)).expect("close it");
    }
    let is_root = succeed(command("id").arg("-u")) == b"0\n";
    let setpriv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    if is_root && !command(setpriv[0]).arg("--version").output().is_ok_and(|o| o.status.success()) {
        let mut out = std::io::stderr().lock();
        writeln!(out, "SKIPPED: root reads everything, and setpriv is not there").expect("stderr");
        return;
    }
    for mode in MODES {
        let mut guarded = guarded(&program);
        if is_root {
            let inner = guarded;
            guarded = command(setpriv[0]);
            guarded.args(&setpriv[1..]).arg(inner.get_program()).args(inner.get_args());
        }
        let output = guarded.args(mode).arg(&folder.0).output().expect("start the program");
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{mode:?}: {complaints}");
        let report = Report::parse(&output);
        let rows = ["files", "unreadable", "vanished", "words"].map(|name| report.row(name));
        assert_eq!(rows, [1, 2, 0, 3], "{mode:?}: {complaints}");
        for path in &closed {
            let complaint = format!("{}: Permission denied", path.display());
            assert!(complaints.contains(&complaint), "{mode:?}: {complaints}");
        }
    }
    fs::set_permissions(&closed[1], Permissions::from_mode(0o755)).expect("open it again");
}

#[test]
fn the_exit_status_tells_a_bad_root_from_a_bad_command_line() {
    let folder = Folder::new("status");
    folder.file("x", b"x");
    let missing = folder.0.join("missing");
    for mode in MODES {
        let with = |paths: &[&Path]| {
            let args = mode.iter().map(OsStr::new).chain(paths.iter().map(|path| path.as_os_str()));
            run(args).status.code()
        };
        assert_eq!(with(&[&missing]), Some(1), "{mode:?}");
        assert_eq!(with(&[&missing, &missing]), Some(1), "{mode:?}");
        assert_eq!(with(&[&missing, &folder.0]), Some(0), "{mode:?}");
        assert_eq!(with(&[Path::new("--nonsense")]), Some(2), "{mode:?}");
    }
    let output = run(["--help"]);
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
    assert!(String::from_utf8_lossy(&output.stdout).contains("--workers N"));
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    let folder = Folder::new("pipe");
    // More output than a pipe holds, so that the program must notice.
    folder.file("x", &(0..100_000).map(|n| format!("word{n} ")).collect::<String>().into_bytes());
    for mode in MODES {
        let mut child = guarded(wordcount())
            .args(mode)
            .args(["--top", "1000000"])
            .arg(&folder.0)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start the program");
        let mut line = String::new();
        let mut reader = BufReader::new(child.stdout.take().expect("a pipe"));
        reader.read_line(&mut line).expect("the first line");
        drop(reader);
        let mut complaints = String::new();
        let mut stderr = child.stderr.take().expect("a pipe");
        stderr.read_to_string(&mut complaints).expect("standard error");
        let status = child.wait().expect("the end of the program");
        assert!(line.starts_with("files"), "{mode:?}: {line}");
        assert_eq!((status.code(), complaints.as_str()), (Some(0), ""), "{mode:?}");
    }
}

/// A file that takes a while: some words, and then nothing but gaps, which need no room on the disk.
fn slow_file(folder: &Folder, len: u64) -> PathBuf {
    let path = folder.file("slow", &b"word ".repeat(2000));
    let file = fs::File::options().write(true).open(&path).expect("open the file again");
    file.set_len(len).expect("make it long");
    path
}

/// Processes that have the file open: the workers that count it, and nobody else.
fn readers(path: &Path) -> Vec<String> {
    let has_it_open = |pid: &str| {
        let Ok(fds) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        fds.flatten().any(|fd| fs::read_link(fd.path()).is_ok_and(|target| target == path))
    };
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    let names = processes.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.parse::<u32>().is_ok() && has_it_open(name)).collect()
}

/// Kills up to `limit` workers that count the file, until the program ends. How many it were, and
/// what the program had to say.
fn kill_readers(path: &Path, folder: &Folder, limit: usize) -> (usize, Output) {
    // The program says little before it ends, so that its pipes need no emptying meanwhile.
    let mut child = guarded(wordcount())
        .args(["--workers", "2"])
        .arg(&folder.0)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start the program");
    let mut killed = Vec::new();
    while killed.len() < limit && child.try_wait().expect("state of the program").is_none() {
        let mut found = readers(path);
        found.retain(|pid| !killed.contains(pid));
        found.truncate(limit - killed.len());
        for pid in found {
            // It may just have ended by itself; then this was no kill.
            let kill =
                command("sh").args(["-c", "kill -9 \"$0\"", &pid]).stderr(Stdio::null()).status();
            if kill.is_ok_and(|status| status.success()) {
                killed.push(pid);
            }
        }
    }
    (killed.len(), child.wait_with_output().expect("the end of the program"))
}

/// Long enough that the program is still at it when a worker is killed.
const SLOW_BYTES: u64 = if cfg!(debug_assertions) { 1 << 29 } else { 8 << 30 };

#[test]
fn killed_workers_change_nothing() {
    let folder = Folder::new("killed");
    let path = slow_file(&folder, SLOW_BYTES);
    let (killed, output) = kill_readers(&path, &folder, 3);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert_eq!(killed, 3, "{complaints}");
    assert_eq!((output.status.code(), complaints.as_ref()), (Some(0), ""));
    let report = Report::parse(&output);
    let rows = ["files", "unreadable", "bytes", "words"].map(|name| report.row(name));
    assert_eq!(rows, [1, 0, SLOW_BYTES, 2000]);
}

#[test]
fn a_file_that_costs_every_worker_is_reported_and_the_others_are_counted() {
    let folder = Folder::new("deadly");
    let path = slow_file(&folder, SLOW_BYTES / 2);
    folder.file("good", b"three good words");
    let (killed, output) = kill_readers(&path, &folder, usize::MAX);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(killed > 1, "{complaints}");
    assert_eq!(output.status.code(), Some(0), "{complaints}");
    assert!(complaints.starts_with(&format!("wordcount: {}: ", path.display())), "{complaints}");
    assert!(complaints.contains("was killed by"), "{complaints}");
    let report = Report::parse(&output);
    assert_eq!(report.row("unreadable"), 1, "{complaints}");
    assert!(report.row("words") >= 3, "{report:?}");
    assert!(report.row("bytes") < SLOW_BYTES / 2, "{report:?}");
}
