//! Family `manager`: ours, through the public face. The argument says how processes that talk through memory wait: `adaptive` (the default),
//! `sleep` or `spin`; or through what they talk instead: `unix` or `tcp`.

use std::error::Error;
use std::io;
use std::time::{Duration, Instant};

use procession::connection::Family;
use procession::manager::{Batch, Builder};
use procession::waiting::{Policy, set_policy};
use procession::{DictProxy, Manager, Process};
use procession_benches::clock;
use procession_benches::measure::{number_from_env, print_figure, quantile_us};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;
type Dict = DictProxy<u64, Vec<u8>>;

/// The length of a value.
const LEN: usize = 32;
/// How many keys there are.
const KEYS: u64 = 1000;
const OPS: u64 = 40_000;
/// How many operations are sent at once.
const TOGETHER: u64 = 100;
const OBJECTS: usize = 100_000;

fn main() -> Outcome {
    procession::init();
    let way = std::env::args().nth(1).unwrap_or_else(|| "adaptive".to_owned());
    let policy = if ["unix", "tcp"].contains(&&*way) { "adaptive".to_owned() } else { way.clone() };
    set_policy(policy_of(&policy)?);
    let manager = match &*policy {
        "adaptive" => builder(&way)?.start()?,
        "sleep" => builder(&way)?.start_with(|_manager: Manager| {
            set_policy(Policy::Sleep);
            Ok(())
        })?,
        _ => builder(&way)?.start_with(|_manager: Manager| {
            set_policy(Policy::Spin);
            Ok(())
        })?,
    };
    let ops = OPS / number_from_env("PEERS_DIV").unwrap_or(1).max(1) as u64;
    let dict: Dict = manager.dict_of((0..KEYS).map(|key| (key, vec![7; LEN])))?;
    one_client(&dict, ops)?;
    together(&dict, ops)?;
    for clients in [2, 4] {
        many_clients(&dict, &policy, clients, ops)?;
    }
    proxies(&manager, ops / 10)?;
    idle(&manager)?;
    memory(&manager)
}

fn policy_of(name: &str) -> io::Result<Policy> {
    match name {
        "adaptive" => Ok(Policy::Adaptive),
        "sleep" => Ok(Policy::Sleep),
        "spin" => Ok(Policy::Spin),
        _ => Err(io::Error::other(format!("unknown way `{name}`"))),
    }
}

fn builder(way: &str) -> io::Result<Builder> {
    match way {
        "adaptive" | "sleep" | "spin" => Ok(Manager::builder()),
        "unix" => Ok(Manager::builder().sockets_only()),
        "tcp" => Ok(Manager::builder().family(Family::Tcp4)),
        _ => Err(io::Error::other(format!("unknown way `{way}`"))),
    }
}

fn per_second(ops: u64, took: Duration) -> f64 {
    ops as f64 / took.as_secs_f64()
}

fn one_client(dict: &Dict, ops: u64) -> Outcome {
    let value = vec![9; LEN];
    for key in 0..KEYS {
        dict.set(&key, &value)?;
    }
    let begin = Instant::now();
    for op in 0..ops {
        dict.set(&(op % KEYS), &value)?;
    }
    print_figure("set", per_second(ops, begin.elapsed()), "op/s")?;
    let begin = Instant::now();
    gets(dict, ops)?;
    print_figure("get", per_second(ops, begin.elapsed()), "op/s")?;
    Ok(())
}

fn gets(dict: &Dict, ops: u64) -> procession::Result<()> {
    for op in 0..ops {
        let value = dict.get(&(op % KEYS))?;
        assert_eq!(value.map(|value| value.len()), Some(LEN));
    }
    Ok(())
}

