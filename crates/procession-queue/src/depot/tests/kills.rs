//! Processes that are killed while they use a depot, whenever it hits them.

use std::process::Child;

use procession_sys::socket::{recv, send, seqpacket_pair};

use super::*;

/// Items that nobody removes; what the process that is killed stores has higher tags.
const LIVE: u64 = 30;
const KILLS: u64 = 60;

/// Says to a process of this test that it is the one to be killed.
const WORK: &str = "DEPOT_TEST_WORK";

/// What the process does that is killed: it stores, copies and removes until then.
fn work() {
    let stdin = std::io::stdin();
    let mut ends = Vec::new();
    let came = recv(&stdin, &mut [0], &mut ends, Block::Yes).unwrap();
    assert_eq!((came.bytes, ends.len()), (1, 2));
    let right = ends.pop().unwrap();
    let depot = Depot::open(ends.pop().unwrap(), right).unwrap();
    let pipe = pipe().unwrap().0;
    let stored = [pipe.as_fd(); 300];
    // Nobody kills it if its parent was killed.
    let end = Deadline::after(Duration::from_secs(20));
    for round in 0.. {
        if round == 20 {
            send(&stdin, &[b"w"], &[], Block::Yes).unwrap();
        }
        if end.has_passed() {
            break;
        }
        let tag = LIVE + round % 1000;
        let count = if round % 5 == 0 { 300 } else { 1 };
        assert!(depot.store(tag, &stored[..count]).unwrap());
        assert!(depot.copy(round * 7 % LIVE).unwrap().is_some());
        // All that is live is in front of it.
        if round % 3 != 0 {
            depot.remove(tag).unwrap();
        }
        if round % 50 == 0 {
            depot.sweep(&mut |tag| tag < LIVE).unwrap();
        }
    }
}

/// Starts such a process, and waits until it works.
fn start(depot: &Depot) -> (Child, OwnedFd) {
    let (near, far) = seqpacket_pair().unwrap();
    #[expect(clippy::disallowed_methods, reason = "no process of the library: this test, alone")]
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "depot::tests::kills::who_is_killed_takes_nothing_along"]);
    let child = command.env(WORK, "1").stdin(far).stdout(Stdio::null()).spawn().unwrap();
    drop(command);
    send(&near, &[b"d"], &depot.ends(), Block::Yes).unwrap();
    assert_eq!(recv(&near, &mut [0], &mut Vec::new(), Block::Yes).unwrap().bytes, 1, "it died");
    (child, near)
}

#[test]
fn who_is_killed_takes_nothing_along() {
    if std::env::var_os(WORK).is_some() {
        return work();
    }
    let kept = Kept::new();
    let live: Vec<u64> = (0..LIVE).collect();
    for tag in &live {
        assert!(kept.store(*tag, 2));
    }
    let mut in_the_middle = 0;
    for kill in 0..KILLS {
        let (mut child, near) = start(&kept.depot);
        // It says nothing more: a pause.
        let pause = Deadline::after(Duration::from_micros(kill * 377 % 5000));
        assert!(!poll::wait_readable(&near, pause).unwrap(), "it died");
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().code(), None);
        in_the_middle += usize::from(!kept.depot.is_settled().unwrap());
        for tag in &live {
            kept.has(*tag, 2);
        }
        kept.depot.sweep(&mut |tag| tag < LIVE).unwrap();
        assert_eq!(kept.sorted(), live);
        assert!(kept.depot.is_settled().unwrap());
    }
    assert!(in_the_middle > 0, "nobody was killed in the middle of anything");
}
