//! How long objects live: as long as somebody has them.

use std::time::Duration;

use procession::{DictProxy, ErrorKind, ListProxy, Manager, Process, QueueProxy, pipe};
use procession_tests::wait_until;

pub(crate) const ROWS: &[(&str, fn())] = &[
    ("lifetimes::the_last_proxy_frees_the_object", the_last_proxy_frees_the_object),
    ("lifetimes::a_container_keeps_what_is_in_it", a_container_keeps_what_is_in_it),
    ("lifetimes::proxies_travel_in_arguments_and_results", proxies_travel_in_arguments_and_results),
    ("lifetimes::a_proxy_under_way_keeps_its_object", a_proxy_under_way_keeps_its_object),
    ("lifetimes::what_a_killed_process_had_is_free", what_a_killed_process_had_is_free),
    ("lifetimes::a_fork_takes_up_its_own_reference", a_fork_takes_up_its_own_reference),
    ("lifetimes::a_proxy_of_another_type_is_refused", a_proxy_of_another_type_is_refused),
    ("lifetimes::a_manager_travels", a_manager_travels),
    ("lifetimes::names_keep_objects", names_keep_objects),
];

/// Waits until there are so many objects; what is released goes without an answer, and what others had when they end.
#[track_caller]
fn objects(manager: &Manager, count: usize) {
    wait_until("the objects are as many", || manager.object_count().unwrap() == count);
}

fn the_last_proxy_frees_the_object() {
    let manager = Manager::start().unwrap();
    let list = manager.list::<u8>().unwrap();
    let clone = list.clone();
    assert!(list == clone && list != manager.list().unwrap());
    objects(&manager, 1);
    drop(list);
    clone.push(&1).unwrap();
    objects(&manager, 1);
    drop(clone);
    objects(&manager, 0);
    assert!(manager.debug_info().unwrap().contains("has 0 objects"));
}

fn a_container_keeps_what_is_in_it() {
    let manager = Manager::start().unwrap();
    let inner = manager.dict::<String, u8>().unwrap();
    let outer = manager.dict::<u8, (String, Vec<DictProxy<String, u8>>)>().unwrap();
    outer.set(&1, &("two of them".into(), vec![inner.clone(), inner.clone()])).unwrap();
    drop(inner);
    objects(&manager, 2);
    let (_, got) = outer.get(&1).unwrap().unwrap();
    assert!(got[0] == got[1]);
    got[0].set("x", &7).unwrap();
    let (_, mut again) = outer.get(&1).unwrap().unwrap();
    assert_eq!(again[1].get("x").unwrap(), Some(7));
    drop((got, again.pop()));
    outer.clear().unwrap();
    // This one has it still.
    assert_eq!(again[0].get("x").unwrap(), Some(7));
    objects(&manager, 2);
    drop(again);
    objects(&manager, 1);

    // Replaced, taken out, and gone with the container: each lets go.
    let value = || manager.list_of([1u8]).unwrap();
    let holder = manager.list_of([value(), value(), value()]).unwrap();
    objects(&manager, 5);
    holder.set(0, &value()).unwrap();
    objects(&manager, 5);
    drop(holder.pop().unwrap());
    objects(&manager, 4);
    drop(holder);
    objects(&manager, 1);
    // A chain goes to its end.
    let chain = manager.queue::<QueueProxy<u8>>().unwrap();
    chain.put(manager.queue::<u8>().unwrap()).unwrap();
    objects(&manager, 3);
    drop(chain);
    objects(&manager, 1);
}

fn proxies_travel_in_arguments_and_results() {
    fn child(
        (manager, mine): (Manager, ListProxy<u32>),
        pid: u32,
    ) -> procession::Result<Vec<ListProxy<u32>>> {
        mine.push(&pid)?;
        Ok(vec![mine, manager.list_of([1, 2, 3])?])
    }
    let manager = Manager::start().unwrap();
    let list = manager.list::<u32>().unwrap();
    let process = Process::spawn(child, ((manager.clone(), list.clone()), 5)).unwrap();
    let got = process.join().unwrap().unwrap();
    assert!(got[0] == list && list.to_vec().unwrap() == [5]);
    // The child may have ended before its result was read.
    drop(got);
    drop(list);
    objects(&manager, 0);
}

