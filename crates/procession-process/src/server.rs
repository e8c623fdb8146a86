//! The fork server: a process without threads that forks children on request. The protocol and who may die when stand in
//! `docs/start-methods.md`.
//!
//! The first half is the server's side, the second the requester's.

#![expect(unsafe_code, reason = "forks, and changes the environment of a process without threads")]

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

use procession_core::{Courier, Error, ErrorKind, Handle, Message, Received, Result, lifeline};
use procession_sys::fd::{self, StandardStream, replace_standard_stream};
use procession_sys::fork::{self, Forked};
use procession_sys::poll::{self, Watch};
use procession_sys::prim::{Mutex, lock};
use procession_sys::surroundings::{self, Limit, Surroundings};
use procession_sys::{Deadline, pidfd, process, signal, spawn};
use serde::{Deserialize, Serialize};

use crate::build_id::BuildId;
use crate::child;
use crate::init::{Recipe, Role};
use crate::report::Report;

/// The first message to a server.
#[derive(Serialize, Deserialize)]
struct Welcome {
    pid: u32,
    build: BuildId,
    lifeline: Handle<OwnedFd>,
}

/// Asks for a child.
#[derive(Serialize, Deserialize)]
struct Order {
    bootstrap: Courier,
    surroundings: Inherited,
}

/// What a child inherits from the process that asks for it. Absent is what is as it was when the server was started.
#[derive(Serialize, Deserialize)]
struct Inherited {
    output: Handle<OwnedFd>,
    error_output: Handle<OwnedFd>,
    ignores_interrupt: bool,
    directory: Option<Handle<OwnedFd>>,
    settings: Option<Settings>,
    environment: Option<Vec<(Vec<u8>, Vec<u8>)>>,
}

/// [`Surroundings`] without the directory, which travels as a descriptor.
#[derive(Serialize, Deserialize)]
struct Settings {
    umask: u32,
    nice: i32,
    limits: Vec<Limit>,
    processors: Vec<u16>,
}

/// Serves until the process that started this one is gone.
///
/// In a test harness there is one more thread, which waits for this one and holds nothing.
pub(crate) fn run_as_server(harness: bool) -> ! {
    let bootstrap = spawn::take_bootstrap().unwrap_or_else(|error| child::lost(&error));
    let threads = if harness { 2 } else { 1 };
    match serve(Courier::from(bootstrap), threads) {
        Ok(Some(bootstrap)) => child::run_and_exit(bootstrap),
        Ok(None) => child::exit(0),
        Err(error) => {
            tracing::error!(%error, "the fork server cannot go on");
            child::exit(child::FAILED)
        }
    }
}

struct Server {
    control: Courier,
    present: Surroundings,
    children: Vec<Forkling>,
    /// Why this process cannot fork, if it cannot.
    unfit: Option<Error>,
}

/// A child of the server.
struct Forkling {
    pidfd: OwnedFd,
    /// The child's end of its courier: what the server sends into it comes behind what the child has sent.
    report: Courier,
}

/// Serves; returns in a child with its courier, and in the server when nobody is left to serve.
fn serve(control: Courier, threads: usize) -> Result<Option<Courier>> {
    let Some(welcome) = control.recv()? else { return Ok(None) };
    let welcome: Welcome = welcome.decode()?;
    if welcome.pid != process::id() || welcome.build != *BuildId::current()? {
        return Err(Error::new(ErrorKind::BuildMismatch, "another program started this server"));
    }
    lifeline::arm(welcome.lifeline.into_inner())?;
    process::set_thread_name("procession-fork")?;
    // Orders say whether children ignore it; what was before does not matter.
    let _was_ignored = signal::ignore(signal::INTERRUPT)?;
    let mut server = Server {
        control,
        present: Surroundings::of_this_process()?,
        children: Vec::new(),
        unfit: None,
    };
    let found = fork::thread_count()?;
    if found > threads {
        let text = format!(
            "the fork server has {found} threads: something before `procession::init()` starts some; use the start \
             method `spawn`, or start them later"
        );
        server.unfit = Some(Error::new(ErrorKind::Unsupported, text));
    }
    loop {
        let (ordered, ended) = server.wait()?;
        server.bury(&ended);
        if !ordered {
            continue;
        }
        let order = match server.control.try_recv() {
            Ok(Received::Nothing) => continue,
            Ok(Received::Closed) => return Ok(None),
            Ok(Received::Message(order)) => order.decode::<Order>(),
            Err(error) => Err(error),
        };
        match order {
            Ok(order) => {
                if let Some(order) = server.fork(order) {
                    return Ok(Some(server.become_child(order)));
                }
            }
            // No room for its descriptors, say. They are closed, which tells the requester.
            Err(error) => tracing::warn!(%error, "the fork server cannot take an order"),
        }
    }
}

