//! Kills at random points: whoever is left gets an answer, and nothing is left behind.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

use std::path::Path;
use std::time::{Duration, Instant};

use procession::prelude::*;
use procession::{ErrorKind, Result};
use procession_sys::prim::{Mutex, lock};
use procession_sys::signal;
use procession_tests::{
    Litter, Random, Running, children, program, run, steady, wait_until, watchdog,
};

procession::test_support!();

/// What is counted belongs to the whole process.
static ALONE: Mutex<()> = Mutex::new(());

fn spin(duration: Duration) {
    let start = Instant::now();
    while start.elapsed() < duration {
        std::hint::spin_loop();
    }
}

/// Messages of all sizes: in the socket's buffer, beyond it, and far beyond it.
fn message(number: u32) -> Vec<u32> {
    let len = match number % 16 {
        15 => 300_000,
        7 => 30_000,
        small => small as usize,
    };
    vec![number; len]
}

fn send_for_ever(tx: Sender<Vec<u32>>) -> Result<Vec<u32>> {
    for number in 0..64 {
        tx.send(message(number))?;
    }
    // The answer is large as well: the kill may hit its way back.
    Ok(message(15))
}

#[test]
fn a_sender_that_is_killed_anywhere_leaves_whole_messages_and_an_answer() {
    const ROUNDS: usize = 200;
    let (_alone, _dog) = (lock(&ALONE), watchdog(120));
    let mut random = Random::from_environment();
    let before = steady();
    let (mut died, mut torn) = (0, 0);
    for _ in 0..ROUNDS {
        let (tx, rx) = pipe().unwrap();
        let child = Process::spawn(send_for_ever, (tx,)).unwrap();
        let victim = procession_tests::Stranger::new(child.pid());
        let pause = Duration::from_micros(random.below(8000) as u64);
        let killer = std::thread::spawn(move || {
            spin(pause);
            victim.signal(signal::KILL)
        });
        let mut expected = 0..;
        for got in &rx {
            match got {
                Ok(got) => assert_eq!(got, message(expected.next().unwrap())),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Torn, "{error:?}");
                    torn += 1;
                }
            }
        }
        killer.join().unwrap();
        match child.join() {
            Ok(value) => assert_eq!(value.unwrap(), message(15)),
            Err(JoinError::Died(death)) => {
                assert_eq!(death.status.signal(), Some(signal::KILL), "{death}");
                died += 1;
            }
            Err(other) => panic!("{other}"),
        }
        drop((child, rx));
        wait_until("nothing is left", || Litter::now() == before);
    }
    assert!(died > 0, "no kill came in time");
    assert!(torn < died, "{torn} messages of {died} killed senders were torn");
}

#[test]
fn a_receiver_that_is_killed_anywhere_is_noticed() {
    const ROUNDS: usize = 200;
    let (_alone, _dog) = (lock(&ALONE), watchdog(120));
    let mut random = Random::from_environment();
    let before = steady();
    for _ in 0..ROUNDS {
        let (tx, rx) = pipe::<Vec<u32>>().unwrap();
        let receive = |rx: Receiver<Vec<u32>>| rx.iter().count();
        let child = Process::spawn(receive, (rx,)).unwrap();
        let victim = procession_tests::Stranger::new(child.pid());
        let pause = Duration::from_micros(random.below(4000) as u64);
        let killer = std::thread::spawn(move || {
            spin(pause);
            victim.signal(signal::KILL)
        });
        // More than the socket holds: the sender waits for room when the receiver is killed.
        let error = (0..).find_map(|number| tx.send(message(number)).err()).unwrap();
        assert_eq!(error.kind(), ErrorKind::Closed, "{error:?}");
        assert!(killer.join().unwrap());
        assert!(matches!(child.join(), Err(JoinError::Died(_))));
        drop((child, tx));
        assert_eq!(Litter::now(), before);
    }
}

/// The processes that run the program at `path`.
fn running(path: &Path) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let runs = |entry: &std::fs::DirEntry| {
        std::fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe == path)
    };
    processes.filter(runs).count()
}

#[test]
fn a_parent_that_is_killed_anywhere_leaves_no_orphan() {
    const ROUNDS: usize = 100;
    let _dog = watchdog(120);
    let mut random = Random::from_environment();
    let folder = std::env::temp_dir().join(format!("procession-kills-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    // A copy of its own, so that its processes are known by what they run.
    let path = folder.join("family");
    std::fs::copy(env!("CARGO_BIN_EXE_family"), &path).unwrap();
    let mut most = 0;
    for _ in 0..ROUNDS {
        let mut root = Running::start(&mut program(&path));
        spin(Duration::from_micros(random.below(15_000) as u64));
        most = most.max(running(&path));
        root.0.kill().unwrap();
        root.0.wait().unwrap();
        wait_until("the family is gone", || running(&path) == 0);
    }
    assert!(most > 3, "at most {most} processes were killed at once");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn running_out_of_descriptors_is_an_error_and_leaves_nothing() {
    let _dog = watchdog(120);
    let mut command = program("/bin/sh");
    command.args(["-c", "ulimit -n 48; exec \"$0\"", env!("CARGO_BIN_EXE_exhaust")]);
    let (output, stdout, stderr) = run(&mut command);
    assert!(output.status.success(), "{stdout}{stderr}");
    // EMFILE, whichever call it was.
    let refused = stdout.lines().find_map(|line| line.split_once("refused with ")).unwrap().1;
    assert!(refused.matches("Some(24)").count() == 12, "{stdout}");
    assert!(stdout.contains("values refused: 3\nvalues: 3\ndone\n"), "{stdout}");
    assert!(children().is_empty());
}
