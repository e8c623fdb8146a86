//! Tests of named blocks, and of what keeps who reads them alive.

#![expect(unsafe_code, reason = "sets handlers, and touches what is not there")]

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::super::super::pidfd::Ended;
use super::super::super::testing::{Child, first_failed};
use super::super::guard;
use super::*;
use crate::OsCode;
use crate::prim::AtomicU32;
use crate::prim::Ordering::Relaxed;

/// A name of this test's own; unlinked when it is dropped.
struct Name(String);

impl Name {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (pid, count) = (std::process::id(), COUNT.fetch_add(1, Relaxed));
        Self(format!("procession-test-{pid}-{count}"))
    }

    fn path(&self) -> String {
        format!("/dev/shm/{}", self.0)
    }

    fn cut(&self, len: u64) {
        std::fs::File::options().write(true).open(self.path()).unwrap().set_len(len).unwrap();
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        drop(std::fs::remove_file(self.path()));
    }
}

fn code<T: std::fmt::Debug>(refused: Result<T>) -> OsCode {
    refused.unwrap_err().code()
}

#[test]
fn a_name_is_made_found_and_taken_away() {
    let name = Name::new();
    let here = NamedBlock::create(&name.0, 5000).unwrap();
    let there = NamedBlock::attach(&format!("/{}", name.0)).unwrap();
    assert_eq!((here.len(), there.len(), here.is_empty()), (5000, 5000, false));
    assert_eq!((here.id(), here.id()), (there.id(), id_of_name(&name.0)));
    here.bytes().write(4997, b"end");
    assert_eq!(&there.bytes().load(4997), b"end");
    let about = std::fs::metadata(name.path()).unwrap();
    assert_eq!((about.len(), about.permissions().mode() & 0o777), (5000, 0o600));
    assert!(about.blocks() * 512 >= 5000, "its memory is taken");
    assert!(names(&name.0).unwrap().contains(&name.0));
    unlink(&name.0).unwrap();
    assert_eq!(code(unlink(&name.0)), OsCode::NOT_FOUND);
    assert_eq!(code(id_of_name(&name.0)), OsCode::NOT_FOUND);
    assert_eq!(code(NamedBlock::attach(&name.0)), OsCode::NOT_FOUND);
    there.bytes().write(0, b"still");
    assert_eq!(&here.bytes().load(0), b"still");
    assert!(!here.is_torn() && names(&name.0).unwrap().is_empty());
}

#[test]
fn a_name_is_taken_once() {
    let name = Name::new();
    let first = NamedBlock::create(&name.0, 10).unwrap();
    first.bytes().store(0, [9]);
    assert_eq!(code(NamedBlock::create(&name.0, 20)), OsCode::EXISTS);
    assert_eq!((first.bytes().load(0), NamedBlock::attach(&name.0).unwrap().len()), ([9], 10));
}

#[test]
fn dropping_leaves_the_name() {
    let name = Name::new();
    NamedBlock::create(&name.0, 3).unwrap().bytes().write(0, b"abc");
    assert_eq!(NamedBlock::attach(&name.0).unwrap().bytes().read_vec(), b"abc");
}

#[test]
fn what_can_be_no_name_is_refused() {
    let long = "x".repeat(MOST_NAME + 1);
    for name in ["", "/", "a/b", "//a", ".", "/..", "a\0b", &long] {
        assert_eq!(code(NamedBlock::create(name, 1)), OsCode::INVALID, "{name:?}");
        assert_eq!(code(NamedBlock::attach(name)), OsCode::INVALID, "{name:?}");
        assert_eq!(code(unlink(name)), OsCode::INVALID, "{name:?}");
    }
    let mut name = Name::new();
    name.0 = format!("{:x<width$}", name.0, width = MOST_NAME);
    NamedBlock::create(&name.0, 1).unwrap();
}

#[test]
fn lengths_of_zero_and_beyond_the_machine_leave_no_name() {
    let name = Name::new();
    assert_eq!(code(NamedBlock::create(&name.0, 0)), OsCode::INVALID);
    assert_eq!(code(NamedBlock::create(&name.0, usize::MAX)), OsCode::NO_MEMORY);
    let full = code(NamedBlock::create(&name.0, 1 << 50));
    assert!([OsCode::NO_SPACE, OsCode::NO_MEMORY].contains(&full), "{full}");
    assert_eq!(code(NamedBlock::attach(&name.0)), OsCode::NOT_FOUND);
}

