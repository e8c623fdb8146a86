//! Family `socket`, the limit: lengths and messages over plain sockets between forks.

use std::io;

use procession_benches::line::socket_steps;
use procession_benches::pair::measure_forked;
use procession_benches::wire::Framed;

fn main() -> io::Result<()> {
    for (kind, (left, right)) in [("unix", Framed::unix()?), ("tcp", Framed::tcp()?)] {
        measure_forked(left, right, &socket_steps(kind))?;
    }
    Ok(())
}
