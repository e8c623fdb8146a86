//! Family `start`: from asking for a process to its first message, and to having reaped it.

use super::family::{Better, Comparison, Contender, Env, Family, Kind, Metric, Source, read_lines};

/// What the parent holds in touched memory, in MiB.
const PARENT_MIB: [&str; 2] = ["10", "1024"];

pub(crate) fn family() -> Family {
    let metrics = PARENT_MIB.iter().flat_map(|mib| {
        ["first_msg", "create_join", "create_join_p90", "cpu"]
            .map(|name| Metric::new(format!("{name}[{mib}MB]"), "us", Better::Lower))
    });
    let both: Vec<String> = PARENT_MIB.map(|mib| format!("create_join[{mib}MB]")).to_vec();
    let compare = |subject, against| Comparison { subject, against, metrics: both.clone() };
    Family {
        name: "start",
        metrics: metrics.collect(),
        columns: 4,
        limit: "posix_spawn",
        contenders: contenders(),
        comparisons: vec![
            compare("procession", "zygote fork"),
            compare("procession", "CPython 3.13 forkserver"),
            compare("procession spawn", "posix_spawn"),
            compare("procession spawn", "CPython 3.13 spawn"),
            compare("procession fork", "fork"),
            compare("procession fork", "CPython 3.13 fork"),
        ],
        tools: &["tiny"],
        with_peak: false,
        read: Box::new(read_lines),
        lines: Box::new(|outcome| Ok(outcome.stdout.clone())),
    }
}

/// Ours runs right after `posix_spawn`, so that the two see the same machine.
fn contenders() -> Vec<Contender> {
    use Kind::{Limit, Ours, Peer};
    use Source::{Bin, PeerBin, Python};
    [
        ("thread", Limit, Bin("start"), "thread"),
        ("fork", Limit, Bin("start"), "fork"),
        ("std Command", Limit, Bin("start"), "std-command"),
        ("zygote fork", Limit, Bin("start"), "zygote"),
        ("posix_spawn", Limit, Bin("start"), "posix_spawn"),
        ("procession", Ours, Bin("start_procession"), "forkserver"),
        ("procession spawn", Ours, Bin("start_procession"), "spawn"),
        ("procession fork", Ours, Bin("start_procession"), "fork"),
        ("procspawn", Peer, PeerBin("start_procspawn"), ""),
        ("crossmist", Peer, PeerBin("start_crossmist"), ""),
        ("CPython 3.13 fork", Peer, Python("start.py"), "fork"),
        ("CPython 3.13 spawn", Peer, Python("start.py"), "spawn"),
        ("CPython 3.13 forkserver", Peer, Python("start.py"), "forkserver"),
    ]
    .map(|(name, kind, source, argument)| Contender {
        name,
        kind,
        source,
        args: Some(argument).filter(|text| !text.is_empty()).map(Into::into).into_iter().collect(),
        runs: PARENT_MIB.map(|mib| Env::from([("PEERS_RSS_MB", mib.to_owned())])).into(),
    })
    .into()
}
