//! What must have happened in a round.

use std::collections::BTreeMap;

use procession_sys::signal;

use super::ledger::{Joined, Ledger, Leftover};
use super::line::{Answer, LAST, Role, Status};
use super::member::on_purpose;
use super::plan::{Plan, Task, Victim, WIDTH};

/// Somebody whom the harness has killed.
#[derive(Debug, Clone)]
pub(super) struct Death {
    pub(super) pid: u32,
    /// Whose fork server it was, if it was one.
    pub(super) server_of: Option<Role>,
    /// Whether it was perhaps a fork server's reserve, of which nobody ever hears.
    pub(super) was_spare: bool,
    /// When the harness saw that it had ended.
    pub(super) at: std::time::Instant,
    /// Whether it had not ended before it was killed.
    pub(super) in_time: bool,
}

/// Everything that a verdict rests on.
#[derive(Debug)]
pub(super) struct Judge<'a> {
    pub(super) plan: &'a Plan,
    pub(super) ledger: &'a Ledger,
    pub(super) deaths: &'a [Death],
    /// What members still have at the end of a round in which nobody is killed.
    pub(super) usual: &'a BTreeMap<Role, Leftover>,
}

impl Judge<'_> {
    pub(super) fn verdict(&self) -> Result<(), String> {
        for (role, joined) in &self.ledger.joined {
            self.is_right(*role, joined)?;
        }
        for (role, (_, error)) in &self.ledger.refused {
            if !self.may_be_refused(error) {
                return Err(format!("{role} was not started: {error}"));
            }
        }
        self.nobody_is_missing()?;
        self.nothing_is_left()
    }

    /// Nobody has more at its end than when nobody is killed.
    fn nothing_is_left(&self) -> Result<(), String> {
        for (role, left) in &self.ledger.left {
            let usual = self.usual.get(role);
            // A fork server that was killed after the last start is noticed by the next one, and a zombie until then.
            let is_server = |pid: &u32| {
                self.deaths.iter().any(|death| death.pid == *pid && death.server_of == Some(*role))
            };
            let is_more = usual.is_some_and(|usual| left.descriptors > usual.descriptors);
            if is_more || !left.children.iter().all(is_server) {
                return Err(format!("{role} has {left:?} at its end, and otherwise {usual:?}"));
            }
        }
        Ok(())
    }

    /// The kill of a member.
    fn kill_of(&self, role: Role) -> Option<&Death> {
        self.deaths
            .iter()
            .find(|death| death.server_of.is_none() && self.ledger.role(death.pid) == Some(role))
    }

    /// Whether the system alone can tell how it ended, and may not: the fork server that would have is killed.
    fn has_lost_its_server(&self, role: Role) -> bool {
        self.deaths
            .iter()
            .any(|death| death.server_of.is_some() && death.server_of == role.starter())
    }

    fn is_right(&self, role: Role, joined: &Joined) -> Result<(), String> {
        let Joined { status, answer, .. } = joined;
        let wrong = |expected: &str| {
            Err(format!(
                "{role} was joined with `{answer}` and status {status}, expected {expected}"
            ))
        };
        let lost = self.has_lost_its_server(role);
        let kill = self.kill_of(role);
        let fits = |wanted: Status, got: Status| got == wanted || (lost && got == Status::Unknown);
        const KILLED: Status = Status::Killed(signal::KILL);
        if kill.is_some() && fits(KILLED, *status) && *answer == Answer::Died(*status) {
            return Ok(());
        }
        // All kills come before the round is finished.
        if kill.is_some_and(|kill| kill.in_time) && self.plan.family.waits(role) {
            return wrong("a death by SIGKILL: it was killed before it could end");
        }
        let Some((natural, code)) = self.natural_end(role) else {
            return wrong("nothing: there is nobody of that name");
        };
        let is_natural = match (&natural, answer) {
            (Answer::Died(wanted), Answer::Died(got)) => fits(*wanted, *got),
            _ => natural == *answer,
        };
        // Killed after it had answered.
        let fits_late = kill.is_some() && *status == KILLED;
        match is_natural && (fits(code, *status) || fits_late) {
            true => Ok(()),
            false => wrong(&format!("`{natural}` and status {code}")),
        }
    }

    /// How it ends when it is left alone.
    fn natural_end(&self, role: Role) -> Option<(Answer, Status)> {
        if let Some(parent) = self.plan.family.parent(role) {
            return Some((Answer::Value(parent.value), Status::Exited(0)));
        }
        Some(match self.plan.family.task(role)? {
            Task::Returns(_, value) | Task::Waits(value) | Task::Spins(value) => {
                (Answer::Value(value), Status::Exited(0))
            }
            Task::Panics(_, value) => (Answer::Panicked(on_purpose(value)), Status::Exited(1)),
            Task::Exits(_, code) => (Answer::Died(Status::Exited(code)), Status::Exited(code)),
        })
    }

    /// One start may fail: that of a process that was killed before its starter knew its number.
    fn may_be_refused(&self, error: &str) -> bool {
        let nameless = |death: &Death| {
            death.in_time && death.server_of.is_none() && self.ledger.role(death.pid).is_none()
        };
        error.starts_with("Died: ")
            && self.ledger.refused.len() == 1
            && self.deaths.iter().any(nameless)
    }

    /// Whoever lives to its end has had an answer about everybody whom it started, and has said what it has left.
    fn nobody_is_missing(&self) -> Result<(), String> {
        let mut whole = Vec::new();
        if self.plan.victim() != Some(Victim::Root) {
            whole.push(Role::Root);
        }
        let returned = |role: &Role| {
            let joined = self.ledger.joined.get(role);
            joined.is_some_and(|joined| matches!(joined.answer, Answer::Value(_)))
        };
        whole.extend((0..WIDTH).map(Role::Parent).filter(returned));
        for starter in whole {
            for number in (0..WIDTH).chain([LAST]) {
                let role = match starter {
                    Role::Root => Role::Parent(number),
                    Role::Parent(parent) | Role::Child(parent, _) => Role::Child(parent, number),
                };
                if !self.ledger.is_settled(role) {
                    return Err(format!("{starter} has ended without an answer about {role}"));
                }
            }
            if !self.ledger.left.contains_key(&starter) {
                return Err(format!("{starter} has not said what it has left"));
            }
        }
        Ok(())
    }
}