fn a_proxy_under_way_keeps_its_object() {
    let manager = Manager::start().unwrap();
    let (tx, rx) = pipe::<ListProxy<u8>>().unwrap();
    tx.send(manager.list_of([9]).unwrap()).unwrap();
    objects(&manager, 1);
    let list = rx.recv().unwrap();
    assert_eq!(list.get(0).unwrap(), Some(9));
    drop(list);
    objects(&manager, 0);

    // What nobody receives is kept for a while when its sender has ended.
    let moment = Duration::from_millis(50);
    let manager = Manager::builder().lease_timeout(moment).start().unwrap();
    fn sends(manager: Manager, tx: procession::Sender<ListProxy<u8>>) -> procession::Result<()> {
        tx.send(manager.list_of([1])?)?;
        assert_eq!(manager.object_count()?, 1);
        Ok(())
    }
    let (tx, rx) = pipe::<ListProxy<u8>>().unwrap();
    Process::spawn(sends, (manager.clone(), tx)).unwrap().join().unwrap().unwrap();
    drop(rx);
    objects(&manager, 0);

    // Until then it is received.
    let manager = Manager::start().unwrap();
    let (tx, rx) = pipe::<ListProxy<u8>>().unwrap();
    Process::spawn(sends, (manager.clone(), tx)).unwrap().join().unwrap().unwrap();
    wait_until("it is gone", || manager.debug_info().unwrap().matches("client").count() == 1);
    objects(&manager, 1);
    assert_eq!(rx.recv().unwrap().get(0).unwrap(), Some(1));
    objects(&manager, 0);
}

fn what_a_killed_process_had_is_free() {
    fn holds(manager: Manager, tx: procession::Sender<u32>) -> procession::Result<()> {
        let lists: Vec<_> = (0..100).map(|_| manager.list::<u8>()).collect::<Result<_, _>>()?;
        tx.send(0)?;
        loop {
            std::thread::park();
            assert_eq!(lists.len(), 100);
        }
    }
    let manager = Manager::start().unwrap();
    let (tx, rx) = pipe().unwrap();
    let process = Process::spawn(holds, (manager.clone(), tx)).unwrap();
    rx.recv().unwrap();
    objects(&manager, 100);
    process.kill().unwrap();
    objects(&manager, 0);
}

fn a_fork_takes_up_its_own_reference() {
    let manager = Manager::start().unwrap();
    let dict = manager.dict::<String, u32>().unwrap();
    let (copy, of_child) = (dict.clone(), manager.clone());
    let child = Process::builder()
        .spawn_closure(move || -> procession::Result<String> {
            copy.set("child", &1)?;
            assert_eq!(of_child.object_count()?, 1);
            of_child.debug_info()
        })
        .unwrap();
    let info = child.join().unwrap().unwrap();
    assert!(info.matches("client").count() == 2 && info.contains("2 holders"), "{info}");
    // The end of the child has let go of nothing of this process's, nor ended the server.
    assert_eq!(dict.get("child").unwrap(), Some(1));
    drop(dict);
    objects(&manager, 0);
}

fn a_proxy_of_another_type_is_refused() {
    let manager = Manager::start().unwrap();
    let (tx, rx) = pipe::<Vec<ListProxy<u8>>>().unwrap();
    let other = procession::Connection::from(rx);
    tx.send(vec![manager.list().unwrap()]).unwrap();
    let refused = other.recv::<Vec<ListProxy<u16>>>().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Decode);
    manager.publish("list", &manager.list::<u8>().unwrap()).unwrap();
    assert_eq!(manager.find::<ListProxy<u16>>("list").unwrap_err().kind(), ErrorKind::Decode);
    assert_eq!(manager.find::<DictProxy<u8, u8>>("list").unwrap_err().kind(), ErrorKind::Decode);
    drop(manager.find::<ListProxy<u8>>("list").unwrap());
}

fn a_manager_travels() {
    let manager = Manager::start().unwrap();
    let child =
        Process::spawn(|manager: Manager| manager.dict_of([(1u8, 2u8)]), (manager.clone(),));
    let dict = child.unwrap().join().unwrap().unwrap();
    assert_eq!(dict.get(&1).unwrap(), Some(2));
    let kept = manager.namespace().unwrap();
    kept.set("manager", &manager).unwrap();
    let again: Manager = kept.get("manager").unwrap().unwrap();
    assert_eq!(again.object_count().unwrap(), 2);
}

fn names_keep_objects() {
    let manager = Manager::start().unwrap();
    manager.publish("one", &manager.list_of([1u8]).unwrap()).unwrap();
    objects(&manager, 1);
    assert_eq!(manager.find::<ListProxy<u8>>("one").unwrap().to_vec().unwrap(), [1]);
    manager.publish("one", &manager.list_of([2u8]).unwrap()).unwrap();
    objects(&manager, 1);
    assert_eq!(manager.find::<ListProxy<u8>>("one").unwrap().to_vec().unwrap(), [2]);
    manager.unpublish("one").unwrap();
    objects(&manager, 0);
    let gone = manager.find::<ListProxy<u8>>("one").unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
}
