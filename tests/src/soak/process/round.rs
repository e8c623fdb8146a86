//! One round: a root is started, somebody is killed, and everybody else is watched until nobody is left.
//!
//! The harness has one thread, which waits for the pipe of reports and for the pidfds of all members at once: so it sees a
//! death and the answer to it in the order in which they come.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use procession_sys::poll::{self, Watch};
use procession_sys::{Deadline, pidfd, signal};

use super::judge::{Death, Judge};
use super::ledger::{Ledger, Leftover};
use super::line::{Answer, LAST, Role, Said};
use super::plan::{Kill, Plan, Victim, WIDTH, When, has_server};
use super::{LIMIT, Usual};
use crate::soak::eyes::{self, Home};
use crate::{Running, SOON, children_of, is_server, program};

/// What a round gave.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Whether somebody was killed who had not ended.
    pub(super) in_time: bool,
    /// Whether it was killed before it had run a line of its function.
    pub(super) unborn: bool,
    /// From visible deaths to the answers about them.
    pub(super) answers: Vec<Duration>,
    /// From the end of a root or parent until nothing of it was left.
    pub(super) gone: Option<Duration>,
    /// From the start of the root until everybody was there, when nobody was killed.
    pub(super) build_up: Duration,
}

#[derive(Debug)]
struct Member {
    pidfd: OwnedFd,
    /// When the harness saw that it had ended.
    ended: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Round<'a> {
    home: &'a Home,
    plan: Plan,
    begin: Instant,
    root: Running,
    /// Closed when the round is finished.
    finish: Option<PipeWriter>,
    reports: PipeReader,
    /// The beginning of a line whose end has not been read.
    unread: Vec<u8>,
    /// Whether nobody is left who could report.
    is_silent: bool,
    ledger: Ledger,
    members: BTreeMap<u32, Member>,
    deaths: Vec<Death>,
    log: Vec<String>,
}

impl<'a> Round<'a> {
    /// Starts the root.
    pub(super) fn new(home: &'a Home, plan: Plan) -> Self {
        let (input, finish) = std::io::pipe().expect("room for a pipe");
        let (reports, output) = std::io::pipe().expect("room for a pipe");
        let errors = File::create(home.errors()).expect("the folder is there");
        let mut command = program(home.program());
        command.args([plan.method.to_string(), plan.family.seed.to_string()]);
        command.env("TMPDIR", home.scratch()).env("RUST_BACKTRACE", "0");
        command.stdin(input).stdout(output).stderr(errors);
        let begin = Instant::now();
        let root = Running::start(&mut command);
        let mut this = Self {
            home,
            plan,
            begin,
            root,
            finish: Some(finish),
            reports,
            unread: Vec::new(),
            is_silent: false,
            ledger: Ledger::default(),
            members: BTreeMap::new(),
            deaths: Vec::new(),
            log: Vec::new(),
        };
        // The command holds the harness's copies of the root's ends.
        drop(command);
        this.watch(this.root.0.id());
        this
    }

    /// Plays the round; returns also what root and parents have left, for rounds to come.
    pub(super) fn run(
        mut self,
        usual: &Usual,
    ) -> Result<(Outcome, BTreeMap<Role, Leftover>), String> {
        let played = self.play(usual);
        let left = std::mem::take(&mut self.ledger.left);
        played.map(|outcome| (outcome, left)).map_err(|what| self.tell(&what))
    }

    fn play(&mut self, usual: &Usual) -> Result<Outcome, String> {
        let mut outcome = Outcome::default();
        match self.plan.kill.clone() {
            None => {
                self.wait_for_everybody()?;
                outcome.build_up = self.begin.elapsed();
            }
            Some(kill) => {
                self.strike(&kill, usual.build_up)?;
                outcome.gone = self.watch_consequences(kill.victim)?;
            }
        }
        let after_end = self.finish()?;
        if !matches!(self.plan.victim(), Some(Victim::Root | Victim::Parent)) {
            outcome.gone = Some(after_end);
        }
        let (plan, ledger, deaths) = (&self.plan, &self.ledger, self.deaths.as_slice());
        Judge { plan, ledger, deaths, usual: &usual.leftovers }.verdict()?;
        outcome.in_time = self.deaths.first().is_some_and(|death| death.in_time);
        outcome.unborn = self.deaths.iter().any(|death| {
            let role = self.ledger.role(death.pid);
            death.server_of.is_none() && role.is_none_or(|role| !self.ledger.is_introduced(role))
        });
        outcome.answers = self.answers()?;
        Ok(outcome)
    }

