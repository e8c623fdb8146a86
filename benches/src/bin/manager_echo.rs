//! Family `manager`, the limit: as many bytes as a call has, there and back through a socket, between two processes. The argument says through
//! which: `unix` or `tcp`.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use procession::{Handle, Process};
use procession_benches::measure::{number_from_env, print_figure};

/// What a request and an answer of 32 bytes have, about.
const LEN: usize = 48;
const OPS: usize = 40_000;

fn main() -> Result<(), Box<dyn Error>> {
    procession::init();
    let ops = OPS / number_from_env("PEERS_DIV").unwrap_or(1).max(1);
    let figure = match std::env::args().nth(1).as_deref() {
        Some("tcp") => {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let near = TcpStream::connect(listener.local_addr()?)?;
            let (far, _) = listener.accept()?;
            near.set_nodelay(true)?;
            far.set_nodelay(true)?;
            measure(near, far.into(), ops, |far: Handle<OwnedFd>| {
                answer(TcpStream::from(far.into_inner()))
            })?
        }
        _ => {
            let (near, far) = UnixStream::pair()?;
            measure(near, far.into(), ops, |far: Handle<OwnedFd>| {
                answer(UnixStream::from(far.into_inner()))
            })?
        }
    };
    for metric in ["set", "get"] {
        print_figure(metric, figure, "op/s")?;
    }
    Ok(())
}

fn measure<F>(
    mut near: impl Read + Write,
    far: OwnedFd,
    ops: usize,
    answer: F,
) -> Result<f64, Box<dyn Error>>
where
    F: procession::Target<(Handle<OwnedFd>,), Output = ()>,
{
    let child = Process::spawn(answer, (Handle(far),))?;
    let mut trips = |count: usize| -> io::Result<()> {
        let mut bytes = [7; LEN];
        for _ in 0..count {
            near.write_all(&bytes)?;
            near.read_exact(&mut bytes)?;
        }
        Ok(())
    };
    trips(1000)?;
    let begin = Instant::now();
    trips(ops)?;
    let took = begin.elapsed();
    drop(near);
    child.join()?;
    Ok(ops as f64 / took.as_secs_f64())
}

fn answer(mut far: impl Read + Write) {
    let mut bytes = [0; LEN];
    while far.read_exact(&mut bytes).is_ok() && far.write_all(&bytes).is_ok() {}
}
