//! The depot: where the kernel keeps the descriptors of items that are in a queue.
//!
//! A pair of packet sockets that every process with the queue has. Each end's buffer is a *line* of messages with descriptors,
//! so a descriptor is never only in the memory of a process that may be killed: a message is looked at where it lies, and
//! leaves its line only when nobody needs it or after it has been sent again.
//!
//! Messages are stored at the end of the *late* line. The kernel gives copies from anywhere in a line, and takes out only
//! what is in front. What is in front of a message that is to go is carried to the *early* line, which is normally empty and
//! short always: items are got nearly in order, and so the next that go are in front again. When that would make it too long,
//! the late line is carried all the way round. A message is carried by sending it once more and taking it out then. Whoever is
//! killed in between leaves a duplicate.
//!
//! The place where peeks look belongs to the socket and outlives whoever set it. In the late line it also says whether there
//! may be duplicates: it is the front unless somebody is busy, or was killed while it was.
//!
//! All callers hold the queue's book lock, so that one is here at a time. Message: `magic u32 | handles u32 | part u32 |
//! parts u32 | tag u64`, little-endian. All have the same length, so the place of the nth is known; and cost the same, so one
//! that leaves makes room for one.

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use procession_core::{Error, ErrorKind, Result};
use procession_sys::socket::peek::{
    TOO_MANY_UNDER_WAY, discard, peek, peek_place, raise_send_buffer, set_peek_place,
};
use procession_sys::socket::{self, Block, MAX_HANDLES};
use procession_sys::{Deadline, OsCode, OsError, poll};

const MAGIC: u32 = u32::from_le_bytes(*b"prd1");
const LABEL: usize = 24;

/// What a line may have under way. The kernel charges 768 bytes for a message and gives twice what is asked for: 11 thousand
/// messages. It walks through a line to whatever is looked at, so looking at all of that many takes half a second.
const ROOM: usize = 4 << 20;

/// The most messages that are carried to the early line: more than there usually are getters at a time, and fewer than the
/// least line has room for (278, where the system's buffers are as by default and cannot be raised). Tests need fewer to take
/// both ways.
const ASIDE: usize = if cfg!(test) { 4 } else { 64 };

/// The descriptors of items, by tag. Every tag is used once.
///
/// # Drop, kill, fork
///
/// The kernel closes what is in the depot when the last process has closed its ends. One that is killed over any of these
/// operations leaves at most duplicates and parts of what it was storing; the next [`sweep`](Self::sweep) throws them away.
/// After a fork both have it.
#[derive(Debug)]
pub(crate) struct Depot {
    ends: [OwnedFd; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Early,
    Late,
}

/// What a message says about its descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Label {
    tag: u64,
    part: u32,
    parts: u32,
    handles: u32,
}

/// Where a message is: the nth of a line.
#[derive(Debug, Clone, Copy)]
struct Place {
    line: Line,
    index: usize,
    label: Label,
}

/// What was found of a tag, each part once.
#[derive(Debug, Default)]
struct Found {
    places: Vec<Place>,
    /// How many messages of the early line were looked at.
    early: usize,
}

impl Depot {
    /// Makes an empty one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Os`] when this process may open no more descriptors.
    pub(crate) fn create() -> Result<Self> {
        Self::of(ROOM)
    }

    /// One whose lines have so much room, or as much as the system gives.
    fn of(room: usize) -> Result<Self> {
        let (left, right) = socket::seqpacket_pair()?;
        for end in [&left, &right] {
            raise_send_buffer(end, room)?;
        }
        Ok(Self { ends: [left, right] })
    }

    /// The depot whose ends another process has sent, in the order of [`ends`](Self::ends).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`] when they are no packet sockets.
    pub(crate) fn open(left: OwnedFd, right: OwnedFd) -> Result<Self> {
        if socket::is_seqpacket(&left) && socket::is_seqpacket(&right) {
            return Ok(Self { ends: [left, right] });
        }
        Err(Error::new(ErrorKind::Decode, "not the depot of a queue: these are other descriptors"))
    }

    /// Both ends, for another process.
    pub(crate) fn ends(&self) -> [BorrowedFd<'_>; 2] {
        self.ends.each_ref().map(AsFd::as_fd)
    }

