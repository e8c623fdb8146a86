//! Family `manager`: Redis over its Unix socket, by `SET` and `GET`, plain and pipelined.
//!
//! The server is started here, keeps nothing on a disk, and is stopped at the end.

use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

#[expect(dead_code, reason = "clocks of other families")]
#[path = "../../../src/clock.rs"]
mod clock;
#[expect(dead_code, reason = "the loop of another family")]
#[path = "../../../src/measure.rs"]
mod measure;
#[path = "../redis.rs"]
mod redis;

use redis::{Client, Server, unfit};

const LEN: usize = 32;
const KEYS: u64 = 1000;
const OPS: u64 = 40_000;
const TOGETHER: u64 = 100;

fn main() -> io::Result<()> {
    let server = Server::start()?;
    let ops = OPS / measure::number_from_env("PEERS_DIV").unwrap_or(1).max(1) as u64;
    let mut client = Client::connect(&server.socket)?;
    let value = [7; LEN];
    for key in 0..KEYS {
        set(&mut client, key, &value)?;
    }
    let begin = Instant::now();
    for op in 0..ops {
        set(&mut client, op % KEYS, &value)?;
    }
    figure("set", ops, begin.elapsed())?;
    let begin = Instant::now();
    gets(&mut client, ops)?;
    figure("get", ops, begin.elapsed())?;
    let begin = Instant::now();
    for first in (0..ops / TOGETHER).map(|round| round * TOGETHER) {
        client.request.clear();
        for op in first..first + TOGETHER {
            client.write(&[b"SET", &name(op % KEYS), &value])?;
        }
        client.send()?;
        for _ in 0..TOGETHER {
            client.expect("+OK")?;
        }
    }
    let took = begin.elapsed();
    figure("batched", ops, took)?;
    figure("pipelined", ops, took)?;
    for clients in [2, 4] {
        many_clients(&server.socket, clients, ops)?;
    }
    server.stop()
}

fn figure(metric: &str, ops: u64, took: Duration) -> io::Result<()> {
    measure::print_figure(metric, ops as f64 / took.as_secs_f64(), "op/s")
}

fn gets(client: &mut Client, ops: u64) -> io::Result<()> {
    let mut value = Vec::with_capacity(LEN + 2);
    for op in 0..ops {
        client.call(&[b"GET", &name(op % KEYS)])?;
        client.read_string(&mut value)?;
        if value.len() != LEN {
            return Err(unfit(&client.line));
        }
    }
    Ok(())
}

fn set(client: &mut Client, key: u64, value: &[u8]) -> io::Result<()> {
    client.call(&[b"SET", &name(key), value])?;
    client.expect("+OK")
}

/// Eight bytes.
fn name(key: u64) -> [u8; 8] {
    key.to_ne_bytes()
}

/// Threads, which cost a client no more than processes would.
fn many_clients(socket: &Path, clients: u64, ops: u64) -> io::Result<()> {
    let mut crew = Vec::new();
    for _ in 0..clients {
        let mut client = Client::connect(socket)?;
        crew.push(thread::spawn(move || -> io::Result<(Instant, Instant)> {
            gets(&mut client, ops / 10)?;
            let begin = Instant::now();
            gets(&mut client, ops)?;
            Ok((begin, Instant::now()))
        }));
    }
    let mut times = Vec::new();
    for member in crew {
        let time = member.join().map_err(|_panic| io::Error::other("a client panicked"))?;
        times.push(time?);
    }
    let begin = times.iter().map(|(begin, _)| *begin).min();
    let end = times.iter().map(|(_, end)| *end).max();
    match (begin, end) {
        (Some(begin), Some(end)) => figure(&format!("get[{clients}]"), clients * ops, end - begin),
        _ => Ok(()),
    }
}
