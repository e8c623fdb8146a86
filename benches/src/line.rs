//! Families `pipe` and `socket`: what goes over a [`Line`] between two processes, and how it is timed.
//!
//! Both processes go through the same [`Step`]s: one [leads](lead), takes the times and prints them, the other [follows](follow). A
//! phase of a step is as long as the leader says: its last message is marked. Each message bears its number at both ends, and the
//! receiver looks at every one; before the times are taken it compares whole messages ([`freight`](crate::freight)). What is wrong
//! is an error, and no figure.
//!
//! The peers' workspace includes this file by path, so it stands on `std` and `libc` alone.
#![expect(unsafe_code, reason = "the CPU time of this process comes from a system call")]

use std::io;
use std::time::{Duration, Instant};

use crate::clock::pause;
use crate::freight::{Buffer, Care, Freight, Fresh, Kept, MIX, Owned, Words, expect, marked};
use crate::measure::{number_from_env, print_figure, quantile_us};

/// How many round trips are timed at most.
const MOST_TRIPS: usize = 20_000;
/// How many messages a phase has at least.
const LEAST: u64 = 3;
/// After so many bytes a sender looks at the clock.
const GLANCE_BYTES: usize = 64 << 10;
/// After so many messages it does in any case.
const GLANCE_MESSAGES: usize = 256;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// One end of a line: it sends and receives messages, whole and in order.
///
/// A contender has the methods that its [`WAYS`](Line::WAYS) need; the others are never called.
pub trait Line {
    /// The ways in which it moves long messages. Round trips and short messages take the first.
    const WAYS: &'static [Way];

    /// Sends a number as a message.
    ///
    /// # Errors
    /// The other end is gone.
    fn send_word(&mut self, word: u64) -> io::Result<()>;

    /// Receives a number.
    ///
    /// # Errors
    /// The other end is gone, or what came is no number.
    fn recv_word(&mut self) -> io::Result<u64>;

    /// Sends a message that the sender keeps.
    ///
    /// # Errors
    /// The other end is gone.
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        no_way(message)
    }

    /// Receives a message as long as `buffer`, and tells how long it was.
    ///
    /// # Errors
    /// The other end is gone, or the message is longer.
    fn recv_into(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        no_way(buffer)
    }

    /// Receives a message that was [sent](Line::send) as a new vector.
    ///
    /// # Errors
    /// The other end is gone.
    fn recv_vec(&mut self) -> io::Result<Vec<u8>> {
        no_way(&[])
    }

    /// Sends a message that the sender gives away.
    ///
    /// # Errors
    /// The other end is gone.
    fn give(&mut self, message: Vec<u8>) -> io::Result<()> {
        self.send(&message)
    }

    /// Receives a message that was [given](Line::give).
    ///
    /// # Errors
    /// The other end is gone.
    fn take(&mut self) -> io::Result<Vec<u8>> {
        self.recv_vec()
    }
}

/// How a message leaves one process and arrives in the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From a buffer that is kept into a buffer that is kept.
    Into,
    /// From a buffer that is kept; it arrives as a new vector.
    Fresh,
    /// A new vector is made for each message and given away; it arrives as a new vector.
    Owned,
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cargo {
    Word,
    Bytes(Way, usize),
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    /// How long a message and its answer take.
    Trips,
    /// How many messages go one way in a second.
    Messages,
    /// How many bytes do.
    Bytes,
    /// How much processor time a receiver takes to which nothing is sent.
    Idle,
}

/// One measurement.
#[derive(Debug)]
pub struct Step {
    goal: Goal,
    cargo: Cargo,
    /// What stands in the name of the figure beside its kind.
    name: String,
    length: Duration,
}

/// The steps of family `pipe`.
pub fn pipe_steps<L: Line>() -> Vec<Step> {
    let natural = |len| L::WAYS.first().map(|way| Cargo::Bytes(*way, len));
    let trips = [Some(Cargo::Word), natural(KIB), natural(64 * KIB), natural(MIB)];
    let messages = [Some(Cargo::Word), natural(KIB)];
    let long = [64 * KIB, MIB, 64 * MIB];
    let long = L::WAYS.iter().flat_map(|way| long.map(|len| Cargo::Bytes(*way, len)));
    let mut steps = steps(Goal::Trips, "", trips.into_iter().flatten());
    steps.extend(self::steps(Goal::Messages, "", messages.into_iter().flatten()));
    steps.extend(self::steps(Goal::Bytes, "", long));
    steps.extend(self::steps(Goal::Idle, "", [Cargo::Word]));
    steps
}

