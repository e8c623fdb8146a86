//! Family `sharedmem`, of blocks: ours, through the public face. The argument says how processes wait: `adaptive` (the default),
//! `sleep` or `spin`.

use std::error::Error;
use std::io;

use procession::waiting::{Policy, set_policy};
use procession::{Process, Receiver, Result, Sender, pipe};
use procession_benches::block::{
    BIG, LENGTHS, Stage, measure_copies, measure_filling, measure_sharing, touch,
};
use procession_benches::freight::Buffer;
use procession_shared::SharedMemory;

struct Shown {
    blocks: Sender<SharedMemory>,
    acknowledged: Receiver<u8>,
    block: Option<SharedMemory>,
}

impl Shown {
    fn send(&self) -> io::Result<()> {
        let block = self.block.clone().ok_or_else(|| io::Error::other("no block"))?;
        self.blocks.send(block).map_err(io::Error::other)
    }
}

impl Stage for Shown {
    fn show(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.block = Some(SharedMemory::from_slice(bytes).map_err(io::Error::other)?);
        self.send()
    }

    fn show_again(&mut self) -> io::Result<()> {
        self.send()
    }

    fn wait(&mut self) -> io::Result<()> {
        self.acknowledged.recv().map(drop).map_err(io::Error::other)
    }

    fn give_up(&mut self) -> io::Result<()> {
        self.block = None;
        Ok(())
    }
}

fn work(blocks: Receiver<SharedMemory>, acknowledge: Sender<u8>, policy: String) -> Result<()> {
    set_policy(policy_of(&policy));
    while let Ok(block) = blocks.recv() {
        let view = block.view()?;
        let last: u8 = view.get(BIG - 1)?;
        acknowledge.send(last)?;
        touch(|at| view.get(at).unwrap_or_default());
        acknowledge.send(0)?;
        drop(block);
        acknowledge.send(0)?;
    }
    Ok(())
}

fn copies() -> Result<(), Box<dyn Error>> {
    for len in LENGTHS {
        let memory = SharedMemory::new(len)?;
        let mut buffer = Buffer::new(len);
        memory.write(0, buffer.bytes())?;
        measure_copies("read", len, || memory.read(0, buffer.bytes()).map_err(io::Error::other))?;
        measure_copies("write", len, || memory.write(0, buffer.bytes()).map_err(io::Error::other))?;
    }
    Ok(())
}

fn policy_of(name: &str) -> Policy {
    match name {
        "sleep" => Policy::Sleep,
        "spin" => Policy::Spin,
        _ => Policy::Adaptive,
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    procession::init();
    let policy = std::env::args().nth(1).unwrap_or_else(|| "adaptive".to_owned());
    set_policy(policy_of(&policy));
    let ((blocks, theirs), (back, acknowledged)) = (pipe()?, pipe()?);
    let child = Process::builder().daemon(true).spawn(work, (theirs, back, policy))?;
    let mut shown = Shown { blocks, acknowledged, block: None };
    measure_sharing(&mut shown)?;
    drop(shown);
    child.join()??;
    measure_filling(|bytes| SharedMemory::from_slice(bytes).map_err(io::Error::other))?;
    copies()
}
