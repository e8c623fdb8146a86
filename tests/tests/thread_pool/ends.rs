//! How calls and pools end: closed, terminated, dropped, cancelled, out of order.

use super::*;

#[test]
fn initializers_that_keep_failing_break_the_pool() {
    let _dog = watchdog(60);
    let pool = ThreadPool::builder().workers(many(2)).initializer(|| panic!("not today"));
    let pool = pool.build().unwrap();
    let early = pool.map(square, 0..3).unwrap_err();
    let TaskError::PoolBroken { error, .. } = &early else { panic!("{early}") };
    assert!(format!("{error:?}").contains("not today"), "{error:?}");
    assert!(matches!(pool.apply(|| (), ()), Err(TaskError::PoolBroken { .. })));
    pool.close();
    pool.join().unwrap();
}

#[test]
fn initializers_that_fail_at_first_are_called_again() {
    let _dog = watchdog(60);
    let calls = AtomicUsize::new(0);
    let pool = ThreadPool::builder().workers(many(1));
    let pool = pool.initializer(move || assert!(calls.fetch_add(1, SeqCst) >= 5, "not yet"));
    assert_eq!(pool.build().unwrap().map(square, 0..3).unwrap(), [0, 1, 4]);
}

#[test]
fn what_has_begun_is_done_when_the_pool_is_closed() {
    let (_dog, pool) = (watchdog(60), pool(2));
    let (gate, pass) = gate();
    let call = pool.tasks().chunk(NonZeroUsize::MIN).map_async(pass.clone(), 0..100);
    gate.wait_for(2);
    assert_eq!(pool.join().unwrap_err().kind(), ErrorKind::InvalidInput);
    pool.close();
    assert!(matches!(pool.map(square, 0..3), Err(TaskError::PoolClosed { .. })));
    assert_eq!(pool.try_map(square, 0..3).len(), 3);
    assert!(matches!(pool.imap(square, 0..3).next(), Some(Err(TaskError::PoolClosed { .. }))));
    gate.open();
    pool.join().unwrap();
    assert_eq!(call.get().unwrap().len(), 100);
}

#[test]
fn a_map_that_has_begun_is_done_when_the_pool_is_closed() {
    let (_dog, pool) = (watchdog(60), pool(2));
    let (gate, pass) = gate();
    thread::scope(|scope| {
        let tasks = pool.tasks().chunk(NonZeroUsize::MIN).window(many(4));
        let call = scope.spawn(move || tasks.map(pass, 0..100).unwrap().len());
        gate.wait_for(2);
        pool.close();
        gate.open();
        pool.join().unwrap();
        assert_eq!(call.join().unwrap(), 100);
    });
}

#[test]
fn a_dropped_pool_waits_for_nobody() {
    let (_dog, pool) = (watchdog(60), pool(2));
    let (gate, pass) = gate();
    let running = pool.apply_async(pass.clone(), (1,));
    let other = pool.apply_async(pass.clone(), (2,));
    gate.wait_for(2);
    let waiting = pool.apply_async(pass, (3,));
    drop(pool);
    assert!(matches!(waiting.get(), Err(TaskError::PoolClosed { index: 0 })));
    gate.open();
    assert_eq!((running.get().unwrap(), other.get().unwrap()), (1, 2));
}

#[test]
fn what_is_cancelled_is_not_begun() {
    let (_dog, pool) = (watchdog(60), pool(1));
    let (gate, pass) = gate();
    let running = pool.apply_async(pass.clone(), (1,));
    gate.wait_for(1);
    let one = pool.apply_async(pass.clone(), (2,));
    let three = pool.tasks().chunk(NonZeroUsize::MIN).map_async(pass, 0..3);
    one.cancel();
    three.cancel();
    running.cancel();
    assert!(one.is_ready() && one.is_successful() == Some(false));
    assert!(matches!(one.get(), Err(TaskError::Cancelled { index: 0 })));
    assert!(matches!(three.get(), Err(TaskError::Cancelled { index: 0 })));
    assert!(!running.is_ready());
    gate.open();
    assert_eq!(running.get().unwrap(), 1, "it could not be ended");
    assert_eq!(gate.waiting.load(SeqCst), 1);
}

#[test]
fn calls_of_a_pool_that_ends_resolve() {
    let _dog = watchdog(120);
    let mut random = Random::from_environment();
    let (mut values, mut closed) = (0, 0);
    for round in 0..200 {
        let pool = pool(1 + random.below(3));
        let (spins, ends) = (random.below(100_000), random.below(2));
        let chunk = many(1 + random.below(5));
        let results = thread::scope(|scope| {
            let calls: Vec<_> = (0..3)
                .map(|what| {
                    let tasks = pool.tasks().chunk(chunk);
                    scope.spawn(move || match what {
                        0 => tasks.try_map(square, 0..200),
                        1 => tasks.imap(square, 0..200).collect(),
                        _ => {
                            vec![tasks.map_async(square, 0..200).get().map(|all| all.len() as u64)]
                        }
                    })
                })
                .collect();
            for _ in 0..spins {
                std::hint::spin_loop();
            }
            match ends {
                0 => pool.terminate(),
                _ => pool.close(),
            }
            pool.join().unwrap();
            calls.into_iter().map(|call| call.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!((results[0].len(), results[1].len()), (200, 200), "round {round}");
        for result in results.into_iter().flatten() {
            match result {
                Ok(_) => values += 1,
                Err(TaskError::PoolClosed { .. }) => closed += 1,
                Err(error) => panic!("round {round}: {error}"),
            }
        }
    }
    assert!(values > 0 && closed > 0, "{values} values, {closed} closed");
}
