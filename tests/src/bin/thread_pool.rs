//! Pools of threads in a program that forks. A program of its own, because a test harness has threads of others and cannot be forked.
#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use procession::prelude::*;
use procession::{ErrorKind, ThreadPool};
use procession_sys::prim::{AtomicBool, Ordering::SeqCst};
use procession_sys::signal::{self, Mask};
use procession_tests::{run_row, wait_until};

fn pool(workers: usize) -> ThreadPool {
    let workers = NonZeroUsize::new(workers).unwrap();
    ThreadPool::builder().workers(workers).name("My").build().unwrap()
}

fn fork() -> procession::process::Builder {
    Context::new(StartMethod::Fork).process()
}

fn workers_stand_still_while_the_process_forks() {
    let pool = pool(3);
    assert_eq!(pool.map(|x: u32| x + 1, 0..3).unwrap(), [1, 2, 3]);
    for round in 0..100 {
        // Idle, and busy with many short tasks.
        let busy = (round % 2 == 1).then(|| pool.map_async(|x: u32| x + 1, 0..200_000));
        let child = fork().spawn_closure(move || round).unwrap();
        assert_eq!(child.join().unwrap(), round);
        if let Some(busy) = busy {
            assert_eq!(busy.get().unwrap().len(), 200_000);
        }
    }
    // Between two tasks of a call that takes much longer than a fork may wait.
    let spin = |_: u32| {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(1) {
            std::hint::spin_loop();
        }
    };
    let long = pool.tasks().chunk(NonZeroUsize::MIN).map_async(spin, 0..30_000);
    fork().spawn_closure(|| ()).unwrap().join().unwrap();
    assert!(!long.is_ready());
    long.cancel();
    long.get().unwrap_err();
    // One that has workers come and go.
    let few = ThreadPool::builder().tasks_per_worker(NonZeroUsize::MIN).build().unwrap();
    assert_eq!(few.map(|x: u32| x, 0..50).unwrap().len(), 50);
    fork().spawn_closure(|| ()).unwrap().join().unwrap();
    // A child has pools of its own.
    let child = fork().spawn_closure(|| self::pool(2).map(|x: u32| x + 1, 0..3).unwrap());
    assert_eq!(child.unwrap().join().unwrap(), [1, 2, 3]);
}

fn a_forked_child_cannot_use_it() {
    // Borrowed by streams that go to the child.
    let pool: &'static ThreadPool = Box::leak(Box::new(pool(2)));
    let call = pool.apply_async(|| 1, ());
    call.wait();
    let mut stream = pool.imap(|x: u32| x, 0..10);
    stream.next().unwrap().unwrap();
    let mut unordered = pool.imap_unordered(|x: u32| x, 0..10);
    unordered.next().unwrap().unwrap();
    let other = self::pool(1);
    let in_child = move || {
        let not_called = |error: &TaskError| matches!(error, TaskError::NotCalled { .. });
        assert!(not_called(&pool.apply(|| 1, ()).unwrap_err()));
        assert!(not_called(&pool.map(|x: u32| x, 0..10).unwrap_err()));
        assert!(
            pool.try_map(|x: u32| x, 0..10).iter().all(|one| not_called(one.as_ref().unwrap_err()))
        );
        assert!(not_called(&pool.apply_async(|| 1, ()).get().unwrap_err()));
        assert!(not_called(&pool.imap(|x: u32| x, 0..10).next().unwrap().unwrap_err()));
        // What the parent has begun.
        assert!(!call.is_ready() && !call.wait_timeout(Duration::from_secs(9)));
        assert!(not_called(&call.get().unwrap_err()));
        while let Some(Ok(_)) = stream.next() {}
        assert!(stream.next().is_none());
        assert_eq!(unordered.filter(Result::is_err).count(), 1);
        let kinds =
            [pool.join().unwrap_err().kind(), pool.resize(NonZeroUsize::MIN).unwrap_err().kind()];
        assert_eq!(kinds, [ErrorKind::Unsupported; 2]);
        pool.close();
        drop(stream);
        drop(other);
    };
    fork().spawn_closure(in_child).unwrap().join().unwrap();
}

fn a_task_that_runs_is_named_to_who_forks() {
    let pool = pool(1);
    let (running, end) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (own_running, own) = (Arc::clone(&running), Arc::clone(&end));
    let call = pool.apply_async(
        move || {
            own_running.store(true, SeqCst);
            while !own.load(SeqCst) {
                thread::yield_now();
            }
        },
        (),
    );
    wait_until("it runs", || running.load(SeqCst));
    let error = fork().spawn_closure(|| ()).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Broken);
    assert!(error.to_string().contains("procession-work"), "{error}");
    end.store(true, SeqCst);
    call.get().unwrap();
    fork().spawn_closure(|| ()).unwrap().join().unwrap();
}

fn workers_have_names_and_the_signals_of_their_maker() {
    let pool = pool(2);
    let name = || std::fs::read_to_string("/proc/thread-self/comm").unwrap();
    let name = pool.apply(name, ()).unwrap();
    assert!(["MyWorker-1\n", "MyWorker-2\n"].contains(&name.as_str()), "{name}");
    let blocked = pool.apply(|| signal::thread_mask().unwrap().bits(), ()).unwrap();
    assert_eq!(blocked, signal::thread_mask().unwrap().bits());
    let own = Mask::from_bits(1 << (signal::TERMINATE - 1));
    signal::set_thread_mask(own).unwrap();
    let blocked = self::pool(1).apply(|| signal::thread_mask().unwrap().bits(), ()).unwrap();
    assert_eq!(blocked, own.bits());
}

fn a_program_ends_while_tasks_run() {
    let pool = Box::leak(Box::new(pool(2)));
    let running = Arc::new(AtomicBool::new(false));
    let own = Arc::clone(&running);
    let for_ever = move || -> u32 {
        own.store(true, SeqCst);
        loop {
            thread::park();
        }
    };
    drop(pool.apply_async(for_ever, ()));
    wait_until("it runs", || running.load(SeqCst));
}

fn main() {
    procession::init();
    run_row(&[
        (
            "workers_stand_still_while_the_process_forks",
            workers_stand_still_while_the_process_forks,
        ),
        ("a_forked_child_cannot_use_it", a_forked_child_cannot_use_it),
        ("a_task_that_runs_is_named_to_who_forks", a_task_that_runs_is_named_to_who_forks),
        (
            "workers_have_names_and_the_signals_of_their_maker",
            workers_have_names_and_the_signals_of_their_maker,
        ),
        ("a_program_ends_while_tasks_run", a_program_ends_while_tasks_run),
    ]);
}
