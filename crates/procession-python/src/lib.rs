#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod address;
mod auth;
mod client;
mod connection;
mod convert;
mod de;
mod fault;
mod int;
mod limits;
mod listener;
mod manager;
mod pickle;
mod ser;
mod server;
mod value;
mod wire;

pub use auth::Digests;
pub use client::{Client, ClientBuilder};
pub use connection::Connection;
pub use de::{from_bytes, from_value};
pub use int::BigInt;
pub use limits::Limits;
pub use listener::{Listener, ListenerBuilder};
pub use manager::client::{Manager, ManagerBuilder};
pub use manager::error::CallError;
pub use manager::proxies::{
    ArrayProxy, DictProxy, IteratorProxy, ListProxy, NamespaceProxy, QueueProxy, SetProxy,
    ValueProxy,
};
pub use manager::proxy::Proxy;
pub use manager::sync::{Acquired, AcquirerProxy, BarrierProxy, ConditionProxy, EventProxy};
pub use procession_connection::{Address, ToAddress};
pub use ser::{to_bytes, to_value};
pub use server::arguments::Arguments;
pub use server::managed::{Answer, Caller, Managed};
pub use server::service::Service;
pub use server::{Server, ServerBuilder};
pub use value::{Array, Exception, Global, Object, Value};