fn together(dict: &Dict, ops: u64) -> Outcome {
    let value = vec![9; LEN];
    let begin = Instant::now();
    for first in (0..ops / TOGETHER).map(|round| round * TOGETHER) {
        let mut batch = Batch::new();
        let results: Vec<_> = (first..first + TOGETHER)
            .map(|op| batch.add(dict.calls().set(&(op % KEYS), &value)))
            .collect();
        batch.run()?;
        for result in results {
            result.take()?;
        }
    }
    print_figure("batched", per_second(ops, begin.elapsed()), "op/s")?;
    let begin = Instant::now();
    for first in (0..ops / TOGETHER).map(|round| round * TOGETHER) {
        let sent: Result<Vec<_>, _> = (first..first + TOGETHER)
            .map(|op| dict.calls().set(&(op % KEYS), &value).send())
            .collect();
        for call in sent? {
            call.wait()?;
        }
    }
    print_figure("pipelined", per_second(ops, begin.elapsed()), "op/s")?;
    Ok(())
}

fn many_clients(dict: &Dict, policy: &str, clients: u64, ops: u64) -> Outcome {
    fn client(dict: Dict, policy: String, ops: u64) -> procession::Result<(u64, u64)> {
        if let Ok(policy) = policy_of(&policy) {
            set_policy(policy);
        }
        gets(&dict, ops / 10)?;
        let begin = clock::now_ns();
        gets(&dict, ops)?;
        Ok((begin, clock::now_ns()))
    }
    let crew: Result<Vec<_>, _> = (0..clients)
        .map(|_| Process::spawn(client, (dict.clone(), policy.to_owned(), ops)))
        .collect();
    let mut times = Vec::new();
    for member in crew? {
        times.push(member.join()??);
    }
    let begin = times.iter().map(|(begin, _)| *begin).min().unwrap_or_default();
    let end = times.iter().map(|(_, end)| *end).max().unwrap_or_default();
    let took = Duration::from_nanos(end - begin);
    print_figure(&format!("get[{clients}]"), per_second(clients * ops, took), "op/s")?;
    Ok(())
}

/// A proxy from its object's making to its end, beside a round trip.
fn proxies(manager: &Manager, ops: u64) -> Outcome {
    let (mut make, mut trip) = (Vec::new(), Vec::new());
    for _ in 0..ops {
        let begin = Instant::now();
        drop(manager.value(7u64)?);
        make.push(begin.elapsed());
        let begin = Instant::now();
        manager.object_count()?;
        trip.push(begin.elapsed());
    }
    let trips = quantile_us(&mut make, 50) / quantile_us(&mut trip, 50);
    print_figure("make_drop", trips, "trips")?;
    Ok(())
}

/// What the server uses while nobody asks.
fn idle(manager: &Manager) -> Outcome {
    let Some(server) = manager.process() else { return Ok(()) };
    let path = format!("/proc/{}/schedstat", server.pid());
    let used = || -> Outcome<u64> {
        let text = std::fs::read_to_string(&path)?;
        Ok(text.split_whitespace().next().unwrap_or("0").parse()?)
    };
    // It looks for a while whether more comes.
    clock::pause(Duration::from_millis(200));
    let before = used()?;
    clock::pause(Duration::from_secs(1));
    print_figure("cpu_idle", (used()? - before) as f64 / 1e3, "us/s")?;
    Ok(())
}

fn memory(manager: &Manager) -> Outcome {
    let Some(server) = manager.process() else { return Ok(()) };
    let path = format!("/proc/{}/status", server.pid());
    let resident = || -> Outcome<f64> {
        let text = std::fs::read_to_string(&path)?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: f64 =
            line.and_then(|line| line.split_whitespace().next()).unwrap_or("0").parse()?;
        Ok(kib / 1024.0)
    };
    let before = resident()?;
    let objects: Result<Vec<_>, _> = (0..OBJECTS as u64).map(|it| manager.value(it)).collect();
    let objects = objects?;
    print_figure("objects_100k", resident()? - before, "MiB")?;
    drop(objects);
    Ok(())
}
