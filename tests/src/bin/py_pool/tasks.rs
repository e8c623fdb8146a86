//! CPython's `_TestPool`: calls, and what they return.

use std::thread;

use procession::{ErrorKind, Pool, Result, TaskError};
use procession_tests::Stranger;
use serde::{Deserialize, Serialize};

use crate::stage::{
    ON_PURPOSE, Row, SHORT, Stop, Stopping, Unsendable, fail, gate, goes_on, hold, many, meet,
    pass, pool, sqr, squares, stopped, takes, takes_nothing,
};

pub(crate) const ROWS: &[Row] = &[
    ("pool::apply", apply),
    ("pool::map", map),
    ("pool::starmap", starmap),
    ("pool::starmap_async", starmap_async),
    ("pool::map_async", map_async),
    ("pool::map_unplicklable", items_that_cannot_be_sent),
    ("pool::map_chunksize", map_chunksize),
    ("pool::map_handle_iterable_exception", map_of_an_input_that_panics),
    ("pool::async", a_call_that_does_not_wait),
    ("pool::async_timeout", async_timeout),
    ("pool::imap", imap),
    ("pool::imap_handle_iterable_exception", imap_of_an_input_that_panics),
    ("pool::imap_unordered", imap_unordered),
    ("pool::imap_unordered_handle_iterable_exception", imap_unordered_of_an_input_that_panics),
    ("pool::make_pool", make_pool),
    ("pool::terminate", terminate),
    ("pool::empty_iterable", empty_iterable),
    ("pool::context", context),
    ("pool::enter", enter),
];

/// Arguments with names: a struct.
#[derive(Serialize, Deserialize)]
struct Named {
    x: i64,
    add: i64,
}

fn apply() {
    let pool = pool(4);
    assert_eq!(pool.apply(sqr, (5,)).unwrap(), 25);
    let named = |named: Named| named.x * named.x + named.add;
    assert_eq!(pool.apply(named, (Named { x: 3, add: 1 },)).unwrap(), 10);
    assert_eq!(pool.apply(|| "none".to_owned(), ()).unwrap(), "none");
    let three = |a: i64, text: String, list: Vec<u8>| (list, text, a);
    let values = pool.apply(three, (1, "two".to_owned(), vec![3, 4])).unwrap();
    assert_eq!(values, (vec![3, 4], "two".to_owned(), 1));
}

fn map() {
    let pool = pool(4);
    assert_eq!(pool.map(sqr, 0..10).unwrap(), squares(0..10));
    assert_eq!(pool.map(sqr, 0..100).unwrap(), squares(0..100));
    assert_eq!(pool.tasks().chunk(many(20)).map(sqr, 0..100).unwrap(), squares(0..100));
    // The last chunk is not full.
    assert_eq!(pool.tasks().chunk(many(7)).map(sqr, 0..100).unwrap(), squares(0..100));
}

fn mul(a: i64, b: i64) -> i64 {
    a * b
}

/// Each number with its double.
fn pairs(count: i64) -> impl Iterator<Item = (i64, i64)> {
    (0..count).map(|x| (x, 2 * x))
}

fn products(count: i64) -> Vec<i64> {
    pairs(count).map(|(a, b)| a * b).collect()
}

fn starmap() {
    let pool = pool(4);
    assert_eq!(pool.starmap(mul, pairs(10)).unwrap(), products(10));
    assert_eq!(pool.tasks().chunk(many(20)).starmap(mul, pairs(100)).unwrap(), products(100));
    let add = |a: i64, b: i64, c: String| format!("{a}{b}{c}");
    assert_eq!(pool.starmap(add, [(1, 2, "3".to_owned())]).unwrap(), ["123"]);
}

fn starmap_async() {
    let pool = pool(4);
    assert_eq!(pool.starmap_async(mul, pairs(100)).get().unwrap(), products(100));
    let chunks = pool.tasks().chunk(many(20)).starmap_async(mul, pairs(100));
    assert_eq!(chunks.get().unwrap(), products(100));
}

fn map_async() {
    let pool = pool(4);
    assert_eq!(pool.map_async(sqr, 0..10).get().unwrap(), squares(0..10));
    // Many at once, and each gets its own.
    let calls: Vec<_> = (0..20).map(|k| pool.map_async(sqr, k..k + 50)).collect();
    for (k, call) in (0..).zip(calls) {
        assert_eq!(call.get().unwrap(), squares(k..k + 50));
    }
}

