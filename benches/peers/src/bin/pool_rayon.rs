//! Family `pool`, for scale: rayon, whose workers are threads of this process. An argument is not moved, but looked at where it is.

use std::io;

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

#[expect(dead_code, reason = "clocks of another family")]
#[path = "../../../src/clock.rs"]
mod clock;
#[expect(dead_code, reason = "the loop of another family")]
#[path = "../../../src/measure.rs"]
mod measure;
#[expect(dead_code, reason = "what only processes have")]
#[path = "../../../src/pool.rs"]
mod pool;

use pool::{
    WORKERS, measure_apply, measure_idleness, measure_lives, measure_map, measure_map_into,
    measure_parcels, measure_toils, measure_unordered, square, toil, worth,
};

fn start() -> io::Result<ThreadPool> {
    ThreadPoolBuilder::new().num_threads(WORKERS).build().map_err(io::Error::other)
}

fn squares(numbers: &[i64], out: &mut Vec<i64>) {
    numbers.par_iter().map(|number| square(*number)).collect_into_vec(out);
}

fn main() -> io::Result<()> {
    let workers = start()?;
    measure_map_into(|numbers, out| {
        workers.install(|| squares(numbers, out));
        Ok(())
    })?;
    measure_map(|numbers| {
        let mut out = Vec::new();
        workers.install(|| squares(numbers, &mut out));
        Ok(out)
    })?;
    measure_unordered("1", |count| {
        let numbers: Vec<i64> = (0..).take(count).collect();
        let single = numbers.par_iter().with_max_len(1).map(|number| square(*number));
        let found: Vec<i64> = workers.install(|| single.collect());
        Ok(found.into_iter().fold(0, i64::wrapping_add))
    })?;
    measure_apply(|number| Ok(workers.install(|| square(number))))?;
    measure_parcels(|parcels| {
        let copies: Vec<Vec<u8>> = workers.install(|| parcels.par_iter().cloned().collect());
        copies.iter().try_fold(0, |total, copy| Ok(total + worth(copy)?))
    })?;
    measure_toils(|count| {
        let single = (0..count).into_par_iter().with_max_len(1);
        Ok(workers.install(|| single.map(|_number| toil()).count()))
    })?;
    measure_idleness(&[])?;
    measure_lives(|| {
        let sum = |workers: &ThreadPool| {
            workers.install(|| [1, 2].par_iter().map(|number| square(*number)).sum::<i64>())
        };
        // Whose threads have ended when this returns; a pool that is dropped has told them to.
        let lived = ThreadPoolBuilder::new().num_threads(WORKERS).build_scoped(|it| it.run(), sum);
        match lived.map_err(io::Error::other)? {
            5 => Ok(()),
            other => Err(io::Error::other(format!("1 and 4 are not {other}"))),
        }
    })
}
