//! A receiving end on its way to another process.

use std::os::fd::OwnedFd;

use procession_core::Handle;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use super::super::Travelled;
use super::{Arrival, Inlet, Partial, State};
use crate::error::{closed, moved};
use crate::ring::{Head, Side};

/// What an end takes along: what was taken of a message, and the descriptors that came ahead.
#[derive(Serialize, Deserialize)]
struct Luggage<E, B, H> {
    end: E,
    partial: Option<(Head, bool, B)>,
    stash: Vec<(u64, Vec<H>, bool)>,
}

impl Serialize for Inlet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut inbox = self.lock().map_err(ser::Error::custom)?;
        if inbox.state == State::Closed {
            return Err(ser::Error::custom(closed()));
        }
        self.hold(&mut inbox).map_err(|_taken| ser::Error::custom(moved()))?;
        let partial = inbox.partial.as_ref().map(|partial| {
            let taken = usize::try_from(partial.head.taken).unwrap_or(usize::MAX);
            (partial.head, partial.is_whole, &partial.bytes[..taken])
        });
        let stash = inbox.stash.iter().map(|arrival| {
            (arrival.number, arrival.handles.iter().map(Handle).collect(), arrival.lost)
        });
        let luggage = Luggage { end: self.end.travelling(), partial, stash: stash.collect() };
        let travelling = luggage.serialize(serializer)?;
        inbox.consumer.tell(&self.end.ring);
        self.end.give_up(&inbox.claim);
        Ok(travelling)
    }
}

impl<'de> Deserialize<'de> for Inlet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let luggage = Luggage::<Travelled, Vec<u8>, Handle<OwnedFd>>::deserialize(deserializer)?;
        let partial = luggage.partial.map(|(head, is_whole, bytes)| {
            let is_sound = head.taken == bytes.len() as u64 && head.taken <= head.len;
            is_sound.then_some(Partial { head, bytes, is_whole })
        });
        if let Some(None) = partial {
            return Err(de::Error::custom("a part of a message of another length"));
        }
        let stash = luggage.stash.into_iter().map(|(number, handles, lost)| {
            let handles = handles.into_iter().map(Handle::into_inner).collect();
            Arrival { number, handles, lost }
        });
        let end = luggage.end.arrive(Side::Reader).map_err(de::Error::custom)?;
        Self::with(end, partial.flatten(), stash.collect()).map_err(de::Error::custom)
    }
}
