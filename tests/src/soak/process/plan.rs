//! What a family does in a round, and who is killed when: all of it follows from the seed and the number of the round.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use procession::StartMethod;
use serde::{Deserialize, Serialize};

use super::line::{LAST, Role};
use crate::Random;
use crate::soak::{Options, random};

/// How many parents there are, and how many children each starts at once.
pub(super) const WIDTH: u8 = 2;

/// Whom a round kills.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Victim {
    /// The program itself.
    Root,
    /// A process that has children.
    Parent,
    /// A fork server: the root's, or a parent's.
    Server,
    /// A process without children.
    Child,
}

impl Victim {
    /// All of them.
    pub(super) const ALL: [Self; 4] = [Self::Root, Self::Parent, Self::Server, Self::Child];
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "root",
            Self::Parent => "parent",
            Self::Server => "server",
            Self::Child => "child",
        })
    }
}

impl FromStr for Victim {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|victim| victim.to_string() == name);
        found.ok_or_else(|| format!("`{name}` is no kind of victim: root, parent, server, child"))
    }
}

/// What a child does.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum Task {
    /// Computes so long, and returns the value.
    Returns(Duration, u64),
    /// Waits until the round is finished, and returns the value.
    Waits(u64),
    /// Blocks all signals, computes until the round is finished, and returns the value.
    Spins(u64),
    /// Computes so long, and panics with the value.
    Panics(Duration, u64),
    /// Computes so long, and exits with the code.
    Exits(Duration, u8),
}

impl Task {
    fn random(random: &mut Random) -> Self {
        let after = Duration::from_micros(random.below(2500) as u64);
        let value = random.below(1 << 30) as u64;
        match random.below(20) {
            0..6 => Self::Returns(after, value),
            6..14 => Self::Waits(value),
            14 => Self::Spins(value),
            15..18 => Self::Panics(after, value),
            // Not 0 or 1, which other ends have as well.
            _ => Self::Exits(after, u8::try_from(2 + value % 254).unwrap_or(2)),
        }
    }
}

/// What a parent does.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct ParentPlan {
    /// How long it waits between its starts.
    pub(super) pause: Duration,
    pub(super) children: [Task; WIDTH as usize],
    /// Whether it waits until the round is finished, and not only for its children.
    pub(super) lingers: bool,
    pub(super) value: u64,
}

/// What a family does: derived from one number by harness and root alike.
#[derive(Debug, Clone)]
pub(super) struct FamilyPlan {
    pub(super) seed: u64,
    pub(super) parents: [ParentPlan; WIDTH as usize],
}

impl FamilyPlan {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = random(seed, 0, 0);
        let parents = [(); WIDTH as usize].map(|()| ParentPlan {
            pause: Duration::from_micros(random.below(1000) as u64),
            children: [(); WIDTH as usize].map(|()| Task::random(&mut random)),
            lingers: random.below(2) == 0,
            value: random.below(1 << 30) as u64,
        });
        Self { seed, parents }
    }

    /// What somebody without children does; `None` for root and parents.
    pub(super) fn task(&self, role: Role) -> Option<Task> {
        match role {
            Role::Parent(LAST) | Role::Child(_, LAST) => Some(LAST_TASK),
            Role::Child(parent, child) => {
                Some(*self.parents.get(usize::from(parent))?.children.get(usize::from(child))?)
            }
            Role::Root | Role::Parent(_) => None,
        }
    }

    /// Whether it does not end before the round is finished.
    pub(super) fn waits(&self, role: Role) -> bool {
        let lingers = self.parent(role).is_some_and(|parent| parent.lingers);
        lingers || matches!(self.task(role), Some(Task::Waits(_) | Task::Spins(_)))
    }

    /// The plan of a parent.
    pub(super) fn parent(&self, role: Role) -> Option<&ParentPlan> {
        match role {
            Role::Parent(parent) => self.parents.get(usize::from(parent)),
            _ => None,
        }
    }
}

