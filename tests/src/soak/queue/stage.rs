//! The stage: plays one round after the other, kills, and settles the accounts.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use procession::{JoinError, Process, Result, StartMethod};
use procession_queue::{GetError, GetTimeoutError, PutError, Queue};
use procession_sys::{Deadline, poll, signal};

use super::super::figures::{Samples, cells};
use super::super::random;
use super::ledger::{Account, Ledger, MEMBERS};
use crate::{Litter, Random, SOON, steady, wait_until};

/// Who put it, which of its items, and bytes that follow from that.
type Item = (u64, u64, Vec<u8>);

type Member = Process<Result<()>>;

/// The lengths of items, and how many each putter puts at most: inline, in a span, in a large part of one, in an extent.
const SIZES: [(usize, usize); 4] = [(4, 20_000), (300, 10_000), (9_000, 1_500), (70_000, 300)];

/// What was seen.
#[derive(Debug, Default)]
struct Tally {
    late: Samples,
    saw: BTreeMap<&'static str, usize>,
}

impl Tally {
    fn saw(&mut self, what: &'static str, times: usize) {
        *self.saw.entry(what).or_default() += times;
    }

    fn answered(&mut self, death: Instant) {
        let late = death.elapsed();
        assert!(late <= Duration::from_secs(10), "the answer came {late:?} late");
        self.late.add(late);
    }
}

fn bytes(putter: u64, item: u64, len: usize) -> Vec<u8> {
    vec![(putter * 31 + item).to_le_bytes()[0]; len]
}

fn put(ledger: Ledger, queue: Queue<Item>, putter: usize, len: usize) -> Result<()> {
    ledger.say_ready()?;
    let me = putter as u64;
    for item in 0..ledger.items {
        if ledger.is_stopped()? {
            break;
        }
        ledger.begin(putter, item)?;
        let number = item as u64;
        queue.put((me, number, bytes(me, number, len)))?;
        ledger.was_put(putter, item)?;
    }
    Ok(())
}

/// Notes an item, and checks that it is whole and behind the one that came last.
fn note(ledger: &Ledger, last: &mut HashMap<u64, u64>, item: Item) -> Result<()> {
    let (putter, number, content) = item;
    assert!(content == bytes(putter, number, content.len()), "an item is not whole");
    let before = last.insert(putter, number);
    assert!(before.is_none_or(|before| before < number), "{number} behind {before:?}");
    let small = |number| usize::try_from(number).expect("a small number");
    ledger.was_got(small(putter), small(number))
}

fn get(ledger: Ledger, queue: Queue<Item>, getter: usize) -> Result<()> {
    ledger.say_ready()?;
    let mut last = HashMap::new();
    loop {
        ledger.is_getting(getter, true)?;
        match queue.get() {
            Ok(item) => note(&ledger, &mut last, item)?,
            Err(GetError::Closed) => return Ok(()),
            Err(GetError::Failed(error)) => return Err(error),
        }
        ledger.is_getting(getter, false)?;
    }
}

/// Kills a member now, unless it has ended by itself; when its death could be seen.
fn kill(member: &Member) -> Instant {
    member.kill().expect("a signal");
    assert!(member.wait(SOON).expect("a poll"), "it dies");
    Instant::now()
}

fn pause(random: &mut Random) {
    let most = [50, 1_000, 8_000][random.below(3)];
    let pause = Duration::from_micros(random.below(most) as u64);
    let start = Instant::now();
    while start.elapsed() < pause {
        std::hint::spin_loop();
    }
}

/// A member ends by itself, or was killed.
fn join(member: &Member, was_killed: bool) {
    match member.join_timeout(SOON * 2).expect("it ends") {
        Ok(Ok(())) => {}
        Err(JoinError::Died(death)) if was_killed => {
            assert_eq!(death.status.signal(), Some(signal::KILL));
        }
        other => panic!("a member ended otherwise: {other:?}"),
    }
}

