//! A program whose children, or whose fork server, die before their `main`.
#![expect(clippy::print_stdout, reason = "a helper program talks to its test")]
#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]

use procession::prelude::*;

procession_sys::before_main!(die_as_a_child);

fn die_as_a_child() {
    // Before `main` there is no `std::env::args`, but there is /proc.
    let is_child = std::fs::read("/proc/self/cmdline").is_ok_and(|line| {
        line.ends_with(b"procession-child\0") || line.ends_with(b"fork-server\0")
    });
    if is_child {
        procession_sys::process::exit_now(9);
    }
}

fn main() {
    procession::init();
    let server = Process::spawn(|x: u32| x + 1, (41,)).unwrap_err();
    println!("server: {server:?}");
    procession::force_start_method(StartMethod::Spawn);
    let child = Process::spawn(|x: u32| x + 1, (41,)).unwrap();
    println!("join: {}", child.join().unwrap_err());
    println!("status: {:?}", child.exit_status().unwrap());
    // Arguments that no socket buffer holds: the child dies while they are under way, or before.
    let large = Process::spawn(|x: Vec<u8>| x.len(), (vec![7u8; 8 << 20],)).unwrap();
    println!("large: {:?}", large.join().map_err(|error| procession::Error::from(error).kind()));

    let pool = Pool::new().unwrap();
    let results = pool.try_map(|x: u32| x, 0..1000);
    let broken =
        |result: &Result<u32, TaskError>| matches!(result, Err(TaskError::PoolBroken { .. }));
    println!("refused: {}", results.iter().filter(|result| broken(result)).count());
    let late = pool.apply(|x: u32| x, (1,)).unwrap_err();
    println!("late: {late}: {:?}", procession::Error::from(late.clone()));
    println!("done");
}
