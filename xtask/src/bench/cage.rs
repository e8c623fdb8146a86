//! Running one program under the `cage` of the benchmark package, which accounts for its whole
//! family of processes and lets none outlive the run.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::family::Env;

/// How much longer than its own limit the cage may take before it is killed itself.
const SLACK: Duration = Duration::from_secs(20);
/// How much of what a program complained about is kept.
const COMPLAINT_BYTES: usize = 300;

/// How programs are run: where the cage is, and for how long and where they may run.
pub(crate) struct Cage {
    program: PathBuf,
    cpus: Option<String>,
    timeout: Duration,
    quick: bool,
}

/// What the cage writes down about a run.
#[derive(Debug, Deserialize)]
pub(crate) struct Account {
    pub(crate) ok: bool,
    pub(crate) end: String,
    pub(crate) wall_s: f64,
    /// User and system time of the program and of every descendant.
    pub(crate) cpu_s: f64,
    pub(crate) peak_kib: f64,
    /// Processes that the program left behind and that had to be killed.
    pub(crate) strays: usize,
}

/// What a run left.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) stdout: String,
    pub(crate) complaint: String,
    pub(crate) account: Account,
}

impl Outcome {
    /// Whether the program ended well and left nobody behind.
    pub(crate) fn check(&self) -> Result<(), String> {
        if !self.account.ok {
            let Self { complaint, account, .. } = self;
            let gap = if complaint.is_empty() { "" } else { ": " };
            return Err(format!("{}{gap}{complaint}", account.end));
        }
        match self.account.strays {
            0 => Ok(()),
            count => Err(format!("{count} process(es) left behind had to be killed")),
        }
    }
}

impl Cage {
    pub(crate) fn new(
        program: PathBuf,
        cpus: Option<String>,
        timeout: Duration,
        quick: bool,
    ) -> Self {
        Self { program, cpus, timeout, quick }
    }

    /// Runs a program to its end, or to the end of its time.
    pub(crate) fn run(
        &self,
        argv: &[OsString],
        env: &Env,
        with_peak: bool,
    ) -> Result<Outcome, String> {
        let report = self.program.with_file_name(format!("cage-{}.json", std::process::id()));
        let child = self.start(&report, argv, env, with_peak);
        let child = child.map_err(|error| format!("could not start the cage: {error}"))?;
        let [stdout, complaint] = collect(child, self.timeout + SLACK)?;
        let account = std::fs::read_to_string(&report)
            .map_err(|_missing| format!("the cage gave up: {}", tail(&complaint)))?;
        // Only litter in the build folder would remain, and the next run writes over it.
        std::fs::remove_file(&report).ok();
        let account = serde_json::from_str(&account).map_err(|error| error.to_string())?;
        Ok(Outcome { stdout, complaint: tail(&complaint).to_owned(), account })
    }

    fn start(
        &self,
        report: &Path,
        argv: &[OsString],
        env: &Env,
        with_peak: bool,
    ) -> std::io::Result<Child> {
        #[expect(clippy::disallowed_methods, reason = "a tool: output and time limit are its own")]
        let mut command = Command::new(&self.program);
        command.arg("--report").arg(report);
        command.arg("--timeout").arg(self.timeout.as_secs().to_string());
        if let Some(list) = &self.cpus {
            command.args(["--cpus", list]);
        }
        if with_peak {
            command.arg("--peak");
        }
        if self.quick {
            command.env("PEERS_DIV", "5");
        }
        match library_path_without_cargo() {
            Some(path) => command.env("LD_LIBRARY_PATH", path),
            None => command.env_remove("LD_LIBRARY_PATH"),
        };
        command.envs(env.iter().map(|(name, value)| (name, value))).arg("--").args(argv);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
    }
}