    /// Finds the victim and kills it.
    fn strike(&mut self, kill: &Kill, build_up: Duration) -> Result<(), String> {
        let part = |whole: Duration| whole * kill.chance / 1000;
        let server_of = (kill.victim == Victim::Server).then_some(kill.role);
        let found = match (kill.victim, kill.when) {
            (Victim::Root, _) => {
                self.wait(part(build_up * 3 / 2))?;
                Some(self.root.0.id())
            }
            (_, When::Early) => {
                let found = self.seek(kill)?;
                // Mostly at once: a start has many steps, and takes a tenth of a millisecond.
                self.wait(part(part(part(build_up / 4))))?;
                found
            }
            (_, When::Late) => {
                self.wait_for_everybody()?;
                self.wait(part(build_up / 2))?;
                self.look_for(kill)
            }
        };
        if let Some(pid) = found {
            self.kill(pid, server_of)?;
        }
        if let Some((role, after)) = kill.second {
            self.wait(after)?;
            if let Some(pid) = self.ledger.pid(role) {
                self.kill(pid, None)?;
            }
        }
        Ok(())
    }

    /// Looks for the victim until it is seen; `None` when it has come and gone.
    ///
    /// No descriptor tells when somebody starts a process, and to wait for what the process says is to miss its first steps.
    fn seek(&mut self, kill: &Kill) -> Result<Option<u32>, String> {
        let deadline = Deadline::after(SOON);
        loop {
            self.wait(Duration::ZERO)?;
            if let Some(pid) = self.look_for(kill) {
                return Ok(Some(pid));
            }
            let starter =
                if kill.victim == Victim::Server { Some(kill.role) } else { kill.role.starter() };
            let is_over = starter.is_some_and(|starter| self.has_ended(starter));
            if is_over || self.ledger.is_settled(kill.role) {
                return Ok(None);
            }
            if deadline.has_passed() {
                return Err(format!("{} {} is not there", kill.victim, kill.role));
            }
            std::thread::yield_now();
        }
    }

    /// The victim, if it is to be seen now.
    fn look_for(&self, kill: &Kill) -> Option<u32> {
        if kill.victim == Victim::Server {
            return servers_of(self.pid(kill.role)?).into_iter().next();
        }
        if let Some(pid) = self.pid(kill.role) {
            return Some(pid);
        }
        let (Role::Parent(place) | Role::Child(_, place)) = kill.role else { return None };
        let starter = self.pid(kill.role.starter()?)?;
        let mut started: Vec<u32> = match has_server(self.plan.method) {
            true => servers_of(starter).into_iter().flat_map(children_of).collect(),
            false => children_of(starter),
        };
        // The first one never is.
        started.retain(|pid| kill.spares || place == 0 || !eyes::is_spare(*pid));
        // In the order of their starts. It may be another one after all, when one has ended already: whoever is killed, is
        // known by its number.
        started.get(usize::from(place)).copied()
    }

    fn pid(&self, role: Role) -> Option<u32> {
        match role {
            Role::Root => Some(self.root.0.id()),
            _ => self.ledger.pid(role),
        }
    }

    fn has_ended(&self, role: Role) -> bool {
        self.pid(role)
            .is_some_and(|pid| self.members.get(&pid).is_none_or(|member| member.ended.is_some()))
    }

    /// Kills somebody, and waits until that is to be seen.
    fn kill(&mut self, pid: u32, server_of: Option<Role>) -> Result<(), String> {
        self.watch(pid);
        let Some(member) = self.members.get(&pid) else { return Ok(()) };
        let now = Deadline::after(Duration::ZERO);
        let ended = poll::wait_readable(&member.pidfd, now).map_err(|error| error.to_string())?;
        let was_spare = server_of.is_none() && eyes::is_spare(pid);
        pidfd::signal(&member.pidfd, signal::KILL).map_err(|error| error.to_string())?;
        let whose =
            server_of.map_or_else(String::new, |role| format!(", the fork server of {role}"));
        let spare = if was_spare { ", a spare" } else { "" };
        let late = if ended { ", which has ended" } else { "" };
        self.note(&format!("kill {pid}{whose}{spare}{late}"));
        let has_ended = |round: &Self| round.members[&pid].ended.is_some();
        if !self.pump(Deadline::after(LIMIT), has_ended)? {
            return Err(format!("process {pid} does not end though it is killed"));
        }
        let at = self.members[&pid].ended.unwrap_or_else(Instant::now);
        self.deaths.push(Death { pid, server_of, was_spare, at, in_time: !ended });
        Ok(())
    }

    /// Waits for what must follow from the kills; returns how long it took until nothing of the victim's was left.
    fn watch_consequences(&mut self, victim: Victim) -> Result<Option<Duration>, String> {
        let mut gone = None;
        for death in self.deaths.clone() {
            if matches!(victim, Victim::Parent | Victim::Child) || self.deaths.len() == 2 {
                self.wait_for_answer(&death)?;
            }
            if victim == Victim::Root {
                gone = Some(self.wait_until_gone(death.at, |_, _| true)?);
            }
            if victim == Victim::Parent {
                let is_orphan = |round: &Self, pid: u32| round.is_orphan(pid);
                gone = Some(self.wait_until_gone(death.at, is_orphan)?);
            }
        }
        Ok(gone)
    }

