//! Containers: what they do, for one process and for many.

use std::collections::{BTreeSet, HashMap};

use procession::manager::Batch;
use procession::{DictProxy, ErrorKind, ListProxy, Manager, Process, ValueProxy};
use procession_tests::wait_until;

pub(crate) const ROWS: &[(&str, fn())] = &[
    ("containers::a_dict_does_what_a_hash_map_does", a_dict_does_what_a_hash_map_does),
    ("containers::a_list_does_what_a_vector_does", a_list_does_what_a_vector_does),
    ("containers::a_set_does_what_a_hash_set_does", a_set_does_what_a_hash_set_does),
    ("containers::a_namespace_keeps_types", a_namespace_keeps_types),
    ("containers::values_and_arrays_count", values_and_arrays_count),
    ("containers::no_change_of_many_processes_is_lost", no_change_of_many_processes_is_lost),
    ("containers::pages_tell_everything_in_order", pages_tell_everything_in_order),
    ("containers::a_batch_is_one_step", a_batch_is_one_step),
    ("containers::calls_are_sent_ahead", calls_are_sent_ahead),
    ("containers::threads_share_a_session", threads_share_a_session),
    ("containers::large_values_travel", large_values_travel),
    ("containers::keys_are_compared_as_bytes", keys_are_compared_as_bytes),
];

fn a_dict_does_what_a_hash_map_does() {
    let manager = Manager::start().unwrap();
    let dict = manager.dict_of([("a".to_owned(), 1), ("b".to_owned(), 2)]).unwrap();
    assert_eq!((dict.get("a").unwrap(), dict.get("c").unwrap()), (Some(1), None));
    assert_eq!(dict.insert("c", &3).unwrap(), None);
    assert_eq!(dict.insert("c", &4).unwrap(), Some(3));
    dict.set("a", &10).unwrap();
    assert!(dict.contains_key("c").unwrap() && !dict.contains_key("d").unwrap());
    assert_eq!((dict.remove("b").unwrap(), dict.remove("b").unwrap()), (Some(2), None));
    assert_eq!((dict.len().unwrap(), dict.is_empty().unwrap()), (2, false));
    assert_eq!(dict.get_or_insert("d", &5).unwrap(), 5);
    assert_eq!(dict.get_or_insert("d", &6).unwrap(), 5);
    assert_eq!(dict.fetch_add("d", 7).unwrap(), 5);
    assert_eq!(dict.fetch_add("new", -3).unwrap(), 0);
    assert_eq!(dict.compare_exchange("new", Some(&-3), Some(&1)).unwrap(), Ok(()));
    assert_eq!(dict.compare_exchange("new", Some(&-3), None).unwrap(), Err(Some(1)));
    assert_eq!(dict.compare_exchange("new", Some(&1), None).unwrap(), Ok(()));
    assert_eq!(dict.compare_exchange("new", Some(&1), None).unwrap(), Err(None));
    assert_eq!(dict.update("d", |old| old.map(|old| old * 2)).unwrap(), Some(24));
    let all = HashMap::from([("a".into(), 10), ("c".into(), 4), ("d".into(), 24)]);
    assert_eq!(dict.to_map().unwrap(), all);
    assert_eq!(dict.keys().map(Result::unwrap).collect::<Vec<_>>(), ["a", "c", "d"]);
    assert_eq!(dict.pop_last().unwrap(), Some(("d".into(), 24)));
    dict.extend([("x".to_owned(), 1), ("y".to_owned(), 2)]).unwrap();
    assert_eq!(dict.len().unwrap(), 4);
    dict.clear().unwrap();
    assert_eq!(dict.pop_last().unwrap(), None);
}

