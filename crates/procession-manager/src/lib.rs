#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod builder;
mod call;
mod client;
mod custom;
mod manager;
mod numbered;
mod proxies;
mod reference;
mod server;
mod wire;

pub use builder::Builder;
pub use call::{Batch, Call, InFlight, Later};
pub use custom::{Shared, Types, here, share};
pub use manager::Manager;
pub use procession_macros::shared;
pub use proxies::{
    Addable, ArrayProxy, BarrierProxy, BoundedSemaphoreProxy, ConditionGuard, ConditionProxy,
    DictCalls, DictProxy, EventProxy, JoinableQueueProxy, LeaseProxy, ListCalls, ListProxy,
    LockProxy, LockProxyGuard, NamespaceProxy, Pages, PermitProxy, Proxy, QueueProxy, RLockProxy,
    RLockProxyGuard, SemaphoreProxy, SetCalls, SetProxy, ValueCalls, ValueProxy,
};
pub use server::Server;

/// What macros expand to; not for anybody else.
#[doc(hidden)]
pub mod __private {
    pub use crate::custom::{Given, Reply, Table, Told, refused};
    pub use crate::proxies::SharedProxy;
    pub use crate::reference::Core;
    pub use serde;
}
