//! The fork server: a process without threads that forks children on request. The protocol and who may die when stand in
//! `docs/start-methods.md`.
//!
//! The first half is the server's side, the second the requester's.

#![expect(unsafe_code, reason = "forks a process without threads")]

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
use procession_sys::wipe::{PerProcess, PerProcessGuard};
use procession_sys::{Deadline, pidfd, process, signal, spawn};
use serde::{Deserialize, Serialize};

use crate::build_id::BuildId;
use crate::fork::replace_environment;
use crate::init::{Recipe, Role};
use crate::report::Report;
use crate::target::Target;
use crate::trampoline::FunctionRef;
use crate::{after_fork, executable, panic, run};

/// The first message to a server.
#[derive(Serialize, Deserialize)]
struct Welcome {
    pid: u32,
    build: BuildId,
    lifeline: Handle<OwnedFd>,
    /// What to call before it serves.
    preload: Vec<FunctionRef>,
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
    let bootstrap = spawn::take_bootstrap().unwrap_or_else(|error| run::lost(&error));
    let threads = if harness { 2 } else { 1 };
    match serve(Courier::from(bootstrap), threads) {
        Ok(Some(bootstrap)) => run::run_and_exit(bootstrap),
        Ok(None) => run::exit(0),
        Err(error) => {
            tracing::error!(%error, "the fork server cannot go on");
            run::exit(run::FAILED)
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
    if welcome.pid != process::id() || !welcome.build.is_here()? {
        return Err(Error::new(ErrorKind::BuildMismatch, "another program started this server"));
    }
    lifeline::arm(welcome.lifeline.into_inner(), Some(signal::KILL))?;
    process::set_thread_name("procession-fork")?;
    // Orders say whether children ignore it; what was before does not matter.
    let _was_ignored = signal::ignore(signal::INTERRUPT)?;
    let unfit = preload_all(&welcome.preload).and_then(|()| count_threads(threads)).err();
    let present = Surroundings::of_this_process()?;
    let mut server = Server { control, present, children: Vec::new(), unfit };
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

fn preload_all(functions: &[FunctionRef]) -> Result<()> {
    for function in functions {
        let nothing = Message::encode(&())?;
        let called =
            panic::catch(std::panic::AssertUnwindSafe(|| function.call(nothing, Vec::new())));
        called.map_err(|panic| {
            let text = format!("a function that the fork server calls before it serves {panic}");
            Error::new(ErrorKind::Panicked, text)
        })??;
    }
    Ok(())
}

fn count_threads(expected: usize) -> Result<()> {
    let found = fork::thread_count()?;
    if found <= expected {
        return Ok(());
    }
    let names: Vec<_> = fork::threads()?.into_iter().map(|thread| thread.name).collect();
    let text = format!(
        "the fork server has {found} threads ({}): something before `procession::init()`, or a preloaded function, starts \
         some; use the start method `spawn`, or start them later",
        names.join(", ")
    );
    Err(Error::new(ErrorKind::Unsupported, text))
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
            Ok(()) => {
                after_fork::run();
                order.bootstrap
            }
            Err(error) => run::refuse(&order.bootstrap, error),
        }
    }
}

fn settle_in(wanted: Inherited, present: &Surroundings) -> Result<()> {
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
        let text = |bytes| OsString::from_vec(bytes);
        let entries = environment.into_iter().map(|(name, value)| (text(name), text(value)));
        replace_environment(entries.collect());
    }
    Ok(())
}

/// The connection to this process's server.
#[derive(Debug)]
pub(crate) struct Connection {
    server: u32,
    control: Courier,
    /// What the server has inherited.
    surroundings: Surroundings,
    environment: Vec<(OsString, OsString)>,
}

static CONNECTION: PerProcess<Option<Connection>> = PerProcess::new();
/// What the next server calls before it serves.
static PRELOAD: Mutex<Vec<FunctionRef>> = Mutex::new(Vec::new());

/// Has the fork server call `function` before it serves, once, from its next start on; so that what the function prepares is in
/// every process that the server forks: tables, caches, open files. After others that were named before.
///
/// It must not leave threads behind. If it panics, starting a process is an error that says so.
///
/// # Errors
///
/// [`ErrorKind::Unsupported`] for a function of a library that was loaded at run time.
///
/// # Source
///
/// CPython `multiprocessing.set_forkserver_preload()`, with `on_error='fail'`.
#[doc(alias = "set_forkserver_preload")]
pub fn preload_fork_server<F: Target<(), Output = ()>>(function: F) -> Result<()> {
    lock(&PRELOAD).push(FunctionRef::of(function)?);
    Ok(())
}

/// The connection while this process forks: in the child, nothing of it is kept.
pub(crate) fn forking() -> Result<PerProcessGuard<'static, Option<Connection>>> {
    Ok(CONNECTION.lock()?)
}

/// Ends a server that does not answer.
pub(crate) fn give_up() {
    // Without the memory for the lock there is no server.
    if let Ok(mut slot) = CONNECTION.lock()
        && let Some(connection) = slot.take()
    {
        connection.close();
    }
}

/// Asks for a process whose end of the courier is `bootstrap`, with this environment.
///
/// What comes out of the other end first is that the process has [started](Report::Started), or why it has not; if nothing
/// comes and it is closed, no process was started, or it ended without having called anything: see [`is_gone`].
pub(crate) fn order(bootstrap: Courier, environment: &[(OsString, OsString)]) -> Result<()> {
    let mut slot = CONNECTION.lock()?;
    if slot.as_ref().is_none_or(Connection::is_gone) {
        if let Some(connection) = slot.take() {
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
    CONNECTION.lock().is_ok_and(|slot| slot.as_ref().is_none_or(Connection::is_gone))
}

impl Connection {
    fn open() -> Result<Self> {
        let recipe = Recipe::of_this_program(Role::ForkServer)?;
        let (control, theirs) = Courier::pair()?;
        let surroundings = Surroundings::of_this_process()?;
        let environment: Vec<_> = std::env::vars_os().collect();
        let mask = signal::thread_mask()?;
        let server = recipe.execute(theirs.as_fd(), mask, &environment, None)?;
        drop(theirs);
        let welcome = || {
            Message::encode(&Welcome {
                pid: server,
                build: match executable::current() {
                    Some(_) => BuildId::for_another_file()?,
                    None => BuildId::current()?.clone(),
                },
                lifeline: Handle(lifeline::for_child()?),
                preload: lock(&PRELOAD).clone(),
            })
        };
        let connection = Self { server, control, surroundings, environment };
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
        looked.is_err() || watch[0].has_hung_up()
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