fn a_list_does_what_a_vector_does() {
    let manager = Manager::start().unwrap();
    let list = manager.list_of(0..5).unwrap();
    list.push(&5).unwrap();
    list.extend([6, 7]).unwrap();
    list.insert(0, &-1).unwrap();
    assert_eq!(list.to_vec().unwrap(), [-1, 0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(list.range(2..4).unwrap(), [1, 2]);
    assert_eq!((list.get(1).unwrap(), list.get(9).unwrap()), (Some(0), None));
    assert_eq!((list.last().unwrap(), list.pop().unwrap()), (Some(7), Some(7)));
    assert_eq!((list.remove(0).unwrap(), list.remove(99).unwrap()), (Some(-1), None));
    list.set(0, &100).unwrap();
    assert_eq!(list.set(50, &1).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(list.insert(50, &1).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(list.fetch_add(0, 1).unwrap(), 100);
    assert_eq!(list.compare_exchange(0, &101, &7).unwrap(), Ok(()));
    assert_eq!(list.compare_exchange(0, &101, &8).unwrap(), Err(7));
    list.reverse().unwrap();
    assert_eq!(list.to_vec().unwrap(), [6, 5, 4, 3, 2, 1, 7]);
    list.update_all(|items| items.sort_unstable()).unwrap();
    list.push(&7).unwrap();
    assert_eq!((list.count(&7).unwrap(), list.position(&7).unwrap()), (2, Some(6)));
    assert!(list.contains(&3).unwrap() && !list.contains(&33).unwrap());
    assert_eq!(list.len().unwrap(), 8);
    list.clear().unwrap();
    assert!(list.is_empty().unwrap() && list.pop().unwrap().is_none());
}

fn a_set_does_what_a_hash_set_does() {
    let manager = Manager::start().unwrap();
    let set = manager.set_of(["a".to_owned(), "b".to_owned()]).unwrap();
    assert!(set.insert("c").unwrap() && !set.insert("c").unwrap());
    assert!(set.remove("a").unwrap() && !set.remove("a").unwrap());
    assert!(set.contains("b").unwrap() && !set.contains("a").unwrap());
    assert_eq!(set.extend(["b".to_owned(), "d".to_owned()]).unwrap(), 1);
    assert_eq!(set.iter().map(Result::unwrap).collect::<Vec<_>>(), ["b", "c", "d"]);
    assert_eq!(set.to_set().unwrap().len(), 3);
    assert_eq!(set.pop().unwrap(), Some("d".into()));
    set.clear().unwrap();
    assert!(set.is_empty().unwrap() && set.pop().unwrap().is_none());
}

fn a_namespace_keeps_types() {
    let manager = Manager::start().unwrap();
    let space = manager.namespace().unwrap();
    space.set("x", &10).unwrap();
    space.set("name", "bob").unwrap();
    space.set("list", &manager.list_of([1, 2]).unwrap()).unwrap();
    assert_eq!(space.get::<i32>("x").unwrap(), Some(10));
    assert_eq!(space.get::<String>("name").unwrap(), Some("bob".into()));
    assert_eq!(space.get::<u32>("x").unwrap_err().kind(), ErrorKind::Decode);
    assert_eq!(space.get::<String>("none").unwrap(), None);
    let list = space.get::<ListProxy<i32>>("list").unwrap().unwrap();
    list.push(&3).unwrap();
    assert_eq!(list.to_vec().unwrap(), [1, 2, 3]);
    assert!(space.remove("list").unwrap() && !space.remove("list").unwrap());
    drop(list);
    assert_eq!(manager.object_count().unwrap(), 1);
    assert_eq!(space.names().unwrap(), BTreeSet::from(["name".into(), "x".into()]));
}

fn values_and_arrays_count() {
    let manager = Manager::start().unwrap();
    let value = manager.value(1.5).unwrap();
    value.set(&2.5).unwrap();
    assert_eq!((value.fetch_add(0.25).unwrap(), value.get().unwrap()), (2.5, 2.75));
    assert_eq!(value.update(|old| old * 2.0).unwrap(), 5.5);
    assert_eq!(value.compare_exchange(&1.0, &0.0).unwrap(), Err(5.5));
    let wraps = manager.value(u8::MAX).unwrap();
    assert_eq!((wraps.fetch_add(2).unwrap(), wraps.get().unwrap()), (255, 1));
    let array = manager.array([1i64, 2, 3]).unwrap();
    array.set(1, &20).unwrap();
    assert_eq!(array.fetch_add(2, -3).unwrap(), 3);
    assert_eq!((array.len().unwrap(), array.get(0).unwrap()), (3, Some(1)));
    assert_eq!(
        (array.to_vec().unwrap(), array.range(1..3).unwrap()),
        (vec![1, 20, 0], vec![20, 0])
    );
    assert_eq!(array.set(3, &0).unwrap_err().kind(), ErrorKind::NotFound);
}

fn no_change_of_many_processes_is_lost() {
    type Shared = (DictProxy<String, u64>, ValueProxy<u64>, ListProxy<u32>);
    fn work(number: u32, (dict, value, list): Shared) -> procession::Result<()> {
        for _ in 0..100 {
            dict.fetch_add("added", 1)?;
            dict.update("updated", |old| Some(old.unwrap_or(&0) + 1))?;
            value.update(|old| old + 1)?;
            list.push(&number)?;
            list.update_all(|items| items.sort_unstable())?;
        }
        Ok(())
    }
    let manager = Manager::start().unwrap();
    let shared: Shared =
        (manager.dict().unwrap(), manager.value(0).unwrap(), manager.list().unwrap());
    let children: Vec<_> =
        (0..4).map(|number| Process::spawn(work, (number, shared.clone())).unwrap()).collect();
    for child in children {
        child.join().unwrap().unwrap();
    }
    let (dict, value, list) = shared;
    assert_eq!(dict.get("added").unwrap(), Some(400));
    assert_eq!(dict.get("updated").unwrap(), Some(400));
    assert_eq!(value.get().unwrap(), 400);
    let items = list.to_vec().unwrap();
    assert!(items.len() == 400 && items.is_sorted(), "{items:?}");
}

fn pages_tell_everything_in_order() {
    let manager = Manager::start().unwrap();
    let dict = manager.dict_of((0..5000u32).map(|number| (number, number * 2))).unwrap();
    let told: Vec<(u32, u32)> = dict.iter().collect::<Result<_, _>>().unwrap();
    assert!(told.into_iter().eq((0..5000).map(|number| (number, number * 2))));
    let list = manager.list_of((0..3000u32).map(|number| vec![number; 100])).unwrap();
    assert!(list.iter().map(Result::unwrap).eq((0..3000).map(|number| vec![number; 100])));

    // What comes behind is seen, what goes is not, and what is cleared is an error.
    let mut pages = dict.iter();
    assert_eq!(pages.next().unwrap().unwrap(), (0, 0));
    dict.remove(&4999).unwrap();
    dict.set(&9999, &1).unwrap();
    let rest: Vec<_> = pages.map(Result::unwrap).collect();
    assert_eq!((rest.len(), rest.last()), (4999, Some(&(9999, 1))));
    let mut pages = dict.iter();
    pages.next().unwrap().unwrap();
    dict.clear().unwrap();
    assert_eq!(pages.find_map(Result::err).unwrap().kind(), ErrorKind::Broken);
}

fn a_batch_is_one_step() {
    fn shift(dict: DictProxy<String, i64>) -> procession::Result<()> {
        for _ in 0..200 {
            let mut batch = Batch::new();
            let left = batch.add(dict.calls().fetch_add("left", 1));
            let right = batch.add(dict.calls().fetch_add("right", -1));
            batch.run()?;
            assert_eq!(left.take()? + right.take()?, 0);
        }
        Ok(())
    }
    let manager = Manager::start().unwrap();
    let dict = manager.dict::<String, i64>().unwrap();
    let children: Vec<_> =
        (0..3).map(|_| Process::spawn(shift, (dict.clone(),)).unwrap()).collect();
    for child in children {
        child.join().unwrap().unwrap();
    }
    assert_eq!((dict.get("left").unwrap(), dict.get("right").unwrap()), (Some(600), Some(-600)));

    // One that fails does not keep the others from being done.
    let list = manager.list::<u32>().unwrap();
    let mut batch = Batch::new();
    let bad = batch.add(list.calls().set(7, &1));
    let good = batch.add(list.calls().push(&5));
    batch.run().unwrap();
    assert_eq!(bad.take().unwrap_err().kind(), ErrorKind::NotFound);
    good.take().unwrap();
    assert_eq!(list.to_vec().unwrap(), [5]);
    let other = Manager::start().unwrap().list::<u32>().unwrap();
    let mut mixed = Batch::new();
    let _first = mixed.add(list.calls().push(&6));
    let second = mixed.add(other.calls().push(&7));
    assert_eq!(mixed.run().unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(second.take().unwrap_err().kind(), ErrorKind::InvalidInput);
    let later = Batch::new().add(list.calls().len());
    assert_eq!(later.take().unwrap_err().kind(), ErrorKind::InvalidInput);
}

fn calls_are_sent_ahead() {
    let manager = Manager::start().unwrap();
    let list = manager.list::<Vec<u8>>().unwrap();
    // More than both ways hold: whoever sends reads meanwhile.
    let item = vec![7; 10_000];
    let sent: Vec<_> = (0..300).map(|_| list.calls().push(&item).send().unwrap()).collect();
    let got: Vec<_> = (0..300).map(|at| list.calls().get(at).send().unwrap()).collect();
    // In another order than they were sent.
    for (at, call) in got.into_iter().enumerate().rev() {
        assert_eq!(call.wait().unwrap().unwrap(), item, "{at}");
    }
    drop(sent);
    assert_eq!(list.len().unwrap(), 300);
    // What nobody waited for is forgotten, with what it brought.
    let nested = manager.list_of([list.clone()]).unwrap();
    drop(nested.calls().get(0).send().unwrap());
    drop((nested, list));
    wait_until("they are gone", || manager.object_count().unwrap() == 0);
}

fn threads_share_a_session() {
    let manager = Manager::start().unwrap();
    let dict = manager.dict::<u32, u32>().unwrap();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let dict = &dict;
            scope.spawn(move || {
                for round in 0..500 {
                    dict.set(&number, &round).unwrap();
                    assert_eq!(dict.get(&number).unwrap(), Some(round));
                }
            });
        }
    });
    assert_eq!(dict.len().unwrap(), 8);
}

fn large_values_travel() {
    let manager = Manager::start().unwrap();
    let dict = manager.dict::<u8, Vec<u64>>().unwrap();
    let large: Vec<u64> = (0..4_000_000).collect();
    dict.set(&1, &large).unwrap();
    assert!(dict.get(&1).unwrap() == Some(large));
}

fn keys_are_compared_as_bytes() {
    let manager = Manager::start().unwrap();
    let dict = manager.dict::<(u8, Vec<i16>), u8>().unwrap();
    dict.set(&(1, vec![-1]), &1).unwrap();
    assert_eq!(dict.get(&(1, vec![-1])).unwrap(), Some(1));
    assert_eq!(dict.get(&(1, vec![-1, 0])).unwrap(), None);
    assert_eq!(manager.dict_of([(ordered(0.0), 1), (ordered(-0.0), 2)]).unwrap().len().unwrap(), 2);
    let nested = manager.dict::<ListProxy<u8>, u8>().unwrap();
    let refused = nested.set(&manager.list().unwrap(), &1).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
}

/// A float as a key.
fn ordered(float: f64) -> (f64,) {
    (float,)
}
