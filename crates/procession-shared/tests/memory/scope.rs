//! Scopes.

use procession_core::ErrorKind;
use procession_shared::{Item, ShareableList, SharedMemory, SharedMemoryScope};

fn left_of(prefix: &str) -> usize {
    let names = std::fs::read_dir("/dev/shm").unwrap();
    let names = names.filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    names.filter(|name| name.starts_with(prefix)).count()
}

#[test]
fn blocks_go_with_the_scope() {
    let scope = SharedMemoryScope::new().unwrap();
    let prefix = scope.prefix().to_owned();
    let blocks: Vec<SharedMemory> = (0..3).map(|_| scope.shared_memory(100).unwrap()).collect();
    blocks[0].unlink().unwrap();
    blocks[1].write(0, b"kept").unwrap();
    let name = blocks[1].name().unwrap().to_owned();
    assert_eq!(SharedMemory::attach(&name).unwrap().read_vec(0..4).unwrap(), b"kept");
    assert_eq!(left_of(&prefix), 3, "two blocks and the scope's own");
    drop(scope);
    assert_eq!(left_of(&prefix), 0);
    assert_eq!(SharedMemory::attach(&name).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(blocks[1].read_vec(0..4).unwrap(), b"kept");
}

#[test]
fn blocks_go_when_the_scope_panics() {
    let (tell, told) = std::sync::mpsc::channel();
    let panicked = std::thread::spawn(move || {
        let scope = SharedMemoryScope::new().unwrap();
        scope.shared_memory(1).unwrap();
        tell.send(scope.prefix().to_owned()).unwrap();
        panic!("in the middle");
    });
    let prefix = told.recv().unwrap();
    panicked.join().unwrap_err();
    assert_eq!(left_of(&prefix), 0);
}

#[test]
fn scopes_do_not_end_each_other() {
    let one = SharedMemoryScope::new().unwrap();
    let memory = one.shared_memory(10).unwrap();
    drop(SharedMemoryScope::new().unwrap());
    assert!(SharedMemory::attach(memory.name().unwrap()).is_ok());
    assert_eq!(one.shared_memory(0).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn what_a_dead_scope_left_is_taken_away_by_the_next() {
    // As a killed process leaves it: nobody has the file locked.
    let base = format!("procession.{}.00000000deadbeef", std::process::id());
    std::fs::write(format!("/dev/shm/{base}"), "").unwrap();
    let left = SharedMemory::create(&format!("{base}.7"), 10).unwrap();
    assert_eq!(left_of(&base), 2);
    let _scope = SharedMemoryScope::new().unwrap();
    assert_eq!(left_of(&base), 0);
    left.write(0, b"mapped").unwrap();
}

#[test]
fn lists_go_with_the_scope() {
    let scope = SharedMemoryScope::new().unwrap();
    let list = scope.shareable_list([Item::from("text"), Item::from(7)]).unwrap();
    let name = list.shm().name().unwrap().to_owned();
    assert!(name.starts_with(scope.prefix()));
    assert_eq!(ShareableList::attach(&name).unwrap().get(1).unwrap(), Item::Int(7));
    drop(scope);
    assert_eq!(ShareableList::attach(&name).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(list.get(0).unwrap(), Item::from("text"));
}
