//! What stands for an object of a manager's server in a process.

/// Declares a proxy: a reference to an object, which is of types that the server does not know.
macro_rules! proxy {
    ($(#[$doc:meta])* $name:ident $(<$($type:ident),+>)?, $python:literal) => {
        $(#[$doc])*
        #[must_use = "an object that nobody has is gone"]
        pub struct $name $(<$($type),+>)? {
            core: $crate::reference::Core,
            of: std::marker::PhantomData<fn() -> ($($($type,)+)?)>,
        }

        impl $(<$($type),+>)? $crate::Proxy for $name $(<$($type),+>)? {
            fn __fingerprint() -> u64 {
                let types: &[&str] = &[$python $($(, std::any::type_name::<$type>())+)?];
                $crate::proxies::fingerprint(types)
            }

            fn __of(core: $crate::reference::Core) -> Self {
                Self { core, of: std::marker::PhantomData }
            }

            fn __core(&self) -> &$crate::reference::Core {
                &self.core
            }
        }

        impl $(<$($type),+>)? Clone for $name $(<$($type),+>)? {
            fn clone(&self) -> Self {
                Self { core: self.core.clone(), of: std::marker::PhantomData }
            }
        }

        impl $(<$($type),+>)? PartialEq for $name $(<$($type),+>)? {
            /// Whether both are the same object; what is in it does not matter.
            fn eq(&self, other: &Self) -> bool {
                self.core.is_same(&other.core)
            }
        }

        impl $(<$($type),+>)? Eq for $name $(<$($type),+>)? {}

        impl $(<$($type),+>)? std::fmt::Debug for $name $(<$($type),+>)? {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({:?})", stringify!($name), self.core)
            }
        }

        impl $(<$($type),+>)? serde::Serialize for $name $(<$($type),+>)? {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.core.serialize(serializer)
            }
        }

        impl<'de $($(, $type)+)?> serde::Deserialize<'de> for $name $(<$($type),+>)? {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let fingerprint = <Self as $crate::Proxy>::__fingerprint();
                let core = $crate::reference::Core::deserialize(deserializer, fingerprint)?;
                Ok(<Self as $crate::Proxy>::__of(core))
            }
        }
    };
}

mod array;
mod barrier;
mod condition;
mod dict;
mod event;
mod joinable;
mod list;
mod lock;
mod namespace;
mod number;
mod pages;
mod queue;
mod rlock;
mod semaphore;
mod set;
mod shared;
mod value;

pub use array::ArrayProxy;
pub use barrier::BarrierProxy;
pub use condition::{ConditionGuard, ConditionProxy};
pub use dict::{DictCalls, DictProxy};
pub use event::EventProxy;
pub use joinable::{JoinableQueueProxy, LeaseProxy};
pub use list::{ListCalls, ListProxy};
pub use lock::{LockProxy, LockProxyGuard};
pub use namespace::NamespaceProxy;
pub use number::Addable;
pub use pages::Pages;
pub use queue::QueueProxy;
pub use rlock::{RLockProxy, RLockProxyGuard};
pub use semaphore::{BoundedSemaphoreProxy, PermitProxy, SemaphoreProxy};
pub use set::{SetCalls, SetProxy};
pub use shared::SharedProxy;
pub use value::{ValueCalls, ValueProxy};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::reference::Core;

/// A proxy: what stands for an object of a manager's server in a process.
///
/// A proxy is a value: it goes in arguments, results and messages, also within containers of the same manager, and whoever gets it
/// works on the same object. Threads may share it, and a clone costs nothing. Two are equal when they are the same object.
///
/// # Drop, kill, fork
///
/// The server counts the processes that have an object, values of its own that mention it, and [names](crate::Manager::publish): when the last of
/// them is gone, so is the object. A process that dies, in whatever way, has no object any more. A message with a proxy that nobody receives
/// keeps the object until its sender ends. A forked child takes up a reference of its own when it first uses the proxy; if its parent has
/// let go of it meanwhile, that is an error.
///
/// Implemented by the proxies of this crate, and by those that are made with `#[shared]`.
pub trait Proxy: Clone + Serialize + DeserializeOwned {
    /// What tells objects of other types from those that this can stand for.
    #[doc(hidden)]
    fn __fingerprint() -> u64;
    #[doc(hidden)]
    fn __of(core: Core) -> Self;
    #[doc(hidden)]
    fn __core(&self) -> &Core;
}

/// A number for a kind of object and the types in it, by their names: the same in all programs that name them the same.
///
/// FNV-1a, <https://datatracker.ietf.org/doc/html/draft-eastlake-fnv>.
pub(crate) fn fingerprint(types: &[&str]) -> u64 {
    let bytes = types.iter().flat_map(|name| name.bytes().chain([0xff]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
