//! CPython's `ExecutorDeadlockTest`: whatever happens where, the call is told, and the pool goes on. Other than in Python it is never
//! broken by that.

use procession::{Error, ErrorKind, ExitStatus, Pool, TaskError};
use procession_sys::signal;
use procession_tests::wait_until;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use crate::stage::{ON_PURPOSE, Row, gate, goes_on, pool, sqr};

pub(crate) const ROWS: &[Row] = &[
    ("deadlock::error_at_task_pickle", error_at_task_pickle),
    ("deadlock::exit_at_task_unpickle", exit_at_task_unpickle),
    ("deadlock::error_at_task_unpickle", error_at_task_unpickle),
    ("deadlock::crash_at_task_unpickle", crash_at_task_unpickle),
    ("deadlock::crash_during_func_exec_on_worker", crash_during_func_exec),
    ("deadlock::exit_during_func_exec_on_worker", exit_during_func_exec),
    ("deadlock::error_during_func_exec_on_worker", error_during_func_exec),
    ("deadlock::crash_during_result_pickle_on_worker", crash_during_result_pickle),
    ("deadlock::exit_during_result_pickle_on_worker", exit_during_result_pickle),
    ("deadlock::error_during_result_pickle_on_worker", error_during_result_pickle),
    ("deadlock::error_during_result_unpickle_in_result_handler", error_during_result_unpickle),
    ("deadlock::shutdown_deadlock", shutdown_deadlock),
    ("deadlock::shutdown_deadlock_pickle", shutdown_deadlock_pickle),
    ("deadlock::crash_big_data", crash_big_data),
    ("deadlock::gh105829_should_not_deadlock_if_wakeup_pipe_full", many_calls_at_once),
];

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum What {
    Error,
    Panic,
    Exit,
    Crash,
}

/// Does it; returns only with an error.
#[expect(clippy::exit, reason = "that is what is tested")]
fn happen<E>(what: What, error: impl FnOnce(&'static str) -> E) -> E {
    match what {
        What::Error => error("as was wanted"),
        What::Panic => panic!("{ON_PURPOSE}"),
        What::Exit => std::process::exit(3),
        What::Crash => std::process::abort(),
    }
}

/// A value to which something happens when it is written.
struct AtWrite(What);

impl Serialize for AtWrite {
    fn serialize<S: Serializer>(&self, _serializer: S) -> Result<S::Ok, S::Error> {
        Err(happen(self.0, ser::Error::custom))
    }
}

impl<'de> Deserialize<'de> for AtWrite {
    fn deserialize<D: Deserializer<'de>>(_deserializer: D) -> Result<Self, D::Error> {
        Err(de::Error::custom("nobody has written one"))
    }
}

/// A value to which something happens when it is read.
#[derive(Serialize)]
struct AtRead(What, Vec<u8>);

impl<'de> Deserialize<'de> for AtRead {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (what, _) = <(What, Vec<u8>)>::deserialize(deserializer)?;
        Err(happen(what, de::Error::custom))
    }
}

/// More than the room of any pipe or socket.
const LARGE: usize = 8 << 20;

#[track_caller]
fn died(error: TaskError, what: What) {
    let TaskError::WorkerDied { index: 0, death, ended_by_pool: None, .. } = &error else {
        panic!("{error}")
    };
    match what {
        What::Exit => assert_eq!(death.status, ExitStatus::Exited(3)),
        _ => assert_eq!(death.status.signal(), Some(signal::ABORT)),
    }
    assert_eq!(Error::from(error).kind(), ErrorKind::Died);
}

#[track_caller]
fn not_called(error: TaskError, kind: ErrorKind) {
    let TaskError::NotCalled { index: 0, error } = error else { panic!("{error}") };
    assert_eq!(error.kind(), kind);
}

#[track_caller]
fn value_lost(error: TaskError, kind: ErrorKind) {
    let TaskError::Value { index: 0, error } = error else { panic!("{error}") };
    assert_eq!(error.kind(), kind);
}

/// Of a call to which something happens beside others: they are not concerned, and the pool goes on.
fn alone<R>(call: impl Fn(&Pool) -> Result<R, TaskError>, check: impl Fn(TaskError)) {
    let pool = pool(2);
    for _ in 0..2 {
        let before = pool.map_async(sqr, 0..10);
        check(call(&pool).map(drop).unwrap_err());
        let after = pool.map_async(sqr, 0..10);
        assert_eq!(before.get().unwrap(), after.get().unwrap());
        goes_on(&pool);
    }
    pool.close();
    pool.join().unwrap();
}

fn error_at_task_pickle() {
    let call = |pool: &Pool| pool.apply(|_: AtWrite| (), (AtWrite(What::Error),));
    alone(call, |error| not_called(error, ErrorKind::Encode));
}

fn read(what: What) -> impl Fn(&Pool) -> Result<(), TaskError> {
    move |pool| pool.apply(|_: AtRead| (), (AtRead(what, vec![]),))
}

fn exit_at_task_unpickle() {
    alone(read(What::Exit), |error| died(error, What::Exit));
}

fn error_at_task_unpickle() {
    alone(read(What::Error), |error| not_called(error, ErrorKind::Decode));
    // A panic there is one of the task.
    alone(read(What::Panic), |error| {
        assert!(matches!(error, TaskError::Panicked { index: 0, .. }), "{error}");
    });
}

