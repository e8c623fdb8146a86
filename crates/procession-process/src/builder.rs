//! Starting a process.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use procession_core::{Courier, Error, ErrorKind, Handle, Message, Result, lifeline};
use procession_sys::signal::{self, Mask};
use procession_sys::{pidfd, process};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::build_id::BuildId;
use crate::current::Current;
use crate::init::{Recipe, Role};
use crate::process::{Child, Process, ReapedBy};
use crate::report::Report;
use crate::request::Request;
use crate::server;
use crate::start::{StartMethod, start_method};
use crate::stream::Stream;
use crate::target::Target;
use crate::trampoline::FunctionRef;

/// What a process shall be, before it is started.
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
#[derive(Debug, Clone, Default)]
#[must_use = "a builder starts nothing until `spawn` is called"]
pub struct Builder {
    name: Option<String>,
    start_method: Option<StartMethod>,
    signal_mask: Option<u64>,
    /// The variables that are other than in this process; without a value, those that are not there.
    environment: BTreeMap<OsString, Option<OsString>>,
    /// Whether no variable of this process is there.
    empty_environment: bool,
    directory: Option<PathBuf>,
    input: Option<Stream>,
    output: Stream,
    error_output: Stream,
}

impl Builder {
    /// Names the process, for messages, `ps` and debuggers. Without a name it is `Process-1`, `Process-2`, and the second
    /// child of the first is `Process-1:2`, as in Python.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Says how the process is started; without this, by the [default method](crate::start_method).
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.start_method = Some(method);
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

    /// Says what the process's working directory is; without this, that of this process when it is started. It does not
    /// start when it cannot enter it.
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
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

    fn full_environment(&self) -> Vec<(OsString, OsString)> {
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

    /// Starts a process that calls `function` with `args`. See [`Process::spawn`].
    ///
    /// # Errors
    ///
    /// As [`Process::spawn`].
    pub fn spawn<F, A>(self, function: F, args: A) -> Result<Process<F::Output>>
    where
        F: Target<A>,
        F::Output: Serialize + DeserializeOwned + 'static,
        A: Serialize + DeserializeOwned + 'static,
    {
        let method = self.start_method.unwrap_or_else(start_method);
        let recipe = Recipe::of_this_program(Role::Child)?;
        let function = FunctionRef::of(function)?;
        let arguments = Message::encode(&args)?;
        // The handles in the arguments exist once: the message holds them now.
        drop(args);
        let current = Current::get();
        let (path, default_name) = current.next_child();
        let environment = self.full_environment();
        let name = self.name.unwrap_or(default_name);
        if name.contains('\0') {
            let text = "the name of a process holds a zero byte";
            return Err(Error::new(ErrorKind::InvalidInput, text));
        }
        let request = Request {
            pid: None,
            build: BuildId::current()?.clone(),
            function,
            name,
            path,
            parent: current.as_parent(),
            start_method: start_method(),
            signal_mask: match self.signal_mask {
                Some(bits) => bits,
                None => signal::thread_mask()?.bits(),
            },
            lifeline: Handle(lifeline::for_child()?),
            directory: self.directory.map(|directory| directory.into_os_string().into_vec()),
            input: match self.input {
                Some(input) => input.descriptor(std::io::stdin())?,
                None => None,
            },
            output: match recipe.discard_output {
                true => self.output.descriptor(std::io::stdout())?,
                false => self.output.descriptor_unless_inherited()?,
            },
            error_output: self.error_output.descriptor_unless_inherited()?,
        };
        let child = match method {
            StartMethod::Spawn => spawn(&recipe, request, &arguments, &environment),
            StartMethod::ForkServer => fork(request, &arguments, &environment),
        }?;
        tracing::debug!(pid = child.pid(), name = child.name(), %method, "process started");
        Ok(Process::new(child))
    }
}

/// Has the fork server start a process, and tells that what to do.
fn fork(
    request: Request,
    arguments: &Message,
    environment: &[(OsString, OsString)],
) -> Result<Child> {
    // A server that has ended is worth another try; one that ends again is not.
    for _ in 0..2 {
        let (courier, theirs) = Courier::pair()?;
        // Before the process is there, so that it finds them at once: both fit into the socket.
        tell(&courier, &request, arguments)?;
        server::order(theirs, environment)?;
        match courier.recv()?.map(Report::from_message).transpose()? {
            Some(Report::Started(pid, pidfd)) => {
                let pidfd = pidfd.into_inner();
                return Ok(Child::new(pid, request.name, pidfd, courier, ReapedBy::ForkServer));
            }
            Some(Report::NotStarted(error)) => return Err(error),
            Some(Report::Ended(status)) => {
                let text = format!("the process {status} before it had begun");
                return Err(Error::new(ErrorKind::Died, text));
            }
            Some(_) => return Err(Error::new(ErrorKind::Decode, "an answer without a start")),
            None if server::is_gone() => {}
            None => {
                let text = "the fork server could not take the order: it may be out of descriptors";
                return Err(Error::new(ErrorKind::Broken, text));
            }
        }
    }
    let text = "the fork server ended before it had started the process";
    Err(Error::new(ErrorKind::Broken, text))
}

/// Executes this program once more and tells it what to do.
fn spawn(
    recipe: &Recipe,
    mut request: Request,
    arguments: &Message,
    environment: &[(OsString, OsString)],
) -> Result<Child> {
    let (courier, theirs) = Courier::pair()?;
    let mask = Mask::from_bits(request.signal_mask);
    let pid = recipe.execute(theirs.as_fd(), mask, environment)?;
    drop(theirs);
    request.pid = Some(pid);
    // The child has not been waited for, so that its number is still its own.
    let told = pidfd::open(pid).map_err(Error::from).and_then(|pidfd| {
        tell(&courier, &request, arguments)?;
        Ok(pidfd)
    });
    match told {
        Ok(pidfd) => Ok(Child::new(pid, request.name, pidfd, courier, ReapedBy::Us)),
        Err(error) => {
            // When it is no child any more, this program reaps children that are not its own; nothing is left to do.
            drop(process::kill_and_reap(pid));
            Err(error)
        }
    }
}

fn tell(courier: &Courier, request: &Request, arguments: &Message) -> Result<()> {
    let request = Message::encode(request)?;
    match courier.send(&request).and_then(|()| courier.send(arguments)) {
        // It died before it heard a word: `join` tells how.
        Err(error) if error.kind() == ErrorKind::Closed => Ok(()),
        told => told,
    }
}
