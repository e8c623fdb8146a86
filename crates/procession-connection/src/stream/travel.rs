//! A stream as a value that goes to another process.

use std::os::fd::OwnedFd;

use procession_core::{Deadline, Handle};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use super::Stream;
use super::reader::{AHEAD, Arrival, Partial, Reader};
use super::writer::Writer;
use crate::frame::{Announced, MAX_MESSAGE_BYTES};

/// What a stream is while it travels: the socket, what this side has read and not handed out, and what it has begun to send.
#[derive(Serialize, Deserialize)]
struct Travelling<S, B, H> {
    socket: S,
    ahead: B,
    /// The lengths of the head and the message, and what has come of that.
    partial: Option<(usize, usize, B)>,
    /// Until which byte behind what was handed out, what, and whether it was lost.
    arrivals: Vec<(u64, Vec<H>, bool)>,
    has_ended: bool,
    rest: B,
    is_torn: bool,
}

impl Serialize for Stream {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.check_open().map_err(ser::Error::custom)?;
        let now = Deadline::PAST;
        let (Some(reader), Some(writer)) = (self.reader.take(now), self.writer.take(now)) else {
            return Err(ser::Error::custom("another thread uses the connection"));
        };
        let partial = reader.partial();
        let arrivals = reader.arrivals().map(|(until, arrival)| {
            (until, arrival.handles.iter().map(Handle).collect(), arrival.is_lost)
        });
        let travelling = Travelling {
            socket: Handle(&self.socket),
            ahead: reader.ahead(),
            partial: partial.map(|partial| {
                let Announced { head, message } = partial.announced;
                (head, message, &partial.bytes[..])
            }),
            arrivals: arrivals.collect(),
            has_ended: reader.has_ended(),
            rest: writer.rest(),
            is_torn: writer.is_torn(),
        };
        travelling.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Stream {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        type Arrived = Travelling<Handle<OwnedFd>, Vec<u8>, Handle<OwnedFd>>;
        let arrived = Arrived::deserialize(deserializer)?;
        let partial = arrived.partial.map(|(head, message, bytes)| {
            let came = bytes.len();
            let is_sound = head <= 12 && came <= message && message as u64 <= MAX_MESSAGE_BYTES;
            let announced = Announced { head, message };
            is_sound.then_some(Partial { announced, bytes, came })
        });
        let is_sound = arrived.ahead.len() <= AHEAD && !matches!(partial, Some(None));
        if !is_sound || (partial.is_some() && !arrived.ahead.is_empty()) {
            return Err(de::Error::custom("more was read of a message than it has"));
        }
        let arrivals = arrived.arrivals.into_iter().map(|(until, handles, is_lost)| {
            let handles = handles.into_iter().map(Handle::into_inner).collect();
            Arrival { until, handles, is_lost }
        });
        let reader =
            Reader::with(arrived.ahead, partial.flatten(), arrivals.collect(), arrived.has_ended);
        let writer = Writer::with(arrived.rest, arrived.is_torn);
        Self::with(arrived.socket.into_inner(), reader, writer).map_err(de::Error::custom)
    }
}
