#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod authkey;
pub mod bell;
pub mod bundle;
pub mod codec;
mod courier;
mod error;
pub mod exit;
pub mod family;
mod handle;
pub mod holder;
pub mod lifeline;
mod message;
pub mod threads;
pub mod waiting;

pub use courier::{Courier, Received};
pub use error::{Error, ErrorKind, Result};
pub use family::arena;
pub use handle::{Handle, attach, claim, refuse};
pub use message::Message;
pub use procession_sys::{Deadline, OsCode, OsError};
