//! A Rust program and a Python program talk by `multiprocessing.connection`: first Rust listens and Python connects, then the other way round.
//! Nothing is installed for Python. With `--rust`, a process of this program plays Python's part.
//!
//! ```text
//! Python sends (2.25, None, "junk", 1.5)
//! Python sends 8 bytes: [42, 1729]
//! Python answers {"words": 3, "longest": "quick"}
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

#[path = "python_helper.rs"]
mod python_helper;

use std::io::{BufRead, BufReader};
use std::time::Duration;

use procession::prelude::*;
use procession::python::{self, Address};
use procession::{AuthKey, Error, ErrorKind};
use python_helper::{Plays, python_script};
use serde::{Deserialize, Serialize};

const LONG: Duration = Duration::from_secs(20);

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    words: usize,
    longest: String,
}

fn key() -> AuthKey {
    AuthKey::from(&b"secret password"[..])
}

fn main() -> procession::Result<()> {
    procession::init();
    let plays = Plays::from_arguments();

    // Rust listens.
    let listener = python::Listener::builder().address("127.0.0.1:0").authkey(&key()).bind()?;
    let Address::Tcp(address) = *listener.address() else { return Err(no_address()) };
    let port = address.port();
    let script = ["connect", &port.to_string()];
    let other = match plays {
        Plays::Python => Err(python_script("python_listener_client.py", &script)?),
        Plays::Rust => Ok(Process::spawn(connect, (port,))?),
    };
    let connection = listener.accept_timeout(LONG)?;
    println!("Python sends {:?}", connection.recv::<(f64, Option<u8>, String, f64)>()?);
    let mut room = [0; 20];
    let count = connection.recv_bytes_into(&mut room)?;
    let (words, _) = room[..count].as_chunks::<4>();
    let numbers: Vec<_> = words.iter().map(|word| i32::from_ne_bytes(*word)).collect();
    println!("Python sends {count} bytes: {numbers:?}");
    match other {
        Ok(child) => child.join()??,
        Err(mut child) => drop(child.wait()?),
    }

    // Python listens, and tells its port.
    let (port, other) = match plays {
        Plays::Python => {
            let mut child = python_script("python_listener_client.py", &["listen"])?;
            let mut line = String::new();
            if let Some(output) = &mut child.stdout {
                BufReader::new(output).read_line(&mut line)?;
            }
            (line.trim().parse().map_err(|_no_number| no_address())?, Err(child))
        }
        Plays::Rust => {
            let (tx, rx) = pipe()?;
            let child = Process::spawn(listen, (tx,))?;
            (rx.recv()?, Ok(child))
        }
    };
    let address = ("127.0.0.1", port);
    let client = python::Client::builder(address).authkey(&key()).timeout(LONG).connect()?;
    client.send(&["the", "quick", "fox"])?;
    let Answer { words, longest } = client.recv()?;
    println!("Python answers {{\"words\": {words}, \"longest\": {longest:?}}}");
    match other {
        Ok(child) => child.join()??,
        Err(mut child) => drop(child.wait()?),
    }
    Ok(())
}

fn no_address() -> Error {
    Error::new(ErrorKind::Other, "no port was told")
}

/// What the script does with `connect`.
fn connect(port: u16) -> procession::Result<()> {
    let connection = python::Client::builder(("127.0.0.1", port)).authkey(&key()).connect()?;
    connection.send(&(2.25, None::<u8>, "junk", 1.5))?;
    connection.send_bytes(&[42, 1729].map(i32::to_ne_bytes).concat())
}

/// What the script does with `listen`.
fn listen(ready: Sender<u16>) -> procession::Result<()> {
    let listener = python::Listener::builder().address("127.0.0.1:0").authkey(&key()).bind()?;
    if let Address::Tcp(address) = listener.address() {
        ready.send(address.port())?;
    }
    let connection = listener.accept()?;
    let words: Vec<String> = connection.recv()?;
    let longest = words.iter().max_by_key(|word| word.len()).cloned().unwrap_or_default();
    connection.send(&Answer { words: words.len(), longest })
}
