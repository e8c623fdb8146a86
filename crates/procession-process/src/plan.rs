//! From the description of a process to the process.

use std::ffi::OsString;

use procession_core::authkey::AuthKey;
use procession_core::family::{Family, Reservation};
use procession_core::{Error, ErrorKind, Message, Result};
use procession_sys::signal;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

use crate::birth::{Birth, OnInterrupt};
use crate::builder::Builder;
use crate::child::{Child, Traits};
use crate::current::Current;
use crate::init::{Recipe, Role};
use crate::launch::{self, Work};
use crate::start::{StartMethod, start_method};
use crate::stream::{HasOwn, Pipes};
use crate::target::Target;
use crate::template::Template;
use crate::trampoline::FunctionRef;
use crate::{children, fork, in_thread};

/// A process that is about to be started.
pub(crate) struct Plan {
    pub(crate) birth: Birth,
    pub(crate) environment: Vec<(OsString, OsString)>,
    pub(crate) changes_environment: bool,
    pub(crate) program_name: Option<OsString>,
    pub(crate) despite_threads: bool,
    pub(crate) reservation: Reservation,
    pub(crate) pipes: Pipes,
    pub(crate) method: StartMethod,
    /// What it is a copy of, when that is not this process as it is now.
    pub(crate) template: Option<Template>,
}

/// Starts a process that calls `function` with `args`.
pub(crate) fn start<F, A>(builder: Builder, function: F, args: A) -> Result<Arc<Child>>
where
    F: Target<A>,
    F::Output: Serialize + 'static,
    A: Serialize + DeserializeOwned + 'static,
{
    let method = builder.start_method.unwrap_or_else(start_method);
    if method == StartMethod::Fork && builder.template.is_none() {
        return self::fork(builder, move || function.call(args));
    }
    let function = FunctionRef::of(function)?;
    let arguments = Message::encode(&args)?;
    // The handles in the arguments exist once: the message holds them now.
    drop(args);
    let child = match method {
        StartMethod::Thread => thread(builder, function, arguments)?,
        method => {
            let plan = Plan::new(builder, method)?;
            launch::launch(plan, &Work { function, arguments })?
        }
    };
    started(child)
}

/// Starts a copy of this process that calls `function`.
pub(crate) fn fork<R: Serialize>(
    builder: Builder,
    function: impl FnOnce() -> R,
) -> Result<Arc<Child>> {
    if builder.template.is_some() {
        let text = "a copy of a template cannot be given a closure that captures something: it has none of this memory";
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    let plan = Plan::new(builder, StartMethod::Fork)?;
    started(fork::fork(plan, function)?)
}

fn thread(builder: Builder, function: FunctionRef, arguments: Message) -> Result<Child> {
    if let Some(what) = builder.beyond_threads() {
        let text = format!("a thread that stands for a process cannot have {what}");
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    let (path, default_name, parent) = Current::with(|current| {
        let (path, name) = current.next_child(builder.prefix);
        (path, name, current.as_parent())
    });
    let traits = Traits {
        name: checked(builder.name.unwrap_or(default_name))?,
        is_daemon: builder.daemon.unwrap_or_else(|| Current::with(Current::is_daemon)),
        outlives_parent: false,
        method: StartMethod::Thread,
        member: None,
        template: None,
        pipes: Pipes::default(),
    };
    in_thread::start(traits, path, parent, function, arguments)
}

fn started(child: Child) -> Result<Arc<Child>> {
    let method = child.start_method();
    tracing::debug!(pid = child.pid(), name = child.name(), %method, "process started");
    children::add(child)
}

fn checked(name: String) -> Result<String> {
    match name.contains('\0') {
        false => Ok(name),
        true => {
            let text = "the name of a process holds a zero byte";
            Err(Error::new(ErrorKind::InvalidInput, text))
        }
    }
}

impl Plan {
    fn new(builder: Builder, method: StartMethod) -> Result<Self> {
        let (path, default_name, parent, is_daemon) = Current::with(|current| {
            let (path, name) = current.next_child(builder.prefix);
            (path, name, current.as_parent(), current.is_daemon())
        });
        let changes_environment = builder.changes_environment();
        let is_fork = method == StartMethod::Fork && builder.template.is_none();
        // A fork has it, unless it shall be another.
        let environment = match is_fork && !changes_environment {
            true => Vec::new(),
            false => builder.environment(),
        };
        let reservation = Family::current()?.reserve()?;
        let mut pipes = Pipes::default();
        let has_output = match method {
            StartMethod::Spawn if Recipe::of_this_program(Role::Child)?.discard_output => {
                HasOwn::No
            }
            _ => HasOwn::Yes,
        };
        let birth = Birth {
            name: checked(builder.name.unwrap_or(default_name))?,
            path,
            is_daemon: builder.daemon.unwrap_or(is_daemon),
            parent,
            authkey: AuthKey::current()?.clone(),
            invitation: match is_fork {
                true => reservation.invitation_for_fork(),
                false => reservation.invitation()?,
            },
            start_method: method,
            signal_mask: match builder.signal_mask {
                Some(bits) => bits,
                None => signal::thread_mask()?.bits(),
            },
            interrupt: OnInterrupt::for_child()?,
            death_signal: builder.death_signal,
            input: match builder.input {
                Some(input) => input.for_input(&mut pipes)?,
                None => None,
            },
            output: builder.output.for_output(&mut pipes, has_output)?,
            error_output: builder.error_output.for_error_output(&mut pipes)?,
            settings: builder.settings,
        };
        Ok(Self {
            birth,
            environment,
            changes_environment,
            program_name: builder.program_name,
            despite_threads: builder.despite_threads,
            reservation,
            pipes,
            method,
            template: builder.template,
        })
    }

    /// What this process keeps of the plan, once the child was started.
    pub(crate) fn into_traits(self) -> Traits {
        let Birth { name, is_daemon, death_signal, .. } = self.birth;
        Traits {
            name,
            is_daemon,
            outlives_parent: death_signal.is_none(),
            method: self.method,
            member: Some(self.reservation.commit()),
            template: self.template,
            pipes: self.pipes,
        }
    }
}
