//! The fork server as its requester sees it: starting it, asking it for children, and keeping one in reserve.
//!
//! Asking for a child takes two things: a courier, one end of which the server gives to a fork of its own, and what the child
//! is told through the other end. Since the server needs to know nothing of the child, a child can be asked for before it is
//! needed: the *spare*, which waits for its first message. A start takes it and orders the next one. Who starts one process
//! only never has a spare: the first is ordered by the second start within [`SOON`].

use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use procession_core::family::{Family, ProcessId, Reservation};
use procession_core::{Courier, ErrorKind, Handle, Message, Result, lifeline};
use procession_sys::poll::{self, Watch};
use procession_sys::prim::{Mutex, lock};
use procession_sys::surroundings::{self, Surroundings};
use procession_sys::wipe::{PerProcess, PerProcessGuard};
use procession_sys::{Deadline, process, signal};

use crate::build_id::BuildId;
use crate::init::{Recipe, Role};
use crate::server::{Inherited, Order, Settings, Welcome};
use crate::stream::or_null;
use crate::target::Target;
use crate::trampoline::FunctionRef;

/// How soon a second start follows the first when a program starts processes again and again.
const SOON: Duration = Duration::from_secs(1);

/// A way to a process that forks when it is asked to.
#[derive(Debug)]
pub(crate) struct Line {
    control: Courier,
    /// What that process has inherited.
    surroundings: Surroundings,
    environment: Vec<(OsString, OsString)>,
}

/// The connection to this process's server.
#[derive(Debug)]
pub(crate) struct Connection {
    server: u32,
    /// The server in the process table, if it has a place there.
    member: Option<ProcessId>,
    line: Line,
    /// When a child was asked for last.
    last: Option<Instant>,
    /// Our end of the courier of a child that waits to be told what it is.
    spare: Option<Courier>,
    /// Whether there is to be one from now on.
    keeps_spare: bool,
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

/// Asks for a child that has this environment, and does what `tell` tells it through the courier.
///
/// What comes out of the courier first is that the process has [started](crate::report::Report::Started), or why it has not; if
/// nothing comes and it is closed, no process was started, or it ended without having called anything: see [`is_gone`].
///
/// # Errors
///
/// What `tell` returns, and what keeps the server from being started.
pub(crate) fn ask(
    environment: &[(OsString, OsString)],
    tell: impl Fn(&Courier) -> Result<()>,
) -> Result<Courier> {
    let mut slot = CONNECTION.lock()?;
    if slot.as_ref().is_none_or(Connection::is_gone) {
        let mut new = Connection::open()?;
        if let Some(old) = slot.take() {
            tracing::warn!(pid = old.server, "the fork server is gone; started another");
            new.keeps_spare = old.keeps_spare;
            old.close();
        }
        *slot = Some(new);
    }
    let connection = slot.as_mut().expect("it was opened above");
    let inherited = Message::encode(&connection.line.inherited(environment)?)?;
    let tell = |courier: &Courier| courier.send(&inherited).and_then(|()| tell(courier));
    let spare = connection.spare.take().filter(|spare| !has_hung_up(spare));
    // One that has ended before it was told everything has called nothing: another one will.
    let told = spare.map(|spare| tell(&spare).map(|()| spare));
    let courier = match told {
        Some(Ok(courier)) => courier,
        Some(Err(error)) if error.kind() != ErrorKind::Closed => return Err(error),
        Some(Err(_)) | None => connection.line.order(tell)?,
    };
    connection.stock_up();
    Ok(courier)
}

/// Whether the server is gone, so that asking again asks another one. For who finds a courier closed: a process that ends closes
/// one descriptor after the other, so that the end of the server may be seen a little later.
pub(crate) fn is_gone() -> bool {
    let is_gone = |slot: PerProcessGuard<'_, Option<Connection>>| {
        slot.as_ref().is_none_or(|connection| connection.line.is_closing())
    };
    CONNECTION.lock().is_ok_and(is_gone)
}

/// How long a server may take to end once it has begun to.
const DYING: Duration = Duration::from_millis(100);

/// Reaps a server that has ended.
pub(crate) fn bury() {
    // Without the memory for the lock there is no server.
    if let Ok(mut slot) = CONNECTION.lock()
        && let Some(connection) = slot.take_if(|connection| connection.is_gone())
    {
        connection.close();
    }
}

