//! What a process shall be, before it is started.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use procession_core::Result;
use procession_sys::signal;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::birth::Settings;
use crate::plan;
use crate::process::Process;
use crate::resources::{Limit, Resource};
use crate::start::StartMethod;
use crate::stream::Stream;
use crate::target::Target;
use crate::template::Template;

/// What a process shall be, before it is started.
///
/// What is not said is as in this process at the moment of the start: environment, working directory, limits, priority,
/// user. All of it is applied by the process itself before it calls its function; when something is refused, the function
/// is not called, and [`join`](Process::join) says [`NotStarted`](crate::JoinError::NotStarted).
///
/// Under the start method `thread` only a name, `daemon` and `on_drop` can be said; the rest is an error of the start.
///
/// # Examples
///
/// ```
/// # use procession_process as procession;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # procession::init();
/// use procession::Process;
///
/// let child = Process::builder().name("adder").spawn(|a: i32, b: i32| a + b, (1, 2))?;
/// assert_eq!(child.name(), "adder");
/// assert_eq!(child.join()?, 3);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder starts nothing until `spawn` is called"]
pub struct Builder {
    pub(crate) name: Option<String>,
    /// What stands in front of the name that it gets without one.
    pub(crate) prefix: &'static str,
    pub(crate) start_method: Option<StartMethod>,
    /// What it is a copy of, when that is not this process.
    pub(crate) template: Option<Template>,
    pub(crate) daemon: Option<bool>,
    pub(crate) on_drop: OnDrop,
    pub(crate) signal_mask: Option<u64>,
    pub(crate) death_signal: Option<i32>,
    /// The variables that are other than in this process; without a value, those that are not there.
    environment: BTreeMap<OsString, Option<OsString>>,
    /// Whether no variable of this process is there.
    empty_environment: bool,
    pub(crate) program_name: Option<OsString>,
    pub(crate) input: Option<Stream>,
    pub(crate) output: Stream,
    pub(crate) error_output: Stream,
    pub(crate) settings: Settings,
    /// Whether to fork although other threads run.
    pub(crate) despite_threads: bool,
}

/// What happens to a process when its handle is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnDrop {
    /// It goes on; nobody learns its result. It is reaped when it ends, and waited for when this process ends, unless it is
    /// a daemon.
    #[default]
    Detach,
    /// It is waited for.
    Join,
    /// It is told to end (`SIGTERM`), killed if it is there a second later, and waited for.
    Terminate,
}

impl OnDrop {
    /// How long a process that was told to end has for it.
    pub(crate) const GRACE: Duration = Duration::from_secs(1);
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            name: None,
            prefix: "",
            start_method: None,
            template: None,
            daemon: None,
            on_drop: OnDrop::default(),
            signal_mask: None,
            death_signal: Some(signal::KILL),
            environment: BTreeMap::new(),
            empty_environment: false,
            program_name: None,
            input: None,
            output: Stream::inherit(),
            error_output: Stream::inherit(),
            settings: Settings::default(),
            despite_threads: false,
        }
    }
}

