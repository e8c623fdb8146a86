//! The behaviours of shared memory that CPython's tests assert, row by row, what those do not ask, and blocks that are exchanged with
//! real CPythons, each that is installed of 3.9 to 3.13. `docs/conformance.md` says which row is tested where.
//!
//! Each row runs in a helper program, once for each start method: a test harness has threads, so that it cannot be forked.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

#[macro_use(rows)]
extern crate procession_tests;

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use procession_shared::SharedMemory;
use procession_tests::python::{Python, pythons};
use procession_tests::{Running, program, rows, wait_until, watchdog};

/// Runs a row of the helper program under each of these methods.
#[track_caller]
fn holds(row: &str, methods: &[&str]) {
    rows::holds_in_silence(env!("CARGO_BIN_EXE_py_shared"), row, methods);
}

/// CPython's `_TestSharedMemory`, of blocks.
mod blocks {
    rows!("blocks":
        name_with_embedded_null SERVED,
        basics SERVED,
        recreate SERVED,
        invalid_creation SERVED,
        pickle_unpickle SERVED,
        pickle_unpickle_dead_object SERVED,
        across_processes EACH,
        anonymous_across_processes EACH,
        used_again_only_when_nobody_has_it EACH,
        a_single_writer FRESH,
    );
}

/// CPython's `_TestSharedMemory`, of how long names live.
mod lifetime {
    rows!("lifetime":
        server_ignores_sigint SERVED,
        no_warning_after_shutdown EACH,
        manager_basics SERVED,
        cleaned_after_process_termination EACH,
        cleaned_after_kill EACH,
        untracking EACH,
        a_fork_does_not_end_its_parents_scope EACH,
    );
}

/// Our own.
mod sequences {
    rows!("sequences":
        a_gibibyte_arrives_without_being_copied EACH,
        each_worker_of_a_pool_has_the_same FRESH,
        it_outlives_its_maker EACH,
    );
}

/// A name of a test's own; unlinked when it is dropped.
struct Name(String);

impl Name {
    fn new(what: &str) -> Self {
        Self(format!("procession-test-{}-{what}", std::process::id()))
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        drop(std::fs::remove_file(format!("/dev/shm/{}", self.0)));
    }
}

fn is_there(name: &str) -> bool {
    std::fs::exists(format!("/dev/shm/{name}")).unwrap()
}

/// A CPython that runs a script, which takes lines and prints lines.
struct Script {
    running: Running,
    lines: BufReader<std::process::ChildStdout>,
    what: String,
}

impl Script {
    #[track_caller]
    fn start(python: &Python, text: &str, arguments: &[&str]) -> Self {
        let mut command = program(&python.path);
        // What its tracker of resources complains of is not asked here.
        command.args(["-c", text]).args(arguments).stdin(Stdio::piped()).stderr(Stdio::null());
        let mut running = Running::start(&mut command);
        let lines = BufReader::new(running.0.stdout.take().unwrap());
        Self { running, lines, what: format!("CPython 3.{}", python.minor) }
    }

    #[track_caller]
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "{} said no more than {line:?}", self.what);
        line.trim_end().to_owned()
    }

    fn go_on(&mut self) {
        self.running.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    #[track_caller]
    fn ends(mut self) {
        let status = self.running.0.wait().unwrap();
        assert!(status.success(), "{}: {status:?}", self.what);
    }
}

/// Attaches to the block named by the first argument, checks what we wrote, and writes something itself.
const ATTACH: &str = "
import sys
from multiprocessing import shared_memory
memory = shared_memory.SharedMemory(sys.argv[1])
assert memory.size == 10000, memory.size
assert bytes(memory.buf[:5]) == b'hello', bytes(memory.buf[:5])
assert bytes(memory.buf[9990:]) == bytes(range(10))
memory.buf[5000:5007] = b'CPython'
print('written', flush=True)
input()
assert bytes(memory.buf[:5]) == b'HELLO'
memory.close()
";

