//! What blocks are, with names and without.

use procession::prelude::*;
use procession::{ErrorKind, Result};
use procession_shared::{SharedMemory, SharedMemoryScope};
use procession_tests::SOON;

use crate::{Name, Row, is_there, value};

pub(crate) const ROWS: &[Row] = &[
    ("blocks::name_with_embedded_null", name_with_embedded_null),
    ("blocks::basics", basics),
    ("blocks::recreate", recreate),
    ("blocks::invalid_creation", invalid_creation),
    ("blocks::pickle_unpickle", pickle_unpickle),
    ("blocks::pickle_unpickle_dead_object", pickle_unpickle_dead_object),
    ("blocks::across_processes", across_processes),
    ("blocks::anonymous_across_processes", anonymous_across_processes),
    ("blocks::used_again_only_when_nobody_has_it", used_again_only_when_nobody_has_it),
    ("blocks::a_single_writer", a_single_writer),
];

fn kind<T: std::fmt::Debug>(refused: Result<T>) -> ErrorKind {
    refused.unwrap_err().kind()
}

fn name_with_embedded_null() {
    let name = "procession-test-\0null";
    assert_eq!(kind(SharedMemory::create(name, 1)), ErrorKind::InvalidInput);
    assert_eq!(kind(SharedMemory::attach(name)), ErrorKind::InvalidInput);
    assert_eq!(kind(SharedMemory::unlink_name(name)), ErrorKind::InvalidInput);
}

fn basics() {
    let name = Name::new("basics");
    let memory = SharedMemory::create(&name.0, 512).unwrap();
    assert_eq!((memory.name(), memory.size()), (Some(&*name.0), 512));
    memory.write(0, &[42]).unwrap();
    let same = SharedMemory::attach(&name.0).unwrap();
    assert_eq!((same.size(), same.read_vec(0..1).unwrap()), (512, vec![42]));
    same.write(511, &[7]).unwrap();
    assert_eq!(memory.read_vec(511..512).unwrap(), [7]);
    assert_eq!(kind(SharedMemory::create(&name.0, 512)), ErrorKind::AlreadyExists);
    drop(same);
    assert_eq!(memory.read_vec(0..1).unwrap(), [42], "closing one handle leaves the others");
    memory.unlink().unwrap();
    assert_eq!(kind(memory.unlink()), ErrorKind::NotFound);
    assert_eq!(kind(SharedMemory::attach(&name.0)), ErrorKind::NotFound);
    assert_eq!(kind(SharedMemory::attach("procession-test-none")), ErrorKind::NotFound);
}

/// A name that is taken is not taken again; the library's own unit test has generated ones collide.
fn recreate() {
    let many: Vec<SharedMemory> =
        (0..100).map(|_| SharedMemory::create_unique(1).unwrap()).collect();
    let names: std::collections::BTreeSet<_> = many.iter().map(|memory| memory.name()).collect();
    assert_eq!(names.len(), 100);
    for memory in many {
        memory.unlink().unwrap();
    }
}

fn invalid_creation() {
    let name = Name::new("invalid");
    assert_eq!(kind(SharedMemory::create(&name.0, 0)), ErrorKind::InvalidInput);
    assert_eq!(kind(SharedMemory::create_unique(0)), ErrorKind::InvalidInput);
    assert_eq!(kind(SharedMemory::new(0)), ErrorKind::InvalidInput);
    assert_eq!(kind(SharedMemory::create(&name.0, usize::MAX)), ErrorKind::OutOfMemory);
    assert_eq!(kind(SharedMemory::new(usize::MAX)), ErrorKind::OutOfMemory);
    assert!(!is_there(&name.0));
}

fn pickle_unpickle() {
    let name = Name::new("pickle");
    let memory = SharedMemory::create(&name.0, 512).unwrap();
    let (tx, rx) = pipe::<SharedMemory>().unwrap();
    for round in 0..4u8 {
        tx.send(memory.clone()).unwrap();
        let same = rx.recv_timeout(SOON).unwrap();
        assert_eq!((same.name(), same.size()), (memory.name(), 512));
        same.write(0, &[round]).unwrap();
        assert_eq!(memory.read_vec(0..1).unwrap(), [round]);
        memory.write(1, &[round + 1]).unwrap();
        assert_eq!(same.read_vec(1..2).unwrap(), [round + 1]);
    }
}

fn pickle_unpickle_dead_object() {
    let name = Name::new("dead");
    let memory = SharedMemory::create(&name.0, 512).unwrap();
    let (tx, rx) = pipe::<SharedMemory>().unwrap();
    tx.send(memory.clone()).unwrap();
    memory.unlink().unwrap();
    let refused: procession::Error = rx.recv_timeout(SOON).unwrap_err().into();
    assert_eq!(refused.kind(), ErrorKind::NotFound, "{refused:?}");
}