impl Builder {
    /// Names the process, for messages, `ps` and debuggers. Without a name it is `Process-1`, `Process-2`, and the second
    /// child of the first is `Process-1:2`; those of a [`Context`](crate::Context) are `ForkProcess-1` and so on, as in Python.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Says how the process is started; without this, by the [default method](crate::start_method).
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.start_method = Some(method);
        self.template = None;
        self
    }

    /// Has the process be a copy of a template.
    pub(crate) fn of_template(mut self, template: Template) -> Self {
        self.start_method = Some(StartMethod::Fork);
        self.template = Some(template);
        self
    }

    /// Says whether the process is a daemon: when this process ends in order, it ends its daemons (`SIGTERM`, a second later
    /// `SIGKILL`), and waits for the others. Without this, a process is a daemon if this one is.
    ///
    /// Either kind is killed at once when this process is killed. Daemons may have children.
    ///
    /// # Source
    ///
    /// CPython `Process.daemon`. It is no daemon in the sense of Unix: see [`outlive_parent`](Self::outlive_parent).
    pub fn daemon(mut self, is_daemon: bool) -> Self {
        self.daemon = Some(is_daemon);
        self
    }

    /// Says what happens when the handle is dropped; without this, [`OnDrop::Detach`].
    pub fn on_drop(mut self, on_drop: OnDrop) -> Self {
        self.on_drop = on_drop;
        self
    }

    /// Lets the process live on when this one has ended, however that ended. It is neither ended nor waited for then; it still
    /// learns of the end, by [`parent_process`](crate::parent_process).
    pub fn outlive_parent(mut self) -> Self {
        self.death_signal = None;
        self
    }

    /// Says which signal the process gets when this one has ended, instead of `SIGKILL`: `SIGTERM` gives it time, and trusts
    /// that it ends.
    ///
    /// # Source
    ///
    /// In the spirit of `prctl(2)`, `PR_SET_PDEATHSIG`; but it is about this process, not about the thread that called `spawn`, and
    /// works across the fork server.
    pub fn death_signal(mut self, signal: i32) -> Self {
        self.death_signal = Some(signal);
        self
    }

    /// Says which signals the process's main thread blocks: signal `n` is bit `n - 1`. Without this, those that the calling
    /// thread blocks.
    pub fn signal_mask(mut self, bits: u64) -> Self {
        self.signal_mask = Some(bits);
        self
    }

    /// Sets a variable of the process's environment, which is otherwise that of this process when it is started.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.insert(name.into(), Some(value.into()));
        self
    }

    /// Leaves a variable out of the process's environment.
    pub fn env_remove(mut self, name: impl Into<OsString>) -> Self {
        self.environment.insert(name.into(), None);
        self
    }

    /// Leaves all variables out of the process's environment, but those that are [set](Self::env) behind this.
    pub fn env_clear(mut self) -> Self {
        self.environment.clear();
        self.empty_environment = true;
        self
    }

    /// Says what the process finds as the name of the program (`argv[0]`), and what `ps` shows. Only the start method `spawn`
    /// can do that; under the others the name is that of this process.
    pub fn arg0(mut self, name: impl Into<OsString>) -> Self {
        self.program_name = Some(name.into());
        self
    }

    /// Says what the process's working directory is; without this, that of this process when it is started. It does not
    /// start when it cannot enter it.
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.settings.directory = Some(directory.into().into_os_string().into_vec());
        self
    }

    /// Says where the process's standard input comes from; without this, from nowhere (`/dev/null`), so that processes do
    /// not take each other's lines.
    pub fn stdin(mut self, stream: impl Into<Stream>) -> Self {
        self.input = Some(stream.into());
        self
    }

    /// Says where the process's standard output goes; without this, where that of this process goes.
    pub fn stdout(mut self, stream: impl Into<Stream>) -> Self {
        self.output = stream.into();
        self
    }

    /// Says where the process's standard error goes; without this, where that of this process goes.
    pub fn stderr(mut self, stream: impl Into<Stream>) -> Self {
        self.error_output = stream.into();
        self
    }

    /// Makes the process run as that user, in that group, and with no supplementary groups but [those](Self::groups) that are
    /// said. For privileged processes.
    ///
    /// # Source
    ///
    /// `setresuid(2)`.
    pub fn uid(mut self, user: u32) -> Self {
        self.settings.user = Some(user);
        self
    }

    /// Makes the process run in that group. See [`uid`](Self::uid).
    ///
    /// # Source
    ///
    /// `setresgid(2)`.
    pub fn gid(mut self, group: u32) -> Self {
        self.settings.group = Some(group);
        self
    }

    /// Gives the process these supplementary groups. See [`uid`](Self::uid).
    ///
    /// # Source
    ///
    /// `setgroups(2)`.
    pub fn groups(mut self, groups: impl IntoIterator<Item = u32>) -> Self {
        self.settings.groups = Some(groups.into_iter().collect());
        self
    }

    /// Gives the process this priority, from -20 (the most) to 19.
    ///
    /// # Source
    ///
    /// `setpriority(2)`.
    pub fn nice(mut self, nice: i32) -> Self {
        self.settings.nice = Some(nice);
        self
    }

    /// Says which processors the process may use, numbered from zero.
    ///
    /// # Source
    ///
    /// `sched_setaffinity(2)`.
    pub fn affinity(mut self, processors: impl IntoIterator<Item = u16>) -> Self {
        self.settings.processors = Some(processors.into_iter().collect());
        self
    }

    /// Limits what the process may use: `soft` holds now and may be raised by it up to `hard`. `None` is without limit. In the
    /// unit of the resource: bytes, seconds or a count.
    ///
    /// # Source
    ///
    /// `setrlimit(2)`.
    pub fn limit(mut self, resource: Resource, soft: Option<u64>, hard: Option<u64>) -> Self {
        self.settings.limits.push(Limit::new(resource, soft, hard));
        self
    }

    /// Puts the process into a process group: zero is a new one of its own. A terminal's Ctrl-C reaches its foreground group
    /// only.
    ///
    /// # Source
    ///
    /// `setpgid(2)`.
    pub fn process_group(mut self, group: u32) -> Self {
        self.settings.process_group = Some(group);
        self
    }

    /// Says what stands in front of the name that the process gets without one.
    pub(crate) fn prefix(mut self, prefix: &'static str) -> Self {
        self.prefix = prefix;
        self
    }

    /// The environment that the process gets.
    pub(crate) fn environment(&self) -> Vec<(OsString, OsString)> {
        let mut environment: Vec<_> = match self.empty_environment {
            true => Vec::new(),
            false => std::env::vars_os().collect(),
        };
        if !self.environment.is_empty() {
            environment.retain(|(name, _)| !self.environment.contains_key(name));
            let set = self.environment.iter();
            environment
                .extend(set.filter_map(|(name, value)| Some((name.clone(), value.clone()?))));
        }
        environment
    }

    /// Whether the environment is other than that of this process.
    pub(crate) fn changes_environment(&self) -> bool {
        self.empty_environment || !self.environment.is_empty()
    }

    /// What a thread that stands for a process cannot have, if that is asked for.
    pub(crate) fn beyond_threads(&self) -> Option<&'static str> {
        let asked = [
            (self.changes_environment(), "an environment"),
            (self.signal_mask.is_some(), "a signal mask"),
            (
                self.death_signal != Some(signal::KILL),
                "a life beyond this process, or a signal at its end",
            ),
            (self.program_name.is_some(), "a program name"),
            (self.input.is_some(), "a standard input"),
            (!self.output.is_inherited(), "a standard output"),
            (!self.error_output.is_inherited(), "a standard error"),
            (self.settings != Settings::default(), "a directory, user, limit or priority"),
        ];
        asked.into_iter().find_map(|(asked, what)| asked.then_some(what))
    }

    /// Starts a process that calls `function` with `args`. See [`Process::spawn`].
    ///
    /// # Errors
    ///
    /// As [`Process::spawn`]; with the start method `fork`, [`Unsupported`](procession_core::ErrorKind::Unsupported) while other
    /// threads run, which are named.
    pub fn spawn<F, A>(self, function: F, args: A) -> Result<Process<F::Output>>
    where
        F: Target<A>,
        F::Output: Serialize + DeserializeOwned + 'static,
        A: Serialize + DeserializeOwned + 'static,
    {
        let on_drop = self.on_drop;
        plan::start(self, function, args).map(|child| Process::new(child, on_drop))
    }

    /// Starts a process that runs `value`. See [`Run`].
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn).
    pub fn run<T: Run>(self, value: T) -> Result<Process<T::Output>> {
        self.spawn(|value: T| value.run(), (value,))
    }

    /// Starts a process that calls `function`, which may capture what it likes: the process is a copy of this one, made by the
    /// start method `fork`, whatever else was chosen. What the function captured is dropped here, and lives on there.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn); [`Unsupported`](procession_core::ErrorKind::Unsupported) for a copy of a
    /// [template](crate::Template), which has nothing of what was captured.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use procession_process as procession;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use procession::{Context, StartMethod};
    ///
    /// let table: Vec<u64> = (0..1000).collect();
    /// let fork = Context::new(StartMethod::Fork);
    /// let child = fork.process().spawn_closure(move || table.iter().sum::<u64>())?;
    /// assert_eq!(child.join()?, 499_500);
    /// # Ok(())
    /// # }
    /// ```
    pub fn spawn_closure<R>(self, function: impl FnOnce() -> R) -> Result<Process<R>>
    where
        R: Serialize + DeserializeOwned + 'static,
    {
        let on_drop = self.on_drop;
        plan::fork(self, function).map(|child| Process::new(child, on_drop))
    }
}

/// Something that a process can be started to run, with a state of its own: what in Python is a subclass of `Process` with a
/// `run` method.
///
/// # Examples
///
/// ```
/// # use procession_process as procession;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # procession::init();
/// use procession::{Process, Run};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Greeting {
///     name: String,
/// }
///
/// impl Run for Greeting {
///     type Output = String;
///
///     fn run(self) -> String {
///         format!("hello {}", self.name)
///     }
/// }
///
/// let child = Process::builder().run(Greeting { name: "bob".into() })?;
/// assert_eq!(child.join()?, "hello bob");
/// # Ok(())
/// # }
/// ```
pub trait Run: Serialize + DeserializeOwned + 'static {
    /// What it returns.
    type Output: Serialize + DeserializeOwned + 'static;

    /// Runs, in the process that was started for it.
    fn run(self) -> Self::Output;
}
