//! The processes below a process.

use std::collections::{HashMap, HashSet, VecDeque};
use std::os::fd::OwnedFd;

use rustix::io::Errno;

use super::stat::{self, Stat};
use super::{fail, pidfd};
use crate::{OsCode, Result};

/// The living descendants of the process `pid`, parents before their children, each with a descriptor that is certainly its.
///
/// The system has no call for this: `/proc` is read once, from the low numbers to the high ones. A process that is started
/// while that goes on may be missing, and so may one whose parent ends meanwhile. To miss none, stop those that are found and
/// ask again. Zombies are not among them. When there is no process `pid`, there are no descendants: the system has given its
/// children another parent. Whoever calls sees to it that the number is not used again, for instance because it is a child
/// that nobody has waited for.
///
/// # Errors
///
/// When `/proc` is not mounted, or this process may open no more descriptors.
///
/// # Source
///
/// `proc(5)`, `/proc/[pid]/stat`; `pidfd_open(2)`.
pub fn descendants(pid: u32) -> Result<Vec<(u32, OwnedFd)>> {
    let seen = scan()?;
    let mut confirmed = HashSet::from([pid]);
    let mut found = Vec::new();
    for (pid, stat) in below(pid, &seen) {
        let process = match pidfd::open(pid) {
            Ok(process) => process,
            Err(error) if error.code() == OsCode::NO_PROCESS => continue,
            Err(error) => return Err(error),
        };
        // What holds after the descriptor was opened holds for the process behind it.
        if is_still(pid, stat, &seen, &confirmed, stat::read)? {
            confirmed.insert(pid);
            found.push((pid, process));
        }
    }
    Ok(found)
}

type Seen = HashMap<u32, Stat>;

/// Reads about all processes.
fn scan() -> Result<Seen> {
    let path = "/proc";
    let failed = |error: std::io::Error| {
        fail("list", path.into(), Errno::from_io_error(&error).unwrap_or(Errno::IO))
    };
    let mut seen = Seen::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        seen.extend(stat::read(pid)?.map(|stat| (pid, stat)));
    }
    Ok(seen)
}

/// The living processes below `root`, parents before their children.
fn below(root: u32, seen: &Seen) -> Vec<(u32, Stat)> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    // Numbers that were used again during the scan can make a circle through the root.
    for (pid, stat) in seen.iter().filter(|(pid, stat)| stat.lives && **pid != root) {
        children.entry(stat.parent).or_default().push(*pid);
    }
    let mut order = Vec::new();
    let mut parents = VecDeque::from([root]);
    while let Some(parent) = parents.pop_front() {
        let mut pids = children.remove(&parent).unwrap_or_default();
        pids.sort_unstable();
        order.extend(pids.iter().filter_map(|pid| Some((*pid, *seen.get(pid)?))));
        parents.extend(pids);
    }
    order
}

/// Whether the process `pid`, which was seen as `stat`, still lives and was rightly taken for a descendant.
///
/// Its parent must be the one that was seen, and confirmed. Or that one has ended since, and the system has given the process
/// another parent, as it does with orphans.
fn is_still(
    pid: u32,
    stat: Stat,
    seen: &Seen,
    confirmed: &HashSet<u32>,
    read: impl Fn(u32) -> Result<Option<Stat>>,
) -> Result<bool> {
    let now = match read(pid)? {
        Some(now) if now.lives && now.start_ticks == stat.start_ticks => now,
        _ => return Ok(false),
    };
    if now.parent == stat.parent {
        return Ok(confirmed.contains(&stat.parent));
    }
    let then = seen.get(&stat.parent).copied();
    let parent = read(stat.parent)?;
    Ok(parent.is_none_or(|now| {
        !now.lives || then.is_some_and(|then| then.start_ticks != now.start_ticks)
    }))
}

#[cfg(test)]
mod tests {
    use super::super::pidfd::Ended;
    use super::super::process;
    use super::super::signal::{self, CHILD, KILL};
    use super::super::testing::{Child, Talk, alone, pause, soon};
    use super::*;
    use crate::{Deadline, poll};

    fn stat(parent: u32) -> Stat {
        Stat {
            parent,
            threads: 1,
            start_ticks: 100,
            lives: true,
            processor_ticks: 0,
            resident_pages: 0,
        }
    }

    fn pids(found: &[(u32, OwnedFd)]) -> Vec<u32> {
        found.iter().map(|(pid, _)| *pid).collect()
    }

    /// Forks children, each a child of the one before, `depth` of them. Each tells its number, has a name that is hard to
    /// read, and waits.
    fn chain(depth: usize, talk: &Talk) -> Child {
        Child::run(|| {
            let name = std::ffi::CString::new("a) S 1 (b").unwrap();
            rustix::thread::set_name(&name).unwrap();
            // No zombies: whoever dies below is gone.
            signal::ignore(CHILD).unwrap();
            talk.tell(&process::id().to_ne_bytes());
            let _below = (depth > 1).then(|| chain(depth - 1, talk));
            pause()
        })
    }

    fn listen(talk: &Talk, count: usize) -> Vec<u32> {
        let number = |_| {
            let mut bytes = [0; 4];
            talk.listen(&mut bytes);
            u32::from_ne_bytes(bytes)
        };
        (0..count).map(number).collect()
    }