impl Server {
    /// Waits for an order or for children to end; tells which came.
    fn wait(&self) -> Result<(bool, Vec<bool>)> {
        let mut watches = vec![Watch::readable(&self.control)];
        watches.extend(self.children.iter().map(|child| Watch::readable(&child.pidfd)));
        poll::wait(&mut watches, Deadline::NEVER)?;
        let mut ready = watches.iter().map(Watch::is_ready);
        let ordered = ready.next().unwrap_or(false);
        Ok((ordered, ready.collect()))
    }

    /// Reaps children and tells how they ended to whoever ordered them.
    fn bury(&mut self, ended: &[bool]) {
        let mut ended = ended.iter();
        self.children.retain(|child| {
            if !ended.next().is_some_and(|ended| *ended) {
                return true;
            }
            let status = match pidfd::try_reap(&child.pidfd) {
                Ok(Some(ended)) => ended.into(),
                // A debugger may make the descriptor readable before its time.
                Ok(None) => return true,
                Err(_) => crate::ExitStatus::Unknown,
            };
            // If it does not go, nobody is there to hear it: the other end's socket has room, it was kept for this.
            let told = Report::Ended(status).into_message();
            drop(told.and_then(|message| child.report.try_send(&message)));
            false
        });
    }

    /// Forks: returns the order in the child, nothing in the server.
    fn fork(&mut self, order: Order) -> Option<Order> {
        match self.try_fork(&order) {
            Ok(Forked::Child) => Some(order),
            Ok(Forked::Parent { .. }) => None,
            Err(error) => {
                // If it does not go, nobody is there to hear it: the socket is new.
                let told = Report::NotStarted(error).into_message();
                drop(told.and_then(|message| order.bootstrap.try_send(&message)));
                None
            }
        }
    }

    fn try_fork(&mut self, order: &Order) -> Result<Forked> {
        if let Some(error) = &self.unfit {
            return Err(error.clone());
        }
        let report = Courier::from(fd::duplicate(&order.bootstrap)?);
        // SAFETY: This process has no other thread (checked when it began to serve, and it starts none), or is a test
        // harness whose other thread waits for this one and holds nothing meanwhile.
        let forked = unsafe { fork::fork() }?;
        if let Forked::Parent { child } = forked {
            // It has not been waited for: the number is its own.
            let pidfd = pidfd::open(child).inspect_err(|_no_room| {
                drop(process::kill_and_reap(child));
            })?;
            self.children.push(Forkling { pidfd, report });
        }
        Ok(forked)
    }

    /// Makes this fork what the order wants it to be.
    fn become_child(self, order: Order) -> Courier {
        let present = self.present.clone();
        // The server's descriptors are not the child's.
        drop(self);
        let introduced = settle_in(order.surroundings, &present).and_then(|()| {
            let pid = process::id();
            let started = Report::Started(pid, Handle(pidfd::open(pid)?));
            order.bootstrap.send(&started.into_message()?)
        });
        match introduced {
            Ok(()) => order.bootstrap,
            Err(error) => child::refuse(&order.bootstrap, error),
        }
    }
}

fn settle_in(wanted: Inherited, present: &Surroundings) -> Result<()> {
    if !wanted.ignores_interrupt {
        signal::restore_default(signal::INTERRUPT)?;
    }
    replace_standard_stream(&wanted.output, StandardStream::Output)?;
    replace_standard_stream(&wanted.error_output, StandardStream::Error)?;
    if let Some(directory) = wanted.directory {
        surroundings::enter_directory(&directory)?;
    }
    if let Some(Settings { umask, nice, limits, processors }) = wanted.settings {
        let directory = present.directory.clone();
        let wanted = Surroundings { directory, umask, nice, limits, processors };
        wanted.apply_over(present)?;
    }
    if let Some(environment) = wanted.environment {
        replace_environment(environment);
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "a fork of a process without threads has none either"
)]
fn replace_environment(wanted: Vec<(Vec<u8>, Vec<u8>)>) {
    for (name, _) in std::env::vars_os() {
        if !wanted.iter().any(|(wanted, _)| *wanted == name.as_bytes()) {
            // SAFETY: This process has one thread.
            unsafe { std::env::remove_var(name) };
        }
    }
    for (name, value) in wanted {
        let (name, value) = (OsString::from_vec(name), OsString::from_vec(value));
        // SAFETY: This process has one thread.
        unsafe { std::env::set_var(name, value) };
    }
}

