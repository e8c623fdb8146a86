//! What a member says: one line, written at once.

use std::fmt;
use std::str::FromStr;

use procession::{ExitStatus, JoinError};
use serde::{Deserialize, Serialize};

/// The number of the process that root and parents start last.
pub(super) const LAST: u8 = 9;

/// A member's place in the family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Role {
    Root,
    Parent(u8),
    /// Of which parent, and which child of it.
    Child(u8, u8),
}

impl Role {
    /// Who starts it and waits for it.
    pub(super) fn starter(self) -> Option<Self> {
        match self {
            Self::Root => None,
            Self::Parent(_) => Some(Self::Root),
            Self::Child(parent, _) => Some(Self::Parent(parent)),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("root"),
            Self::Parent(parent) => write!(f, "{parent}"),
            Self::Child(parent, child) => write!(f, "{parent}.{child}"),
        }
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "root" {
            return Ok(Self::Root);
        }
        Ok(match text.split_once('.') {
            None => Self::Parent(number(text)?),
            Some((parent, child)) => Self::Child(number(parent)?, number(child)?),
        })
    }
}

/// How a process ended, as `exit_status` told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Exited(u8),
    Killed(i32),
    Unknown,
}

impl From<ExitStatus> for Status {
    fn from(status: ExitStatus) -> Self {
        match status {
            ExitStatus::Exited(code) => Self::Exited(code),
            ExitStatus::Signaled { signal, .. } => Self::Killed(signal),
            ExitStatus::Unknown => Self::Unknown,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exited={code}"),
            Self::Killed(signal) => write!(f, "killed={signal}"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

impl FromStr for Status {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some(("exited", code)) => Ok(Self::Exited(number(code)?)),
            Some(("killed", signal)) => Ok(Self::Killed(number(signal)?)),
            None if text == "unknown" => Ok(Self::Unknown),
            _ => Err(format!("`{text}` is no status")),
        }
    }
}

/// What `join` answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Value(u64),
    Panicked(String),
    Died(Status),
    /// None of the answers that are ever right here.
    Other(String),
}

impl From<Result<u64, JoinError>> for Answer {
    fn from(joined: Result<u64, JoinError>) -> Self {
        match joined {
            Ok(value) => Self::Value(value),
            Err(JoinError::Panicked(panic)) => Self::Panicked(panic.message),
            Err(JoinError::Died(death)) => Self::Died(death.status.into()),
            Err(other) => Self::Other(format!("{other:?}")),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) => write!(f, "value {value}"),
            Self::Panicked(message) => write!(f, "panicked {message}"),
            Self::Died(status) => write!(f, "died {status}"),
            Self::Other(text) => write!(f, "other {text}"),
        }
    }
}

impl FromStr for Answer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(' ') {
            Some(("value", value)) => Ok(Self::Value(number(value)?)),
            Some(("panicked", message)) => Ok(Self::Panicked(message.to_owned())),
            Some(("died", status)) => Ok(Self::Died(status.parse()?)),
            Some(("other", text)) => Ok(Self::Other(text.to_owned())),
            _ => Err(format!("`{text}` is no answer")),
        }
    }
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// The member itself: this is my number.
    Is(Role, u32),
    /// Its starter: it is started, with this number.
    Started(Role, u32),
    /// Its starter: it could not be started, and the kind of the error.
    Refused(Role, String),
    /// Its starter: I call `join` now.
    Joins(Role),
    /// Its starter: `join` answered this, and `exit_status` that.
    Joined(Role, Status, Answer),
    /// The member itself, at its end: so many descriptors I still have, and these children.
    Left(Role, usize, Vec<u32>),
}

impl Said {
    pub(super) fn role(&self) -> Role {
        match self {
            Self::Is(role, _)
            | Self::Started(role, _)
            | Self::Refused(role, _)
            | Self::Joins(role)
            | Self::Joined(role, ..)
            | Self::Left(role, ..) => *role,
        }
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = self.role();
        match self {
            Self::Is(_, pid) => write!(f, "is {role} {pid}"),
            Self::Started(_, pid) => write!(f, "started {role} {pid}"),
            Self::Refused(_, kind) => write!(f, "refused {role} {kind}"),
            Self::Joins(_) => write!(f, "joins {role} -"),
            Self::Joined(_, status, answer) => write!(f, "joined {role} {status} {answer}"),
            Self::Left(_, descriptors, children) => {
                write!(f, "left {role} {descriptors}")?;
                children.iter().try_for_each(|pid| write!(f, " {pid}"))
            }
        }
    }
}

impl FromStr for Said {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let wrong = || format!("`{line}` is no line of a member");
        let (verb, rest) = line.split_once(' ').ok_or_else(wrong)?;
        let (role, rest) = rest.split_once(' ').ok_or_else(wrong)?;
        let role = role.parse()?;
        let pair = || rest.split_once(' ').ok_or_else(wrong);
        Ok(match verb {
            "is" => Self::Is(role, number(rest)?),
            "started" => Self::Started(role, number(rest)?),
            "refused" => Self::Refused(role, rest.to_owned()),
            "joins" => Self::Joins(role),
            "joined" => Self::Joined(role, pair()?.0.parse()?, pair()?.1.parse()?),
            "left" => {
                let mut words = rest.split(' ');
                let descriptors = number(words.next().unwrap_or_default())?;
                Self::Left(role, descriptors, words.map(number).collect::<Result<_, _>>()?)
            }
            _ => return Err(wrong()),
        })
    }
}

fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_no_number| format!("`{text}` is no such number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_were_written() {
        let child = Role::Child(1, LAST);
        for said in [
            Said::Is(Role::Root, 7),
            Said::Started(Role::Parent(0), 8),
            Said::Refused(child, "Died: the process was killed".to_owned()),
            Said::Joins(child),
            Said::Joined(child, Status::Exited(0), Answer::Value(u64::MAX)),
            Said::Joined(child, Status::Exited(1), Answer::Panicked("on purpose 3".to_owned())),
            Said::Joined(child, Status::Killed(9), Answer::Died(Status::Unknown)),
            Said::Joined(child, Status::Unknown, Answer::Other("a b".to_owned())),
            Said::Left(Role::Root, 5, Vec::new()),
            Said::Left(Role::Parent(1), 5, vec![77, 78]),
        ] {
            assert_eq!(said.to_string().parse(), Ok(said));
        }
        for wrong in ["", "is", "is root", "is root x", "was root 7", "joined 0 exited=0"] {
            assert!(wrong.parse::<Said>().is_err(), "{wrong}");
        }
    }
}
