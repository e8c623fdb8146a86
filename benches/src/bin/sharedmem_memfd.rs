//! Family `sharedmem`, of blocks, a limit: a memfd for each block, mapped, copied into by `memcpy`, and its descriptor sent through a
//! socket. The argument `memcpy` copies within this process instead.

use std::hint::black_box;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use procession_benches::block::{
    BIG, LENGTHS, Stage, measure_copies, measure_filling, measure_sharing, touch,
};
use procession_benches::crew::Crew;
use procession_benches::forks::Forks;
use procession_benches::freight::Buffer;
use procession_sys::block::{Block, HugePages, PrivateBlock};
use procession_sys::socket::{self, Block as Wait};

struct Shown {
    socket: OwnedFd,
    block: Option<Block>,
}

fn filled(bytes: &[u8]) -> io::Result<PrivateBlock> {
    let mut block = PrivateBlock::new(bytes.len(), HugePages::No).map_err(io::Error::other)?;
    block.bytes_mut().copy_from_slice(bytes);
    Ok(block)
}

impl Shown {
    fn send(&self) -> io::Result<()> {
        let block = self.block.as_ref().ok_or_else(|| io::Error::other("no block"))?;
        let sent = socket::send(&self.socket, &[b"b"], &[block.as_fd()], Wait::Yes);
        sent.map(drop).map_err(io::Error::other)
    }
}

impl Stage for Shown {
    fn show(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.block = Some(filled(bytes)?.share());
        self.send()
    }

    fn show_again(&mut self) -> io::Result<()> {
        self.send()
    }

    fn wait(&mut self) -> io::Result<()> {
        let received = socket::recv(&self.socket, &mut [0], &mut Vec::new(), Wait::Yes);
        received.map(drop).map_err(io::Error::other)
    }

    fn give_up(&mut self) -> io::Result<()> {
        self.block = None;
        Ok(())
    }
}

fn work(socket: &OwnedFd) -> io::Result<()> {
    let acknowledge =
        || socket::send(socket, &[b"a"], &[], Wait::Yes).map(drop).map_err(io::Error::other);
    loop {
        let mut handles = Vec::new();
        let _parts =
            socket::recv(socket, &mut [0], &mut handles, Wait::Yes).map_err(io::Error::other)?;
        let Some(handle) = handles.pop() else { return Ok(()) };
        let block = Block::open(handle).map_err(io::Error::other)?;
        let bytes = block.bytes();
        black_box(bytes.load::<1>(BIG - 1));
        acknowledge()?;
        touch(|at| bytes.load::<1>(at)[0]);
        acknowledge()?;
        drop(block);
        acknowledge()?;
    }
}

fn copies() -> io::Result<()> {
    for len in LENGTHS {
        let (mut from, mut to) = (Buffer::new(len), Buffer::new(len));
        for what in ["read", "write"] {
            measure_copies(what, len, || {
                black_box(to.bytes()).copy_from_slice(black_box(from.bytes()));
                Ok(())
            })?;
        }
    }
    Ok(())
}

fn main() -> io::Result<()> {
    if std::env::args().nth(1).as_deref() == Some("memcpy") {
        return copies();
    }
    let (mine, theirs) = socket::seqpacket_pair().map_err(io::Error::other)?;
    let role = |_seat| {
        if let Err(error) = work(&theirs) {
            // The parent is told by the end of this process.
            panic!("the worker: {error}");
        }
    };
    let lead = || {
        let mut shown = Shown { socket: mine, block: None };
        measure_sharing(&mut shown)?;
        socket::shut_down(&shown.socket).map_err(io::Error::other)
    };
    Forks.run(1, role, lead)?;
    measure_filling(filled)
}
