//! Changes what children inherit, and asks children of each method what they have. With `--interrupt`: interrupts a child.
#![expect(clippy::print_stdout, reason = "a helper program talks to its test")]
#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]

use procession::prelude::*;
use procession_sys::signal;
use procession_sys::surroundings::Surroundings;
use procession_tests::{Stranger, fork_server};

type Inherited = (std::path::PathBuf, Vec<(std::ffi::OsString, std::ffi::OsString)>, String);

fn inherited() -> Inherited {
    let now = Surroundings::of_this_process().unwrap();
    let rest = format!("{} {} {:?} {:?}", now.umask, now.nice, now.limits, now.processors);
    let mut environment: Vec<_> = std::env::vars_os().collect();
    environment.sort();
    (now.directory, environment, rest)
}

fn compare() {
    for method in procession::start_methods() {
        let child = Context::new(*method).process().spawn(inherited, ()).unwrap();
        let (got, own) = (child.join().unwrap(), inherited());
        if got == own {
            println!("{method}: same");
        } else {
            println!("{method}: {got:?} and not {own:?}");
        }
    }
}

fn wait(ready: Sender<()>) {
    ready.send(()).unwrap();
    loop {
        std::thread::park();
    }
}

fn interrupt() {
    let (tx, rx) = pipe().unwrap();
    let child = Context::new(StartMethod::ForkServer).process().spawn(wait, (tx,)).unwrap();
    rx.recv().unwrap();
    let server = Stranger::new(fork_server().unwrap());
    assert!(server.signal(signal::INTERRUPT));
    child.signal(signal::INTERRUPT).unwrap();
    drop(child.join());
    println!("{}", child.exit_status().unwrap().unwrap());
    println!("server lives: {}", server.is_alive());
}

fn main() {
    procession::init();
    if std::env::args().nth(1).is_some_and(|word| word == "--interrupt") {
        return interrupt();
    }
    compare();
    // The server is running, and was started in other surroundings.
    std::env::set_current_dir("/").unwrap();
    let present = Surroundings::of_this_process().unwrap();
    let mut wanted = present.clone();
    wanted.umask = 0o027;
    wanted.nice = present.nice + 1;
    wanted.processors.truncate(1);
    // The limit on open files.
    wanted.limits[7].0 = Some(200);
    wanted.apply_over(&present).unwrap();
    #[expect(clippy::disallowed_methods, unsafe_code, reason = "that is the test")]
    // SAFETY: This process has no other thread.
    unsafe {
        std::env::set_var("PROCESSION_TEST_VARIABLE", "set after the start");
    }
    compare();
}