    #[test]
    fn descendants_come_after_their_parents_and_can_be_killed() {
        let talk = Talk::new();
        let top = chain(4, &talk);
        let pids_told = listen(&talk, 4);
        assert_eq!(pids_told[0], top.pid);
        let found = descendants(top.pid).unwrap();
        assert_eq!(pids(&found), pids_told[1..]);
        assert_eq!(pids(&descendants(pids_told[2]).unwrap()), pids_told[3..]);
        for (pid, process) in found.iter().rev() {
            assert!(pidfd::signal(process, KILL).unwrap());
            assert!(poll::wait_readable(process, soon()).unwrap(), "{pid} is another process");
        }
        let gone = |pid| matches!(stat::read(pid), Ok(None));
        let deadline = soon();
        // Who ignores SIGCHLD has its children reaped by the system, which comes right after the descriptor is readable.
        while !pids_told[1..].iter().all(|pid| gone(*pid)) {
            assert!(!deadline.has_passed());
        }
        assert_eq!(pids(&descendants(top.pid).unwrap()), []);
    }

    #[test]
    fn all_branches_are_found() {
        alone(|| {
            let talk = Talk::new();
            let (one, two) = (chain(2, &talk), Talk::new());
            let below_one = listen(&talk, 2)[1];
            let other = chain(2, &two);
            let below_two = listen(&two, 2)[1];
            let found = pids(&descendants(process::id()).unwrap());
            let mut children = [one.pid, other.pid];
            children.sort_unstable();
            assert_eq!(found[..2], children);
            let mut rest = found[2..].to_vec();
            rest.sort_unstable();
            let mut expected = [below_one, below_two];
            expected.sort_unstable();
            assert_eq!(rest, expected);
            for (_, process) in descendants(process::id()).unwrap() {
                assert!(pidfd::signal(process, KILL).unwrap());
            }
        });
    }

    #[test]
    fn a_zombie_is_no_descendant() {
        alone(|| {
            let child = Child::run(|| 0);
            let process = pidfd::open(child.pid).unwrap();
            assert!(poll::wait_readable(&process, soon()).unwrap());
            assert!(stat::read(child.pid).unwrap().is_some_and(|stat| !stat.lives));
            assert_eq!(pids(&descendants(process::id()).unwrap()), []);
        });
    }

    #[test]
    fn nobody_descends_from_who_is_not_there() {
        assert_eq!(pids(&descendants(u32::MAX).unwrap()), []);
    }

    #[test]
    fn processes_that_come_and_go_meanwhile_do_no_harm() {
        alone(|| {
            let breeder = Child::run(|| {
                for _ in 0..300 {
                    Child::run(|| 0).ended();
                }
                0
            });
            while poll::wait_readable(&breeder, Deadline::PAST) == Ok(false) {
                for (pid, process) in descendants(process::id()).unwrap() {
                    let ends = pid == breeder.pid || poll::wait_readable(&process, soon()).unwrap();
                    assert!(ends, "{pid} is none of the processes that all end");
                }
            }
            assert_eq!(pids(&descendants(process::id()).unwrap()), []);
            assert_eq!(breeder.ended(), Ended::Exited(0));
        });
    }

    #[test]
    fn a_circle_through_the_root_is_cut_and_zombies_are_left_out() {
        let zombie = Stat { lives: false, ..stat(5) };
        let seen = [(5, stat(7)), (6, stat(5)), (7, stat(6)), (8, stat(9)), (9, zombie)];
        let seen = Seen::from(seen);
        let order: Vec<u32> = below(5, &seen).into_iter().map(|(pid, _)| pid).collect();
        assert_eq!(order, [6, 7]);
    }

    /// Whether process 7, seen as a child of process 6, is still taken for it when `now` is so.
    fn still(confirmed: &[u32], now: &[(u32, Stat)]) -> bool {
        let seen = Seen::from([(6, stat(5)), (7, stat(6))]);
        let now = Seen::from_iter(now.iter().copied());
        let confirmed = confirmed.iter().copied().collect();
        is_still(7, stat(6), &seen, &confirmed, |pid| Ok(now.get(&pid).copied())).unwrap()
    }

    #[test]
    fn what_became_of_a_process_meanwhile_decides() {
        let parent = (6, stat(5));
        assert!(still(&[5, 6], &[parent, (7, stat(6))]));
        // It has ended, as a zombie or altogether, or its number has been used again.
        assert!(!still(&[5, 6], &[parent]));
        assert!(!still(&[5, 6], &[parent, (7, Stat { lives: false, ..stat(6) })]));
        assert!(!still(&[5, 6], &[parent, (7, Stat { start_ticks: 101, ..stat(6) })]));
        // The number of its parent had been used again: it is a child of somebody else.
        assert!(!still(&[5], &[(6, Stat { start_ticks: 101, ..stat(1) }), (7, stat(6))]));
    }

    #[test]
    fn an_orphan_stays_a_descendant() {
        let orphan = (7, stat(1));
        assert!(still(&[5], &[orphan]));
        assert!(still(&[5], &[(6, Stat { lives: false, ..stat(5) }), orphan]));
        assert!(still(&[5], &[(6, Stat { start_ticks: 101, ..stat(1) }), orphan]));
        // Its parent lives, so it was not given to another one: it is somebody else.
        assert!(!still(&[5, 6], &[(6, stat(5)), orphan]));
    }
}