/// The steps of family `socket`, for a kind of socket.
pub fn socket_steps(kind: &str) -> Vec<Step> {
    let into = |len| Cargo::Bytes(Way::Into, len);
    let kind = format!("{kind} ");
    let mut steps = steps(Goal::Trips, &kind, [Cargo::Word, into(KIB), into(64 * KIB)]);
    steps.extend(self::steps(Goal::Messages, &kind, [Cargo::Word]));
    steps.extend(self::steps(Goal::Bytes, &kind, [into(64 * KIB), into(MIB)]));
    steps
}

fn steps(goal: Goal, kind: &str, cargos: impl IntoIterator<Item = Cargo>) -> Vec<Step> {
    let step = |cargo: Cargo| {
        let length = Duration::from_millis(match (goal, cargo.len()) {
            (Goal::Idle, _) => 1000,
            (_, len) if len > MIB => 400,
            _ => 150,
        });
        let name = format!("{kind}{}", size_name(cargo.len()));
        Step { goal, cargo, name, length: length / divisor() }
    };
    cargos.into_iter().map(step).collect()
}

/// Leads the other end through `steps` and prints the figures.
///
/// # Errors
/// The line broke, something wrong came over it, or standard output cannot be written to.
pub fn lead<L: Line>(line: &mut L, steps: &[Step]) -> io::Result<()> {
    for step in steps {
        match step.cargo {
            Cargo::Word => step.lead(line, &mut Words)?,
            Cargo::Bytes(Way::Into, len) => step.lead(line, &mut Kept::new(len))?,
            Cargo::Bytes(Way::Fresh, len) => step.lead(line, &mut Fresh(Buffer::new(len)))?,
            Cargo::Bytes(Way::Owned, len) => step.lead(line, &mut Owned(Buffer::new(len)))?,
        }
    }
    Ok(())
}

/// Goes through `steps` as the other end leads.
///
/// # Errors
/// The line broke, or something wrong came over it.
pub fn follow<L: Line>(line: &mut L, steps: &[Step]) -> io::Result<()> {
    for step in steps {
        match step.cargo {
            Cargo::Word => step.follow(line, &mut Words)?,
            Cargo::Bytes(Way::Into, len) => step.follow(line, &mut Kept::new(len))?,
            Cargo::Bytes(Way::Fresh, len) => step.follow(line, &mut Fresh(Buffer::new(len)))?,
            Cargo::Bytes(Way::Owned, len) => step.follow(line, &mut Owned(Buffer::new(len)))?,
        }
    }
    Ok(())
}

impl Step {
    /// The phases: one to warm up, in which everything is looked at, and one that counts.
    fn phases(&self) -> [(Care, Duration); 2] {
        [(Care::All, self.length / 10), (Care::Ends, self.length)]
    }

