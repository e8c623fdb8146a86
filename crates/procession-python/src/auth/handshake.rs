//! The handshake as a machine: it takes a frame, and says what to answer.

use procession_core::Result;
use procession_core::authkey::AuthKey;
use procession_sys::random;

use super::Digests;
use super::digest::Digest;

/// The longest frame of a handshake (`_MAX... recv_bytes(256)` of CPython).
pub(crate) const LONGEST: usize = 256;

const CHALLENGE: &[u8] = b"#CHALLENGE#";
const WELCOME: &[u8] = b"#WELCOME#";
const FAILURE: &[u8] = b"#FAILURE#";

/// The digest that our challenges name.
const OURS: &[u8] = b"{sha256}";
/// Random bytes in our challenges, as CPython has it from 3.12 on.
const RANDOM: usize = 40;
/// What a challenge without a digest has, before 3.12.
const LEGACY: usize = 20;
/// A MAC by MD5.
const MD5_BYTES: usize = 16;

/// What this side is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Listener,
    Client,
}

/// What to do after a frame: send the reply, if there is one, and then this.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) reply: Option<Vec<u8>>,
    pub(crate) then: Then,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    GoOn,
    /// Both know the key.
    Passed,
    /// Why not.
    Failed(&'static str),
}

/// One side of a handshake.
#[derive(Debug)]
pub(crate) struct Handshake {
    role: Role,
    key: AuthKey,
    digests: Digests,
    state: State,
    /// What we have sent: the MAC is over all of this.
    sent: Vec<u8>,
}

/// What must come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Answer,
    Challenge,
    Verdict,
    Over,
}

impl Handshake {
    pub(crate) fn new(role: Role, key: &AuthKey, digests: Digests) -> Self {
        let state = match role {
            Role::Listener => State::Answer,
            Role::Client => State::Challenge,
        };
        Self { role, key: key.clone(), digests, state, sent: Vec::new() }
    }

    /// What is to be sent before anything has come.
    pub(crate) fn begin(&mut self) -> Result<Option<Vec<u8>>> {
        match self.role {
            Role::Listener => self.challenge().map(Some),
            Role::Client => Ok(None),
        }
    }

    /// Takes a frame of the other side's.
    ///
    /// # Errors
    ///
    /// When the system has no random numbers.
    pub(crate) fn take(&mut self, frame: &[u8]) -> Result<Step> {
        match self.state {
            State::Answer => self.take_answer(frame),
            State::Challenge => Ok(self.take_challenge(frame)),
            State::Verdict => self.take_verdict(frame),
            State::Over => Ok(failed("more came than a handshake has")),
        }
    }

    fn challenge(&mut self) -> Result<Vec<u8>> {
        let mut text = [OURS, &[0; RANDOM]].concat();
        random::fill(&mut text[OURS.len()..])?;
        self.state = State::Answer;
        let frame = [CHALLENGE, &text].concat();
        self.sent = text;
        Ok(frame)
    }

    fn take_answer(&mut self, answer: &[u8]) -> Result<Step> {
        if !self.is_right(answer) {
            self.state = State::Over;
            let reply = Some(FAILURE.to_vec());
            return Ok(Step { reply, ..failed("it does not know the key") });
        }
        let reply = Some(WELCOME.to_vec());
        let then = match self.role {
            // Now it is the other side's turn to be convinced.
            Role::Listener => {
                self.state = State::Challenge;
                Then::GoOn
            }
            Role::Client => {
                self.state = State::Over;
                Then::Passed
            }
        };
        Ok(Step { reply, then })
    }

    /// Whether it is the MAC of what we have sent, by a digest that may be.
    fn is_right(&self, answer: &[u8]) -> bool {
        let (digest, mac) = match Digest::named_in(answer) {
            _ if answer.len() == MD5_BYTES => (Digest::Md5, answer),
            Some(named) => named,
            None => return false,
        };
        self.may_be(digest) && digest.is_mac(self.key.as_bytes(), &self.sent, mac)
    }

    fn may_be(&self, digest: Digest) -> bool {
        digest != Digest::Md5 || self.digests == Digests::All
    }

    fn take_challenge(&mut self, frame: &[u8]) -> Step {
        self.state = State::Over;
        let Some(text) = frame.strip_prefix(CHALLENGE) else {
            return failed("no challenge came where one had to");
        };
        // It would get from us what it needs to convince us.
        if text == self.sent {
            return failed("our own challenge came back");
        }
        let key = self.key.as_bytes();
        let (digest, answer) = match Digest::named_in(text) {
            _ if text.len() < LEGACY => return failed("too short a challenge came"),
            _ if text.len() == LEGACY => (Digest::Md5, Digest::Md5.mac(key, text)),
            Some((digest, _)) => {
                let prefix = format!("{{{}}}", digest.name()).into_bytes();
                (digest, [prefix, digest.mac(key, text)].concat())
            }
            None => return failed("a challenge came that names no digest that is known"),
        };
        if !self.may_be(digest) {
            return failed("it asks for MD5, which is not allowed here");
        }
        self.state = State::Verdict;
        Step { reply: Some(answer), then: Then::GoOn }
    }

    fn take_verdict(&mut self, frame: &[u8]) -> Result<Step> {
        if frame != WELCOME {
            self.state = State::Over;
            let why = if frame == FAILURE {
                "it says that the key is another"
            } else {
                "no verdict came"
            };
            return Ok(failed(why));
        }
        match self.role {
            Role::Listener => {
                self.state = State::Over;
                Ok(Step { reply: None, then: Then::Passed })
            }
            Role::Client => Ok(Step { reply: Some(self.challenge()?), then: Then::GoOn }),
        }
    }
}

fn failed(why: &'static str) -> Step {
    Step { reply: None, then: Then::Failed(why) }
}
