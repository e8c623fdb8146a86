//! What the benchmark programs share. `cargo xtask bench` builds and runs them; each prints one
//! figure a line, as `docs/benchmarks.md` describes.
//!
//! [`measure`] is family `start`. [`sync`] is family `sync`, over a [`board`] that the processes of
//! a measurement share and a [`crew`] of threads or [`forks`]; [`futex`] holds that family's limits.
//! [`block`] is family `sharedmem`, of blocks; [`value`] the same, of values and arrays.
//! [`line`](mod@line) is families `pipe` and `socket`, between the two processes of a [`pair`]; [`ring`] and [`wire`] hold their
//! limits. [`pool`] is family `pool`; behind [`pool_ring`] sit the workers of its limit.

pub mod block;
pub mod board;
pub mod clock;
pub mod crew;
pub mod forks;
pub mod freight;
pub mod futex;
pub mod line;
pub mod measure;
pub mod pair;
pub mod pool;
pub mod pool_ring;
pub mod ring;
pub mod sync;
pub mod value;
pub mod wire;
