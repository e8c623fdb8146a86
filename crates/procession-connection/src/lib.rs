#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod endpoint;
mod error;
mod frame;
mod pipe;
mod reader;

pub use error::{RecvTimeoutError, TryRecvError};
pub use frame::MAX_MESSAGE_BYTES;
pub use pipe::{Duplex, Iter, Receiver, Sender, duplex, pipe};
