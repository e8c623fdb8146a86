//! A Rust worker for a Python program: Python puts pictures into its queue, a pool of Rust processes makes thumbnails of them, and puts those into
//! another queue of Python's. With `--rust`, a process of this program plays Python's part.
//!
//! ```text
//! made 24 thumbnails of 64 x 48 pixels
//! Python is content
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

#[path = "python_helper.rs"]
mod python_helper;

use std::io::{BufRead, BufReader};

use procession::prelude::*;
use procession::python::{Address, CallError, Manager, QueueProxy, Server, Value};
use procession::{AuthKey, Error, ErrorKind};
use python_helper::{Plays, python_script};

/// How much smaller a thumbnail is, in each direction.
const SMALLER: usize = 5;
const PICTURES: usize = 24;
const WIDTH: usize = 320;
const HEIGHT: usize = 240;

fn key() -> AuthKey {
    AuthKey::from(&b"pictures"[..])
}

fn queues(port: u16) -> Result<[QueueProxy; 2], CallError> {
    let manager = Manager::connect(("127.0.0.1", port), &key())?;
    let queue = |name: &str| manager.create(name, ()).map(QueueProxy::from);
    Ok([queue("pictures")?, queue("thumbnails")?])
}

/// The means of squares of pixels, grey, a byte each.
fn shrink((number, width, pixels): (usize, usize, Vec<u8>)) -> (usize, usize, Vec<u8>) {
    let (wide, high) = (width / SMALLER, pixels.len() / width / SMALLER);
    let mean = |x: usize, y: usize| {
        let rows = (0..SMALLER).map(|row| (y * SMALLER + row) * width + x * SMALLER);
        let sum: usize = rows
            .flat_map(|start| &pixels[start..][..SMALLER])
            .map(|pixel| usize::from(*pixel))
            .sum();
        u8::try_from(sum / (SMALLER * SMALLER)).unwrap_or(u8::MAX)
    };
    let small = (0..high).flat_map(|y| (0..wide).map(move |x| (x, y)));
    (number, wide, small.map(|(x, y)| mean(x, y)).collect())
}

fn main() -> procession::Result<()> {
    procession::init();
    let (port, other) = match Plays::from_arguments() {
        Plays::Python => {
            let mut child = python_script("python_images.py", &[])?;
            let mut line = String::new();
            if let Some(output) = &mut child.stdout {
                BufReader::new(output).read_line(&mut line)?;
            }
            let none = |_| Error::new(ErrorKind::Other, "Python tells no port");
            (line.trim().parse().map_err(none)?, Err(child))
        }
        Plays::Rust => {
            let (tx, rx) = pipe()?;
            let child = Process::spawn(plays_python, (tx,))?;
            (rx.recv()?, Ok(child))
        }
    };
    let [pictures, thumbnails] = queues(port)?;
    let pool = Pool::new()?;
    // Until Python says that there are no more.
    let incoming = std::iter::from_fn(|| pictures.get::<Option<_>>().ok().flatten());
    let (mut made, mut size) = (0, (0, 0));
    for thumbnail in pool.imap(shrink, incoming) {
        let (number, width, pixels) = thumbnail?;
        size = (width, pixels.len() / width);
        thumbnails.put((number, width, Value::Bytes(pixels)))?;
        made += 1;
    }
    println!("made {made} thumbnails of {} x {} pixels", size.0, size.1);
    let is_content = match other {
        Ok(child) => child.join()? == Ok(()),
        Err(mut child) => child.wait()?.success(),
    };
    println!("Python is {}", if is_content { "content" } else { "not content" });
    Ok(())
}

/// What the script does.
fn plays_python(ready: Sender<u16>) -> Result<(), String> {
    let run = || -> procession::Result<bool> {
        let server = Server::builder("127.0.0.1:0", &key());
        let server =
            server.share_as("pictures", "Queue").share_as("thumbnails", "Queue").start()?;
        let Address::Tcp(address) = *server.address() else { return Ok(false) };
        ready.send(address.port())?;
        let [pictures, thumbnails] = queues(address.port())?;
        for number in 0..PICTURES {
            let shade = u8::try_from(number * 10).unwrap_or(u8::MAX);
            pictures.put((number, WIDTH, Value::Bytes(vec![shade; WIDTH * HEIGHT])))?;
        }
        pictures.put(())?;
        let mut seen = Vec::new();
        for _ in 0..PICTURES {
            let (number, width, pixels): (usize, usize, Vec<u8>) = thumbnails.get()?;
            let is_right = pixels.iter().all(|pixel| usize::from(*pixel) == number * 10);
            seen.push((number, is_right && pixels.len() / width == HEIGHT / SMALLER));
        }
        seen.sort_unstable();
        Ok(seen.into_iter().eq((0..PICTURES).map(|number| (number, true))))
    };
    match run() {
        Ok(true) => Ok(()),
        other => Err(format!("{other:?}")),
    }
}
