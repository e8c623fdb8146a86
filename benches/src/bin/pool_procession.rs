//! Family `pool`: ours, through the public face. The argument says how processes wait, `adaptive` (the default), `sleep` or `spin`; or
//! it is a start method, `spawn` or `fork`: then only what differs by that is measured.

use std::io;
use std::num::NonZero;

use procession::pool::Builder;
use procession::waiting::{Policy, set_policy};
use procession::{Context, ContextExt as _, Pool, StartMethod, TaskError};
use procession_benches::pool::{
    WORKERS, measure_apply, measure_lives, measure_map, measure_map_into, measure_parcels,
    measure_rest, measure_toils, measure_unordered, square, toil, worth,
};

/// How one waits who was told nothing.
const DEFAULT: &str = "adaptive";

fn main() -> io::Result<()> {
    procession::init();
    let argument = std::env::args().nth(1).unwrap_or_else(|| DEFAULT.to_owned());
    match argument.parse::<StartMethod>() {
        Ok(method) => by_method(method),
        Err(_no_method) => by_policy(&argument),
    }
}

/// Everything, by the default start method.
fn by_policy(policy: &str) -> io::Result<()> {
    set_policy(policy_of(policy)?);
    let start = || {
        let described = two_workers(Pool::builder());
        if policy == DEFAULT {
            return described.build().map_err(io::Error::other);
        }
        // Each process waits in a way of its own, and workers are no forks of this one.
        let described = described.initializer(
            |policy: String| set_policy(policy_of(&policy).expect("the parent understood it")),
            (policy.to_owned(),),
        );
        described.and_then(Builder::build).map_err(io::Error::other)
    };
    let pool = start()?;
    measure_tasks(&pool)?;
    measure_rest(&pool.worker_pids())?;
    end(pool)?;
    // The fork server, where that is the method, has been running since the first.
    measure_lives(|| live(start()?))
}

/// What the start method makes a difference to.
fn by_method(method: StartMethod) -> io::Result<()> {
    let start = || {
        let described = two_workers(Context::new(method).pool());
        described.build().map_err(io::Error::other)
    };
    // Also a fork has to be made by one thread alone, so that these come first.
    measure_lives(|| live(start()?))?;
    let pool = start()?;
    measure_parcels(|parcels| echo(&pool, parcels))?;
    measure_toils(|count| done(&pool, count))?;
    measure_rest(&pool.worker_pids())?;
    end(pool)
}

fn measure_tasks(pool: &Pool) -> io::Result<()> {
    measure_map_into(|numbers, out| squares_into(pool, numbers, out))?;
    measure_map(|numbers| squares(pool, numbers))?;
    measure_unordered("1", |count| {
        sum(pool.imap_unordered(square, upto(count)).chunk(NonZero::<usize>::MIN))
    })?;
    measure_unordered("default", |count| sum(pool.imap_unordered(square, upto(count))))?;
    measure_apply(|number| pool.apply(square, (number,)).map_err(io::Error::other))?;
    measure_parcels(|parcels| echo(pool, parcels))?;
    measure_toils(|count| done(pool, count))
}

fn squares(pool: &Pool, numbers: &[i64]) -> io::Result<Vec<i64>> {
    pool.map(square, numbers.iter().copied()).map_err(io::Error::other)
}

fn squares_into(pool: &Pool, numbers: &[i64], out: &mut Vec<i64>) -> io::Result<()> {
    out.clear();
    pool.map_into(square, numbers.iter().copied(), out).map_err(io::Error::other)
}

/// Numbers are made as they are taken.
fn upto(count: usize) -> impl Iterator<Item = i64> {
    (0..).take(count)
}

fn sum(mut squares: impl Iterator<Item = Result<i64, TaskError>>) -> io::Result<i64> {
    squares
        .try_fold(0_i64, |sum, square| Ok(sum.wrapping_add(square?)))
        .map_err(|error: TaskError| io::Error::other(error))
}

fn echo(pool: &Pool, parcels: Vec<Vec<u8>>) -> io::Result<usize> {
    let mut total = 0;
    for parcel in pool.imap_unordered(|parcel: Vec<u8>| parcel, parcels) {
        total += worth(&parcel.map_err(io::Error::other)?)?;
    }
    Ok(total)
}

fn done(pool: &Pool, count: usize) -> io::Result<usize> {
    let done = pool.map(|_number: usize| toil(), 0..count);
    done.map(|done| done.len()).map_err(io::Error::other)
}

/// From two tasks on to the end.
fn live(pool: Pool) -> io::Result<()> {
    match squares(&pool, &[1, 2])?.as_slice() {
        [1, 4] => end(pool),
        other => Err(io::Error::other(format!("{other:?} are no squares"))),
    }
}

/// Ends a pool in good order.
fn end(pool: Pool) -> io::Result<()> {
    pool.close();
    pool.join().map_err(io::Error::other)
}

fn two_workers(builder: Builder) -> Builder {
    builder.workers(NonZero::new(WORKERS).expect("more than none"))
}

fn policy_of(name: &str) -> io::Result<Policy> {
    match name {
        DEFAULT => Ok(Policy::Adaptive),
        "sleep" => Ok(Policy::Sleep),
        "spin" => Ok(Policy::Spin),
        _ => Err(io::Error::other(format!("unknown way `{name}`; one of adaptive, sleep, spin"))),
    }
}