#[test]
fn cpython_attaches_to_our_block_reads_and_writes() {
    let _dog = watchdog(300);
    for python in pythons() {
        let name = Name::new(&format!("ours-{}", python.minor));
        let memory = SharedMemory::create(&name.0, 10_000).unwrap();
        memory.write(0, b"hello").unwrap();
        memory.write(9990, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]).unwrap();
        let mut script = Script::start(&python, ATTACH, &[&name.0]);
        assert_eq!(script.line(), "written");
        assert_eq!(memory.read_vec(5000..5007).unwrap(), b"CPython", "{python:?}");
        memory.write(0, b"HELLO").unwrap();
        script.go_on();
        script.ends();
        // It is not its block, but its tracker takes the name away all the same (gh-82300); the memory is ours still.
        wait_until("its tracker has taken the name away", || !is_there(&name.0));
        assert_eq!(memory.read_vec(5000..5007).unwrap(), b"CPython");
        memory.fill(1).unwrap();
        memory.read_vec(0..10_000).unwrap();
    }
}

/// The same, and says that the name is not its own: with 3.13's parameter, or as everybody did before.
const ATTACH_UNTRACKED: &str = "
import sys
from multiprocessing import shared_memory, resource_tracker
if sys.version_info >= (3, 13):
    memory = shared_memory.SharedMemory(sys.argv[1], track=False)
else:
    memory = shared_memory.SharedMemory(sys.argv[1])
    resource_tracker.unregister(memory._name, 'shared_memory')
memory.buf[0] = 7
memory.close()
";

#[test]
fn cpython_that_does_not_track_leaves_our_name() {
    let _dog = watchdog(300);
    for python in pythons() {
        let name = Name::new(&format!("untracked-{}", python.minor));
        let memory = SharedMemory::create(&name.0, 1).unwrap();
        Script::start(&python, ATTACH_UNTRACKED, &[&name.0]).ends();
        assert_eq!(memory.read_vec(0..1).unwrap(), [7]);
        assert!(is_there(&name.0), "{python:?}");
        memory.unlink().unwrap();
    }
}

/// Makes a block, tells its name, and checks what we write to it.
const CREATE: &str = "
import sys
from multiprocessing import shared_memory
memory = shared_memory.SharedMemory(create=True, size=12345)
memory.buf[:7] = b'CPython'
memory.buf[12344] = 255
print(memory.name, flush=True)
input()
assert bytes(memory.buf[100:105]) == b'hello'
print('seen', flush=True)
input()
memory.close()
if len(sys.argv) > 1:
    memory.unlink()
";

#[test]
fn we_attach_to_cpythons_block_and_keep_it_when_that_ends() {
    let _dog = watchdog(300);
    for python in pythons() {
        for arguments in [&[][..], &["unlink"]] {
            let mut script = Script::start(&python, CREATE, arguments);
            let name = script.line();
            assert!(name.starts_with("psm_"), "{name}");
            let memory = SharedMemory::attach(&name).unwrap();
            assert_eq!((memory.size(), memory.name()), (12_345, Some(&*name)));
            assert_eq!(memory.read_vec(0..7).unwrap(), b"CPython");
            assert_eq!(memory.read_vec(12_344..12_345).unwrap(), [255]);
            memory.write(100, b"hello").unwrap();
            script.go_on();
            assert_eq!(script.line(), "seen", "{python:?}");
            script.go_on();
            script.ends();
            wait_until("its tracker has taken the name away", || !is_there(&name));
            assert_eq!(memory.read_vec(100..105).unwrap(), b"hello");
            memory.write(0, b"still ours").unwrap();
        }
    }
}

#[test]
fn we_drop_cpythons_block_and_it_goes_on() {
    let _dog = watchdog(300);
    for python in pythons() {
        let mut script = Script::start(&python, CREATE, &["unlink"]);
        let name = script.line();
        SharedMemory::attach(&name).unwrap().write(100, b"hello").unwrap();
        assert!(is_there(&name), "what we attach to, we do not take away");
        script.go_on();
        assert_eq!(script.line(), "seen", "{python:?}");
        script.go_on();
        script.ends();
        assert!(!is_there(&name));
    }
}

/// Attaches to a block that was made too small, or is none.
const REFUSED: &str = "
import sys
from multiprocessing import shared_memory
try:
    shared_memory.SharedMemory(sys.argv[1], create=True, size=5)
except FileExistsError:
    print('exists', flush=True)
";

#[test]
fn cpython_does_not_make_what_we_have_made() {
    let _dog = watchdog(300);
    for python in pythons() {
        let name = Name::new(&format!("exists-{}", python.minor));
        let memory = SharedMemory::create(&name.0, 1).unwrap();
        let mut script = Script::start(&python, REFUSED, &[&name.0]);
        assert_eq!(script.line(), "exists", "{python:?}");
        script.ends();
        assert!(is_there(&name.0));
        memory.unlink().unwrap();
    }
}
