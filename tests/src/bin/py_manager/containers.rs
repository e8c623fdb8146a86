//! CPython's `_TestContainers`.

use std::collections::BTreeMap;

use procession::{DictProxy, ErrorKind, ListProxy, Manager, QueueProxy};

use crate::stage::Managed;

pub(crate) const ROWS: &[(&str, fn())] = &[
    ("containers::list", list),
    ("containers::list_iter", list_iter),
    ("containers::list_proxy_in_list", list_proxy_in_list),
    ("containers::dict", dict),
    ("containers::dict_iter", dict_iter),
    ("containers::dict_proxy_nested", dict_proxy_nested),
    ("containers::nested_queue", nested_queue),
    ("containers::namespace", namespace),
];

fn list() {
    let manager = Managed::start();
    let a = manager.list_of(0..10).unwrap();
    assert!(a.to_vec().unwrap().into_iter().eq(0..10));
    let b = manager.list::<i32>().unwrap();
    assert!(b.to_vec().unwrap().is_empty());
    b.extend(0..5).unwrap();
    assert!(b.to_vec().unwrap().into_iter().eq(0..5));
    assert_eq!((b.get(2).unwrap(), b.range(2..10).unwrap()), (Some(2), vec![2, 3, 4]));
    // `b *= 2`.
    b.update_all(|items| items.extend_from_within(..)).unwrap();
    assert_eq!(b.to_vec().unwrap(), [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]);
    // `b + [5, 6]` is a list of this process.
    assert_eq!([b.to_vec().unwrap(), vec![5, 6]].concat().len(), 12);
    assert_eq!(b.len().unwrap(), 10);
    let e = manager.list_of([a.clone(), b]).unwrap();
    let contents = |at: usize| e.get(at).unwrap().unwrap().to_vec().unwrap();
    assert!(contents(0).into_iter().eq(0..10) && contents(1).len() == 10);
    let f = manager.list_of([a.clone()]).unwrap();
    a.push(&-1).unwrap();
    assert_eq!(f.get(0).unwrap().unwrap().last().unwrap(), Some(-1));
}

fn list_iter() {
    let manager = Managed::start();
    let a = manager.list_of(0..10).unwrap();
    let mut iter = a.iter();
    assert!(iter.by_ref().map(Result::unwrap).eq(0..10));
    assert!(iter.next().is_none());
    // What is changed before it is fetched is seen so.
    let mut iter = a.iter();
    a.set(0, &100).unwrap();
    assert_eq!(iter.next().unwrap().unwrap(), 100);
}

fn list_proxy_in_list() {
    let manager = Managed::start();
    let inner: Vec<_> = (0..3).map(|_| manager.list_of(0..3).unwrap()).collect();
    let a = manager.list_of(inner).unwrap();
    let get = |at: usize| a.get(at).unwrap().unwrap();
    assert!((0..3).all(|at| get(at).to_vec().unwrap() == [0, 1, 2]));
    get(0).set(2, &55).unwrap();
    assert_eq!((get(0).get(2).unwrap(), get(1).get(2).unwrap()), (Some(55), Some(2)));
    assert_eq!(get(1).pop().unwrap(), Some(2));
    assert_eq!((get(1).len().unwrap(), get(2).len().unwrap()), (2, 3));
    drop(a);
    contains_itself(&manager);
}

/// A list that is in itself can be made, and dropped; it stays until the server ends, unless it is taken out.
fn contains_itself(manager: &Manager) {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Node(ListProxy<Node>);
    let node = manager.list::<Node>().unwrap();
    node.push(&Node(node.clone())).unwrap();
    let Node(same) = node.get(0).unwrap().unwrap();
    assert!(same == node);
    node.clear().unwrap();
}

