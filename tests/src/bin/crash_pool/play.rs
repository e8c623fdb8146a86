//! The scenes with our pool. What is said is described in `benches/peers/py/crash_pools.py`.

use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use procession::prelude::*;
use procession_sys::prim::{Mutex, lock};
use procession_sys::{Deadline, pidfd, poll, signal};

use super::{FOLDER, now};

const TASKS: u64 = 8;
const LETHAL: u64 = 3;
const TASK: Duration = Duration::from_millis(50);
const BUSY_TASKS: u64 = 16;
const BUSY: Duration = Duration::from_secs(1);

fn file(name: &str) -> PathBuf {
    PathBuf::from(std::env::var_os(FOLDER).unwrap()).join(name)
}

fn mark(name: &str, text: &str) {
    let opened = std::fs::File::options().create(true).append(true).open(file(name));
    opened.unwrap().write_all(text.as_bytes()).unwrap();
}

fn pause(time: Duration) {
    drop(poll::wait(&mut [], Deadline::after(time)));
}

fn raise(number: i32) -> ! {
    let own = pidfd::open(std::process::id()).unwrap();
    // More than once: the first SIGSEGV only takes away Rust's handler for overflows of the stack.
    loop {
        drop(pidfd::signal(&own, number));
    }
}

fn task(place: u64, nanos: u64, way: i32) -> u64 {
    mark("begun", "x");
    let time = Duration::from_nanos(nanos);
    if way > 0 {
        pause(time / 2);
        mark("death", &now().to_string());
        raise(way);
    }
    pause(time);
    place
}

fn die_at_start() {
    mark("starts", "x");
    raise(signal::KILL);
}

type Job = (u64, u64, i32);

fn jobs(count: u64, time: Duration, way: i32) -> impl Iterator<Item = Job> {
    let nanos = u64::try_from(time.as_nanos()).unwrap();
    (0..count).map(move |place| (place, nanos, if place == LETHAL { way } else { 0 }))
}

/// When somebody was told of an error first.
type Told = Arc<Mutex<Option<u64>>>;

fn tell(told: &Told) {
    let now = now();
    lock(told).get_or_insert(now);
}

fn run(pool: &Pool, how: &str, jobs: impl Iterator<Item = Job>, told: &Told) -> Vec<String> {
    let results: Vec<_> = if how.ends_with("try_map") {
        pool.tasks().try_map(|(place, nanos, way): Job| task(place, nanos, way), jobs)
    } else {
        let call = |job| {
            let told = Arc::clone(told);
            let hear = move |result: &Result<u64, TaskError>| {
                if result.is_err() {
                    tell(&told);
                }
            };
            pool.apply_async(task, job).on_done(hear)
        };
        let calls: Vec<_> = jobs.map(call).collect();
        calls.into_iter().map(procession::AsyncResult::get).collect()
    };
    let name = |(place, result): (u64, Result<u64, TaskError>)| match result {
        Ok(value) if value == place => "ok".to_owned(),
        Ok(_) => "wrong".to_owned(),
        Err(error) => {
            let text = format!("{error:?}");
            text.split([' ', '{']).next().unwrap_or_default().to_owned()
        }
    };
    (0..).zip(results).map(name).collect()
}

/// Plays a scene with a pool of two.
pub(crate) fn play(scene: &str, how: &str) {
    let mut builder = Pool::builder().workers(NonZeroUsize::new(2).unwrap());
    if scene == "init" {
        builder = builder.initializer(die_at_start, ()).unwrap();
    }
    if how.starts_with("exit_on_interrupt") {
        procession::exit_on_interrupt().unwrap();
    }
    let told = Told::default();
    if scene == "busy" {
        let pool = builder.build().unwrap();
        run(&pool, how, jobs(BUSY_TASKS, BUSY, 0), &told);
        return;
    }
    let way = match scene {
        "kill" => signal::KILL,
        "segment" => signal::SEGMENT,
        _ => 0,
    };
    let start = Instant::now();
    let pool = builder.build().unwrap();
    let outcomes = run(&pool, how, jobs(TASKS, TASK, way), &told);
    let wall = start.elapsed();
    for (place, outcome) in outcomes.iter().enumerate() {
        println!("outcome {place} {outcome}");
    }
    println!("wall {:.3}", wall.as_secs_f64());
    let death = std::fs::read_to_string(file("death")).ok().and_then(|text| text.parse().ok());
    if let (Some(death), Some(told)) = (death, *lock(&told)) {
        let late = Duration::from_nanos(told.saturating_sub(death));
        println!("late {:.6}", late.as_secs_f64());
    }
    if scene != "init" {
        let again = run(&pool, how, jobs(2, TASK, 0), &told);
        let is_usable = again.iter().all(|outcome| outcome == "ok");
        println!(
            "usable {}",
            if is_usable { "yes".to_owned() } else { format!("no: {}", again[0]) }
        );
    }
}
