//! Starting a process.

use std::ffi::OsStr;
use std::os::fd::AsFd;

use procession_core::{Courier, Error, ErrorKind, Handle, Message, Result, lifeline};
use procession_sys::spawn::{self, THIS_PROGRAM};
use procession_sys::{fd, pidfd, process, signal};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::build_id::BuildId;
use crate::current::Current;
use crate::init::Recipe;
use crate::process::{Child, Process};
use crate::request::Request;
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
}

impl Builder {
    /// Names the process, for messages, `ps` and debuggers. Without a name it is `Process-1`, `Process-2`, and the second
    /// child of the first is `Process-1:2`, as in Python.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
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
        let recipe = Recipe::of_this_program()?;
        let function = FunctionRef::of(function)?;
        let arguments = Message::encode(&args)?;
        // The handles in the arguments exist once: the message holds them now.
        drop(args);
        let current = Current::get();
        let (path, default_name) = current.next_child();
        let name = self.name.unwrap_or(default_name);
        if name.contains('\0') {
            let text = "the name of a process holds a zero byte";
            return Err(Error::new(ErrorKind::InvalidInput, text));
        }
        let output = match recipe.discard_output {
            true => Some(Handle(fd::duplicate(std::io::stdout())?)),
            false => None,
        };
        let request = Request {
            pid: 0,
            build: BuildId::current()?.clone(),
            function,
            name,
            path,
            parent: current.as_parent(),
            signal_mask: signal::thread_mask()?.bits(),
            lifeline: Handle(lifeline::for_child()?),
            output,
        };
        start(&recipe, request, arguments).map(Process::new)
    }
}

/// Executes this program once more and tells it what to do.
fn start(recipe: &Recipe, mut request: Request, arguments: Message) -> Result<Child> {
    let (courier, theirs) = Courier::pair()?;
    let own_name = std::env::args_os().next().unwrap_or_else(|| THIS_PROGRAM.into());
    let command_line: Vec<&OsStr> =
        std::iter::once(own_name.as_os_str()).chain(recipe.arguments.iter().copied()).collect();
    request.pid = spawn::spawn(&spawn::Spec {
        program: OsStr::new(THIS_PROGRAM),
        arguments: &command_line,
        bootstrap: theirs.as_fd(),
        mask: signal::Mask::from_bits(request.signal_mask),
        discard_output: recipe.discard_output,
    })?;
    drop(theirs);
    let pid = request.pid;
    // The child has not been waited for, so that its number is still its own.
    match adopt(courier, request, arguments) {
        Ok(child) => {
            tracing::debug!(pid, name = child.name(), "process started");
            Ok(child)
        }
        Err(error) => {
            // When it is no child any more, this program reaps children that are not its own; nothing is left to do.
            drop(process::kill_and_reap(pid));
            Err(error)
        }
    }
}

fn adopt(courier: Courier, request: Request, arguments: Message) -> Result<Child> {
    let pidfd = pidfd::open(request.pid)?;
    for message in [Message::encode(&request)?, arguments] {
        match courier.send(&message) {
            Ok(()) => {}
            // It died before it heard a word: `join` tells how.
            Err(error) if error.kind() == ErrorKind::Closed => break,
            Err(error) => return Err(error),
        }
    }
    Ok(Child::new(request.pid, request.name, pidfd, courier))
}
