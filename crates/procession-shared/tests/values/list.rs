//! Lists within one process. With CPython they are tested in the workspace's `tests/`.

use std::fs;

use procession::{Item, ShareableList, SharedMemory};
use procession_core::{ErrorKind, Message};

/// A name that nobody else has.
struct Name(String);

impl Name {
    fn new(what: &str) -> Self {
        Self(format!("procession-test-list-{what}-{}", std::process::id()))
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        // The test may have done so.
        drop(SharedMemory::unlink_name(&self.0));
    }
}

fn items() -> [Item; 7] {
    [
        "Grüße, 世界".into(),
        b"by\0tes".into(),
        (-1).into(),
        0.5.into(),
        true.into(),
        Item::None,
        "".into(),
    ]
}

#[test]
fn handles_and_names_are_one_list() {
    let name = Name::new("one");
    let list = ShareableList::with_name(&name.0, items()).unwrap();
    let by_name = ShareableList::attach(&name.0).unwrap();
    let sent: ShareableList = Message::encode(&list).unwrap().decode().unwrap();
    assert_eq!(by_name.to_vec().unwrap(), items());
    sent.set(2, i64::MIN).unwrap();
    by_name.set(4, 2.5f32).unwrap();
    list.set(5, "12345678").unwrap();
    for same in [&list, &by_name, &sent] {
        assert_eq!(same.get(2).unwrap(), i64::MIN.into());
        assert_eq!(same.get(4).unwrap(), 2.5.into());
        assert_eq!(same.get(5).unwrap(), "12345678".into());
        assert_eq!((same.len(), same.name()), (7, Some(name.0.as_str())));
    }
    list.shm().unlink().unwrap();
    assert_eq!(sent.get(4).unwrap(), 2.5.into(), "who has it goes on");
    let gone = Message::encode(&list).unwrap().decode::<ShareableList>().unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound, "{gone:?}");
    assert_eq!(ShareableList::attach(&name.0).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn lists_without_a_name_are_sent() {
    let list = ShareableList::new(items()).unwrap();
    let sent: ShareableList = Message::encode(&list).unwrap().decode().unwrap();
    sent.set(0, "short").unwrap();
    assert_eq!(list.get(0).unwrap(), "short".into());
    assert_eq!(list.name(), None);
    let expected = r#"ShareableList(["short", b"by\x00tes", -1, 0.5, true, None, ""])"#;
    assert_eq!(format!("{list:?}"), expected);
}

#[test]
fn a_unique_name_is_as_cpythons_are() {
    let list = ShareableList::with_unique_name([1, 2]).unwrap();
    let name = list.name().unwrap().to_owned();
    assert!(name.starts_with("psm_") && name.len() == 12, "{name}");
    assert_eq!(format!("{list:?}"), format!("ShareableList([1, 2], {name:?})"));
    list.shm().unlink().unwrap();
}

#[test]
fn items_are_found_by_type_and_value() {
    let list =
        ShareableList::new(["a".into(), 1.into(), true.into(), Item::Float(1.0), "a".into()])
            .unwrap();
    assert_eq!(list.count(&"a".into()).unwrap(), 2);
    assert_eq!(list.index(&"a".into()).unwrap(), Some(0));
    assert_eq!(list.index(&1.0.into()).unwrap(), Some(3), "it is no integer");
    assert_eq!(list.index(&2.into()).unwrap(), None);
    assert!(list.contains(&true.into()).unwrap() && !list.contains(&Item::None).unwrap());
}

#[test]
fn what_is_not_there_is_an_error() {
    let list = ShareableList::new([1, 2]).unwrap();
    for error in [list.get(2).unwrap_err(), list.set(2, 1).unwrap_err()] {
        assert_eq!(
            (error.kind(), &*error.to_string()),
            (ErrorKind::InvalidInput, "item 2 of a list of 2")
        );
    }
    let error = list.get(usize::MAX).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(list.set(0, "x\0").unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(list.set(0, "123456789").unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(list.to_vec().unwrap(), [1.into(), 2.into()]);
    let error = ShareableList::new(["x\0"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let none = ShareableList::new(Vec::<Item>::new()).unwrap();
    assert!(none.is_empty() && none.format().unwrap().is_empty());
    assert_eq!(none.count(&1.into()).unwrap(), 0);
}

#[test]
fn foreign_memory_is_no_list() {
    let name = Name::new("foreign");
    let memory = SharedMemory::create(&name.0, 4096).unwrap();
    memory.fill(0xFF).unwrap();
    assert_eq!(ShareableList::attach(&name.0).unwrap_err().kind(), ErrorKind::Decode);
    let sent = Message::encode(&memory).unwrap();
    assert_eq!(sent.decode::<ShareableList>().unwrap_err().kind(), ErrorKind::Decode);
}

/// Whoever may open a name may cut the memory off.
#[test]
fn a_list_that_is_cut_off_is_an_error() {
    let name = Name::new("torn");
    let list = ShareableList::with_name(&name.0, (0..10_000).map(|_| "a long text")).unwrap();
    fs::File::options()
        .write(true)
        .open(format!("/dev/shm/{}", name.0))
        .unwrap()
        .set_len(100)
        .unwrap();
    assert_eq!(list.get(9999).unwrap_err().kind(), ErrorKind::Torn);
    assert_eq!(list.set(0, "x").unwrap_err().kind(), ErrorKind::Torn);
    assert!(list.format().is_err() && list.count(&1.into()).is_err());
    assert_eq!(ShareableList::attach(&name.0).unwrap_err().kind(), ErrorKind::Decode);
}
