#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod address;
mod auth;
mod client;
mod connection;
mod error;
mod frame;
mod listener;
mod local;
mod pipe;
mod ring;
mod stream;
mod transport;
mod value;
mod wait;

pub use address::{Address, Family, ToAddress};
pub use auth::{answer_challenge, deliver_challenge};
pub use client::{Client, ClientBuilder};
pub use connection::Connection;
pub use error::{RecvIntoError, RecvTimeoutError, SendTimeoutError, TryRecvError, TrySendError};
pub use frame::MAX_MESSAGE_BYTES;
pub use listener::{Incoming, Listener, ListenerBuilder};
pub use pipe::{Duplex, Iter, Receiver, Sender, duplex, pipe};
pub use procession_sys::net::Credentials;
pub use wait::{Waitable, wait, wait_deadline};
