//! Family `socket`: ours, through the public face. A child connects to a listener of its parent's.

use std::error::Error;
use std::io;

use procession::Process;
use procession_benches::line::{Line, Way, follow, lead, socket_steps};
use procession_connection::{Address, Client, Connection, Listener};

struct End(Connection);

impl Line for End {
    const WAYS: &'static [Way] = &[Way::Into];

    #[inline]
    fn send_word(&mut self, word: u64) -> io::Result<()> {
        self.send(&word.to_ne_bytes())
    }

    #[inline]
    fn recv_word(&mut self) -> io::Result<u64> {
        let mut word = [0; 8];
        match self.recv_into(&mut word)? {
            8 => Ok(u64::from_ne_bytes(word)),
            len => Err(io::Error::other(format!("a number has {len} bytes"))),
        }
    }

    #[inline]
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.0.send_bytes(message).map_err(io::Error::other)
    }

    #[inline]
    fn recv_into(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.recv_bytes_into(buffer).map_err(io::Error::other)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    procession::init();
    for (kind, listener) in [("unix", Listener::new()?), ("tcp", Listener::bind("127.0.0.1:0")?)] {
        let arguments = (listener.address().clone(), kind.to_owned());
        let child = Process::builder().daemon(true).spawn(child, arguments)?;
        let mut end = End(listener.accept()?);
        let led = lead(&mut end, &socket_steps(kind));
        drop(end);
        child.join()?.map_err(|problem| format!("the follower: {problem}"))?;
        led?;
    }
    Ok(())
}

fn child(address: Address, kind: String) -> Result<(), String> {
    let connection = Client::connect(&address).map_err(|error| error.to_string())?;
    follow(&mut End(connection), &socket_steps(&kind)).map_err(|error| error.to_string())
}
