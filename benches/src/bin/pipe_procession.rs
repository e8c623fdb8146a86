//! Family `pipe`: ours, through the public face. The argument says how processes wait: `adaptive` (the default), `sleep` or `spin`.
//!
//! A number goes through a typed pipe, bytes through a connection, and a vector that is given away through a typed pipe again.

use std::error::Error;
use std::io;

use procession::waiting::{Policy, set_policy};
use procession::{Process, Receiver, Sender, pipe};
use procession_benches::line::{Line, Way, follow, lead, pipe_steps};
use procession_connection::Connection;
use serde::{Deserialize, Serialize};

/// One end: what a program would choose for each kind of message.
#[derive(Serialize, Deserialize)]
struct End {
    words: (Sender<u64>, Receiver<u64>),
    bytes: Connection,
    vectors: (Sender<Vec<u8>>, Receiver<Vec<u8>>),
}

impl End {
    fn pair() -> procession::Result<(Self, Self)> {
        let ((word_there, words_there), (word_back, words_back)) = (pipe()?, pipe()?);
        let (left, right) = Connection::pair()?;
        let ((vector_there, vectors_there), (vector_back, vectors_back)) = (pipe()?, pipe()?);
        let mine = Self {
            words: (word_there, words_back),
            bytes: left,
            vectors: (vector_there, vectors_back),
        };
        let theirs = Self {
            words: (word_back, words_there),
            bytes: right,
            vectors: (vector_back, vectors_there),
        };
        Ok((mine, theirs))
    }
}

impl Line for End {
    const WAYS: &'static [Way] = &[Way::Into, Way::Fresh, Way::Owned];

    #[inline]
    fn send_word(&mut self, word: u64) -> io::Result<()> {
        self.words.0.send(word).map_err(io::Error::other)
    }

    #[inline]
    fn recv_word(&mut self) -> io::Result<u64> {
        self.words.1.recv().map_err(io::Error::other)
    }

    #[inline]
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.bytes.send_bytes(message).map_err(io::Error::other)
    }

    #[inline]
    fn recv_into(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.bytes.recv_bytes_into(buffer).map_err(io::Error::other)
    }

    #[inline]
    fn recv_vec(&mut self) -> io::Result<Vec<u8>> {
        self.bytes.recv_bytes().map_err(io::Error::other)
    }

    #[inline]
    fn give(&mut self, message: Vec<u8>) -> io::Result<()> {
        self.vectors.0.send(message).map_err(io::Error::other)
    }

    #[inline]
    fn take(&mut self) -> io::Result<Vec<u8>> {
        self.vectors.1.recv().map_err(io::Error::other)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    procession::init();
    let policy = std::env::args().nth(1).unwrap_or_else(|| "adaptive".to_owned());
    set_policy(policy_of(&policy)?);
    let (mut mine, theirs) = End::pair()?;
    let child = Process::builder().daemon(true).spawn(child, (theirs, policy))?;
    // When the child fails, it says why below; the lines are closed by then.
    let led = lead(&mut mine, &pipe_steps::<End>());
    drop(mine);
    child.join()?.map_err(|problem| format!("the follower: {problem}"))?;
    Ok(led?)
}

fn child(mut end: End, policy: String) -> Result<(), String> {
    set_policy(policy_of(&policy).map_err(|error| error.to_string())?);
    follow(&mut end, &pipe_steps::<End>()).map_err(|error| error.to_string())
}

fn policy_of(name: &str) -> io::Result<Policy> {
    match name {
        "adaptive" => Ok(Policy::Adaptive),
        "sleep" => Ok(Policy::Sleep),
        "spin" => Ok(Policy::Spin),
        _ => Err(io::Error::other(format!("unknown way `{name}`; one of adaptive, sleep, spin"))),
    }
}
