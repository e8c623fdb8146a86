//! A scene: a queue, four putters and four getters, of whom some are killed and replaced; at the end everything is counted.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use procession::{Handle, JoinError, Process, Result};
use procession_sys::{Deadline, fd, pidfd, poll, signal};

use super::super::leak::Leak;
use super::super::waited::{LATE, stood_by_of};
use super::account::Account;
use super::item::{Flavour, Item, Line, Shape, size};
use super::ledger::{Ledger, MEMBERS};
use super::member::{self, Manner, Part};
use super::stage::Tally;
use crate::{Random, SOON, wait_until};

pub(super) type Member = Process<Result<()>>;

/// A member's part, and its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Putter(usize),
    Getter(usize),
    Joiner,
}

pub(super) struct Scene {
    kind: String,
    shape: Shape,
    len: usize,
    manners: [Manner; 2],
    ledger: Ledger,
    line: Line,
    putting: Vec<Member>,
    getting: Vec<Member>,
    joiner: Option<Member>,
    writer: Option<OwnedFd>,
    leak: Leak,
    account: Account,
    random: Random,
}

/// How the queue of a kind is made.
fn shape(kind: &str, random: &mut Random) -> Shape {
    let all = [Flavour::Plain, Flavour::Tasks, Flavour::Leases];
    let flavour = match kind {
        "lease" => Flavour::Leases,
        "tasks" => Flavour::Tasks,
        "settler" | "handles" => all[random.below(3)],
        _ => Flavour::Plain,
    };
    let mut items = [None, Some(1), Some(7), Some(600)][random.below(4)];
    let mut bytes = None;
    match kind {
        "bytes" => bytes = Some([200, 5_000, 200_000][random.below(3)]),
        // The system has room for 278 items with handles at least.
        "handles" => items = Some([1, 7, 60][random.below(3)]),
        "lease" | "settler" if random.below(4) == 0 => bytes = Some(20_000),
        _ => {}
    }
    let attempts = match flavour {
        Flavour::Leases => [None, None, Some(1), Some(3)][random.below(4)],
        _ => None,
    };
    Shape { flavour, items, bytes, attempts }
}

impl Scene {
    pub(super) fn set(kind: &str, mut random: Random) -> Self {
        let shape = shape(kind, &mut random);
        let (len, items) = size(&mut random);
        let ledger = Ledger::new(items);
        let line = shape.make();
        let (leak, writer) = Leak::new(kind == "handles");
        let manners = [Manner::draw(&mut random), Manner::draw(&mut random)];
        let mut scene = Self {
            kind: kind.to_owned(),
            shape,
            len,
            manners,
            ledger,
            line,
            putting: Vec::new(),
            getting: Vec::new(),
            joiner: None,
            writer,
            leak,
            account: Account::default(),
            random,
        };
        for place in 0..MEMBERS {
            let putter = scene.start(Role::Putter(place));
            scene.putting.push(putter);
            let getter = scene.start(Role::Getter(place));
            scene.getting.push(getter);
        }
        if scene.line.joinable().is_some() {
            scene.joiner = Some(scene.start(Role::Joiner));
        }
        let all = 2 * MEMBERS + usize::from(scene.joiner.is_some());
        if scene.random.below(8) > 0 {
            wait_until("all have begun", || scene.ledger.ready() >= all);
        }
        scene
    }

    pub(super) fn describe(&self) -> String {
        format!("{} bytes, {:?}, {:?}", self.len, self.shape, self.manners)
    }

    fn start(&mut self, role: Role) -> Member {
        let builder = Process::builder().daemon(true);
        let (place, manner) = match role {
            Role::Putter(place) => (place, self.manners[0]),
            Role::Getter(place) => (place, self.manners[1]),
            Role::Joiner => {
                let queue = self.line.joinable().expect("it can be joined").clone();
                return builder.spawn(member::join, (self.ledger.send(), queue)).expect("a member");
            }
        };
        let is_putter = matches!(role, Role::Putter(_));
        let handle = self.writer.as_ref().filter(|_| is_putter);
        let part = Part {
            ledger: self.ledger.send(),
            line: self.line.clone(),
            place,
            len: self.len,
            manner,
            seed: self.random.below(usize::MAX) as u64,
            handle: handle.map(|writer| Handle(fd::duplicate(writer).expect("a descriptor"))),
            has_handles: self.writer.is_some(),
        };
        let member = match is_putter {
            true => builder.spawn(member::put, (part,)),
            false => builder.spawn(member::get, (part,)),
        };
        member.expect("a member")
    }

