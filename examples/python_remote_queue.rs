//! A queue that programs of Rust and of Python share over TCP: first it is in a manager of Rust, which stock Python code uses, then in a manager
//! of Python's. With `--rust`, a process of this program plays Python's part.
//!
//! ```text
//! a queue in Rust: Python puts "hello", a worker process of Rust gets "hello"
//! a queue in Rust: Rust puts {"n": 7}, Python answers 49
//! a queue in Python: Rust puts 12, Python answers 144
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

#[path = "python_helper.rs"]
mod python_helper;

use std::collections::HashMap;
use std::io::{BufRead, BufReader};

use procession::prelude::*;
use procession::python::{Address, CallError, Manager, QueueProxy, Server};
use procession::{AuthKey, Error, ErrorKind};
use python_helper::{Plays, python_script};

fn key() -> AuthKey {
    AuthKey::from(&b"abracadabra"[..])
}

/// The queues that every client gets: `register('get_tasks')` and so on, in Python.
fn serve() -> procession::Result<(Server, u16)> {
    let server = Server::builder("127.0.0.1:0", &key());
    let server = server.share_as("get_tasks", "Queue").share_as("get_results", "Queue").start()?;
    match *server.address() {
        Address::Tcp(address) => Ok((server, address.port())),
        _ => Err(Error::new(ErrorKind::Other, "no port")),
    }
}

fn queues(port: u16) -> Result<[QueueProxy; 2], CallError> {
    let manager = Manager::connect(("127.0.0.1", port), &key())?;
    let queue = |name: &str| manager.create(name, ()).map(QueueProxy::from);
    Ok([queue("get_tasks")?, queue("get_results")?])
}

/// A worker process that uses the remote queue.
fn worker(port: u16) -> procession::Result<String> {
    let [tasks, _] = queues(port)?;
    Ok(tasks.get()?)
}

fn main() -> procession::Result<()> {
    procession::init();
    let plays = Plays::from_arguments();

    let (server, port) = serve()?;
    let other = match plays {
        Plays::Python => {
            let port = port.to_string();
            Err(python_script("python_remote_queue.py", &["use", &port])?)
        }
        Plays::Rust => Ok(Process::spawn(uses, (port,))?),
    };
    let child = Process::spawn(worker, (port,))?;
    let got = child.join()??;
    println!("a queue in Rust: Python puts {got:?}, a worker process of Rust gets {got:?}");
    let [tasks, results] = queues(port)?;
    tasks.put(HashMap::from([("n", 7)]))?;
    println!("a queue in Rust: Rust puts {{\"n\": 7}}, Python answers {}", results.get::<i64>()?);
    match other {
        Ok(child) => child.join()??,
        Err(mut child) => drop(child.wait()?),
    }
    drop(server);

    let (port, other) = match plays {
        Plays::Python => {
            let mut child = python_script("python_remote_queue.py", &["serve"])?;
            let mut line = String::new();
            if let Some(output) = &mut child.stdout {
                BufReader::new(output).read_line(&mut line)?;
            }
            let none = |_| Error::new(ErrorKind::Other, "Python tells no port");
            (line.trim().parse().map_err(none)?, Err(child))
        }
        Plays::Rust => {
            let (tx, rx) = pipe()?;
            let child = Process::spawn(serves, (tx,))?;
            (rx.recv()?, Ok(child))
        }
    };
    let [tasks, results] = queues(port)?;
    tasks.put(12)?;
    println!("a queue in Python: Rust puts 12, Python answers {}", results.get::<i64>()?);
    tasks.put(())?;
    match other {
        Ok(child) => child.join()??,
        Err(mut child) => drop(child.wait()?),
    }
    Ok(())
}

/// What the script does with `use`.
fn uses(port: u16) -> procession::Result<()> {
    let [tasks, results] = queues(port)?;
    tasks.put("hello")?;
    // Until the worker has it.
    let asked: HashMap<String, i64> = loop {
        match tasks.get::<procession::python::Value>()? {
            task @ procession::python::Value::Dict(_) => {
                break procession::python::from_value(task)?;
            }
            other => tasks.put(other)?,
        }
    };
    Ok(results.put(asked["n"] * asked["n"])?)
}

/// What the script does with `serve`.
fn serves(ready: Sender<u16>) -> procession::Result<()> {
    let (_server, port) = serve()?;
    ready.send(port)?;
    let [tasks, results] = queues(port)?;
    while let Some(task) = tasks.get::<Option<i64>>()? {
        results.put(task * task)?;
    }
    Ok(())
}