/// Every call says so, instead of waiting for ever, and the pool goes on.
fn items_that_cannot_be_sent() {
    let pool = pool(2);
    let take = |_: Unsendable| ();
    let items = || (0..10).map(|_| Unsendable);
    let is_refused = |error: TaskError| {
        let TaskError::NotCalled { error, .. } = error else { panic!("{error}") };
        assert_eq!(error.kind(), ErrorKind::Encode);
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(cause, "this cannot be written");
    };
    is_refused(pool.apply(take, (Unsendable,)).unwrap_err());
    is_refused(pool.apply_async(take, (Unsendable,)).get().unwrap_err());
    is_refused(pool.map(take, items()).unwrap_err());
    is_refused(pool.starmap(take, items().map(|item| (item,))).unwrap_err());
    is_refused(pool.map_async(take, items()).get().unwrap_err());
    let all = pool.imap(take, items()).chain(pool.imap_unordered(take, items()));
    assert_eq!(all.map(|result| is_refused(result.unwrap_err())).count(), 20);
    goes_on(&pool);
}

fn map_chunksize() {
    let pool = pool(2);
    assert_eq!(pool.tasks().chunk(many(1)).map(sqr, []).unwrap(), []);
    // No chunk is as long as that, and none has no length: that does not compile.
    assert_eq!(pool.tasks().chunk(many(usize::MAX)).map(sqr, 0..9).unwrap(), squares(0..9));
}

/// Its panic is the caller's, as it is; the pool goes on.
fn map_of_an_input_that_panics() {
    let pool = pool(2);
    for stop in [0, 3, 19] {
        let input = || Stopping::at(stop);
        assert_eq!(stopped(|| pool.map(sqr, input()).map(drop)).unwrap_err(), Stop(stop));
        let chunks = pool.tasks().chunk(many(2));
        assert_eq!(stopped(|| chunks.map(sqr, input()).map(drop)).unwrap_err(), Stop(stop));
        assert_eq!(stopped(|| drop(pool.map_async(sqr, input()))).unwrap_err(), Stop(stop));
        assert_eq!(stopped(|| drop(pool.try_map(sqr, input()))).unwrap_err(), Stop(stop));
        goes_on(&pool);
    }
    // A length that is a lie is nobody's loss.
    assert_eq!(pool.map(sqr, Stopping::at(99)).unwrap(), squares(0..20));
    assert_eq!(pool.map_async(sqr, Stopping::at(99)).get().unwrap(), squares(0..20));
}

fn a_call_that_does_not_wait() {
    let pool = pool(4);
    let late = |x: i64| {
        pass(SHORT);
        sqr(x)
    };
    let value = takes(SHORT, || pool.apply_async(late, (7,)).get());
    assert_eq!(value.unwrap(), 49);
}

/// In time nothing, and the call goes on; a pool that is terminated meanwhile resolves it.
fn async_timeout() {
    let (pool, gate) = (pool(4), gate());
    let held = pool.apply_async(hold, (6, gate.clone()));
    let held = takes(SHORT, || held.get_timeout(SHORT)).unwrap_err();
    assert!(!held.is_ready());
    pool.terminate();
    pool.join().unwrap();
    let error = held.get().unwrap_err();
    assert!(matches!(error, TaskError::PoolClosed { index: 0 }), "{error}");
}

fn imap() {
    let pool = pool(4);
    let all: Result<Vec<_>, _> = pool.imap(sqr, 0..10).collect();
    assert_eq!(all.unwrap(), squares(0..10));
    let mut results = pool.imap(sqr, 0..10);
    for x in 0..10 {
        assert_eq!(results.next().unwrap().unwrap(), sqr(x));
    }
    assert!(results.next().is_none() && results.next().is_none());
    let mut results = pool.imap(sqr, 0..1000).chunk(many(100));
    for x in 0..1000 {
        assert_eq!(results.next().unwrap().unwrap(), sqr(x));
    }
    assert!(results.next().is_none());
}

/// Other than in Python the input's panic comes as soon as the item is taken. Nothing is lost by it: the results before it and behind it
/// follow in their order.
fn imap_of_an_input_that_panics() {
    let pool = pool(2);
    for stop in [0, 3, 19] {
        for chunk in [1, 2] {
            let mut results = pool.imap(sqr, Stopping::at(stop)).chunk(many(chunk));
            let (values, stops) = all_of(&mut results);
            assert_eq!((values, stops), (Stopping::others(stop), vec![Stop(stop)]));
        }
        // Taken one by one, it comes in its place.
        let mut results = pool.imap(sqr, Stopping::at(stop)).window(many(1));
        for x in (0..).take(stop) {
            assert_eq!(stopped(|| results.next()).unwrap().unwrap().unwrap(), sqr(x));
        }
        assert_eq!(stopped(|| results.next().map(drop)).unwrap_err(), Stop(stop));
        assert_eq!(all_of(&mut results).0, Stopping::others(stop)[stop..]);
    }
    goes_on(&pool);
}

