//! Family `pool`: procspawn. It has no `map`: chunks are made by hand.
//!
//! Its `spawn` sends the argument before it returns, and a worker that has a result keeps it until somebody joins that call: so there
//! are as many long calls at a time as there are workers.

use std::collections::VecDeque;
use std::io;

use procspawn::{JoinHandle, Pool};
use serde::Serialize;
use serde::de::DeserializeOwned;

#[expect(dead_code, reason = "clocks of another family")]
#[path = "../../../src/clock.rs"]
mod clock;
#[expect(dead_code, reason = "the loop of another family")]
#[path = "../../../src/measure.rs"]
mod measure;
#[path = "../../../src/pool.rs"]
mod pool;

use pool::{
    CHUNK, WORKERS, children, measure_apply, measure_lives, measure_map, measure_map_into,
    measure_parcels, measure_rest, measure_toils, measure_unordered, square, toil, worth,
};

/// How many short calls there are at a time: each takes four descriptors.
const MANY: usize = 200;

/// Bytes as such; by itself serde takes them one by one.
#[derive(serde::Serialize, serde::Deserialize)]
struct Parcel(#[serde(with = "serde_bytes")] Vec<u8>);

fn start() -> io::Result<Pool> {
    Pool::new(WORKERS).map_err(io::Error::other)
}

fn all_squares(numbers: Vec<i64>) -> Vec<i64> {
    numbers.into_iter().map(square).collect()
}

fn main() -> io::Result<()> {
    procspawn::init();
    let workers = start()?;
    measure_map_into(|numbers, out| squares(&workers, numbers, out))?;
    measure_map(|numbers| {
        let mut out = Vec::new();
        squares(&workers, numbers, &mut out)?;
        Ok(out)
    })?;
    measure_unordered("1", |count| {
        let mut sum = 0_i64;
        let call = |number| workers.spawn(number, square);
        some_at_a_time(MANY, (0..).take(count).map(call), |square| {
            sum = sum.wrapping_add(square);
            Ok(())
        })?;
        Ok(sum)
    })?;
    measure_apply(|number| workers.spawn(number, square).join().map_err(io::Error::other))?;
    measure_parcels(|parcels| {
        let mut total = 0;
        let call = |bytes| workers.spawn(Parcel(bytes), |parcel: Parcel| parcel);
        some_at_a_time(WORKERS, parcels.into_iter().map(call), |parcel| {
            total += worth(&parcel.0)?;
            Ok(())
        })?;
        Ok(total)
    })?;
    measure_toils(|count| {
        let mut done = 0;
        let call = |_number| workers.spawn((), |()| toil());
        some_at_a_time(count, (0..count).map(call), |()| {
            done += 1;
            Ok(())
        })?;
        Ok(done)
    })?;
    measure_rest(&children()?)?;
    workers.shutdown();
    measure_lives(|| {
        let workers = start()?;
        let mut sum = 0;
        some_at_a_time(2, [1, 2].map(|number| workers.spawn(number, square)), |square| {
            sum += square;
            Ok(())
        })?;
        workers.shutdown();
        if sum == 5 { Ok(()) } else { Err(io::Error::other(format!("1 and 4 are not {sum}"))) }
    })
}

fn squares(workers: &Pool, numbers: &[i64], out: &mut Vec<i64>) -> io::Result<()> {
    out.clear();
    let call = |chunk: &[i64]| workers.spawn(chunk.to_vec(), all_squares);
    some_at_a_time(WORKERS, numbers.chunks(CHUNK).map(call), |squares| {
        out.extend(squares);
        Ok(())
    })
}

/// Makes calls, of which at most so many are not joined, and takes their results in order.
fn some_at_a_time<R: Serialize + DeserializeOwned>(
    most: usize,
    calls: impl IntoIterator<Item = JoinHandle<R>>,
    mut take: impl FnMut(R) -> io::Result<()>,
) -> io::Result<()> {
    let mut open = VecDeque::new();
    for call in calls {
        open.push_back(call);
        if open.len() == most
            && let Some(first) = open.pop_front()
        {
            take(first.join().map_err(io::Error::other)?)?;
        }
    }
    open.into_iter().try_for_each(|call| take(call.join().map_err(io::Error::other)?))
}