/// Cargo makes the loader look for libraries in its own folders first, which would cost every
/// program that is started here some time.
fn library_path_without_cargo() -> Option<OsString> {
    let path = std::env::var_os("LD_LIBRARY_PATH")?;
    let by_cargo = |folder: &PathBuf| {
        folder.components().any(|part| part.as_os_str() == OsStr::new("toolchains"))
            || std::env::current_exe().is_ok_and(|own| own.parent() == Some(&**folder))
            || folder.ends_with("deps")
    };
    let kept: Vec<PathBuf> = std::env::split_paths(&path).filter(|one| !by_cargo(one)).collect();
    std::env::join_paths(kept).ok().filter(|path| !path.is_empty())
}

/// Both outputs of the cage, once it has ended. Kills it at the end of `patience`.
fn collect(mut child: Child, patience: Duration) -> Result<[String; 2], String> {
    let deadline = Instant::now() + patience;
    let (sender, outputs) = mpsc::channel();
    forward(0, child.stdout.take(), sender.clone());
    forward(1, child.stderr.take(), sender);
    let received = receive(&outputs, deadline);
    if received.is_none() {
        child.kill().map_err(|error| error.to_string())?;
    }
    child.wait().map_err(|error| error.to_string())?;
    received.ok_or_else(|| format!("the cage did not end within {} s", patience.as_secs()))
}

/// Reads one output to its end in a thread and hands it over.
fn forward(which: usize, from: Option<impl Read + Send + 'static>, to: Sender<(usize, Vec<u8>)>) {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is still worth showing.
        from.map(|mut from| from.read_to_end(&mut bytes).ok());
        to.send((which, bytes)).ok();
    });
}

fn receive(outputs: &Receiver<(usize, Vec<u8>)>, deadline: Instant) -> Option<[String; 2]> {
    let mut texts = [String::new(), String::new()];
    for _ in 0..texts.len() {
        let left = deadline.saturating_duration_since(Instant::now());
        let (which, bytes) = outputs.recv_timeout(left).ok()?;
        *texts.get_mut(which)? = String::from_utf8_lossy(&bytes).into_owned();
    }
    Some(texts)
}

fn tail(text: &str) -> &str {
    text.get(text.floor_char_boundary(text.len().saturating_sub(COMPLAINT_BYTES))..)
        .unwrap_or(text)
        .trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(script: &str) -> Child {
        #[expect(clippy::disallowed_methods, reason = "stands in for a cage")]
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    #[test]
    fn both_outputs_are_collected() {
        let outputs = collect(program("echo one; echo two >&2; echo three"), SLACK).unwrap();
        assert_eq!(outputs, ["one\nthree\n", "two\n"]);
    }

    #[test]
    fn a_cage_that_hangs_is_killed() {
        let begin = Instant::now();
        let hung = collect(program("exec sleep 600"), Duration::from_millis(50));
        assert!(hung.unwrap_err().contains("did not end"));
        assert!(begin.elapsed() >= Duration::from_millis(50));
    }

    #[test]
    fn a_run_is_good_only_if_it_ended_well_and_alone() {
        let outcome = |ok, strays| Outcome {
            stdout: String::new(),
            complaint: "oh no".to_owned(),
            account: Account {
                ok,
                end: "exit 1".to_owned(),
                wall_s: 1.0,
                cpu_s: 1.0,
                peak_kib: 0.0,
                strays,
            },
        };
        assert_eq!(outcome(true, 0).check(), Ok(()));
        assert_eq!(outcome(false, 0).check(), Err("exit 1: oh no".to_owned()));
        assert!(outcome(true, 1).check().unwrap_err().starts_with("1 process"));
    }

    #[test]
    fn the_end_of_a_text_is_cut_between_characters() {
        let text = "\u{e9}".repeat(COMPLAINT_BYTES);
        assert!(tail(&text).len() >= COMPLAINT_BYTES);
        assert!(text.ends_with(tail(&text)) && tail(&text).len() < text.len());
        assert_eq!(tail(" short "), "short");
    }
}