fn dict() {
    let manager = Managed::start();
    let d = manager.dict::<i32, char>().unwrap();
    let letters: Vec<(i32, char)> =
        (65..70).map(|number| (number, char::from(u8::try_from(number).unwrap()))).collect();
    for (number, letter) in &letters {
        d.set(number, letter).unwrap();
    }
    assert_eq!(BTreeMap::from_iter(d.to_map().unwrap()), BTreeMap::from_iter(letters.clone()));
    assert!(d.keys().map(Result::unwrap).eq(65..70));
    let items: Vec<_> = d.iter().map(Result::unwrap).collect();
    assert_eq!(items, letters);
}

fn dict_iter() {
    let manager = Managed::start();
    let d = manager.dict_of((65..70).map(|number| (number, number))).unwrap();
    assert!(d.keys().map(Result::unwrap).eq(65..70));
    // More than one page, so that something is left to be fetched.
    d.extend((100..5000).map(|number| (number, number))).unwrap();
    let mut keys = d.keys();
    assert_eq!(keys.next().unwrap().unwrap(), 65);
    d.clear().unwrap();
    assert_eq!(keys.find_map(Result::err).unwrap().kind(), ErrorKind::Broken);
}

fn dict_proxy_nested() {
    let manager = Managed::start();
    let pets = manager.dict_of([("ferrets".to_owned(), 2), ("hamsters".to_owned(), 4)]).unwrap();
    let supplies = manager.dict_of([("water".to_owned(), 10), ("feed".to_owned(), 3)]).unwrap();
    let outer: DictProxy<String, DictProxy<String, i32>> = manager.dict().unwrap();
    outer.set("pets", &pets).unwrap();
    outer.set("supplies", &supplies).unwrap();
    let inner = |name: &str| outer.get(name).unwrap().unwrap();
    assert_eq!(inner("supplies").get("water").unwrap(), Some(10));
    pets.set("blanket", &5).unwrap();
    supplies.set("water", &7).unwrap();
    assert_eq!(inner("supplies").get("water").unwrap(), Some(7));
    assert_eq!(inner("pets").get("blanket").unwrap(), Some(5));
    // The outer one keeps them.
    drop((pets, supplies));
    assert_eq!(inner("supplies").get("water").unwrap(), Some(7));
    let supplies = inner("supplies");
    outer.clear().unwrap();
    assert_eq!(outer.len().unwrap(), 0);
    assert_eq!(supplies.get("feed").unwrap(), Some(3));
    // What is no proxy is a copy.
    let plain = manager.list_of([BTreeMap::from([("a".to_owned(), 1)])]).unwrap();
    plain.get(0).unwrap().unwrap().clear();
    assert_eq!(plain.get(0).unwrap().unwrap().len(), 1);
}

fn nested_queue() {
    let manager = Managed::start();
    let list: ListProxy<QueueProxy<String>> = manager.list().unwrap();
    list.push(&manager.queue().unwrap()).unwrap();
    list.get(0).unwrap().unwrap().put("in a list".into()).unwrap();
    assert_eq!(list.get(0).unwrap().unwrap().get().unwrap(), "in a list");
    let dict: DictProxy<String, QueueProxy<String>> = manager.dict().unwrap();
    dict.set("queue", &manager.queue().unwrap()).unwrap();
    dict.get("queue").unwrap().unwrap().put("in a dict".into()).unwrap();
    assert_eq!(dict.get("queue").unwrap().unwrap().get().unwrap(), "in a dict");
}

fn namespace() {
    let manager = Managed::start();
    let n = manager.namespace().unwrap();
    n.set("name", "Bob").unwrap();
    n.set("job", "Builder").unwrap();
    n.set("_hidden", "hidden").unwrap();
    let text = |name: &str| n.get::<String>(name).unwrap();
    assert_eq!((text("name"), text("job")), (Some("Bob".into()), Some("Builder".into())));
    assert!(n.remove("job").unwrap());
    assert_eq!(text("job"), None);
    assert!(n.names().unwrap().iter().eq(["_hidden", "name"]));
}