impl Connection {
    fn open() -> Result<Self> {
        let recipe = Recipe::of_this_program(Role::ForkServer)?;
        let (control, theirs) = Courier::pair()?;
        let line = Line::new(control)?;
        let mask = signal::thread_mask()?;
        let server = recipe.execute(theirs.as_fd(), mask, &line.environment, None)?;
        drop(theirs);
        let welcome = || {
            let preload = lock(&PRELOAD).clone();
            let reservation = match preload.is_empty() {
                true => None,
                false => Some(Family::current()?.reserve()?),
            };
            let invitation = reservation.as_ref().map(Reservation::invitation).transpose()?;
            let (build, lifeline) = (BuildId::for_child()?, Handle(lifeline::for_server()?));
            let welcome = Welcome { pid: server, build, lifeline, preload, invitation };
            Ok((Message::encode(&welcome)?, reservation.map(Reservation::commit)))
        };
        let mut connection =
            Self { server, member: None, line, last: None, spare: None, keeps_spare: false };
        let sent = welcome().and_then(|(welcome, member)| {
            connection.member = member;
            connection.line.control.send(&welcome)
        });
        match sent {
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

    /// Whether the server has ended.
    fn is_gone(&self) -> bool {
        // A child that it was just forking may still have its end of the connection.
        self.line.has_hung_up() || process::has_ended(self.server)
    }

    /// Orders a spare, if this process starts children again and again.
    fn stock_up(&mut self) {
        let now = Instant::now();
        let again = self.last.replace(now).is_some_and(|last| now.duration_since(last) < SOON);
        self.keeps_spare |= again;
        if self.keeps_spare {
            // Out of descriptors, say: then there is none.
            self.spare = self.line.order(|_| Ok(())).ok();
        }
    }

    fn close(self) {
        // When it is no child any more, this program reaps children that are not its own; nothing is left to do.
        drop(process::kill_and_reap(self.server));
        if let (Some(member), Some(family)) = (self.member, Family::existing())
            && let Err(error) = family.bury_child(member, false)
        {
            tracing::error!(%error, "could not recover what a dead fork server held");
        }
    }
}

impl Line {
    /// To a process that inherits what this one has now.
    pub(crate) fn new(control: Courier) -> Result<Self> {
        let surroundings = Surroundings::of_this_process()?;
        Ok(Self { control, surroundings, environment: std::env::vars_os().collect() })
    }

    /// Our end of it.
    pub(crate) fn courier(&self) -> &Courier {
        &self.control
    }

    /// Whether the other end is gone.
    pub(crate) fn has_hung_up(&self) -> bool {
        has_hung_up(&self.control)
    }

    /// Whether the other end is gone, or about to go: see [`is_gone`].
    pub(crate) fn is_closing(&self) -> bool {
        hangs_up(&self.control, DYING)
    }

    /// As [`ask`], of the process at the other end.
    pub(crate) fn ask(
        &self,
        environment: &[(OsString, OsString)],
        tell: impl Fn(&Courier) -> Result<()>,
    ) -> Result<Courier> {
        let inherited = Message::encode(&self.inherited(environment)?)?;
        self.order(|courier| courier.send(&inherited).and_then(|()| tell(courier)))
    }

    /// Orders a child, which finds at once what `tell` tells it: all of it fits into the socket.
    fn order(&self, tell: impl Fn(&Courier) -> Result<()>) -> Result<Courier> {
        let (courier, bootstrap) = Courier::pair()?;
        tell(&courier)?;
        match self.control.send(&Message::encode(&Order { bootstrap })?) {
            // The server has just ended. The order is dropped, and its courier closed with it.
            Err(error) if error.kind() == ErrorKind::Closed => Ok(courier),
            sent => sent.map(|()| courier),
        }
    }

    fn inherited(&self, environment: &[(OsString, OsString)]) -> Result<Inherited> {
        let now = Surroundings::of_this_process()?;
        let mut inherited = Inherited {
            output: Handle(or_null(std::io::stdout())?),
            error_output: Handle(or_null(std::io::stderr())?),
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
}

fn has_hung_up(courier: &Courier) -> bool {
    hangs_up(courier, Duration::ZERO)
}

/// Whether the other end is gone, or goes within this time.
fn hangs_up(courier: &Courier, patience: Duration) -> bool {
    let mut watch = [Watch::hang_up(courier)];
    let looked = poll::wait(&mut watch, Deadline::after(patience));
    looked.is_err() || watch[0].has_hung_up()
}
