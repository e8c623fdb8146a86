//! The fork server: a process without threads that forks children on request. The protocol and who may die when stand in
//! `docs/start-methods.md`.
//! The other side of it is in `requester`. A [template](crate::Template) serves in the same way; but it is a copy of the process that
//! it serves, and so are its children.

#![expect(unsafe_code, reason = "forks a process without threads")]

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;

use procession_core::family::Invitation;
use procession_core::{Courier, Error, ErrorKind, Handle, Message, Received, Result, lifeline};
use procession_sys::fd::{self, StandardStream, replace_standard_stream};
use procession_sys::fork::{self, Forked};
use procession_sys::pidfd::{self, Ended};
use procession_sys::poll::{self, Watch};
use procession_sys::surroundings::{self, Limit, Surroundings};
use procession_sys::{Deadline, process, signal, spawn, wipe};
use serde::{Deserialize, Serialize};

use crate::build_id::BuildId;
use crate::fork::replace_environment;
use crate::report::Report;
use crate::run::Origin;
use crate::trampoline::{self, FunctionRef};
use crate::{after_fork, panic, run, stream};

/// The first message to a server.
#[derive(Serialize, Deserialize)]
pub(crate) struct Welcome {
    pub(crate) pid: u32,
    pub(crate) build: BuildId,
    pub(crate) lifeline: Handle<OwnedFd>,
    /// What to call before it serves.
    pub(crate) preload: Vec<FunctionRef>,
    /// The server's own place in the process table, if it calls anything: what that makes belongs to the family.
    pub(crate) invitation: Option<Invitation>,
}

/// Asks for a child.
#[derive(Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) bootstrap: Courier,
}

/// The first message to a child: what it inherits from the process that asked for it. Absent is what is as it was when the
/// server was started.
#[derive(Serialize, Deserialize)]
pub(crate) struct Inherited {
    pub(crate) output: Handle<OwnedFd>,
    pub(crate) error_output: Handle<OwnedFd>,
    pub(crate) directory: Option<Handle<OwnedFd>>,
    pub(crate) settings: Option<Settings>,
    pub(crate) environment: Option<Vec<(Vec<u8>, Vec<u8>)>>,
}

/// [`Surroundings`] without the directory, which travels as a descriptor.
#[derive(Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) umask: u32,
    pub(crate) nice: i32,
    pub(crate) limits: Vec<Limit>,
    pub(crate) processors: Vec<u16>,
}

/// What a child is called until it is told its name.
const SPARE: &str = "procession-spare";

/// What a template is called; names are cut after 15 bytes.
const TEMPLATE: &str = "procession-tmpl";

/// Serves until the process that started this one is gone.
///
/// In a test harness there is one more thread, which waits for this one and holds nothing.
pub(crate) fn run_as_server(harness: bool) -> ! {
    let bootstrap = spawn::take_bootstrap().unwrap_or_else(|error| run::lost(&error));
    let threads = if harness { 2 } else { 1 };
    match Server::prepare(Courier::from(bootstrap), threads) {
        Ok(Some(server)) => server.serve_and_exit(),
        Ok(None) => run::exit(0),
        Err(error) => cannot_go_on(&error, Origin::Program),
    }
}

/// Serves until the process that this one is a copy of is gone, or needs it no more.
pub(crate) fn run_as_template(control: Courier, watched: OwnedFd, invitation: Invitation) -> ! {
    let settled = settle_as_template(watched, invitation);
    match settled.and_then(|present| run::introduce(&control).map(|()| present)) {
        Ok(present) => {
            let (children, unfit, origin) = (Vec::new(), None, Origin::Copy);
            Server { control, present, children, unfit, origin }.serve_and_exit()
        }
        Err(error) => run::refuse(&control, error, Origin::Copy),
    }
}

/// Makes this copy of a process a server, and lets nothing happen in it that is the other's to do.
fn settle_as_template(watched: OwnedFd, invitation: Invitation) -> Result<Surroundings> {
    lifeline::tie_server(watched)?;
    process::set_thread_name(TEMPLATE)?;
    // What was before does not matter: children are told what to do about interrupts, and those of the program that it has of
    // its own are its own to hear of.
    let _was_ignored = signal::ignore(signal::INTERRUPT)?;
    let _was_ignored = signal::restore_default(signal::CHILD)?;
    stream::discard_input()?;
    prepare_children()?;
    invitation.keep()?;
    let present = Surroundings::of_this_process()?;
    surroundings::let_go();
    Ok(present)
}

/// Finds and makes what each child would have to find or to make for itself.
fn prepare_children() -> Result<()> {
    wipe::prepare()?;
    trampoline::image()?;
    panic::install_hook();
    Ok(())
}

