//! Family `pipe`: ipc-channel between forks. The argument is `typed` or `bytes`.

use std::error::Error;
use std::io;

use ipc_channel::ipc::{self, IpcBytesReceiver, IpcBytesSender, IpcReceiver, IpcSender};
use serde_bytes::ByteBuf;

#[expect(dead_code, reason = "clocks of another family")]
#[path = "../../../src/clock.rs"]
mod clock;
#[path = "../../../src/freight.rs"]
mod freight;
#[expect(dead_code, reason = "the steps of another family")]
#[path = "../../../src/line.rs"]
mod line;
#[expect(dead_code, reason = "the loop of another family")]
#[path = "../../../src/measure.rs"]
mod measure;
#[path = "../../../src/pair.rs"]
mod pair;

use line::{Line, Way, pipe_steps};

struct Words(IpcSender<u64>, IpcReceiver<u64>);

impl Words {
    fn pair() -> io::Result<(Self, Self)> {
        let ((there, theirs), (back, mine)) = (ipc::channel()?, ipc::channel()?);
        Ok((Self(there, mine), Self(back, theirs)))
    }

    fn send(&self, word: u64) -> io::Result<()> {
        self.0.send(word).map_err(io::Error::other)
    }

    fn recv(&self) -> io::Result<u64> {
        self.1.recv().map_err(|error| io::Error::other(format!("{error:?}")))
    }
}

/// Vectors as values, which serde takes for blocks of bytes.
struct Typed(Words, IpcSender<ByteBuf>, IpcReceiver<ByteBuf>);

impl Line for Typed {
    const WAYS: &'static [Way] = &[Way::Owned];

    fn send_word(&mut self, word: u64) -> io::Result<()> {
        self.0.send(word)
    }

    fn recv_word(&mut self) -> io::Result<u64> {
        self.0.recv()
    }

    fn give(&mut self, message: Vec<u8>) -> io::Result<()> {
        self.1.send(ByteBuf::from(message)).map_err(io::Error::other)
    }

    fn take(&mut self) -> io::Result<Vec<u8>> {
        let message = self.2.recv().map_err(|error| io::Error::other(format!("{error:?}")))?;
        Ok(message.into_vec())
    }
}

struct Bytes(IpcBytesSender, IpcBytesReceiver);

impl Line for Bytes {
    const WAYS: &'static [Way] = &[Way::Fresh, Way::Owned];

    fn send_word(&mut self, word: u64) -> io::Result<()> {
        self.send(&word.to_ne_bytes())
    }

    fn recv_word(&mut self) -> io::Result<u64> {
        let message = self.recv_vec()?;
        message.try_into().map(u64::from_ne_bytes).map_err(|_message| io::Error::other("no number"))
    }

    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.0.send(message).map_err(io::Error::other)
    }

    fn recv_vec(&mut self) -> io::Result<Vec<u8>> {
        self.1.recv().map_err(|error| io::Error::other(format!("{error:?}")))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1).unwrap_or_default().as_str() {
        "typed" => {
            let (words, their_words) = Words::pair()?;
            let ((there, theirs), (back, mine)) = (ipc::channel()?, ipc::channel()?);
            let mine = Typed(words, there, mine);
            let theirs = Typed(their_words, back, theirs);
            pair::measure_forked(mine, theirs, &pipe_steps::<Typed>())?;
        }
        "bytes" => {
            let ((there, theirs), (back, mine)) = (ipc::bytes_channel()?, ipc::bytes_channel()?);
            let (mine, theirs) = (Bytes(there, mine), Bytes(back, theirs));
            pair::measure_forked(mine, theirs, &pipe_steps::<Bytes>())?;
        }
        way => return Err(format!("unknown way `{way}`; one of typed, bytes").into()),
    }
    Ok(())
}
