//! What was heard in a round. Nothing may be said twice.

use std::collections::BTreeMap;
use std::time::Instant;

use super::line::{Answer, Role, Said, Status};

/// What a member still has at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leftover {
    pub(super) descriptors: usize,
    pub(super) children: Vec<u32>,
}

/// How somebody ended, says whoever started it.
#[derive(Debug, Clone)]
pub(super) struct Joined {
    pub(super) at: Instant,
    pub(super) status: Status,
    pub(super) answer: Answer,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// By themselves or by whoever started them.
    pids: BTreeMap<Role, u32>,
    introduced: BTreeMap<Role, Instant>,
    started: BTreeMap<Role, Instant>,
    joins: BTreeMap<Role, Instant>,
    pub(super) refused: BTreeMap<Role, (Instant, String)>,
    pub(super) joined: BTreeMap<Role, Joined>,
    pub(super) left: BTreeMap<Role, Leftover>,
}

impl Ledger {
    /// Notes what was said; tells the number of the process that it is about, when it was not known before.
    pub(super) fn note(&mut self, said: Said, now: Instant) -> Result<Option<u32>, String> {
        let again = format!("this was said twice: `{said}`");
        let mut known = None;
        let role = said.role();
        let is_first = match said {
            Said::Is(_, pid) => {
                known = self.number(role, pid)?;
                self.introduced.insert(role, now).is_none()
            }
            Said::Started(_, pid) => {
                known = self.number(role, pid)?;
                self.started.insert(role, now).is_none()
            }
            Said::Refused(_, error) => self.refused.insert(role, (now, error)).is_none(),
            Said::Joins(_) => self.joins.insert(role, now).is_none(),
            Said::Joined(_, status, answer) => {
                let joined = Joined { at: now, status, answer };
                self.joined.insert(role, joined).is_none()
            }
            Said::Left(_, descriptors, children) => {
                self.left.insert(role, Leftover { descriptors, children }).is_none()
            }
        };
        if is_first { Ok(known) } else { Err(again) }
    }

    fn number(&mut self, role: Role, pid: u32) -> Result<Option<u32>, String> {
        match self.pids.insert(role, pid) {
            None => Ok(Some(pid)),
            Some(before) if before == pid => Ok(None),
            Some(before) => Err(format!("{role} is process {pid}, and was {before}")),
        }
    }

    pub(super) fn pid(&self, role: Role) -> Option<u32> {
        self.pids.get(&role).copied()
    }

    pub(super) fn role(&self, pid: u32) -> Option<Role> {
        self.pids.iter().find(|(_, known)| **known == pid).map(|(role, _)| *role)
    }

    pub(super) fn is_introduced(&self, role: Role) -> bool {
        self.introduced.contains_key(&role)
    }

    /// Whether its starter has heard how it ended, or that it does not start.
    pub(super) fn is_settled(&self, role: Role) -> bool {
        self.joined.contains_key(&role) || self.refused.contains_key(&role)
    }

    /// From when on its starter could have known that it ended at `end`: not before it asked.
    pub(super) fn asked_since(&self, role: Role, end: Instant) -> Instant {
        self.joins.get(&role).copied().map_or(end, |asked| asked.max(end))
    }
}
