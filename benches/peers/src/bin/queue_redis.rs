//! Family `queue`: a list of Redis, by `LPUSH` and `BRPOP` over its Unix socket, between forks.
//!
//! The server is started here, keeps nothing on a disk, and is stopped at the end.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

#[path = "../../../src/board.rs"]
mod board;
#[expect(dead_code, reason = "the loops of other contenders")]
#[path = "../../../src/bin/queue_cells/cells.rs"]
mod cells;
#[path = "../../../src/clock.rs"]
mod clock;
#[path = "../../../src/crew.rs"]
mod crew;
#[path = "../../../src/forks.rs"]
mod forks;
#[expect(dead_code, reason = "the loop of another family")]
#[path = "../../../src/measure.rs"]
mod measure;
#[expect(dead_code, reason = "the loops of another family")]
#[path = "../../../src/sync.rs"]
mod sync;

use cells::{Cell, cells, mixed, run, worth};
use sync::Bench;

// Threads take no part here; an `expect` on their module would not be fulfilled, because they have a trait.
const _: crew::Threads = crew::Threads;

/// How many items go through, by their length.
const COUNTS: [usize; 3] = [20_000, 20_000, 400];
/// What a server does not take to start.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to leave the processor before asking again whether it has.
const NAP: Duration = Duration::from_millis(5);

fn main() -> io::Result<()> {
    let server = Server::start()?;
    let bench = Bench::forked()?;
    // Each measurement has a list of its own.
    for (number, cell) in cells(COUNTS).iter().enumerate() {
        through_a_list(&bench, cell, &server.socket, &format!("q{number}"))?;
    }
    server.stop()
}

fn through_a_list<C: crew::Crew>(
    bench: &Bench<'_, C>,
    cell: &Cell,
    socket: &Path,
    key: &str,
) -> io::Result<()> {
    let putter = |_seat| {
        let (mut client, mut item) = (Client::connect(socket)?, cell.bytes());
        Ok(move |number| {
            if cell.is_of_numbers() {
                item.copy_from_slice(&mixed(number).to_ne_bytes());
            }
            client.push(key, &item)
        })
    };
    let getter = |_seat| {
        let mut client = Client::connect(socket)?;
        Ok(move || {
            let item = client.pop(key)?;
            match item.as_slice().try_into() {
                Ok(number) if cell.is_of_numbers() => Ok(u64::from_ne_bytes(number)),
                _ => worth(&item),
            }
        })
    };
    run(&bench.crew, &bench.board, cell, putter, getter)
}

/// A server for this program alone, in a folder of its own.
struct Server {
    process: Child,
    folder: PathBuf,
    socket: PathBuf,
}

impl Server {
    fn start() -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("procession-redis-{}", std::process::id()));
        std::fs::create_dir(&folder)?;
        let socket = folder.join("socket");
        let process = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--daemonize", "no"])
            .args(["--logfile", "", "--unixsocket"])
            .arg(&socket)
            .arg("--dir")
            .arg(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        let process = process.map_err(|error| {
            // What matters is why there is no server.
            std::fs::remove_dir_all(&folder).ok();
            io::Error::other(format!("redis-server cannot be started: {error}"))
        })?;
        let server = Self { process, folder, socket };
        let begin = Instant::now();
        // It listens before it has read its data, and says so until then.
        while Client::connect(&server.socket).and_then(|mut client| client.ping()).is_err() {
            if begin.elapsed() > PATIENCE {
                return Err(io::Error::other("redis-server does not answer"));
            }
            clock::pause(NAP);
        }
        Ok(server)
    }

    fn stop(mut self) -> io::Result<()> {
        self.end()
    }

    fn end(&mut self) -> io::Result<()> {
        let killed = self.process.kill();
        let reaped = self.process.wait();
        killed.and(reaped).and(std::fs::remove_dir_all(&self.folder))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has been stopped, or the error that this program ends with matters more.
        self.end().ok();
    }
}

/// A connection to the server, in its plain protocol.
struct Client {
    stream: BufReader<UnixStream>,
    request: Vec<u8>,
}

impl Client {
    fn connect(socket: &Path) -> io::Result<Self> {
        let stream = BufReader::new(UnixStream::connect(socket)?);
        Ok(Self { stream, request: Vec::new() })
    }

    fn ping(&mut self) -> io::Result<()> {
        self.call(&[b"PING"])?;
        match self.line()?.as_str() {
            "+PONG" => Ok(()),
            line => Err(unfit(line)),
        }
    }

    fn push(&mut self, key: &str, item: &[u8]) -> io::Result<()> {
        self.call(&[b"LPUSH", key.as_bytes(), item])?;
        self.number(':').map(drop)
    }

    /// Waits for an item.
    fn pop(&mut self, key: &str) -> io::Result<Vec<u8>> {
        self.call(&[b"BRPOP", key.as_bytes(), b"0"])?;
        match self.number('*')? {
            2 => {}
            parts => return Err(unfit(&format!("{parts} parts"))),
        }
        self.string()?;
        self.string()
    }

    fn call(&mut self, words: &[&[u8]]) -> io::Result<()> {
        self.request.clear();
        write!(self.request, "*{}\r\n", words.len())?;
        for word in words {
            write!(self.request, "${}\r\n", word.len())?;
            self.request.extend_from_slice(word);
            self.request.extend_from_slice(b"\r\n");
        }
        self.stream.get_mut().write_all(&self.request)
    }

    fn string(&mut self) -> io::Result<Vec<u8>> {
        let len = self.number('$')?;
        let mut string = vec![0; len + 2];
        self.stream.read_exact(&mut string)?;
        string.truncate(len);
        Ok(string)
    }

    fn number(&mut self, kind: char) -> io::Result<usize> {
        let line = self.line()?;
        let number = line.strip_prefix(kind).and_then(|number| number.parse().ok());
        number.ok_or_else(|| unfit(&line))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        line.truncate(line.trim_end().len());
        Ok(line)
    }
}

fn unfit(answer: &str) -> io::Error {
    io::Error::other(format!("redis-server answers `{answer}`"))
}
