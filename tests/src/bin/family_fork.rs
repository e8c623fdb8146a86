//! Forks without telling the library, twice: both copies join the family as processes of their own.

#![expect(clippy::print_stdout, reason = "a helper program talks to its test")]
#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]
#![expect(unsafe_code, reason = "forks as a foreign library does")]

use procession_core::family::{Family, ProcessId, Reservation};
use procession_sys::fork::{Forked, fork};
use procession_sys::{pidfd, process, signal};
use procession_tests::wait_until;

const OBJECT: u32 = 7;

/// The copy: joins, and waits to be killed.
fn copy(family: &'static Family, parent: ProcessId, reserved: Reservation) -> ! {
    // A copy of what is the parent's: this gives nothing back.
    drop(reserved);
    let me = family.me().unwrap();
    assert_ne!(me, parent);
    assert!(family.dump().lines().any(|line| {
        line.starts_with(&format!("{me} Live pid {} ", std::process::id()))
            && line.contains(&format!(" parent {parent} "))
    }));
    family.hold(OBJECT).unwrap();
    loop {
        std::thread::yield_now();
    }
}

fn pid_of(family: &Family, id: ProcessId) -> u32 {
    let dump = family.dump();
    let line = dump.lines().find(|line| line.starts_with(&format!("{id} "))).unwrap();
    line.split(' ').skip_while(|word| *word != "pid").nth(1).unwrap().parse().unwrap()
}

fn main() {
    let family = Family::current().unwrap();
    let root = family.me().unwrap();
    let reserved = family.reserve().unwrap();
    family.hold(OBJECT).unwrap();
    // SAFETY: No other thread has been started.
    let child = match unsafe { fork() }.unwrap() {
        Forked::Parent { child } => child,
        Forked::Child => {
            let me = family.me().unwrap();
            let own = family.reserve().unwrap();
            // SAFETY: As above: this is a copy of a process with one thread.
            match unsafe { fork() }.unwrap() {
                Forked::Child => copy(family, me, own),
                Forked::Parent { .. } => {
                    drop(own);
                    copy(family, root, reserved)
                }
            }
        }
    };
    wait_until("all three hold the object", || family.holders(OBJECT).unwrap().len() == 3);
    assert!(family.members().contains(&reserved.id()), "the copies gave nothing back");
    let holders = family.holders(OBJECT).unwrap();
    let child_id = *holders.iter().find(|id| pid_of(family, **id) == child).unwrap();
    let grandchild_id = *holders.iter().find(|id| ![root, child_id].contains(id)).unwrap();
    let grandchild = pidfd::open(pid_of(family, grandchild_id)).unwrap();

    assert!(family.is_alive(child_id).unwrap());
    process::kill_and_reap(child).unwrap();
    assert!(!family.is_alive(child_id).unwrap());
    assert!(family.mark_dead(child_id).unwrap());
    assert!(family.is_alive(grandchild_id).unwrap());
    assert!(family.dump().contains(&format!(" parent {root} ")), "the grandchild was adopted");

    // Nobody in this process waits for the grandchild, which is not its child either: the watch sees its end.
    assert!(pidfd::signal(&grandchild, signal::KILL).unwrap());
    wait_until("the grandchild is recovered", || family.holders(OBJECT).unwrap() == [root]);
    drop(reserved);
    wait_until("all slots are free", || family.members() == [root]);
    println!("done");
}