fn cannot_go_on(error: &Error, origin: Origin) -> ! {
    tracing::error!(%error, "the fork server cannot go on");
    run::end(run::FAILED, origin)
}

struct Server {
    control: Courier,
    present: Surroundings,
    children: Vec<Forkling>,
    /// Why this process cannot fork, if it cannot.
    unfit: Option<Error>,
    /// What this process is.
    origin: Origin,
}

/// A child of the server.
struct Forkling {
    pidfd: OwnedFd,
    /// The child's end of its courier: what the server sends into it comes behind what the child has sent.
    report: Courier,
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
    /// Becomes a server; nothing when nobody is there to be served.
    fn prepare(control: Courier, threads: usize) -> Result<Option<Self>> {
        let Some(welcome) = control.recv()? else { return Ok(None) };
        let welcome: Welcome = welcome.decode()?;
        if welcome.pid != process::id() || !welcome.build.is_here()? {
            let text = "another program started this server";
            return Err(Error::new(ErrorKind::BuildMismatch, text));
        }
        lifeline::tie_server(welcome.lifeline.into_inner())?;
        process::set_thread_name("procession-fork")?;
        // Orders say whether children ignore it; what was before does not matter.
        let _was_ignored = signal::ignore(signal::INTERRUPT)?;
        prepare_children()?;
        if let Some(invitation) = welcome.invitation {
            invitation.keep()?;
        }
        let unfit = preload_all(&welcome.preload).and_then(|()| count_threads(threads)).err();
        let present = Surroundings::of_this_process()?;
        surroundings::let_go();
        Ok(Some(Self { control, present, children: Vec::new(), unfit, origin: Origin::Program }))
    }

    /// Serves, and ends this process when nobody is left to serve; each child does what it was ordered for.
    fn serve_and_exit(self) -> ! {
        let origin = self.origin;
        match self.serve() {
            Ok(Some(bootstrap)) => run::run_and_exit(bootstrap, origin),
            Ok(None) => run::end(0, origin),
            Err(error) => cannot_go_on(&error, origin),
        }
    }

    /// Serves; returns in a child with its courier, and in the server when nobody is left to serve.
    fn serve(mut self) -> Result<Option<Courier>> {
        loop {
            let (ordered, ended) = self.wait()?;
            self.bury(&ended);
            if !ordered {
                continue;
            }
            let order = match self.control.try_recv() {
                Ok(Received::Nothing) => continue,
                Ok(Received::Closed) => return Ok(None),
                Ok(Received::Message(order)) => order.decode::<Order>(),
                Err(error) => Err(error),
            };
            match order {
                Ok(order) => {
                    if let Some(order) = self.fork(order) {
                        return Ok(Some(self.become_child(order)));
                    }
                }
                // No room for its descriptors, say. They are closed, which tells the requester.
                Err(error) => tracing::warn!(%error, "the fork server cannot take an order"),
            }
        }
    }

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
            let reaped = match pidfd::try_reap(&child.pidfd) {
                Ok(Some(reaped)) => reaped,
                // A debugger may make the descriptor readable before its time.
                Ok(None) => return true,
                Err(_) => Ended::Unknown.into(),
            };
            // If it does not go, nobody is there to hear it: the other end's socket has room, it was kept for this.
            let told = Report::Ended(reaped.ended.into(), reaped.peak_resident).into_message();
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
        // SAFETY: This process has no other thread (checked when it began to serve, or it is the copy of a thread; and it starts
        // none), or is a test harness whose other thread waits for this one and holds nothing meanwhile.
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

    /// Introduces this fork, and makes it what its requester wants it to be, as soon as that says so.
    fn become_child(self, order: Order) -> Courier {
        let (present, origin) = (self.present.clone(), self.origin);
        // The server's descriptors are not the child's.
        drop(self);
        let courier = order.bootstrap;
        let inherited = match introduce(&courier).and_then(|()| courier.recv()) {
            Ok(Some(inherited)) => inherited.decode(),
            // A spare that is not needed any more.
            Ok(None) => run::end(0, origin),
            Err(error) => Err(error),
        };
        match inherited.and_then(|inherited| settle_in(inherited, &present)) {
            Ok(()) => {
                // A copy does that when it is what it shall be, as any fork of its parent.
                if origin == Origin::Program {
                    after_fork::run();
                }
                courier
            }
            Err(error) => run::refuse(&courier, error, origin),
        }
    }
}

/// Says that this process is there.
fn introduce(courier: &Courier) -> Result<()> {
    process::set_thread_name(SPARE)?;
    run::introduce(courier)
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