    fn member(&mut self, role: Role) -> &mut Member {
        match role {
            Role::Putter(place) => &mut self.putting[place],
            Role::Getter(place) => &mut self.getting[place],
            Role::Joiner => self.joiner.as_mut().expect("a joiner"),
        }
    }

    fn pause(&mut self) {
        let most = [50, 1_000, 8_000][self.random.below(3)];
        pause(Duration::from_micros(self.random.below(most) as u64));
    }

    /// Who is killed at about the same time, and who right after that, when it settles what the first have left.
    fn victims(&mut self) -> Vec<Role> {
        let random = &mut self.random;
        let putter = Role::Putter(random.below(MEMBERS));
        let getter = Role::Getter(random.below(MEMBERS));
        match self.kind.as_str() {
            "putter" => vec![putter],
            "getter" => vec![getter],
            "both" => vec![putter, getter],
            "settler" => {
                // One of each lives.
                let mut others = Vec::new();
                for place in 0..MEMBERS {
                    others.extend([Role::Putter(place), Role::Getter(place)]);
                }
                others.retain(|role| *role != putter && *role != getter);
                let count = 2 + random.below(5);
                while others.len() > count {
                    let at = random.below(others.len());
                    others.remove(at);
                }
                others
            }
            _ => match random.below(9) {
                0 if self.joiner.is_some() => vec![Role::Joiner],
                ..5 => vec![putter],
                _ => vec![getter],
            },
        }
    }

    /// Kills some, sees how soon the others go on, and replaces the dead.
    pub(super) fn kill_some(&mut self, tally: &mut Tally) {
        self.pause();
        let victims = self.victims();
        let first = if self.kind == "settler" { 2 + self.random.below(2) } else { 1 };
        let mut death = Instant::now();
        for (number, role) in victims.iter().enumerate() {
            if number >= first {
                // It may be about to settle what the first have left.
                let most = [1, 60, 600][self.random.below(3)];
                pause(Duration::from_micros(self.random.below(most) as u64));
            }
            death = kill(self.member(*role));
        }
        let is_buried_first = self.random.below(4) == 0;
        if is_buried_first {
            self.bury(&victims);
        }
        self.see_others_go_on(&victims, death, tally);
        if !is_buried_first {
            self.bury(&victims);
        }
        for role in &victims {
            let member = self.start(*role);
            *self.member(*role) = member;
        }
        tally.saw("killed", victims.len());
    }

    fn bury(&mut self, victims: &[Role]) {
        for role in victims {
            join(self.member(*role), true);
            match *role {
                Role::Putter(place) => self.account.bury_putter(&self.ledger, place),
                Role::Getter(place) => {
                    self.account.bury_getter(&self.ledger, place, self.shape.flavour);
                }
                Role::Joiner => {}
            }
        }
    }

    /// Something is put and something is got since the death, unless everything was.
    fn see_others_go_on(&self, victims: &[Role], death: Instant, tally: &mut Tally) {
        let alive = |role: Role| !victims.contains(&role);
        let putters: Vec<_> = (0..MEMBERS).filter(|place| alive(Role::Putter(*place))).collect();
        let getters: Vec<_> = (0..MEMBERS).filter(|place| alive(Role::Getter(*place))).collect();
        let put = |ledger: &Ledger| putters.iter().map(|place| ledger.put(*place)).sum::<usize>();
        let got = |ledger: &Ledger| getters.iter().map(|place| ledger.got(*place)).sum::<usize>();
        let members = putters.iter().map(|place| &self.putting[*place]);
        let members: Vec<_> = members.chain(getters.iter().map(|at| &self.getting[*at])).collect();
        let stood_by = || members.iter().map(|member| stood_by_of(member.pid())).collect();
        let before: Vec<Duration> = stood_by();
        let (put_before, got_before) = (put(&self.ledger), got(&self.ledger));
        let is_over = || putters.iter().all(|place| self.putting[*place].try_join().is_some());
        wait_until("the others go on", || {
            let goes_on = put(&self.ledger) > put_before && got(&self.ledger) > got_before;
            goes_on || is_over()
        });
        let elapsed = death.elapsed();
        let after: Vec<Duration> = stood_by();
        let excuses: Vec<Duration> = after
            .iter()
            .zip(&before)
            .map(|(after, before)| after.saturating_sub(*before))
            .collect();
        // They wait for one another, so each may have stood by in its turn.
        let rest = elapsed.saturating_sub(excuses.iter().sum());
        assert!(rest <= LATE, "{rest:?} without anything, {elapsed:?} with what the system took");
        let late = elapsed.saturating_sub(excuses.into_iter().max().unwrap_or_default());
        tally.late(late);
    }