fn crash_at_task_unpickle() {
    alone(read(What::Crash), |error| died(error, What::Crash));
}

fn run(what: What) -> impl Fn(&Pool) -> Result<(), TaskError> {
    move |pool| pool.apply(|what| drop(happen(what, String::from)), (what,))
}

fn crash_during_func_exec() {
    alone(run(What::Crash), |error| died(error, What::Crash));
}

/// Other than in Python an exit is no error that could be caught: the worker has ended, with that code.
fn exit_during_func_exec() {
    alone(run(What::Exit), |error| died(error, What::Exit));
}

fn error_during_func_exec() {
    alone(run(What::Panic), |error| {
        let TaskError::Panicked { index: 0, panic } = error else { panic!("{error}") };
        assert_eq!(panic.message, ON_PURPOSE);
    });
}

fn write(what: What) -> impl Fn(&Pool) -> Result<AtWrite, TaskError> {
    move |pool| pool.apply(AtWrite, (what,))
}

fn crash_during_result_pickle() {
    alone(write(What::Crash), |error| died(error, What::Crash));
}

fn exit_during_result_pickle() {
    alone(write(What::Exit), |error| died(error, What::Exit));
}

fn error_during_result_pickle() {
    alone(write(What::Error), |error| value_lost(error, ErrorKind::Encode));
    alone(write(What::Panic), |error| {
        assert!(matches!(error, TaskError::Panicked { index: 0, .. }), "{error}");
    });
}

/// Who asks reads: its panic there is that value's loss. Its exit is that of the whole program.
fn error_during_result_unpickle() {
    let back = |what| move |pool: &Pool| pool.apply(|what| AtRead(what, vec![1; LARGE]), (what,));
    alone(back(What::Error), |error| value_lost(error, ErrorKind::Decode));
    alone(back(What::Panic), |error| value_lost(error, ErrorKind::Panicked));
}

/// The worker crashes when the pool is closed and somebody waits for its end.
fn shutdown_deadlock() {
    let (pool, gate) = (pool(2), gate());
    let crash = |gate: procession::Event| {
        gate.wait().unwrap();
        drop(happen(What::Crash, String::from));
    };
    let call = pool.apply_async(crash, (gate.clone(),));
    let waiting = pool.map_async(sqr, 0..100);
    pool.close();
    std::thread::scope(|scope| {
        let joiner = scope.spawn(|| pool.join());
        wait_until("the others are done", || waiting.is_ready());
        gate.set().unwrap();
        joiner.join().unwrap().unwrap();
    });
    died(call.get().unwrap_err(), What::Crash);
    assert_eq!(waiting.get().unwrap().len(), 100);
}

fn is_running(thread: &str) -> bool {
    let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    threads
        .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok())
        .any(|name| name.trim_end() == thread)
}

/// A pool that is closed with such a task in it ends by itself, and its thread with it.
fn shutdown_deadlock_pickle() {
    let pool = pool(2);
    goes_on(&pool);
    let call = pool.apply_async(|_: AtWrite| (), (AtWrite(What::Error),));
    pool.close();
    not_called(call.get().unwrap_err(), ErrorKind::Encode);
    wait_until("the workers have ended", || pool.worker_pids().is_empty());
    wait_until("its thread has ended", || !is_running("procession-pool"));
}

/// While more is on its way than there is room for: to the worker, to several, and from it.
fn crash_big_data() {
    let pool = pool(2);
    let large = || vec![7; LARGE];
    for _ in 0..3 {
        let error = pool.apply(|_: AtRead| (), (AtRead(What::Crash, large()),)).unwrap_err();
        died(error, What::Crash);
        let crash = |data: Vec<u8>| drop(happen(What::Crash, |_| data));
        died(pool.apply(crash, (large(),)).unwrap_err(), What::Crash);
        let after = |x: u8| (vec![x; LARGE], (x == 3).then_some(AtWrite(What::Crash)));
        let results = pool.try_map(after, 0..6);
        for (x, result) in (0..).zip(results) {
            match result {
                Ok((data, _)) => assert!(x != 3 && data == vec![x; LARGE]),
                Err(TaskError::WorkerDied { index: 3, .. }) => assert_eq!(x, 3),
                Err(error) => panic!("{error}"),
            }
        }
        let items = (0..6).map(|x| (x, large()));
        let sizes = |(x, data): (usize, Vec<u8>)| match x {
            3 => drop(happen(What::Crash, |_| data)),
            _ => assert_eq!(data.len(), LARGE),
        };
        let failed = pool.try_map(sizes, items).into_iter().filter_map(Result::err);
        assert!(failed.map(|error| error.index()).eq([3]));
    }
    goes_on(&pool);
}

/// More calls than any bell could count, while nobody answers it.
fn many_calls_at_once() {
    let (pool, gate) = (pool(1), gate());
    let held = pool.apply_async(crate::stage::hold, (1, gate.clone()));
    let calls: Vec<_> = std::thread::scope(|scope| {
        let submit = || (0..500).map(|x| pool.apply_async(sqr, (x,))).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(submit)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(calls.iter().filter(|call| call.is_ready()).count(), 0);
    gate.set().unwrap();
    assert_eq!(held.get().unwrap(), 1);
    for (x, call) in (0..500).cycle().zip(calls) {
        assert_eq!(call.get().unwrap(), sqr(x));
    }
}
