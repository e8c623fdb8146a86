#![doc = include_str!("../README.md")]

mod backend;
pub mod deadline;
pub mod error;
pub mod prim;

pub use backend::{
    doorbell, fd, futex, image, lifeline, memory, pidfd, poll, process, signal, socket, spawn,
};
pub use deadline::Deadline;
pub use error::{OsCode, OsError, Result};