    fn wait_for_answer(&mut self, death: &Death) -> Result<(), String> {
        if death.server_of.is_some() {
            return Ok(());
        }
        let pid = death.pid;
        let is_answered = |round: &Self| match round.ledger.role(pid) {
            Some(role) => round.ledger.is_settled(role),
            None => death.was_spare || !round.ledger.refused.is_empty(),
        };
        match self.pump(Deadline::after(SOON), is_answered)? {
            true => Ok(()),
            false => Err(format!("nobody has an answer about process {pid}, which is killed")),
        }
    }

    /// Whether no line of parents leads to the root.
    fn is_orphan(&self, pid: u32) -> bool {
        let mut at = pid;
        while at != self.root.0.id() {
            match eyes::parent_of(at) {
                Some(parent) if parent > 1 => at = parent,
                _ => return true,
            }
        }
        false
    }

    /// Waits until no process of the family is left of which `who` is true; returns how long after `since` that was, one
    /// look at all processes of the system included.
    fn wait_until_gone(
        &mut self,
        since: Instant,
        who: impl Fn(&Self, u32) -> bool,
    ) -> Result<Duration, String> {
        let deadline = Deadline::at(since + LIMIT);
        let mut seen = BTreeSet::new();
        loop {
            let mut left = self.home.members();
            left.retain(|pid| who(self, *pid));
            if left.is_empty() {
                break;
            }
            for pid in &left {
                self.watch(*pid);
            }
            seen.extend(left.iter().copied());
            let are_gone = |round: &Self| left.iter().all(|pid| !round.lives(*pid));
            if !self.pump(deadline, are_gone)? || deadline.has_passed() {
                return Err(self.outlived(since, &left));
            }
        }
        // The last steps of a process are not to be seen in its files.
        let mine: Vec<u32> = match self.plan.victim() {
            Some(Victim::Parent) => seen.into_iter().collect(),
            _ => self.members.keys().copied().collect(),
        };
        match self.pump(deadline, |round| mine.iter().all(|pid| !round.lives(*pid)))? {
            true => Ok(since.elapsed()),
            false => Err(self.outlived(since, &mine)),
        }
    }

    fn lives(&self, pid: u32) -> bool {
        self.members.get(&pid).is_some_and(|member| member.ended.is_none())
    }

    fn outlived(&self, since: Instant, left: &[u32]) -> String {
        let living = left.iter().filter(|pid| self.lives(**pid));
        let living: Vec<String> = living.map(|pid| eyes::describe(*pid)).collect();
        format!("{:?} after an end there still is:\n{}", since.elapsed(), living.join("\n"))
    }

    /// Lets everybody end who waits for that, and looks at what is left; returns how long after the root's end everybody
    /// was gone.
    fn finish(&mut self) -> Result<Duration, String> {
        self.note("finish");
        drop(self.finish.take());
        let root = self.root.0.id();
        if !self.pump(Deadline::after(SOON), |round| !round.lives(root))? {
            let left = self.home.members();
            return Err(self.outlived(self.begin, &left));
        }
        let status = self.root.0.wait().map_err(|error| error.to_string())?;
        let is_right = match self.plan.victim() {
            Some(Victim::Root) => status.signal() == Some(signal::KILL),
            _ => status.success(),
        };
        if !is_right {
            return Err(format!("the root ended with {status}"));
        }
        let since = self.members.get(&root).and_then(|root| root.ended);
        let gone = self.wait_until_gone(since.unwrap_or_else(Instant::now), |_, _| true)?;
        if !self.pump(Deadline::after(LIMIT), |round| round.is_silent)? {
            return Err("somebody else holds the pipe of the reports".to_owned());
        }
        match self.home.litter().as_slice() {
            [] => Ok(gone),
            files => Err(format!("temporary files are left: {files:?}")),
        }
    }

    /// How long it took from deaths to the answers about them. Nobody's end may take longer to be known, killed or not.
    fn answers(&self) -> Result<Vec<Duration>, String> {
        let mut samples = Vec::new();
        for (role, joined) in &self.ledger.joined {
            let member = self.ledger.pid(*role).and_then(|pid| self.members.get(&pid));
            let Some(ended) = member.and_then(|member| member.ended) else { continue };
            let since = self.ledger.asked_since(*role, ended);
            let took = joined.at.saturating_duration_since(since);
            if took > LIMIT {
                return Err(format!("it took {took:?} until the end of {role} was known"));
            }
            if self.follows_from_a_kill(*role, ended, &joined.answer) {
                samples.push(took);
            }
        }
        for (role, (at, _)) in &self.ledger.refused {
            // There is one at most, and one kill.
            for death in &self.deaths {
                let took = at.saturating_duration_since(death.at);
                if took > LIMIT {
                    return Err(format!("it took {took:?} until the start of {role} failed"));
                }
                samples.push(took);
            }
        }
        Ok(samples)
    }

