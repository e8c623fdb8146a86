//! A server of Redis for one contender, and what speaks its plain protocol over its Unix socket.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::clock;

/// What a server does not take to start.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to leave the processor before asking again whether it has.
const NAP: Duration = Duration::from_millis(5);

/// A server for this program alone, in a folder of its own.
pub(crate) struct Server {
    process: Child,
    folder: PathBuf,
    pub(crate) socket: PathBuf,
}

impl Server {
    pub(crate) fn start() -> io::Result<Self> {
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

    pub(crate) fn stop(mut self) -> io::Result<()> {
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

/// A connection to the server.
pub(crate) struct Client {
    stream: BufReader<UnixStream>,
    /// What is sent next.
    pub(crate) request: Vec<u8>,
    /// The line that was received last, without its end.
    pub(crate) line: String,
}

impl Client {
    pub(crate) fn connect(socket: &Path) -> io::Result<Self> {
        let stream = BufReader::new(UnixStream::connect(socket)?);
        Ok(Self { stream, request: Vec::new(), line: String::new() })
    }

    fn ping(&mut self) -> io::Result<()> {
        self.call(&[b"PING"])?;
        self.expect("+PONG")
    }

    /// Sends a command.
    pub(crate) fn call(&mut self, words: &[&[u8]]) -> io::Result<()> {
        self.request.clear();
        self.write(words)?;
        self.send()
    }

    /// Puts a command behind what is sent next.
    pub(crate) fn write(&mut self, words: &[&[u8]]) -> io::Result<()> {
        write!(self.request, "*{}\r\n", words.len())?;
        for word in words {
            write!(self.request, "${}\r\n", word.len())?;
            self.request.extend_from_slice(word);
            self.request.extend_from_slice(b"\r\n");
        }
        Ok(())
    }

    pub(crate) fn send(&mut self) -> io::Result<()> {
        self.stream.get_mut().write_all(&self.request)
    }

    /// Receives an answer of one line, which has to be this.
    pub(crate) fn expect(&mut self, answer: &str) -> io::Result<()> {
        self.read_line()?;
        match self.line == answer {
            true => Ok(()),
            false => Err(unfit(&self.line)),
        }
    }

    /// Receives a string into `room`, as long as it is.
    pub(crate) fn read_string(&mut self, room: &mut Vec<u8>) -> io::Result<()> {
        let len = self.number('$')?;
        room.resize(len + 2, 0);
        self.stream.read_exact(room)?;
        room.truncate(len);
        Ok(())
    }

    /// Receives a number, or how long what follows is.
    pub(crate) fn number(&mut self, kind: char) -> io::Result<usize> {
        self.read_line()?;
        let number = self.line.strip_prefix(kind).and_then(|number| number.parse().ok());
        number.ok_or_else(|| unfit(&self.line))
    }

    fn read_line(&mut self) -> io::Result<()> {
        self.line.clear();
        self.stream.read_line(&mut self.line)?;
        self.line.truncate(self.line.trim_end().len());
        Ok(())
    }
}

pub(crate) fn unfit(answer: &str) -> io::Error {
    io::Error::other(format!("redis-server answers `{answer}`"))
}
