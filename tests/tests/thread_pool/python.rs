//! The behaviours of pools that CPython's tests assert with threads, row by row. `docs/conformance.md` says which row is tested where.

use super::*;

#[test]
fn apply() {
    let (_dog, pool) = (watchdog(60), pool(4));
    assert_eq!(pool.apply(square, (5,)).unwrap(), 25);
    assert_eq!(pool.apply(|| "none", ()).unwrap(), "none");
    let three = |a: i64, text: String, list: Vec<u8>| (list, text, a);
    let values = pool.apply(three, (1, "two".to_owned(), vec![3, 4])).unwrap();
    assert_eq!(values, (vec![3, 4], "two".to_owned(), 1));
}

#[test]
fn map() {
    let (_dog, pool) = (watchdog(60), pool(4));
    assert_eq!(pool.map(square, 0..10).unwrap(), squares(10));
    for chunk in [20, 7, 1, 1000] {
        let tasks = pool.tasks().chunk(many(chunk));
        assert_eq!(tasks.map(square, 0..100).unwrap(), squares(100), "{chunk}");
    }
    assert_eq!(pool.map(square, 0..1_000_000).unwrap(), squares(1_000_000));
    let mut all = vec![7];
    pool.map_into(square, 0..100, &mut all).unwrap();
    assert_eq!((all[0], &all[1..]), (7, &squares(100)[..]));
}

#[test]
fn starmap() {
    let (_dog, pool) = (watchdog(60), pool(4));
    let pairs = || (0..100u64).map(|x| (x, 2 * x));
    let products: Vec<_> = pairs().map(|(a, b)| a * b).collect();
    assert_eq!(pool.starmap(|a: u64, b: u64| a * b, pairs()).unwrap(), products);
    let tasks = pool.tasks().chunk(many(20));
    assert_eq!(tasks.starmap(|a: u64, b: u64| a * b, pairs()).unwrap(), products);
}

#[test]
fn starmap_async() {
    let (_dog, pool) = (watchdog(60), pool(4));
    let call = pool.starmap_async(|a: u64, b: u64| a * b, (0..100).map(|x| (x, x)));
    assert_eq!(call.get().unwrap(), squares(100));
}

#[test]
fn map_async() {
    let (_dog, pool) = (watchdog(60), pool(4));
    assert_eq!(pool.map_async(square, 0..100).get().unwrap(), squares(100));
    let call = pool.tasks().chunk(many(3)).map_async(square, 0..100_000);
    assert_eq!(call.get().unwrap(), squares(100_000));
}

#[test]
fn map_async_callbacks() {
    let (_dog, pool) = (watchdog(60), pool(4));
    let (tx, rx) = channel();
    let own = tx.clone();
    let call = pool.map_async(|x: u64| x, [1]).on_done(move |result| {
        own.send(result.clone().map_err(|error| error.index())).unwrap();
    });
    call.wait();
    assert_eq!(rx.try_recv(), Ok(Ok(vec![1])), "called once, before the wait ends");
    let call = pool.map_async(|x: u64| assert_ne!(x, 2), [1, 2]);
    let call = call.on_done(move |result| {
        tx.send(result.as_ref().map(Vec::len).map(|_| vec![]).map_err(TaskError::index)).unwrap();
    });
    call.wait();
    assert_eq!(rx.try_recv(), Ok(Err(1)));
    assert!(rx.try_recv().is_err());
}

#[test]
fn map_chunksize() {
    let (_dog, pool) = (watchdog(60), pool(4));
    let call = pool.tasks().chunk(NonZeroUsize::MIN).map_async(square, []);
    assert!(call.get_timeout(SOON).unwrap().unwrap().is_empty());
}

/// Numbers, and then a panic.
fn exploding(count: u64) -> impl Iterator<Item = u64> {
    (0..count + 1).inspect(move |x| {
        if *x == count {
            panic_any("the input fails");
        }
    })
}