    /// Whether somebody has ended because it was killed, or after a kill of the fork server that would have told how.
    fn follows_from_a_kill(&self, role: Role, ended: Instant, answer: &Answer) -> bool {
        self.deaths.iter().filter(|death| death.in_time).any(|death| match death.server_of {
            Some(owner) => {
                let is_last = matches!(role, Role::Parent(LAST) | Role::Child(_, LAST));
                role.starter() == Some(owner) && !is_last && ended > death.at
            }
            None => {
                let is_victim = self.ledger.role(death.pid) == Some(role);
                is_victim && self.deaths.len() == 1 && matches!(answer, Answer::Died(_))
            }
        })
    }

    fn wait_for_everybody(&mut self) -> Result<(), String> {
        let roles: Vec<Role> = (0..WIDTH)
            .flat_map(|parent| {
                (0..WIDTH)
                    .map(move |child| Role::Child(parent, child))
                    .chain([Role::Parent(parent)])
            })
            .collect();
        let are_there = |round: &Self| roles.iter().all(|role| round.ledger.is_introduced(*role));
        match self.pump(Deadline::after(SOON), are_there)? {
            true => Ok(()),
            false => Err("somebody does not come up".to_owned()),
        }
    }

    /// Waits so long, and notes what happens meanwhile.
    fn wait(&mut self, length: Duration) -> Result<(), String> {
        self.pump(Deadline::after(length), |_| false).map(drop)
    }

    /// Takes down what happens until `done`; tells whether that came before the deadline.
    fn pump(&mut self, deadline: Deadline, done: impl Fn(&Self) -> bool) -> Result<bool, String> {
        while !done(self) {
            let living: Vec<u32> = self
                .members
                .iter()
                .filter(|(_, one)| one.ended.is_none())
                .map(|(pid, _)| *pid)
                .collect();
            let mut watches: Vec<_> =
                living.iter().map(|pid| Watch::readable(&self.members[pid].pidfd)).collect();
            if !self.is_silent {
                watches.push(Watch::readable(&self.reports));
            }
            let ready = poll::wait(&mut watches, deadline).map_err(|error| error.to_string())?;
            let now = Instant::now();
            if ready == 0 {
                return Ok(done(self));
            }
            let ready: Vec<bool> = watches.iter().map(Watch::is_ready).collect();
            if ready.get(living.len()).is_some_and(|ready| *ready) {
                self.listen(now)?;
            }
            for (pid, _) in living.iter().zip(&ready).filter(|(_, ended)| **ended) {
                if let Some(member) = self.members.get_mut(pid) {
                    member.ended = Some(now);
                }
                self.note(&format!("{pid} has ended"));
            }
        }
        Ok(true)
    }

    /// Reads what there is.
    fn listen(&mut self, now: Instant) -> Result<(), String> {
        let mut buffer = [0; 1 << 14];
        let len = self.reports.read(&mut buffer).map_err(|error| error.to_string())?;
        self.is_silent = len == 0;
        self.unread.extend_from_slice(&buffer[..len]);
        while let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.unread.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line[..end]).into_owned();
            self.note(&line);
            if let Some(pid) = self.ledger.note(line.parse::<Said>()?, now)? {
                self.watch(pid);
            }
        }
        match self.is_silent && !self.unread.is_empty() {
            true => Err("half a line was said".to_owned()),
            false => Ok(()),
        }
    }

    /// Watches a process of the family from now on.
    fn watch(&mut self, pid: u32) {
        if !self.members.contains_key(&pid)
            && let Some(pidfd) = self.home.open(pid)
        {
            self.members.insert(pid, Member { pidfd, ended: None });
        }
    }

    fn note(&mut self, what: &str) {
        let ms = self.begin.elapsed().as_secs_f64() * 1e3;
        self.log.push(format!("{ms:10.3} {what}"));
    }

    /// All that is known about a round that went wrong.
    fn tell(&self, what: &str) -> String {
        let Plan { again, method, kill, family } = &self.plan;
        let errors = std::fs::read_to_string(self.home.errors()).unwrap_or_default();
        let log = self.log.join("\n");
        format!(
            "{what}\nagain: {again}\nmethod {method}, {kill:?}\n{family:?}\n\
             what happened (ms):\n{log}\nstandard error of the family:\n{errors}"
        )
    }
}

fn servers_of(pid: u32) -> Vec<u32> {
    children_of(pid).into_iter().filter(|pid| is_server(*pid)).collect()
}