#[test]
fn what_is_no_block_is_not_attached() {
    let name = Name::new();
    std::fs::File::create(name.path()).unwrap();
    assert_eq!(code(NamedBlock::attach(&name.0)), OsCode::INVALID, "it is empty");
    let link = Name::new();
    let target = Name::new();
    NamedBlock::create(&target.0, 1).unwrap();
    std::os::unix::fs::symlink(target.path(), link.path()).unwrap();
    NamedBlock::attach(&link.0).unwrap_err();
    let folder = Name::new();
    std::fs::create_dir(folder.path()).unwrap();
    NamedBlock::attach(&folder.0).unwrap_err();
    std::fs::remove_dir(folder.path()).unwrap();
    let fifo = Name::new();
    rustix::fs::mknodat(rustix::fs::CWD, fifo.path(), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
        .unwrap();
    assert_eq!(code(NamedBlock::attach(&fifo.0)), OsCode::INVALID);
}

#[test]
fn a_file_that_is_cut_off_reads_zero_and_says_so() {
    let name = Name::new();
    let block = NamedBlock::create(&name.0, 10 * 4096).unwrap();
    block.bytes().fill(7);
    name.cut(4096);
    assert_eq!((block.bytes().load(0), block.is_torn()), ([7], false), "nothing was missed yet");
    assert_eq!((block.bytes().load(5 * 4096), block.is_torn()), ([0], true));
    // The whole of it, in one piece, and written as well.
    let all = block.bytes().read_vec();
    assert!(all[..4096].iter().all(|byte| *byte == 7) && all[4096..].iter().all(|byte| *byte == 0));
    block.bytes().fill(8);
    block.bytes().atomic_u64(9 * 4096).unwrap().fetch_add(1, Relaxed);
    assert_eq!(std::fs::read(name.path()).unwrap(), [8; 4096]);
    drop(block);
    // Another one at its place is whole.
    let again = Name::new();
    let block = NamedBlock::create(&again.0, 10 * 4096).unwrap();
    block.bytes().fill(1);
    assert!(!block.is_torn());
}

#[test]
fn many_blocks_are_torn_one_by_one() {
    let names: Vec<Name> = (0..20).map(|_| Name::new()).collect();
    let make = |name: &Name| NamedBlock::create(&name.0, 8192).unwrap();
    let mut blocks: Vec<NamedBlock> = names.iter().map(make).collect();
    names[5].cut(0);
    names[13].cut(4096);
    assert_eq!((blocks[5].bytes().load(0), blocks[13].bytes().load(4096)), ([0], [0]));
    let torn = |blocks: &[NamedBlock]| -> Vec<usize> {
        (0..blocks.len()).filter(|at| blocks[*at].is_torn()).collect()
    };
    assert_eq!(torn(&blocks), [5, 13]);
    drop(blocks.drain(..10));
    assert_eq!(torn(&blocks), [3]);
}

#[test]
fn a_fork_is_kept_alive_as_well() {
    let name = Name::new();
    let block = NamedBlock::create(&name.0, 8192).unwrap();
    name.cut(0);
    let child = Child::run(|| first_failed(&[block.bytes().load(0) == [0], block.is_torn()]));
    assert_eq!(child.ended(), Ended::Exited(0));
    assert!(!block.is_torn(), "only who touches it");
}

#[test]
fn a_fault_elsewhere_kills_as_before() {
    let name = Name::new();
    let child = Child::run(|| {
        let _block = NamedBlock::create(&name.0, 8192).unwrap();
        let file = super::super::super::memory::create("test").unwrap();
        ftruncate(&file, 4096).unwrap();
        let other = Mapping::of(file.as_fd(), 4096, Writable::Yes).unwrap();
        ftruncate(&file, 0).unwrap();
        other.bytes().load::<1>(0)[0]
    });
    let died = Ended::Signaled { signal: libc::SIGBUS, core_dumped: false };
    let ended = child.ended();
    assert!(
        matches!(ended, Ended::Signaled { signal: libc::SIGBUS, .. }),
        "{ended:?}, not {died:?}"
    );
}

#[test]
fn a_signal_that_somebody_sends_kills_as_before() {
    let name = Name::new();
    let child = Child::run(|| {
        // SAFETY: The disposition is no function.
        unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
        guard::forget();
        let _block = NamedBlock::create(&name.0, 8192).unwrap();
        // SAFETY: Sending a signal is always sound.
        unsafe { libc::raise(libc::SIGBUS) };
        0
    });
    let ended = child.ended();
    assert!(matches!(ended, Ended::Signaled { signal: libc::SIGBUS, .. }), "{ended:?}");
}

#[test]
fn who_handled_the_signal_before_does_so_still() {
    extern "C" fn before(_signal: i32) {
        crate::process::exit_now(33);
    }
    let name = Name::new();
    let child = Child::run(|| {
        let handler: extern "C" fn(i32) = before;
        // SAFETY: The handler does nothing but end the process.
        unsafe { libc::signal(libc::SIGBUS, handler as libc::sighandler_t) };
        guard::forget();
        let block = NamedBlock::create(&name.0, 8192).unwrap();
        name.cut(0);
        if block.bytes().load(0) != [0] || !block.is_torn() {
            return 1;
        }
        // SAFETY: Sending a signal is always sound.
        unsafe { libc::raise(libc::SIGBUS) };
        2
    });
    assert_eq!(child.ended(), Ended::Exited(33));
}
