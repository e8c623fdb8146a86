//! What the benchmark programs share. `cargo xtask bench` builds and runs them; each prints one
//! figure a line, as `docs/benchmarks.md` describes.

pub mod measure;