fn fails<T>(f: impl FnOnce() -> T) {
    let panic = catch_unwind(AssertUnwindSafe(f)).map(drop).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"the input fails"));
}

#[test]
fn map_handle_iterable_exception() {
    let (_dog, pool) = (watchdog(60), pool(4));
    for count in [0, 3, 1000] {
        fails(|| pool.map(square, exploding(count)));
        fails(|| pool.try_map(square, exploding(count)));
        fails(|| drop(pool.map_async(square, exploding(count))));
        assert_eq!(pool.map(square, 0..10).unwrap(), squares(10), "it is usable");
    }
    pool.close();
    pool.join().unwrap();
}

#[test]
fn r#async() {
    let (_dog, pool) = (watchdog(60), pool(4));
    let (gate, pass) = gate();
    let call = pool.apply_async(pass, (7,));
    gate.wait_for(1);
    assert!(!call.is_ready());
    gate.open();
    assert_eq!(call.get().unwrap(), 7);
}

#[test]
fn async_timeout() {
    let (_dog, pool) = (watchdog(60), pool(4));
    let (gate, pass) = gate();
    let call = pool.apply_async(pass, (7,));
    gate.wait_for(1);
    let call = call.get_timeout(Duration::from_millis(20)).unwrap_err();
    assert!(!call.wait_timeout(Duration::ZERO));
    pool.terminate();
    gate.open();
    pool.join().unwrap();
    assert_eq!(call.get().unwrap(), 7, "what runs goes on");
}

#[test]
fn imap() {
    let (_dog, pool) = (watchdog(60), pool(4));
    let all: Vec<_> = pool.imap(square, 0..1000).map(Result::unwrap).collect();
    assert_eq!(all, squares(1000));
    let mut some = pool.tasks().chunk(many(100)).imap(square, 0..1000);
    for expected in squares(1000) {
        assert_eq!(some.next().unwrap().unwrap(), expected);
    }
    assert!(some.next().is_none() && some.next().is_none());
}

#[test]
fn imap_handle_iterable_exception() {
    let (_dog, pool) = (watchdog(60), pool(4));
    for count in [0, 3, 20] {
        let mut results = pool.imap(square, exploding(count));
        let first: Vec<_> =
            results.by_ref().take(squares(count).len()).map(Result::unwrap).collect();
        assert_eq!(first, squares(count));
        fails(|| results.next());
        assert!(results.next().is_none());
    }
}

#[test]
fn imap_unordered() {
    let (_dog, pool) = (watchdog(60), pool(4));
    for chunk in [1, 100] {
        let results = pool.tasks().chunk(many(chunk)).imap_unordered(square, 0..1000);
        let mut all: Vec<_> = results.map(Result::unwrap).collect();
        all.sort_unstable();
        assert_eq!(all, squares(1000));
    }
}

#[test]
fn imap_unordered_handle_iterable_exception() {
    let (_dog, pool) = (watchdog(60), pool(4));
    let mut seen = Vec::new();
    let mut results = pool.imap_unordered(square, exploding(20));
    fails(|| seen.extend(results.by_ref().map(Result::unwrap)));
    seen.sort_unstable();
    assert_eq!(seen, squares(20), "each once");
}

#[test]
fn make_pool() {
    let _dog = watchdog(60);
    assert_eq!(pool(3).workers(), 3);
    let error = ThreadPool::builder().workers(many(1 << 20)).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let expected = procession::cpu_count().unwrap().get();
    assert_eq!(ThreadPool::new().unwrap().workers(), expected);
}

#[test]
fn terminate() {
    let (_dog, pool) = (watchdog(60), pool(2));
    let (gate, pass) = gate();
    let call = pool.tasks().chunk(NonZeroUsize::MIN).map_async(pass, 0..10_000);
    gate.wait_for(2);
    pool.terminate();
    gate.open();
    pool.join().unwrap();
    assert!(matches!(call.get(), Err(TaskError::PoolClosed { index: 2 })));
    assert_eq!(gate.waiting.load(SeqCst), 2);
}

