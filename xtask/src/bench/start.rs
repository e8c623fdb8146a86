//! Family `start`: from asking for a process to its first message, and to having reaped it.

use super::family::{
    Better, Comparison, Contender, ContenderRow, Env, Family, Kind, Metric, Source,
};

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
        ..Family::of_printed_figures()
    }
}

fn contenders() -> Vec<Contender> {
    let mut contenders = super::family::contenders(CONTENDERS, None);
    for contender in &mut contenders {
        contender.runs = PARENT_MIB.map(|mib| Env::from([("PEERS_RSS_MB", mib.to_owned())])).into();
    }
    contenders
}

/// Ours runs right after `posix_spawn`, so that the two see the same machine.
const CONTENDERS: &[ContenderRow] = &[
    ("thread", Kind::Limit, Source::Bin("start"), "thread"),
    ("fork", Kind::Limit, Source::Bin("start"), "fork"),
    ("std Command", Kind::Limit, Source::Bin("start"), "std-command"),
    ("zygote fork", Kind::Limit, Source::Bin("start"), "zygote"),
    ("posix_spawn", Kind::Limit, Source::Bin("start"), "posix_spawn"),
    ("procession", Kind::Ours, Source::Bin("start_procession"), "forkserver"),
    ("procession spawn", Kind::Ours, Source::Bin("start_procession"), "spawn"),
    ("procession fork", Kind::Ours, Source::Bin("start_procession"), "fork"),
    ("procspawn", Kind::Peer, Source::PeerBin("start_procspawn"), ""),
    ("crossmist", Kind::Peer, Source::PeerBin("start_crossmist"), ""),
    ("CPython 3.13 fork", Kind::Peer, Source::Python("start.py"), "fork"),
    ("CPython 3.13 spawn", Kind::Peer, Source::Python("start.py"), "spawn"),
    ("CPython 3.13 forkserver", Kind::Peer, Source::Python("start.py"), "forkserver"),
];
