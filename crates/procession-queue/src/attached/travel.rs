//! A queue on its way to another process: its object, its lock and its file.

use std::collections::HashMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Weak};

use procession_core::arena::{Kind, Object};
use procession_core::{Handle, Result, refuse};
use procession_sync::Lock;
use procession_sys::wipe::PerProcess;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Attached;
use crate::depot::Depot;
use crate::memory::Memory;

/// The queues that this process has.
static KNOWN: PerProcess<HashMap<u64, Weak<Attached>>> = PerProcess::new();

#[derive(Serialize, Deserialize)]
struct Sent<O, L, F> {
    object: O,
    lock: L,
    /// The memory, and the ends of the depot.
    files: [F; 3],
}

struct Leaving<'a>(&'a Object);

impl Serialize for Leaving<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

struct Arrived(Object);

impl<'de> Deserialize<'de> for Arrived {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Object::deserialize(Kind::QUEUE, deserializer).map(Self)
    }
}

impl Attached {
    pub(crate) fn serialize<S: Serializer>(
        this: &Arc<Self>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        // Found again if it comes back.
        KNOWN.lock().map_err(S::Error::custom)?.insert(this.key(), Arc::downgrade(this));
        let [left, right] = this.depot.ends();
        let files = [this.memory.file.as_fd(), left, right].map(Handle);
        Sent { object: Leaving(&this.object), lock: &this.lock, files }.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<Self>, D::Error> {
        let received = Sent::<Arrived, Lock, Handle<OwnedFd>>::deserialize(deserializer)?;
        Self::receive(received).map_err(|error| D::Error::custom(refuse(error)))
    }

    fn receive(received: Sent<Arrived, Lock, Handle<OwnedFd>>) -> Result<Arc<Self>> {
        let Sent { object: Arrived(object), lock, files } = received;
        let [file, left, right] = files.map(|Handle(file)| file);
        let key = u64::from(object.generation()) << 32 | u64::from(object.number());
        // Not dropped under the lock, which that takes.
        let same = KNOWN.lock()?.get(&key).and_then(Weak::upgrade);
        if let Some(same) = same {
            return Ok(same);
        }
        let memory = Memory::open(&object, file)?;
        let depot = Depot::open(left, right)?;
        let this = Arc::new(Self::of(object, lock, memory, depot));
        let mut known = KNOWN.lock()?;
        // Another thread may have received it meanwhile. Ours is dropped after the lock.
        if let Some(same) = known.get(&key).and_then(Weak::upgrade) {
            drop(known);
            return Ok(same);
        }
        known.insert(key, Arc::downgrade(&this));
        drop(known);
        Ok(this)
    }

    /// This process has the queue no more, unless it has received it again.
    pub(super) fn forget(&self) -> Result<()> {
        let mut known = KNOWN.lock()?;
        if known.get(&self.key()).is_some_and(|weak| weak.strong_count() == 0) {
            known.remove(&self.key());
        }
        Ok(())
    }
}