/// The values of an iterator, and what its input panicked with.
fn all_of(results: &mut impl Iterator<Item = Result<i64, TaskError>>) -> (Vec<i64>, Vec<Stop>) {
    let (mut values, mut stops) = (Vec::new(), Vec::new());
    loop {
        match stopped(|| results.next()) {
            Ok(Some(value)) => values.push(value.unwrap()),
            Ok(None) => return (values, stops),
            Err(stop) => stops.push(stop),
        }
    }
}

fn imap_unordered() {
    let pool = pool(4);
    for chunk in [1, 100] {
        let results = pool.imap_unordered(sqr, 0..1000).chunk(many(chunk));
        let mut values: Vec<_> = results.map(Result::unwrap).collect();
        values.sort_unstable();
        assert_eq!(values, squares(0..1000));
    }
    // Who is held up holds up nobody.
    let gate = gate();
    let held = pool.apply_async(hold, (0, gate.clone()));
    let late = (0..30).map(|x| (x, (x == 0).then(|| gate.clone())));
    let mut results = pool.imap_unordered(
        |(x, gate)| match gate {
            Some(gate) => hold(x, gate),
            None => x,
        },
        late,
    );
    let mut early: Vec<_> = results.by_ref().take(29).map(Result::unwrap).collect();
    early.sort_unstable();
    assert!(early.into_iter().eq(1..30));
    gate.set().unwrap();
    assert_eq!((results.next().unwrap().unwrap(), held.get().unwrap()), (0, 0));
    assert!(results.next().is_none());
}

fn imap_unordered_of_an_input_that_panics() {
    let pool = pool(2);
    for stop in [0, 3, 19] {
        let mut results = pool.imap_unordered(sqr, Stopping::at(stop));
        let (mut values, stops) = all_of(&mut results);
        values.sort_unstable();
        assert_eq!((values, stops), (Stopping::others(stop), vec![Stop(stop)]));
    }
    goes_on(&pool);
}

/// No worker, and fewer: that does not compile. More than a family has room for is refused.
fn make_pool() {
    for workers in [1, 3] {
        let pool = pool(workers);
        assert_eq!((pool.workers(), pool.worker_pids().len()), (workers, workers));
        goes_on(&pool);
    }
    let refused = Pool::builder().workers(many(4097)).build().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
}

/// Though years of work are waiting.
fn terminate() {
    let (pool, begun) = (pool(3), gate());
    let long = |begun: Option<procession::Event>| {
        if let Some(begun) = begun {
            begun.set().unwrap();
        }
        loop {
            thread::park();
        }
    };
    let first = std::iter::once(Some(begun.clone()));
    let items = first.chain(std::iter::repeat_with(|| None).take(10_000));
    let result = pool.map_async::<_, _, (), _>(long, items);
    meet(&begun);
    let workers: Vec<_> = pool.worker_pids().into_iter().map(Stranger::new).collect();
    pool.terminate();
    pool.join().unwrap();
    assert!(workers.iter().all(|worker| !worker.is_alive()));
    let error = result.get().unwrap_err();
    assert!(matches!(error, TaskError::PoolClosed { .. }), "{error}");
    pool.terminate();
    pool.join().unwrap();
}

fn empty_iterable() {
    let pool = pool(1);
    assert_eq!(pool.map(sqr, []).unwrap(), []);
    assert_eq!(pool.starmap(mul, []).unwrap(), []);
    assert!(pool.try_map(sqr, []).is_empty());
    assert_eq!(pool.imap(sqr, []).count(), 0);
    assert_eq!(pool.imap_unordered(sqr, []).count(), 0);
    assert_eq!(pool.map_async(sqr, []).get().unwrap(), []);
    assert_eq!(pool.starmap_async(mul, []).get().unwrap(), []);
}

/// The end of its scope terminates a pool; other than in Python nobody can call it afterwards.
fn context() {
    let (workers, kept) = {
        let pool = pool(2);
        let workers: Vec<_> = pool.worker_pids().into_iter().map(Stranger::new).collect();
        let result = pool.map_async(sqr, 0..10);
        result.wait();
        (workers, result)
    };
    assert!(workers.iter().all(|worker| !worker.is_alive()));
    assert_eq!(kept.get().unwrap(), squares(0..10));
    // By a way out of it, too.
    let way_out = || -> Result<u32, TaskError> {
        let pool = pool(1);
        pool.apply(fail, (1,))?;
        Ok(1)
    };
    assert!(way_out().unwrap_err().to_string().contains(ON_PURPOSE));
}

/// A pool that has ended begins nothing, by whatever call.
fn enter() {
    for end in [Pool::terminate, Pool::close] {
        let pool = pool(1);
        goes_on(&pool);
        end(&pool);
        takes_nothing(&pool);
        pool.join().unwrap();
        takes_nothing(&pool);
        assert!(pool.worker_pids().is_empty());
    }
}