/// What the process does that root and parents start last, when everything else is over: whoever was killed, starting
/// goes on.
pub(super) const LAST_TASK: Task = Task::Returns(Duration::ZERO, 4711);

/// When a kill comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// As soon as the victim is seen, or a little later: while it is being started, mostly.
    Early,
    /// Some time after everybody is there.
    Late,
}

/// A kill.
#[derive(Debug, Clone)]
pub(super) struct Kill {
    pub(super) victim: Victim,
    /// Who is killed; of a fork server, whose it is.
    pub(super) role: Role,
    pub(super) when: When,
    /// How much of the time that the moment leaves to chance has passed, in thousandths.
    pub(super) chance: u32,
    /// Whether an early kill may hit a process that a fork server keeps in reserve.
    pub(super) spares: bool,
    /// With a fork server, the child of it that is killed next, and after how long.
    pub(super) second: Option<(Role, Duration)>,
}

/// A round.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// What to do to play it again.
    pub(super) again: String,
    pub(super) method: StartMethod,
    pub(super) family: FamilyPlan,
    pub(super) kill: Option<Kill>,
}

impl Plan {
    /// A round in which nobody is killed.
    pub(super) fn undisturbed(options: &Options, number: u64, method: StartMethod) -> Self {
        let family = FamilyPlan::new(options.seed.wrapping_add(number));
        Self { again: options.again("process", None), method, family, kill: None }
    }

    /// The round with this number, which kills one of `victims`.
    pub(super) fn of_round(
        options: &Options,
        number: usize,
        methods: &[StartMethod],
        victims: &[Victim],
    ) -> Result<Self, String> {
        let mut random = random(options.seed, number, 1);
        let with_server: Vec<_> = methods.iter().copied().filter(|one| has_server(*one)).collect();
        let victims: Vec<_> = victims
            .iter()
            .copied()
            .filter(|victim| *victim != Victim::Server || !with_server.is_empty())
            .collect();
        if victims.is_empty() || methods.is_empty() {
            return Err("there is nobody to kill".to_owned());
        }
        let victim = victims[random.below(victims.len())];
        let methods = if victim == Victim::Server { &with_server } else { methods };
        let method = methods[random.below(methods.len())];
        let family = FamilyPlan::new(random.below(1 << 30) as u64);
        let kill = Some(Kill::random(victim, &family, &mut random));
        Ok(Self { again: options.again("process", Some(number)), method, family, kill })
    }

    pub(super) fn victim(&self) -> Option<Victim> {
        self.kill.as_ref().map(|kill| kill.victim)
    }
}

impl Kill {
    fn random(victim: Victim, family: &FamilyPlan, random: &mut Random) -> Self {
        let when = if random.below(2) == 0 { When::Early } else { When::Late };
        let mut one_of = |count: u8| u8::try_from(random.below(usize::from(count))).unwrap_or(0);
        let (parent, mut child) = (one_of(WIDTH), one_of(WIDTH));
        if when == When::Late && !family.waits(Role::Child(parent, child)) {
            // When everybody is there, somebody who works for a moment only has often ended: rather the other one.
            child = (child + 1) % WIDTH;
        }
        let role = match victim {
            Victim::Root => Role::Root,
            Victim::Parent => Role::Parent(parent),
            Victim::Child => Role::Child(parent, child),
            Victim::Server if one_of(3) == 0 => Role::Root,
            Victim::Server => Role::Parent(parent),
        };
        let second = match (victim, role) {
            (Victim::Server, Role::Parent(_)) if one_of(2) == 0 => {
                let after = Duration::from_micros(random.below(1500) as u64);
                Some((Role::Child(parent, child), after))
            }
            _ => None,
        };
        let chance = u32::try_from(random.below(1000)).unwrap_or(0);
        let spares = random.below(2) == 0;
        Self { victim, role, when, chance, spares, second }
    }
}

/// Whether whoever starts processes by `method` has a fork server.
pub(super) fn has_server(method: StartMethod) -> bool {
    method == StartMethod::ForkServer
}