    /// Lets all go to the end, and checks that everything is right.
    pub(super) fn end(mut self, tally: &mut Tally) {
        self.ledger.stop();
        for putter in &self.putting {
            join(putter, false);
        }
        for _ in 0..MEMBERS {
            let copy = self.writer.as_ref().map(|fd| fd::duplicate(fd).expect("a descriptor"));
            self.line.put(Item::last().with(copy)).expect("it is open");
        }
        for getter in &self.getting {
            join(getter, false);
        }
        self.ledger.end();
        if let Some(joiner) = &self.joiner {
            join(joiner, false);
            let joined = self.line.joinable().expect("it can be joined").join_timeout(SOON);
            joined.expect("all is done");
            tally.saw("joined", self.ledger.joined());
        }
        assert_eq!(self.line.len(), 0, "nothing is left");
        let found = self.account.check(&self.ledger, &self.line, self.shape.attempts);
        tally.saw("put", found.put);
        tally.saw("unknown", found.unknown);
        tally.saw("lost", found.lost);
        tally.saw("in hand", found.in_hand);
        tally.saw("again", found.again);
        tally.saw("exhausted", found.exhausted);
        drop(self.writer.take());
        self.leak.check();
        self.check_queue();
    }

    /// It goes on as if nothing had happened.
    fn check_queue(&self) {
        check_as_new(&self.line, self.shape);
        // What is kept, and the books; nothing that grows with what went through.
        let memory = self.line.memory();
        assert!(memory < 40 << 20, "{memory} bytes");
        self.line.close();
        self.line.take(SOON).expect_err("the end");
    }
}

/// As much goes into a queue that is empty as into a new one, and comes back.
pub(super) fn check_as_new(line: &Line, shape: Shape) {
    let like_new = shape.make();
    let counts = [line, &like_new].map(fill);
    assert_eq!(counts[0], counts[1], "there is as much room as in a new one");
    for line in [line, &like_new] {
        for number in 0..counts[0] {
            let item = line.take(SOON).expect("it is there");
            assert_eq!(item.number, number as u64);
        }
    }
}

/// Puts items, longer ones and then shorter ones, while there is room; tells how many.
fn fill(line: &Line) -> usize {
    let mut count = 0;
    for (len, most) in [(100, 300), (0, 400)] {
        while count < most && line.try_put(Item::new(0, count, len)) {
            count += 1;
        }
    }
    count
}

pub(super) fn pause(pause: Duration) {
    let start = Instant::now();
    while start.elapsed() < pause {
        std::hint::spin_loop();
    }
}

/// Kills a member now, unless it has ended by itself; when its death could be seen.
pub(super) fn kill(member: &Member) -> Instant {
    let watched = pidfd::open(member.pid());
    member.kill().expect("a signal");
    if let Ok(watched) = watched {
        assert!(poll::wait_readable(&watched, Deadline::after(SOON)).expect("a poll"), "it dies");
    }
    Instant::now()
}

/// A member ends by itself, or was killed.
pub(super) fn join(member: &Member, may_be_killed: bool) {
    match member.join_timeout(SOON * 2).expect("it ends") {
        Ok(Ok(())) => {}
        Err(JoinError::Died(death)) if may_be_killed => {
            assert_eq!(death.status.signal(), Some(signal::KILL));
        }
        other => panic!("a member ended otherwise: {other:?}"),
    }
}