#[test]
fn empty_iterable() {
    let (_dog, pool) = (watchdog(60), pool(2));
    assert!(pool.map(square, []).unwrap().is_empty());
    assert!(pool.try_map(square, []).is_empty());
    assert!(pool.imap(square, []).next().is_none());
    assert!(pool.imap_unordered(square, []).next().is_none());
    assert!(pool.map_async(square, []).get().unwrap().is_empty());
}

#[test]
fn context() {
    let (_dog, pool) = (watchdog(60), pool(2));
    assert_eq!(pool.map_async(square, 0..5).get().unwrap(), squares(5));
    pool.terminate();
    let error = pool.map_async(square, 0..5).get().unwrap_err();
    assert!(matches!(error, TaskError::PoolClosed { index: 0 }));
}

#[test]
fn traceback() {
    let (_dog, pool) = (watchdog(60), pool(2));
    let error = pool.apply(|| -> () { panic!("number {}", 123) }, ()).unwrap_err();
    let TaskError::Panicked { index: 0, panic } = &error else { panic!("{error}") };
    assert_eq!(panic.message, "number 123");
    assert!(panic.location.contains("python.rs:"), "{}", panic.location);
    assert!(panic.backtrace.contains("traceback"), "{}", panic.backtrace);
}

#[test]
fn wrapped_exception() {
    let (_dog, pool) = (watchdog(60), pool(2));
    let error = Arc::new(std::io::Error::other("mine"));
    let own = Arc::clone(&error);
    let given = pool.apply(move || Err::<(), _>(Arc::clone(&own)), ()).unwrap().unwrap_err();
    assert!(Arc::ptr_eq(&given, &error), "the same, not a copy");
}

#[test]
fn map_no_failfast() {
    let (_dog, pool) = (watchdog(60), pool(2));
    let (gate, pass) = gate();
    let fails = move |x: u64| {
        if x == 1 {
            pass(x);
        }
        panic!("{x}")
    };
    let call: ThreadResult<Vec<()>> =
        pool.tasks().chunk(NonZeroUsize::MIN).map_async(fails, [0, 1]);
    gate.wait_for(1);
    assert!(!call.wait_timeout(Duration::from_millis(20)), "all are waited for");
    gate.open();
    // Whichever came first: to tell of a panic takes as long as it takes.
    assert!(call.get().unwrap_err().index() <= 1);
}

#[test]
fn release_task_refs() {
    let (_dog, pool) = (watchdog(60), pool(2));
    let items: Vec<_> = (0..20).map(|x: u64| Arc::new(x)).collect();
    let weak: Vec<Weak<u64>> = items.iter().map(Arc::downgrade).collect();
    let function = Arc::new(());
    let captured = Arc::clone(&function);
    let results = pool.map(move |x: Arc<u64>| (Arc::strong_count(&captured), x), items);
    assert!(weak.iter().all(|weak| weak.strong_count() == 1), "in the results");
    drop(results.unwrap());
    assert!(weak.iter().all(|weak| weak.strong_count() == 0));
    // A worker may still be on its way home from the call.
    wait_until("the function is dropped", || Arc::strong_count(&function) == 1);
}

#[test]
fn enter() {
    let (_dog, pool) = (watchdog(60), pool(2));
    pool.terminate();
    pool.join().unwrap();
    assert!(matches!(pool.apply(|| (), ()), Err(TaskError::PoolClosed { index: 0 })));
    pool.join().unwrap();
}

/// CPython's `_TestPoolWorkerErrors`.
#[test]
fn async_error_callback() {
    let (_dog, pool) = (watchdog(60), pool(2));
    let (tx, rx) = channel();
    let call = pool.apply_async(|| panic!("mine"), ());
    let call: ThreadResult<()> =
        call.on_done(move |result| tx.send(result.as_ref().unwrap_err().to_string()).unwrap());
    let error = call.get().unwrap_err().to_string();
    assert!(error.ends_with("mine"), "{error}");
    assert_eq!(rx.try_recv().unwrap(), error);
}