/// The connection to this process's server.
struct Connection {
    /// The process that it belongs to: after a fork the child has none.
    owner: u32,
    server: u32,
    control: Courier,
    /// What the server has inherited.
    surroundings: Surroundings,
    environment: Vec<(OsString, OsString)>,
}

static CONNECTION: Mutex<Option<Connection>> = Mutex::new(None);

/// Asks for a process whose end of the courier is `bootstrap`, with this environment.
///
/// What comes out of the other end first is that the process has [started](Report::Started), or why it has not; if nothing
/// comes and it is closed, no process was started, or it ended without having called anything: see [`is_gone`].
pub(crate) fn order(bootstrap: Courier, environment: &[(OsString, OsString)]) -> Result<()> {
    let mut slot = lock(&CONNECTION);
    if slot.as_ref().is_none_or(Connection::is_gone) {
        if let Some(connection) = slot.take().filter(|known| known.owner == process::id()) {
            tracing::warn!(pid = connection.server, "the fork server is gone; starting another");
            connection.close();
        }
        *slot = Some(Connection::open()?);
    }
    match &*slot {
        Some(connection) => connection.order(bootstrap, environment),
        None => Ok(()),
    }
}

/// Whether the server is gone, so that asking again asks another one.
pub(crate) fn is_gone() -> bool {
    lock(&CONNECTION).as_ref().is_none_or(Connection::is_gone)
}

impl Connection {
    fn open() -> Result<Self> {
        let recipe = Recipe::of_this_program(Role::ForkServer)?;
        let (control, theirs) = Courier::pair()?;
        let surroundings = Surroundings::of_this_process()?;
        let environment: Vec<_> = std::env::vars_os().collect();
        let server = recipe.execute(theirs.as_fd(), signal::thread_mask()?, &environment)?;
        drop(theirs);
        let welcome = || {
            Message::encode(&Welcome {
                pid: server,
                build: BuildId::current()?.clone(),
                lifeline: Handle(lifeline::for_child()?),
            })
        };
        let connection = Self { owner: process::id(), server, control, surroundings, environment };
        match welcome().and_then(|welcome| connection.control.send(&welcome)) {
            Ok(()) => {}
            // It has died already: the first order finds out.
            Err(error) if error.kind() == ErrorKind::Closed => {}
            Err(error) => {
                connection.close();
                return Err(error);
            }
        }
        tracing::debug!(pid = server, "fork server started");
        Ok(connection)
    }

    /// Whether this is another process's connection, or the server has ended.
    fn is_gone(&self) -> bool {
        let mut watch = [Watch::hang_up(&self.control)];
        let looked = poll::wait(&mut watch, Deadline::after(Duration::ZERO));
        self.owner != process::id() || looked.is_err() || watch[0].has_hung_up()
    }

    fn order(&self, bootstrap: Courier, environment: &[(OsString, OsString)]) -> Result<()> {
        let order = Order { bootstrap, surroundings: self.inherited(environment)? };
        match self.control.send(&Message::encode(&order)?) {
            // It has just ended. The order is dropped, and its courier closed with it.
            Err(error) if error.kind() == ErrorKind::Closed => Ok(()),
            sent => sent,
        }
    }

    fn inherited(&self, environment: &[(OsString, OsString)]) -> Result<Inherited> {
        let now = Surroundings::of_this_process()?;
        let mut inherited = Inherited {
            output: Handle(fd::duplicate(std::io::stdout())?),
            error_output: Handle(fd::duplicate(std::io::stderr())?),
            ignores_interrupt: signal::is_ignored(signal::INTERRUPT)?,
            directory: None,
            settings: None,
            environment: None,
        };
        if now.directory != self.surroundings.directory {
            inherited.directory = Some(Handle(surroundings::working_directory()?));
        }
        let same_directory = Surroundings { directory: self.surroundings.directory.clone(), ..now };
        if same_directory != self.surroundings {
            let Surroundings { umask, nice, limits, processors, .. } = same_directory;
            inherited.settings = Some(Settings { umask, nice, limits, processors });
        }
        if environment != self.environment {
            let bytes = |text: &OsStr| text.as_bytes().to_vec();
            let entries = environment.iter().map(|(name, value)| (bytes(name), bytes(value)));
            inherited.environment = Some(entries.collect());
        }
        Ok(inherited)
    }

    fn close(self) {
        // When it is no child any more, this program reaps children that are not its own; nothing is left to do.
        drop(process::kill_and_reap(self.server));
    }
}