    fn lead<L: Line>(&self, line: &mut L, freight: &mut impl Freight<L>) -> io::Result<()> {
        if self.goal == Goal::Idle {
            return self.leave_alone(line);
        }
        for (care, length) in self.phases() {
            let timed = care == Care::Ends;
            match self.goal {
                Goal::Trips => {
                    let trips = lead_trips(line, freight, care, length)?;
                    if timed {
                        self.report_trips(trips)?;
                    }
                }
                _ => {
                    let (count, took) = lead_stream(line, freight, self.cargo.len(), length)?;
                    if timed {
                        self.report_stream(count, took)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn follow<L: Line>(&self, line: &mut L, freight: &mut impl Freight<L>) -> io::Result<()> {
        if self.goal == Goal::Idle {
            return wait_idle(line);
        }
        for (care, _) in self.phases() {
            match self.goal {
                Goal::Trips => follow_trips(line, freight, care)?,
                _ => follow_stream(line, freight, care)?,
            }
        }
        Ok(())
    }

    fn report_trips(&self, mut trips: Vec<Duration>) -> io::Result<()> {
        let name = &self.name;
        print_figure(&format!("rtt_p50[{name}]"), quantile_us(&mut trips, 50), "us")?;
        if self.cargo == Cargo::Word {
            print_figure(&format!("rtt_p99[{name}]"), quantile_us(&mut trips, 99), "us")?;
        }
        Ok(())
    }

    fn report_stream(&self, count: u64, took: Duration) -> io::Result<()> {
        let (name, rate) = (&self.name, count as f64 / took.as_secs_f64());
        let kind = match (self.goal, self.cargo) {
            (Goal::Messages, _) | (_, Cargo::Word) => {
                return print_figure(&format!("msgs[{name}]"), rate, "msg/s");
            }
            (_, Cargo::Bytes(Way::Into, _)) => "into",
            (_, Cargo::Bytes(Way::Fresh, _)) => "fresh",
            (_, Cargo::Bytes(Way::Owned, _)) => "owned",
        };
        let gigabytes = rate * self.cargo.len() as f64 / 1e9;
        print_figure(&format!("{kind}[{name}]"), gigabytes, "GB/s")
    }

    /// Sends nothing for a while to one that waits, and asks what that took.
    fn leave_alone<L: Line>(&self, line: &mut L) -> io::Result<()> {
        line.recv_word()?;
        let begin = Instant::now();
        pause(self.length);
        let length = begin.elapsed();
        line.send_word(MIX)?;
        let cpu = Duration::from_nanos(line.recv_word()? ^ MIX);
        print_figure("cpu_idle", cpu.as_secs_f64() * 1e6 / length.as_secs_f64(), "us/s")
    }
}

/// Says that it waits, waits, and tells how much processor time this process took meanwhile.
fn wait_idle<L: Line>(line: &mut L) -> io::Result<()> {
    line.send_word(MIX)?;
    let before = process_cpu_ns();
    line.recv_word()?;
    line.send_word((process_cpu_ns() - before) ^ MIX)
}

fn lead_trips<L: Line>(
    line: &mut L,
    freight: &mut impl Freight<L>,
    care: Care,
    length: Duration,
) -> io::Result<Vec<Duration>> {
    // Written to, so that no page of it is new when it is needed.
    let mut trips = vec![Duration::MAX; MOST_TRIPS];
    let begin = Instant::now();
    let mut before = begin;
    for (number, trip) in (0..).zip(&mut trips) {
        let is_last = number + 1 == MOST_TRIPS as u64
            || (number + 1 >= LEAST && before.duration_since(begin) >= length);
        freight.send(line, marked(number, is_last))?;
        expect(freight.recv(line, care)?, marked(number, false))?;
        let now = Instant::now();
        *trip = now.duration_since(before);
        before = now;
        if is_last {
            break;
        }
    }
    trips.retain(|trip| *trip != Duration::MAX);
    Ok(trips)
}

fn follow_trips<L: Line>(
    line: &mut L,
    freight: &mut impl Freight<L>,
    care: Care,
) -> io::Result<()> {
    let mut number = 0;
    loop {
        let word = freight.recv(line, care)?;
        let is_last = word == marked(number, true);
        expect(word, marked(number, is_last))?;
        freight.send(line, marked(number, false))?;
        if is_last {
            return Ok(());
        }
        number += 1;
    }
}

/// Sends for so long, and returns how many messages it were and how long it took until the last was received.
fn lead_stream<L: Line>(
    line: &mut L,
    freight: &mut impl Freight<L>,
    len: usize,
    length: Duration,
) -> io::Result<(u64, Duration)> {
    let glance = (GLANCE_BYTES / len).clamp(1, GLANCE_MESSAGES) as u64;
    let begin = Instant::now();
    let mut number = 0;
    while number + 1 < LEAST || begin.elapsed() < length {
        for _ in 0..glance {
            freight.send(line, marked(number, false))?;
            number += 1;
        }
    }
    freight.send(line, marked(number, true))?;
    let count = number + 1;
    let sum = line.recv_word()?;
    let took = begin.elapsed();
    let right = (0..count).fold(0_u64, u64::wrapping_add) ^ MIX;
    if sum != right {
        let problem = format!("the sum of {count} messages is {sum:#x} instead of {right:#x}");
        return Err(io::Error::other(problem));
    }
    Ok((count, took))
}

fn follow_stream<L: Line>(
    line: &mut L,
    freight: &mut impl Freight<L>,
    care: Care,
) -> io::Result<()> {
    let (mut number, mut sum) = (0_u64, 0_u64);
    loop {
        let word = freight.recv(line, care)?;
        let is_last = word == marked(number, true);
        expect(word, marked(number, is_last))?;
        sum = sum.wrapping_add(number);
        if is_last {
            return line.send_word(sum ^ MIX);
        }
        number += 1;
    }
}

#[cold]
fn no_way<T>(_message: &[u8]) -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this line has no such way"))
}

impl Cargo {
    fn len(self) -> usize {
        match self {
            Self::Word => 8,
            Self::Bytes(_, len) => len,
        }
    }
}

/// A length, short.
pub fn size_name(len: usize) -> String {
    match len {
        MIB.. => format!("{}MiB", len / MIB),
        KIB.. => format!("{}KiB", len / KIB),
        _ => format!("{len}B"),
    }
}

/// By how much everything is shortened.
pub fn divisor() -> u32 {
    number_from_env("PEERS_DIV").and_then(|number| number.try_into().ok()).unwrap_or(1).max(1)
}

/// Nanoseconds for which this process has had processors, with all its threads.
fn process_cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let clock = libc::CLOCK_PROCESS_CPUTIME_ID;
    // SAFETY: the pointer is to a whole `timespec` that the call may write.
    let failed = unsafe { libc::clock_gettime(clock, &raw mut time) } != 0;
    assert!(!failed, "the clock exists: {}", io::Error::last_os_error());
    let [seconds, nanos] = [time.tv_sec, time.tv_nsec].map(i64::cast_unsigned);
    seconds * 1_000_000_000 + nanos
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread;

    use super::*;

    /// What a line does to a message on its way; says how many times it arrives.
    type Damage = fn(&mut Vec<u8>) -> usize;

    /// What makes a test fail that would otherwise wait for ever.
    const PATIENCE: Duration = Duration::from_secs(10);

    struct Test {
        tx: Sender<Vec<u8>>,
        rx: Receiver<Vec<u8>>,
        damage: Damage,
    }

    impl Line for Test {
        const WAYS: &'static [Way] = &[Way::Into, Way::Fresh, Way::Owned];

        fn send_word(&mut self, word: u64) -> io::Result<()> {
            self.tx.send(word.to_ne_bytes().into()).map_err(io::Error::other)
        }

        fn recv_word(&mut self) -> io::Result<u64> {
            let message = self.recv_vec()?;
            message
                .try_into()
                .map(u64::from_ne_bytes)
                .map_err(|_message| io::Error::other("no word"))
        }

        fn send(&mut self, message: &[u8]) -> io::Result<()> {
            let mut message = message.to_vec();
            for _ in 0..(self.damage)(&mut message) {
                self.tx.send(message.clone()).map_err(io::Error::other)?;
            }
            Ok(())
        }

        fn recv_into(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let message = self.recv_vec()?;
            let room = buffer.len().min(message.len());
            buffer[..room].copy_from_slice(&message[..room]);
            Ok(message.len())
        }

        fn recv_vec(&mut self) -> io::Result<Vec<u8>> {
            self.rx.recv_timeout(PATIENCE).map_err(io::Error::other)
        }
    }

    /// What the follower says when the leader sends over a line that does some damage.
    fn follow_over(damage: Damage, way: Way, goal: Goal) -> io::Result<()> {
        let (left_tx, right_rx) = channel();
        let (right_tx, left_rx) = channel();
        let steps = [Step {
            goal,
            cargo: Cargo::Bytes(way, 64),
            name: "64B".to_owned(),
            length: Duration::from_micros(10),
        }];
        let steps = &steps;
        thread::scope(|scope| {
            scope.spawn(move || {
                let mut line = Test { tx: left_tx, rx: left_rx, damage };
                // What the follower says is what counts.
                lead(&mut line, steps).ok();
            });
            follow(&mut Test { tx: right_tx, rx: right_rx, damage: |_| 1 }, steps)
        })
    }

    #[test]
    fn a_sound_line_goes_through_all_steps() {
        for way in Test::WAYS {
            for goal in [Goal::Trips, Goal::Bytes, Goal::Messages] {
                follow_over(|_| 1, *way, goal).unwrap();
            }
        }
    }

    /// Asserts that the follower says `problem`, whatever is measured.
    fn assert_noticed(damage: Damage, problem: &str) {
        for way in Test::WAYS {
            for goal in [Goal::Trips, Goal::Bytes] {
                let error = follow_over(damage, *way, goal).unwrap_err().to_string();
                assert!(error.contains(problem), "{way:?} {goal:?}: {error}");
            }
        }
    }

    #[test]
    fn a_message_that_was_changed_gives_no_figure() {
        fn change(message: &mut [u8], place: usize) -> usize {
            message[place] ^= 1;
            1
        }
        assert_noticed(|message| change(message, 0), "damaged");
        assert_noticed(|message| change(message, 30), "damaged");
        assert_noticed(|message| change(message, 63), "damaged");
    }

    #[test]
    fn a_message_that_is_shorter_or_longer_gives_no_figure() {
        assert_noticed(
            |message| {
                message.drain(16..24);
                1
            },
            "56 bytes",
        );
        assert_noticed(
            |message| {
                message.extend_from_within(56..);
                1
            },
            "72 bytes",
        );
    }

    #[test]
    fn a_message_that_comes_twice_gives_no_figure() {
        assert_noticed(|_| 2, "a message is number 0x0 instead of 0x1");
    }

    #[test]
    fn the_steps_of_a_pipe_are_those_that_its_ways_allow() {
        let steps = pipe_steps::<Test>();
        assert_eq!(steps.len(), 4 + 2 + 3 * 3 + 1);
        assert!(steps.iter().any(|step| step.name == "64MiB" && step.goal == Goal::Bytes));
        assert_eq!(socket_steps("unix")[0].name, "unix 8B");
    }
}
