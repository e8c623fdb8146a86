//! Family `pipe`, a limit: the same bytes copied once, within one process.

use std::hint::black_box;
use std::io;
use std::time::{Duration, Instant};

use procession_benches::freight::Buffer;
use procession_benches::line::{divisor, size_name};
use procession_benches::measure::print_figure;

fn main() -> io::Result<()> {
    let length = Duration::from_millis(150) / divisor();
    for len in [64 << 10, 1 << 20, 64 << 20] {
        let (mut from, mut to) = (Buffer::new(len), Buffer::new(len));
        let (begin, mut copies) = (Instant::now(), 0_u64);
        while begin.elapsed() < length || copies < 3 {
            black_box(to.bytes()).copy_from_slice(from.stamped(copies));
            copies += 1;
        }
        let seconds = begin.elapsed().as_secs_f64();
        if to.bytes() != from.bytes() {
            return Err(io::Error::other("the copy differs"));
        }
        let gigabytes = copies as f64 * len as f64 / 1e9;
        print_figure(&format!("into[{}]", size_name(len)), gigabytes / seconds, "GB/s")?;
    }
    Ok(())
}