/// Putters and getters, of whom some are killed; then the queue is closed and drained, and the accounts must be right.
fn play_members(kind: &str, random: &mut Random, tally: &mut Tally) {
    let mut size = random.below(SIZES.len());
    if kind == "getter" {
        // Large ones take longer to get.
        size = size.max(random.below(SIZES.len()));
    }
    let (len, items) = SIZES[size];
    let bound = [None, Some(1), Some(7), Some(600)][random.below(4)];
    let queue: Queue<Item> = match bound {
        None => Queue::new().expect("a queue"),
        Some(items) => Queue::bounded(items).expect("a queue"),
    };
    let (putters, getters) = (1 + random.below(2), 1 + random.below(2));
    assert!(putters.max(getters) <= MEMBERS);
    let ledger = Ledger::new(putters, items);
    let putting: Vec<Member> = (0..putters)
        .map(|putter| {
            let args = (ledger.clone(), queue.clone(), putter, len);
            Process::builder().daemon(true).spawn(put, args).expect("a member")
        })
        .collect();
    let getting: Vec<Member> = (0..getters)
        .map(|getter| {
            let args = (ledger.clone(), queue.clone(), getter);
            Process::builder().daemon(true).spawn(get, args).expect("a member")
        })
        .collect();
    if random.below(8) > 0 {
        wait_until("all have begun", || ledger.ready() == putters + getters);
    }
    pause(random);
    let (mut dead_putters, mut dead_getters) = (Vec::new(), Vec::new());
    let mut death = Instant::now();
    if kind != "getter" {
        let victim = random.below(putters);
        death = kill(&putting[victim]);
        dead_putters.push(victim);
    }
    if kind == "both" {
        // The second may be about to settle what the first has left.
        pause(random);
    }
    if kind != "putter" {
        let victim = random.below(getters);
        death = kill(&getting[victim]);
        dead_getters.push(victim);
    }
    ledger.stop();
    let mut last = HashMap::new();
    let is_over = |member: &Member| member.try_join().is_some();
    while !putting.iter().all(is_over) {
        match queue.get_timeout(Duration::from_millis(1)) {
            Ok(item) => note(&ledger, &mut last, item).expect("the ledger"),
            Err(GetTimeoutError::Timeout) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    tally.answered(death);
    queue.close().expect("it can be closed");
    for item in &queue {
        note(&ledger, &mut last, item.expect("an item")).expect("the ledger");
    }
    let was_killed = |dead: &[usize], number: usize| dead.contains(&number);
    for (number, member) in putting.iter().enumerate() {
        join(member, was_killed(&dead_putters, number));
    }
    for (number, member) in getting.iter().enumerate() {
        join(member, was_killed(&dead_getters, number));
    }
    let text = format!("{len} bytes, {bound:?}");
    check(&ledger.settle(putters, &dead_getters), dead_getters.len(), &queue, &text, tally);
}

/// Every item was got once, or lost and counted, or was in the hand of a getter that died.
fn check(account: &Account, dead: usize, queue: &Queue<Item>, text: &str, tally: &mut Tally) {
    let lost = usize::try_from(queue.lost().expect("a look")).expect("few");
    let text = format!("{account:?}, lost {lost}, {text}");
    assert!(account.missing <= lost + account.hands, "missing in silence: {text}");
    assert!(lost <= account.missing + account.maybe, "lost and got: {text}");
    assert!(lost <= dead, "more lost than were killed: {text}");
    assert_eq!(queue.len().expect("a look"), 0, "{text}");
    // What is kept, and the books; nothing that grows with what went through.
    let memory = queue.memory_bytes().expect("a look");
    assert!(memory < 40 << 20, "{memory} bytes: {text}");
    tally.saw("put", account.put);
    tally.saw("lost", lost);
    tally.saw("in hand", account.missing - account.missing.min(lost));
}

fn get_one(ledger: Ledger, queue: Queue<Item>) -> Result<()> {
    drop(queue.get()?);
    ledger.say_ready()?;
    loop {
        std::thread::park();
    }
}

/// The only other one is killed: who waits for an item, or for room, is told.
fn play_alone(random: &mut Random, tally: &mut Tally) {
    let is_for_room = random.below(2) == 0;
    let queue: Queue<Item> = Queue::bounded(1).expect("a queue");
    let ledger = Ledger::new(1, 1);
    let args = (ledger.clone(), queue.clone());
    let other = Process::builder().daemon(true).spawn(get_one, args).expect("a member");
    queue.put((0, 0, Vec::new())).expect("room");
    wait_until("it has got", || ledger.ready() == 1);
    if is_for_room {
        queue.put((0, 0, Vec::new())).expect("room");
    }
    let (waiting, killer) = (queue.clone(), random.below(30_000));
    let waiter = std::thread::spawn(move || match is_for_room {
        true => assert!(matches!(waiting.put((0, 0, Vec::new())), Err(PutError::Closed(_)))),
        false => assert!(matches!(waiting.get(), Err(GetError::Closed))),
    });
    // Before it waits, while it spins, when it sleeps.
    drop(poll::wait(&mut [], Deadline::after(Duration::from_micros(killer as u64))));
    let death = kill(&other);
    waiter.join().expect("it is told");
    tally.answered(death);
    join(&other, true);
}

/// Plays so many rounds from `first` on; returns the row of figures. What is wrong is a panic.
///
/// # Panics
///
/// When anything is wrong.
pub fn play(kind: &str, method: StartMethod, rounds: usize, seed: u64, first: usize) -> String {
    procession::force_start_method(method);
    // A forked child holds its parent's descriptors, so that nothing settles down.
    let before = (method != StartMethod::Fork).then(steady);
    let mut tally = Tally::default();
    for round in first..first + rounds {
        let _telling = Telling(format!(
            "cargo xtask soak queue --only {kind} --seed {seed} --from {round} --rounds 1"
        ));
        let mut random = random(seed, round, 30);
        match kind {
            "alone" => play_alone(&mut random, &mut tally),
            kind => play_members(kind, &mut random, &mut tally),
        }
    }
    // What a getter had is either lost or in its hand, which the ledger cannot tell apart; of 200, a dozen are killed while they copy.
    let lost = tally.saw.get("lost").copied().unwrap_or_default();
    assert!(kind != "getter" || rounds < 200 || lost > 0, "no loss was counted in {rounds} rounds");
    wait_until("nobody is left", || {
        procession::active_children().is_ok_and(|children| children.is_empty())
    });
    procession_shared::pool::trim().expect("a look");
    if let Some(before) = before {
        let after = Litter::now();
        // The watch may keep its bell.
        assert!(after.is_within(&before, 8), "left: {before:?}, now {after:?}");
    }
    let saw: Vec<_> = tally.saw.iter().map(|(what, times)| format!("{what} {times}")).collect();
    format!("{kind:<10}{}  | {}", cells(&tally.late), saw.join(", "))
}

/// Says which round it was when something was wrong in it.
struct Telling(String);

impl Drop for Telling {
    #[expect(clippy::print_stderr, reason = "the last words of a program")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0);
        }
    }
}
