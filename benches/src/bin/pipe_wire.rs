//! Family `pipe`, limits: sockets and pipes of the system between forks.
//!
//! The argument is `stream`, `packets`, `pipe` or `framed`.

use std::io;

use procession_benches::line::{Line, pipe_steps};
use procession_benches::pair::measure_forked;
use procession_benches::wire::{Framed, Raw};

fn main() -> io::Result<()> {
    let way = std::env::args().nth(1).unwrap_or_default();
    match way.as_str() {
        "stream" => measure(Raw::stream()?),
        "packets" => measure(Raw::packets()?),
        "pipe" => measure(Raw::pipes()?),
        "framed" => measure(Framed::unix()?),
        _ => {
            let problem = format!("unknown way `{way}`; one of stream, packets, pipe, framed");
            Err(io::Error::other(problem))
        }
    }
}

fn measure<L: Line>((left, right): (L, L)) -> io::Result<()> {
    measure_forked(left, right, &pipe_steps::<L>())
}
