//! Starts a process that executes this program, or is forked by the server, and tells it what to do.

use std::os::fd::{AsFd, OwnedFd};

use procession_core::{Courier, Error, ErrorKind, Message, Result};
use procession_sys::signal::Mask;
use procession_sys::{pidfd, process};

use crate::birth::Birth;
use crate::build_id::BuildId;
use crate::child::{Body, Child, ReapedBy};
use crate::executable;
use crate::init::{Recipe, Role};
use crate::plan::Plan;
use crate::report::Report;
use crate::request::Request;
use crate::requester;
use crate::start::StartMethod;
use crate::template::Template;
use crate::trampoline::FunctionRef;

/// What the process shall do.
pub(crate) struct Work {
    pub(crate) function: FunctionRef,
    pub(crate) arguments: Message,
}

/// Starts the process.
pub(crate) fn launch(plan: Plan, work: &Work) -> Result<Child> {
    match (plan.method, plan.template.clone()) {
        (_, Some(template)) => by_template(plan, &template, work),
        (StartMethod::Spawn, None) => by_exec(plan, work),
        (_, None) => by_server(plan, work),
    }
}

/// Has a template start the process.
fn by_template(plan: Plan, template: &Template, work: &Work) -> Result<Child> {
    let order = request(None, BuildId::current()?.clone(), work, plan.birth);
    let request = Message::encode(&order)?;
    let courier = template.ask(&plan.environment, |courier| {
        courier.send(&request)?;
        courier.send(&work.arguments)
    })?;
    let (pid, pidfd) = first_word(&courier)?.ok_or_else(|| template.why_silent())?;
    let plan = Plan { birth: order.birth, ..plan };
    let body = Body::process(pidfd, courier, ReapedBy::ForkServer);
    Ok(Child::new(pid, plan.into_traits(), body))
}

/// Has the fork server start the process.
fn by_server(plan: Plan, work: &Work) -> Result<Child> {
    let order = request(None, BuildId::for_child()?, work, plan.birth);
    let request = Message::encode(&order)?;
    // A server that has ended is worth another try; one that ends again is not.
    for _ in 0..2 {
        let courier = requester::ask(&plan.environment, |courier| {
            courier.send(&request)?;
            courier.send(&work.arguments)
        })?;
        executable::wait_for_word(&courier).inspect_err(|_silent| requester::give_up())?;
        if let Some((pid, pidfd)) = first_word(&courier)? {
            let plan = Plan { birth: order.birth, ..plan };
            let body = Body::process(pidfd, courier, ReapedBy::ForkServer);
            return Ok(Child::new(pid, plan.into_traits(), body));
        }
        if !requester::is_gone() {
            let text = "the fork server could not take the order: it may be out of descriptors";
            return Err(Error::new(ErrorKind::Broken, text));
        }
    }
    Err(match executable::current() {
        Some(_) => executable::said_nothing(),
        None => {
            let text = "the fork server ended before it had started the process";
            Error::new(ErrorKind::Broken, text)
        }
    })
}

/// Executes this program once more.
fn by_exec(plan: Plan, work: &Work) -> Result<Child> {
    let recipe = Recipe::of_this_program(Role::Child)?;
    let (courier, theirs) = Courier::pair()?;
    let build = BuildId::for_child()?;
    let mask = Mask::from_bits(plan.birth.signal_mask);
    let name = plan.program_name.clone();
    let pid = recipe.execute(theirs.as_fd(), mask, &plan.environment, name)?;
    drop(theirs);
    let order = request(Some(pid), build, work, plan.birth);
    // The child has not been waited for, so that its number is still its own.
    let told = pidfd::open(pid).map_err(Error::from).and_then(|pidfd| {
        tell(&courier, &order, &work.arguments)?;
        hear(&courier)?;
        Ok(pidfd)
    });
    match told {
        Ok(pidfd) => {
            let plan = Plan { birth: order.birth, ..plan };
            let body = Body::process(pidfd, courier, ReapedBy::Us);
            Ok(Child::new(pid, plan.into_traits(), body))
        }
        Err(error) => {
            // When it is no child any more, this program reaps children that are not its own; nothing is left to do.
            drop(process::kill_and_reap(pid));
            Err(error)
        }
    }
}

/// Waits for the first word of a program that may not know us.
fn hear(courier: &Courier) -> Result<()> {
    if executable::current().is_none() {
        return Ok(());
    }
    executable::wait_for_word(courier)?;
    first_word(courier)?.map(drop).ok_or_else(executable::said_nothing)
}

/// What a process says first of all, its number and its pidfd; nothing when there is none.
pub(crate) fn first_word(courier: &Courier) -> Result<Option<(u32, OwnedFd)>> {
    match courier.recv()?.map(Report::from_message).transpose()? {
        Some(Report::Started(pid, pidfd)) => Ok(Some((pid, pidfd.into_inner()))),
        Some(Report::NotStarted(error)) => Err(error),
        Some(Report::Ended(status, _)) => {
            let text = format!("the process {status} before it had begun");
            Err(Error::new(ErrorKind::Died, text))
        }
        Some(_) => Err(Error::new(ErrorKind::Decode, "an answer without a start")),
        None => Ok(None),
    }
}

fn request(pid: Option<u32>, build: BuildId, work: &Work, birth: Birth) -> Request {
    let introduce = pid.is_some() && executable::current().is_some();
    Request { pid, build, introduce, function: work.function, birth }
}

fn tell(courier: &Courier, request: &Request, arguments: &Message) -> Result<()> {
    let request = Message::encode(request)?;
    match courier.send(&request).and_then(|()| courier.send(arguments)) {
        // It died before it heard a word: `join` tells how.
        Err(error) if error.kind() == ErrorKind::Closed => Ok(()),
        told => told,
    }
}
