//! The steps of a handshake, without the frames' transport: who has the connection sends what this says, and brings what comes.

use std::ops::Deref;

use procession_core::{Error, ErrorKind, Result};

use super::mac::{MAC, MacKey, NONCE, Nonce, Role, nonce};

/// What a challenge begins with: it tells this protocol, and this version of it, from others.
const TAG: &[u8; 16] = b"procession auth1";

const CHALLENGE: usize = TAG.len() + NONCE;
const ANSWER: usize = NONCE + MAC;
const VERDICT: usize = MAC;
/// The longest.
pub(crate) const LONGEST: usize = ANSWER;

/// A frame of a handshake.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    bytes: [u8; LONGEST],
    len: usize,
}

/// What follows from a frame.
#[derive(Debug)]
pub(crate) struct Step {
    /// What has to be sent first.
    pub(crate) reply: Option<Frame>,
    pub(crate) then: Then,
}

/// How it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// Another frame has to come.
    GoOn,
    /// The other side knows the key.
    Passed,
    /// It does not; why.
    Failed(&'static str),
}

/// One side of a handshake.
#[derive(Debug)]
pub(crate) struct Handshake {
    key: MacKey,
    /// The roles that this side has yet to take, one after the other.
    roles: &'static [Role],
    state: State,
}

/// What this side waits for.
#[derive(Debug, Clone, Copy)]
enum State {
    /// To begin.
    Idle,
    /// The answer to this challenge.
    Challenged(Nonce),
    /// A challenge.
    Listening,
    /// The verdict on the answer; the challenger's nonce, and its own.
    Answered(Nonce, Nonce),
}

impl Handshake {
    /// Who listens: it challenges first, so that a stranger learns nothing that the key has touched.
    pub(crate) fn of_listener(key: &MacKey) -> Self {
        Self::of(key, &[Role::Challenger, Role::Answerer])
    }

    /// Who connects.
    pub(crate) fn of_client(key: &MacKey) -> Self {
        Self::of(key, &[Role::Answerer, Role::Challenger])
    }

    /// Who challenges once.
    pub(crate) fn of_challenger(key: &MacKey) -> Self {
        Self::of(key, &[Role::Challenger])
    }

    /// Who answers once.
    pub(crate) fn of_answerer(key: &MacKey) -> Self {
        Self::of(key, &[Role::Answerer])
    }

    fn of(key: &MacKey, roles: &'static [Role]) -> Self {
        Self { key: key.clone(), roles, state: State::Idle }
    }

    /// Begins; returns what has to be sent first, if anything.
    pub(crate) fn begin(&mut self) -> Result<Option<Frame>> {
        match self.roles.split_first() {
            None => Ok(None),
            Some((Role::Answerer, rest)) => {
                (self.roles, self.state) = (rest, State::Listening);
                Ok(None)
            }
            Some((Role::Challenger, rest)) => {
                let nonce = nonce()?;
                (self.roles, self.state) = (rest, State::Challenged(nonce));
                Ok(Some(Frame::new(&[TAG, &nonce])))
            }
        }
    }

    /// How many bytes the next frame that comes must have.
    pub(crate) fn expects(&self) -> usize {
        match self.state {
            State::Idle => 0,
            State::Challenged(_) => ANSWER,
            State::Listening => CHALLENGE,
            State::Answered(..) => VERDICT,
        }
    }

    /// Takes the frame that came.
    pub(crate) fn take(&mut self, frame: &[u8]) -> Result<Step> {
        let (challenger, answerer) = (Role::Challenger, Role::Answerer);
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Idle => Ok(Step::failed(None, "a frame came that nobody waited for")),
            State::Challenged(ours) => {
                let refusal = Some(Frame::new(&[&[0; VERDICT]]));
                let Some((theirs, proof)) = split_answer(frame) else {
                    return Ok(Step::failed(refusal, "what came is no answer to a challenge"));
                };
                if !self.key.accepts(proof, answerer, challenger, &ours, &theirs) {
                    return Ok(Step::failed(refusal, "the other side does not know the key"));
                }
                let proof = self.key.prove(challenger, answerer, &ours, &theirs);
                self.go_on(Some(Frame::new(&[&proof])))
            }
            State::Listening => {
                let refusal = Some(Frame::new(&[&[0; ANSWER]]));
                let nonce_of =
                    |frame: &[u8]| -> Option<Nonce> { frame.strip_prefix(TAG)?.try_into().ok() };
                let Some(theirs) = nonce_of(frame) else {
                    let text = "what came is no challenge: the other side speaks another protocol";
                    return Ok(Step::failed(refusal, text));
                };
                let ours = nonce()?;
                let proof = self.key.prove(answerer, challenger, &theirs, &ours);
                self.state = State::Answered(theirs, ours);
                let reply = Some(Frame::new(&[&ours, &proof]));
                Ok(Step { reply, then: Then::GoOn })
            }
            State::Answered(theirs, ours) => match frame.try_into() {
                Ok(proof) if self.key.accepts(proof, challenger, answerer, &theirs, &ours) => {
                    self.go_on(None)
                }
                _ => Ok(Step::failed(None, "the other side does not accept the key")),
            },
        }
    }

    /// A pass is over: on to the next one, if there is one.
    fn go_on(&mut self, reply: Option<Frame>) -> Result<Step> {
        if self.roles.is_empty() {
            return Ok(Step { reply, then: Then::Passed });
        }
        let begin = self.begin()?;
        // Who has just sent a verdict answers next, and who has got one challenges.
        Ok(Step { reply: reply.or(begin), then: Then::GoOn })
    }
}

impl Step {
    fn failed(reply: Option<Frame>, why: &'static str) -> Self {
        Self { reply, then: Then::Failed(why) }
    }
}

/// The nonce and the proof of an answer.
fn split_answer(frame: &[u8]) -> Option<(Nonce, [u8; MAC])> {
    let (nonce, proof) = frame.split_first_chunk::<NONCE>()?;
    Some((*nonce, proof.try_into().ok()?))
}

impl Frame {
    /// Of parts that are not longer than the longest.
    fn new(parts: &[&[u8]]) -> Self {
        let mut frame = Self { bytes: [0; LONGEST], len: 0 };
        for part in parts {
            frame.bytes[frame.len..][..part.len()].copy_from_slice(part);
            frame.len += part.len();
        }
        frame
    }
}

impl Deref for Frame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The error of a handshake that has failed.
pub(crate) fn failure(why: &'static str) -> Error {
    Error::new(ErrorKind::Authentication, why)
}
