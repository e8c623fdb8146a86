//! Kills at the end of a worker's life, and of a pool's.

use std::collections::BTreeSet;
use std::time::Duration;

use procession::finalize::Finalizer;
use procession::prelude::*;
use procession_sys::signal;
use procession_tests::{Random, Stranger, children, wait_until};

use super::{assert_killed, begin, builder, die, end, some, spin};

#[test]
fn killed_when_they_leave() {
    let Some(_held) = begin() else { return };
    let pool = builder(2, 0).tasks_per_worker(some(1)).build().unwrap();
    let pids = pool
        .map(
            |_: u32| {
                Finalizer::new(0, || die()).unwrap().keep();
                std::process::id()
            },
            0..20,
        )
        .unwrap();
    let different: BTreeSet<_> = pids.iter().collect();
    assert_eq!(different.len(), 20, "each ran one task");
    end(pool);
}

#[test]
fn killed_by_the_last_tasks_of_a_pool_that_is_closed() {
    let Some(_held) = begin() else { return };
    for chunk in [1, 12] {
        let pool = builder(2, 0).build().unwrap();
        let task = |x: usize| {
            spin(Duration::from_micros(500));
            if x % 3 == 2 { die() } else { x }
        };
        let calls: Vec<_> =
            (0..24).map(|x| pool.tasks().chunk(some(chunk)).apply_async(task, (x,))).collect();
        pool.close();
        pool.join().unwrap();
        for (x, call) in calls.into_iter().enumerate() {
            assert!(call.is_ready());
            match call.get() {
                Ok(value) => assert_eq!((value, x % 3 == 2), (x, false)),
                result => {
                    assert_eq!(x % 3, 2, "{result:?}");
                    assert_killed(&result, 0);
                }
            }
        }
        assert!(matches!(pool.apply(|| (), ()), Err(TaskError::PoolClosed { .. })));
        drop(pool);
        wait_until("nobody is left", || children().is_empty());
    }
}

#[test]
fn killed_while_the_pool_ends() {
    let Some(_held) = begin() else { return };
    let mut random = Random::from_environment();
    for round in 0..30 {
        let pool = builder(2, 0).build().unwrap();
        let call = pool.map_async(|x: u32| x, 0..200);
        let pids = pool.worker_pids();
        spin(Duration::from_micros(random.below(2_000) as u64));
        if round % 2 == 0 {
            pool.close()
        } else {
            pool.terminate()
        }
        spin(Duration::from_micros(random.below(500) as u64));
        for pid in &pids {
            if pool.worker_pids().contains(pid) {
                Stranger::new(*pid).signal(signal::KILL);
            }
        }
        pool.join().unwrap();
        match call.get() {
            Ok(values) => assert_eq!(values, (0..200).collect::<Vec<_>>()),
            Err(TaskError::WorkerDied { death, .. }) => assert!(pids.contains(&death.pid)),
            Err(TaskError::PoolClosed { .. }) => assert_eq!(round % 2, 1),
            Err(other) => panic!("{other:?}"),
        }
        drop(pool);
        wait_until("nobody is left", || children().is_empty());
    }
}

#[test]
fn stopped_workers_do_not_hold_up_the_end() {
    let Some(_held) = begin() else { return };
    for is_busy in [false, true] {
        let pool = builder(2, 0).build().unwrap();
        pool.map(|x: u32| x, 0..10).unwrap();
        let call = pool.map_async(|x: u32| spin(Duration::from_micros(x.into())), 0..1000);
        if !is_busy {
            call.wait();
        }
        for pid in pool.worker_pids() {
            Stranger::new(pid).signal(signal::STOP);
        }
        match is_busy {
            true => pool.terminate(),
            false => pool.close(),
        }
        pool.join().unwrap();
        assert!(call.is_ready());
        drop(pool);
        wait_until("nobody is left", || children().is_empty());
    }
}
