//! Family `python`: a manager of Rust's or Python's, and a client of Rust's or Python's, by a Unix socket.
//!
//! The argument names both: `rust-python` is a client of Rust's that uses a manager of Python's.

#![expect(clippy::print_stdout, reason = "figures are lines of standard output")]

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use procession::python::{CallError, Manager, Server, Value};
use procession::{AuthKey, Error, ErrorKind};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/py/python_managers.py");

/// A process of Python's, which is killed at the end.
struct Python(Child);

impl Python {
    #[expect(clippy::disallowed_methods, reason = "it is measured, and no process of ours")]
    fn start(arguments: &[&str]) -> std::io::Result<Self> {
        let home = std::env::home_dir().unwrap_or_default();
        let candidates = [
            std::env::var_os("PYTHON_3_13").map(PathBuf::from),
            Some(home.join(".pyenv/versions/3.13.0/bin/python")).filter(|path| path.is_file()),
        ];
        let python = candidates.into_iter().flatten().next().unwrap_or("python3.13".into());
        let mut command = Command::new(python);
        command.arg(SCRIPT).args(arguments).stdout(Stdio::piped());
        command.spawn().map(Self)
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        if let Some(output) = &mut self.0.stdout {
            BufReader::new(output).read_line(&mut line)?;
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // It may have ended.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn key() -> AuthKey {
    AuthKey::from(&b"benchmark"[..])
}

fn figure(metric: &str, value: f64, unit: &str) {
    println!(r#"{{"m":"{metric}","v":{value},"u":"{unit}"}}"#);
}

fn rate<T>(mut operation: impl FnMut() -> Result<T, CallError>) -> Result<f64, CallError> {
    let divisor = std::env::var("PEERS_DIV").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let length = Duration::from_millis(400) / std::cmp::max(1, divisor);
    for _ in 0..3 {
        operation()?;
    }
    let (begin, mut count) = (Instant::now(), 0.0);
    while begin.elapsed() < length {
        operation()?;
        count += 1.0;
    }
    Ok(count / begin.elapsed().as_secs_f64())
}

fn use_manager(manager: &Manager) -> Result<(), CallError> {
    let shared = manager.dict()?;
    let value = Value::Bytes(vec![7; 32]);
    shared.insert("key", &value)?;
    shared.insert("large", Value::Bytes(vec![0; 1 << 20]))?;
    let numbers = manager.list(&(0..1000).collect::<Vec<u32>>())?;
    let queue = manager.queue(0)?;
    let get = || shared.proxy().call_value("__getitem__", ("key",));
    figure("get", rate(get)?, "op/s");
    figure("set", rate(|| shared.insert("key", &value))?, "op/s");
    figure("put_get", rate(|| queue.put(1).and_then(|()| queue.get::<u8>()))?, "op/s");
    figure("get[1000 ints]", rate(|| numbers.to_vec::<u32>())?, "op/s");
    let large = || shared.proxy().call_value("__getitem__", ("large",));
    figure("get[1 MiB]", rate(large)?, "op/s");
    figure("create_drop", rate(|| manager.list::<u8>(&[]).map(drop))?, "op/s");
    Ok(())
}

fn main() -> procession::Result<()> {
    let pair = std::env::args().nth(1).unwrap_or_default();
    let Some((client, manager)) = pair.split_once('-') else {
        return Err(Error::new(ErrorKind::InvalidInput, "who, and whose manager?"));
    };
    let name = format!("procession-bench-python-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let mut python = None;
    let mut server = None;
    let address: PathBuf = match manager {
        "python" => Path::new(&python.insert(Python::start(&["serve"])?).line()?).to_owned(),
        _ => {
            server = Some(Server::builder(&path, &key()).start()?);
            path
        }
    };
    match client {
        // Threads of one process would not be two processes.
        "rust" if server.is_none() => use_manager(&Manager::connect(&address, &key())?)?,
        _ => {
            let address = address.display().to_string();
            let mut user = Python::start(&["use", &address])?;
            let mut figures = String::new();
            if let Some(output) = &mut user.0.stdout {
                output.read_to_string(&mut figures)?;
            }
            print!("{figures}");
            if !user.0.wait()?.success() {
                return Err(Error::new(ErrorKind::Died, "Python has failed"));
            }
        }
    }
    drop((server, python));
    Ok(())
}