fn across_processes() {
    let name = Name::new("across");
    let memory = SharedMemory::create(&name.0, 10).unwrap();
    let by_name = |name: String| SharedMemory::attach(&name)?.write(0, b"name");
    value(&Process::spawn(by_name, (name.0.clone(),)).unwrap()).unwrap();
    assert_eq!(memory.read_vec(0..4).unwrap(), b"name");
    let by_handle = |memory: SharedMemory| memory.write(4, b"handle");
    value(&Process::spawn(by_handle, (memory.clone(),)).unwrap()).unwrap();
    assert_eq!(memory.read_vec(0..10).unwrap(), b"namehandle");
}

fn anonymous_across_processes() {
    let memory = SharedMemory::new(1 << 20).unwrap();
    memory.write(1000, b"parent").unwrap();
    let child = |memory: SharedMemory| -> Result<(Vec<u8>, SharedMemory)> {
        let seen = memory.read_vec(1000..1006)?;
        memory.write(2000, b"child")?;
        let own = SharedMemory::from_slice(b"made by the child")?;
        Ok((seen, own))
    };
    let child = Process::spawn(child, (memory.clone(),)).unwrap();
    let (seen, own) = value(&child).unwrap();
    assert_eq!(seen, b"parent");
    assert_eq!(memory.read_vec(2000..2005).unwrap(), b"child");
    assert_eq!(own.read_vec(0..17).unwrap(), b"made by the child", "its maker has ended");
}

/// A block whose maker drops it is another's as long as that has it, and then the maker's again.
fn used_again_only_when_nobody_has_it() {
    let size = 3 << 20;
    let (go, wait) = pipe::<()>().unwrap();
    let (tx, rx) = pipe::<Vec<u8>>().unwrap();
    let memory = SharedMemory::new(size).unwrap();
    memory.fill(1).unwrap();
    let child = |memory: SharedMemory, wait: Receiver<()>, tx: Sender<Vec<u8>>| {
        tx.send(memory.read_vec(0..2).unwrap()).unwrap();
        wait.recv().unwrap();
        tx.send(memory.read_vec(0..2).unwrap()).unwrap();
    };
    let child = Process::spawn(child, (memory.clone(), wait, tx)).unwrap();
    assert_eq!(rx.recv_timeout(SOON).unwrap(), [1, 1]);
    drop(memory);
    let other = SharedMemory::new(size).unwrap();
    other.fill(2).unwrap();
    go.send(()).unwrap();
    assert_eq!(rx.recv_timeout(SOON).unwrap(), [1, 1], "the child's is left alone");
    value(&child);
    let again = SharedMemory::recycled(size).unwrap();
    assert_eq!(again.read_vec(0..2).unwrap(), [1, 1], "and is used when the child has ended");
}

fn a_single_writer() {
    let memory = SharedMemory::new(4096).unwrap().into_single_writer().unwrap();
    memory.write(0, b"before").unwrap();
    let (tx, rx) = pipe::<Vec<u8>>().unwrap();
    let (go, wait) = pipe::<()>().unwrap();
    let child = |memory: SharedMemory, tx: Sender<Vec<u8>>, wait: Receiver<()>| {
        assert!(!memory.is_writable());
        assert_eq!(memory.write(0, b"x").unwrap_err().kind(), ErrorKind::Unsupported);
        assert_eq!(memory.fill(0).unwrap_err().kind(), ErrorKind::Unsupported);
        let view = memory.view().unwrap();
        assert_eq!(view.set(0, 1u8).unwrap_err().kind(), ErrorKind::Unsupported);
        assert_eq!(view.atomic_u64(0).map(drop).unwrap_err().kind(), ErrorKind::Unsupported);
        let kept = memory.clone().into_single_writer().unwrap_err();
        assert_eq!(kept.kind(), ErrorKind::Unsupported);
        tx.send(memory.read_vec(0..6).unwrap()).unwrap();
        wait.recv().unwrap();
        memory.read_vec(0..6).unwrap()
    };
    // A fork has the mapping of its parent, and could write: it is asked by the other methods.
    let child = Process::spawn(child, (memory.clone(), tx, wait)).unwrap();
    assert_eq!(rx.recv_timeout(SOON).unwrap(), b"before");
    memory.write(0, b"behind").unwrap();
    go.send(()).unwrap();
    assert_eq!(value(&child), b"behind");
    let scope = SharedMemoryScope::new().unwrap();
    let named = scope.shared_memory(1).unwrap();
    assert_eq!(kind(named.into_single_writer()), ErrorKind::InvalidInput);
}
