//! Family `pipe`, the limits: a ring of bytes in shared memory between forks.
//!
//! The argument is `futex`, `adaptive` (it spins before it sleeps) or `spin`.

use std::io;
use std::num::NonZero;
use std::thread;

use procession_benches::line::pipe_steps;
use procession_benches::pair::measure_forked;
use procession_benches::ring::{Ring, Wait};

/// Some 20 to 50 µs: what it costs to wake a sleeper on another processor, or twice that.
const ADAPTIVE_PAUSES: u32 = 2000;

fn main() -> io::Result<()> {
    let way = std::env::args().nth(1).unwrap_or_default();
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let wait = match way.as_str() {
        "futex" => Wait::Sleep { pauses: 0 },
        // With one processor nothing changes while one spins.
        "adaptive" => Wait::Sleep { pauses: if processors > 1 { ADAPTIVE_PAUSES } else { 0 } },
        "spin" => Wait::Spin,
        _ => {
            let problem = format!("unknown way `{way}`; one of futex, adaptive, spin");
            return Err(io::Error::other(problem));
        }
    };
    let (left, right) = Ring::pair(wait)?;
    measure_forked(left, right, &pipe_steps::<Ring>())
}