    /// Puts copies of `handles` in, under `tag`; tells whether there was room. Nothing is in it when there was none.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Os`] when more descriptors are under way than the system lets this user have (`ETOOMANYREFS`), or it is out
    /// of memory. Parts of this tag may be there then, if it has several: until [`remove`](Self::remove) or a sweep.
    pub(crate) fn store(&self, tag: u64, handles: &[BorrowedFd<'_>]) -> Result<bool> {
        // An item without handles is a message too.
        let parts = handles.len().div_ceil(MAX_HANDLES).max(1);
        for part in 0..parts {
            let first = part * MAX_HANDLES;
            let some = &handles[first..handles.len().min(first + MAX_HANDLES)];
            let label = Label {
                tag,
                part: number(part)?,
                parts: number(parts)?,
                handles: number(some.len())?,
            };
            let sent = self.send(Line::Late, label, some);
            if !matches!(sent, Ok(true)) {
                if part > 0 {
                    self.remove(tag)?;
                }
                return sent;
            }
        }
        Ok(true)
    }

    /// Copies of the descriptors that were stored under `tag`, which stay in; nothing when they are not there, or not all of
    /// them.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Os`] (`EMFILE`) when this process may not open that many descriptors. None stays open then, and all are
    /// still in the depot.
    pub(crate) fn copy(&self, tag: u64) -> Result<Option<Vec<OwnedFd>>> {
        let is_settled = self.is_settled()?;
        if is_settled
            && let Some(front) = self.look(Line::Late)?
            && (front.tag, front.parts) == (tag, 1)
        {
            return Ok(self.look_inside(Line::Late)?.map(|(_, handles)| handles));
        }
        let copied = self.copy_from_anywhere(tag);
        if is_settled {
            self.seek(Line::Late, None)?;
        }
        copied
    }

    /// Takes out what was stored under `tag`, with duplicates. Nothing is done when it is not there.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Os`] when something in front of it cannot be carried: `EMFILE` when this process may not open as many
    /// descriptors as one message in front has (at most 253), `ETOOMANYREFS` when the system refuses to have them under way
    /// twice. Nothing is lost then; some of it is still there until a later call or a sweep.
    pub(crate) fn remove(&self, tag: u64) -> Result<()> {
        if !self.is_settled()? {
            return self.sweep(&mut |other| other != tag).map(|_gone| ());
        }
        if self.remove_from_front(tag)? {
            return Ok(());
        }
        let found = self.locate(tag)?;
        let mut goes = [Vec::new(), Vec::new()];
        for place in &found.places {
            let goes = &mut goes[usize::from(place.line == Line::Late)];
            goes.resize(place.index, false);
            goes.push(true);
        }
        let [early, late] = &goes;
        self.take_out(early, late, found.early)
    }

    /// Takes out everything whose tag `is_named` denies, and duplicates; tells how many messages those were.
    ///
    /// # Errors
    ///
    /// As [`remove`](Self::remove).
    pub(crate) fn sweep(&self, is_named: &mut dyn FnMut(u64) -> bool) -> Result<usize> {
        let early = self.list(Line::Early)?;
        let late = self.list(Line::Late)?;
        let mut known = HashSet::new();
        // Of duplicates the last one stays, which is what is left when nobody is killed.
        let mut judge = |labels: &[Label]| -> Vec<bool> {
            let goes =
                |label: &Label| !is_named(label.tag) || !known.insert((label.tag, label.part));
            let mut all: Vec<bool> = labels.iter().rev().map(goes).collect();
            all.reverse();
            all
        };
        let late_goes = judge(&late);
        let early_goes = judge(&early);
        self.take_out(&early_goes, &late_goes, early.len())?;
        Ok(late_goes.iter().chain(&early_goes).filter(|goes| **goes).count())
    }

    /// Whether there is nothing in it.
    ///
    /// # Errors
    ///
    /// When the system is out of memory.
    pub(crate) fn is_empty(&self) -> Result<bool> {
        step()?;
        let [left, right] = &self.ends;
        let mut both = [poll::Watch::readable(left), poll::Watch::readable(right)];
        Ok(poll::wait(&mut both, Deadline::PAST)? == 0)
    }

    /// Whether nobody was killed in the middle of anything since all duplicates were taken out.
    fn is_settled(&self) -> Result<bool> {
        step()?;
        Ok(peek_place(self.exit(Line::Late))?.is_none())
    }

    /// Takes out all parts of `tag`, if they are in front and nothing is settled otherwise.
    fn remove_from_front(&self, tag: u64) -> Result<bool> {
        let mut gone = 0;
        while let Some(front) = self.look(Line::Late)?
            && front.tag == tag
        {
            self.discard(Line::Late)?;
            gone += 1;
            if gone == front.parts {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn copy_from_anywhere(&self, tag: u64) -> Result<Option<Vec<OwnedFd>>> {
        let mut found = self.locate(tag)?;
        if !found.is_whole() {
            return Ok(None);
        }
        found.places.sort_unstable_by_key(|place| place.label.part);
        let mut handles = Vec::new();
        for place in found.places {
            self.seek(place.line, Some(place.index * LABEL))?;
            match self.look_inside(place.line)? {
                Some((label, some)) if label == place.label => handles.extend(some),
                _ => return Err(broken("a message is not where it was")),
            }
        }
        Ok(Some(handles))
    }

    /// Where the parts of `tag` are. Looks no further than it needs to.
    fn locate(&self, tag: u64) -> Result<Found> {
        let mut found = Found::default();
        for line in [Line::Early, Line::Late] {
            self.seek(line, Some(0))?;
            let mut index = 0;
            while !found.is_whole()
                && let Some(label) = self.look(line)?
            {
                if label.tag == tag && found.places.iter().all(|place| place.label != label) {
                    found.places.push(Place { line, index, label });
                }
                index += 1;
            }
            if line == Line::Early {
                found.early = index;
            }
        }
        Ok(found)
    }

    fn list(&self, line: Line) -> Result<Vec<Label>> {
        self.seek(line, Some(0))?;
        let mut labels = Vec::new();
        while let Some(label) = self.look(line)? {
            labels.push(label);
        }
        Ok(labels)
    }

    /// Takes messages out of both lines. `goes` tells for each from the front on whether it does; what it does not mention stays
    /// as it is. At least so many messages as `early` mentions, `early_len`, are in that line.
    fn take_out(&self, early: &[bool], late: &[bool], early_len: usize) -> Result<()> {
        // From here on there may be duplicates.
        self.seek(Line::Late, Some(0))?;
        let early = up_to_last(early);
        if !early.is_empty() {
            self.seek(Line::Early, Some(0))?;
            self.pass(Line::Early, Line::Early, early)?;
        }
        let late = up_to_last(late);
        let early_left = early_len - early.iter().filter(|goes| **goes).count();
        let carried = late.iter().filter(|goes| !**goes).count();
        if early_left + carried <= ASIDE {
            self.pass(Line::Late, Line::Early, late)?;
        } else {
            let mut all = late.to_vec();
            all.resize(self.list(Line::Late)?.len(), false);
            self.seek(Line::Late, Some(0))?;
            let strayed = self.pass(Line::Late, Line::Late, &all)?;
            // What was in front of a full line is the one that left it. There is room now, as something was taken out.
            if strayed > 0 && early_left + strayed > ASIDE {
                self.seek(Line::Early, Some(0))?;
                self.carry(Line::Early, Line::Late)?;
            }
        }
        self.seek(Line::Late, None)
    }

    /// Takes messages from the front of a line, those that do not go to the end of `to`; tells how many of these found no room
    /// there and are in the other line.
    fn pass(&self, from: Line, to: Line, goes: &[bool]) -> Result<usize> {
        let mut strayed = 0;
        for goes in goes {
            if *goes {
                self.discard(from)?;
            } else if self.carry(from, to)? != to {
                strayed += 1;
            }
        }
        Ok(strayed)
    }

    /// Carries the front of a line to the end of `to`, or of the other one when there is no room; tells to which.
    ///
    /// It is sent before it is taken out, so that it is in the depot at every instruction.
    fn carry(&self, from: Line, to: Line) -> Result<Line> {
        let Some((label, handles)) = self.look_inside(from)? else {
            return Err(broken("a message has gone"));
        };
        let handles: Vec<_> = handles.iter().map(AsFd::as_fd).collect();
        for to in [to, to.other()] {
            if self.send(to, label, &handles)? {
                self.discard(from)?;
                return Ok(to);
            }
        }
        Err(OsError::new("reorder", "the depot of a queue", OsCode::NO_BUFFERS).into())
    }

    // The system calls.

    fn send(&self, line: Line, label: Label, handles: &[BorrowedFd<'_>]) -> Result<bool> {
        step()?;
        match socket::send(self.entry(line), &[&label.to_bytes()], handles, Block::No) {
            Ok(_all) => Ok(true),
            Err(error) if error.code() == OsCode::WOULD_BLOCK => Ok(false),
            Err(error) if error.code() == TOO_MANY_UNDER_WAY => Err(too_many_under_way(error)),
            Err(error) => Err(error.into()),
        }
    }

    /// What the next message is that peeks look at.
    fn look(&self, line: Line) -> Result<Option<Label>> {
        step()?;
        let mut bytes = [0; LABEL];
        match peek(self.exit(line), &mut bytes, None)? {
            Some(came) => Label::from_bytes(&bytes[..came.bytes]).map(Some),
            None => Ok(None),
        }
    }

    /// The next message that peeks look at, with copies of its descriptors.
    fn look_inside(&self, line: Line) -> Result<Option<(Label, Vec<OwnedFd>)>> {
        step()?;
        let mut bytes = [0; LABEL];
        let mut handles = Vec::new();
        let Some(came) = peek(self.exit(line), &mut bytes, Some(&mut handles))? else {
            return Ok(None);
        };
        let label = Label::from_bytes(&bytes[..came.bytes])?;
        if came.handles_lost {
            let subject = "an item of a queue";
            return Err(OsError::new("copy the handles of", subject, OsCode::TOO_MANY_OPEN).into());
        }
        if handles.len() != label.handles as usize {
            return Err(broken("descriptors are missing"));
        }
        Ok(Some((label, handles)))
    }

    fn discard(&self, line: Line) -> Result<()> {
        step()?;
        match discard(self.exit(line))? {
            true => Ok(()),
            false => Err(broken("a message has gone")),
        }
    }

    fn seek(&self, line: Line, place: Option<usize>) -> Result<()> {
        step()?;
        Ok(set_peek_place(self.exit(line), place)?)
    }

    fn entry(&self, line: Line) -> &OwnedFd {
        self.exit(line.other())
    }

    fn exit(&self, line: Line) -> &OwnedFd {
        match line {
            Line::Early => &self.ends[0],
            Line::Late => &self.ends[1],
        }
    }
}

impl Line {
    fn other(self) -> Self {
        match self {
            Self::Early => Self::Late,
            Self::Late => Self::Early,
        }
    }
}

impl Label {
    fn to_bytes(self) -> [u8; LABEL] {
        let Self { tag, part, parts, handles } = self;
        let mut bytes = [0; LABEL];
        for (place, number) in bytes.chunks_exact_mut(4).zip([MAGIC, handles, part, parts]) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes[16..].copy_from_slice(&tag.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let bytes: &[u8; LABEL] =
            bytes.try_into().map_err(|_length| broken("a message of another length"))?;
        let number = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|n| bytes[at + n]));
        let label = Self {
            tag: u64::from(number(16)) | u64::from(number(20)) << 32,
            part: number(8),
            parts: number(12),
            handles: number(4),
        };
        match number(0) == MAGIC && label.part < label.parts {
            true => Ok(label),
            false => Err(broken("an unknown message")),
        }
    }
}

impl Found {
    fn is_whole(&self) -> bool {
        self.places.first().is_some_and(|place| place.label.parts as usize == self.places.len())
    }
}

/// Without what stays behind the last that goes.
fn up_to_last(goes: &[bool]) -> &[bool] {
    let last = goes.iter().rposition(|goes| *goes);
    &goes[..last.map_or(0, |last| last + 1)]
}

fn number(count: usize) -> Result<u32> {
    u32::try_from(count).map_err(|_too_many| {
        Error::new(ErrorKind::TooLarge, "an item holds more than 2^32 handles")
    })
}

fn broken(what: &str) -> Error {
    Error::new(ErrorKind::Broken, format!("the depot of a queue is out of order: {what}"))
}

fn too_many_under_way(error: OsError) -> Error {
    let text = "items in queues hold more handles than this user may have under way at a time: as many as a process may have \
                open (RLIMIT_NOFILE)";
    Error::new(ErrorKind::Os, text).caused_by(&error)
}

/// Before each system call: where tests let the caller die.
#[cfg(not(test))]
fn step() -> Result<()> {
    Ok(())
}

#[cfg(test)]
use tests::step;

#[cfg(test)]
mod tests;
