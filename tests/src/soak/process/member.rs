//! What the members of the family do. The program is `soak_process`; its root is told method and seed by its command line.
//!
//! Whoever has children starts them first, with no thread beside the main one, and waits for each in a thread of its own
//! afterwards, so that each `join` waits as users' do.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use procession::process::Stream;
use procession::{Handle, Process, StartMethod, Target, force_start_method};
use procession_sys::signal::{Mask, set_thread_mask};
use procession_sys::{Deadline, fd, poll, process};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::line::{Answer, LAST, Role, Said};
use super::plan::{FamilyPlan, LAST_TASK, ParentPlan, Task};
use crate::children;

/// What everybody has: the pipe that the harness reads, and the one that it closes when the round is finished.
#[derive(Debug, Serialize, Deserialize)]
struct Desk {
    reports: Handle<File>,
    finish: Handle<File>,
}

impl Desk {
    /// The root's, which has them as standard output and input.
    fn of_root() -> Self {
        let open = |copied: procession_sys::Result<OwnedFd>| {
            Handle(File::from(copied.expect("room for a descriptor")))
        };
        Self {
            reports: open(fd::duplicate(std::io::stdout())),
            finish: open(fd::duplicate(std::io::stdin())),
        }
    }

    fn copy(&self) -> Self {
        let copy = |file: &File| Handle(file.try_clone().expect("room for a descriptor"));
        Self { reports: copy(&self.reports), finish: copy(&self.finish) }
    }

    /// One write of less than `PIPE_BUF` bytes: lines of different writers never mix.
    fn say(&self, said: &Said) {
        let mut line: String = said.to_string().replace('\n', " ").chars().take(500).collect();
        line.push('\n');
        (&*self.reports).write_all(line.as_bytes()).expect("the harness listens");
    }

    fn wait_for_finish(&self) {
        let read = (&*self.finish).read_to_end(&mut Vec::new());
        read.expect("nobody writes there");
    }

    fn is_finished(&self) -> bool {
        let now = Deadline::after(Duration::ZERO);
        poll::wait_readable(&*self.finish, now).expect("a descriptor can be waited for")
    }

    /// Starts somebody, and says so.
    fn start<F, P>(&self, role: Role, function: F, plan: P) -> Option<(Role, Process<u64>)>
    where
        F: Target<(Self, Role, P), Output = u64>,
        P: Serialize + DeserializeOwned + 'static,
    {
        // It has the pipe as a value, and as nothing else: it must not be its standard output as well.
        let described = Process::builder().stdout(Stream::null());
        match described.spawn(function, (self.copy(), role, plan)) {
            Ok(process) => {
                self.say(&Said::Started(role, process.pid()));
                Some((role, process))
            }
            Err(error) => {
                self.say(&Said::Refused(role, format!("{:?}: {error}", error.kind())));
                None
            }
        }
    }

    /// Waits for somebody, and says what the answer was.
    fn join(&self, role: Role, process: &Process<u64>) {
        self.say(&Said::Joins(role));
        let answer = Answer::from(process.join());
        let status = process.exit_status().expect("the system tells");
        let status = status.expect("it has ended").into();
        self.say(&Said::Joined(role, status, answer));
    }

    fn join_all(&self, started: &[Option<(Role, Process<u64>)>]) {
        thread::scope(|scope| {
            for (role, process) in started.iter().flatten() {
                scope.spawn(|| self.join(*role, process));
            }
        });
    }

    /// What is done when everybody else has ended: one more start, and a look at what is left.
    fn end(&self, role: Role, last: Role) {
        if let Some((last, process)) = self.start(last, child, LAST_TASK) {
            self.join(last, &process);
        }
        // The fork server may be forking one to keep in reserve, which is to be seen for a moment before it says what it is.
        let deadline = Deadline::after(Duration::from_millis(50));
        let mut left = children();
        while !left.is_empty() && !deadline.has_passed() {
            thread::yield_now();
            left = children();
        }
        let descriptors = fd::open_descriptors().expect("/proc is mounted").len();
        self.say(&Said::Left(role, descriptors, left.into_iter().collect()));
    }
}

/// The root, whose family does what follows from `seed`.
pub fn root(method: StartMethod, seed: u64) {
    let desk = Desk::of_root();
    desk.say(&Said::Is(Role::Root, process::id()));
    force_start_method(method);
    let plan = FamilyPlan::new(seed);
    let parents: Vec<_> = (0..).zip(plan.parents).collect();
    let started: Vec<_> = parents
        .into_iter()
        .map(|(number, plan)| desk.start(Role::Parent(number), parent, plan))
        .collect();
    desk.join_all(&started);
    drop(started);
    desk.wait_for_finish();
    desk.end(Role::Root, Role::Parent(LAST));
}

fn parent(desk: Desk, role: Role, plan: ParentPlan) -> u64 {
    desk.say(&Said::Is(role, process::id()));
    let Role::Parent(own) = role else { panic!("{role} is no parent") };
    let mut started = Vec::new();
    for (number, task) in (0..).zip(plan.children) {
        work(plan.pause);
        started.push(desk.start(Role::Child(own, number), child, task));
    }
    desk.join_all(&started);
    drop(started);
    if plan.lingers {
        desk.wait_for_finish();
    }
    desk.end(role, Role::Child(own, LAST));
    plan.value
}

fn child(desk: Desk, role: Role, task: Task) -> u64 {
    desk.say(&Said::Is(role, process::id()));
    match task {
        Task::Returns(after, value) => {
            work(after);
            value
        }
        Task::Waits(value) => {
            desk.wait_for_finish();
            value
        }
        Task::Spins(value) => {
            set_thread_mask(Mask::from_bits(u64::MAX)).expect("any mask is one");
            while !desk.is_finished() {}
            value
        }
        Task::Panics(after, value) => {
            work(after);
            panic!("{}", on_purpose(value))
        }
        Task::Exits(after, code) => {
            work(after);
            process::exit_now(code)
        }
    }
}

/// What a child says that panics.
pub(super) fn on_purpose(value: u64) -> String {
    format!("on purpose {value}")
}

fn work(length: Duration) {
    let start = Instant::now();
    while start.elapsed() < length {
        std::hint::spin_loop();
    }
}
