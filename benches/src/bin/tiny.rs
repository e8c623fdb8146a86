//! The smallest plain program that says something: it writes one byte to its standard output.

use std::io::Write as _;

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(b"x")?;
    out.flush()
}
