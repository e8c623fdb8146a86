//! Managers of real CPythons, each that is installed of 3.6 to 3.13, whose objects this process uses: every type of proxy, references,
//! errors, and managers that are killed.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

#[path = "python_peer/support.rs"]
mod support;

use std::collections::{BTreeMap, HashMap};
use std::thread;
use std::time::Duration;

use procession_core::ErrorKind;
use procession_core::authkey::AuthKey;
use procession_python::{CallError, Exception, IteratorProxy, Manager, Value};
use procession_tests::watchdog;
use support::{Python, Script, hex, pythons};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(20);

fn key() -> AuthKey {
    AuthKey::from(&b"abracadabra"[..])
}

fn start(python: &Python, address: &str) -> (Script, Manager) {
    let mut script = Script::start(python, "manager.py", &[address, &hex(key().as_bytes())]);
    let manager = Manager::builder(script.line(), &key()).timeout(LONG).connect();
    (script, manager.unwrap_or_else(|error| panic!("{error:?}, {python:?}")))
}

/// Runs a check against a manager of each release, by a path and by TCP, and sees afterwards that nothing is left in it.
fn each(check: impl Fn(&Python, &Manager)) {
    let _dog = watchdog(600);
    for python in pythons() {
        for address in ["None", "('127.0.0.1', 0)"] {
            let (script, manager) = start(&python, address);
            check(&python, &manager);
            assert_eq!(manager.number_of_objects().unwrap(), 0, "{:?}", manager.debug_info());
            manager.shutdown().unwrap();
            script.ends();
        }
    }
}

#[test]
fn containers_do_what_they_do_in_python() {
    each(|python, manager| {
        dicts(manager);
        lists(manager);
        queues(manager);
        others(manager);
        // Sets came with 3.14.
        assert_eq!(manager.set().is_ok(), python.minor >= 14);
    });
}

fn dicts(manager: &Manager) {
    let dict = manager.dict().unwrap();
    dict.insert("a", 1).unwrap();
    dict.update(BTreeMap::from([("b", vec![2]), ("c", vec![])])).unwrap();
    assert_eq!((dict.get("a").unwrap(), dict.get::<u8>("z").unwrap()), (Some(1u8), None));
    assert_eq!(dict.keys::<String>().unwrap(), ["a", "b", "c"]);
    assert_eq!(dict.remove::<Vec<u8>>("b").unwrap(), Some(vec![2]));
    assert_eq!(dict.remove::<Value>("b").unwrap(), None);
    assert_eq!(dict.get_or_insert::<u8>("d", 4).unwrap(), 4);
    assert_eq!(dict.get_or_insert::<u8>("d", 5).unwrap(), 4);
    assert!(dict.contains("d").unwrap() && !dict.contains((1, 2)).unwrap());
    let items: HashMap<String, Value> = dict.copy().unwrap();
    assert_eq!(items["c"], Value::List(vec![]));
    assert_eq!(dict.proxy().repr().unwrap(), "{'a': 1, 'c': [], 'd': 4}");
    assert!(matches!(dict.proxy().value().unwrap(), Value::Dict(items) if items.len() == 3));
    let keys = dict.iter().unwrap();
    assert_eq!(keys.iter::<String>().map(Result::unwrap).collect::<Vec<_>>(), ["a", "c", "d"]);
    assert_eq!(dict.pop_item::<String, u8>().unwrap(), Some(("d".to_owned(), 4)));
    dict.clear().unwrap();
    assert!(dict.is_empty().unwrap() && dict.pop_item::<(), ()>().unwrap().is_none());
    // What cannot be a key raises what it does in Python.
    assert!(dict.insert(Value::List(vec![]), 1).unwrap_err().is("TypeError"));
}

fn lists(manager: &Manager) {
    let list = manager.list(&[3, 1, 2]).unwrap();
    list.append("x").unwrap();
    assert_eq!(list.get::<String>(-1).unwrap().unwrap(), "x");
    assert_eq!(list.pop::<String>().unwrap().unwrap(), "x");
    list.sort().unwrap();
    list.reverse().unwrap();
    list.extend([9, 9]).unwrap();
    list.insert(0, 8).unwrap();
    list.set(1, 7).unwrap();
    assert_eq!(list.to_vec::<u8>().unwrap(), [8, 7, 2, 1, 9, 9]);
    assert_eq!(list.slice::<u8>(1, 3).unwrap(), [7, 2]);
    assert_eq!((list.count(9).unwrap(), list.len().unwrap()), (2, 6));
    assert_eq!((list.index(2).unwrap(), list.index(77).unwrap()), (Some(2), None));
    assert!(list.contains(8).unwrap());
    list.remove_item(8).unwrap();
    assert_eq!(list.get::<u8>(5).unwrap(), None);
    assert!(list.remove_item(8).unwrap_err().is("ValueError"));
    // An object in another one: there it is itself.
    let dict = manager.dict().unwrap();
    dict.insert("k", "v").unwrap();
    list.append(dict.proxy().to_value()).unwrap();
    let back = manager.proxy_of(&list.get::<Value>(-1).unwrap().unwrap()).unwrap();
    assert_eq!(back.ident(), dict.proxy().ident());
    drop(dict);
    assert_eq!(back.call::<String>("get", ("k",)).unwrap(), "v");
}

fn queues(manager: &Manager) {
    let queue = manager.queue(2).unwrap();
    queue.put("hello").unwrap();
    assert!(queue.try_put((1, [2.5])).unwrap());
    assert!(!queue.try_put(0).unwrap() && queue.is_full().unwrap());
    assert!(!queue.put_timeout(0, SHORT).unwrap());
    assert_eq!(queue.get::<String>().unwrap(), "hello");
    assert_eq!(queue.try_get::<(u8, (f64,))>().unwrap(), Some((1, (2.5,))));
    assert_eq!(queue.try_get::<u8>().unwrap(), None);
    assert_eq!(queue.get_timeout::<u8>(SHORT).unwrap(), None);
    queue.task_done().unwrap();
    queue.task_done().unwrap();
    queue.join().unwrap();
    assert!(queue.task_done().unwrap_err().is("ValueError"));
    assert!(queue.is_empty().unwrap() && queue.len().unwrap() == 0);
    // One that waits gets what another thread puts.
    thread::scope(|scope| {
        let waits = scope.spawn(|| queue.get::<u8>().unwrap());
        queue.put(7).unwrap();
        assert_eq!(waits.join().unwrap(), 7);
    });
}

fn others(manager: &Manager) {
    let space = manager.namespace().unwrap();
    space.set("x", 1.5).unwrap();
    assert_eq!(space.get::<f64>("x").unwrap(), Some(1.5));
    space.remove("x").unwrap();
    assert_eq!(space.get::<f64>("x").unwrap(), None);
    let value = manager.value('i', 7).unwrap();
    value.set("anything").unwrap();
    assert_eq!(value.get::<String>().unwrap(), "anything");
    let array = manager.array('d', &[1.5, 2.5]).unwrap();
    array.set(-1, 9.0).unwrap();
    assert_eq!(array.to_vec::<f64>().unwrap(), [1.5, 9.0]);
    assert_eq!((array.get::<f64>(0).unwrap(), array.len().unwrap()), (Some(1.5), 2));
    assert!(array.set(0, "x").unwrap_err().is("TypeError"));
}

#[test]
fn locks_are_a_threads() {
    each(|_, manager| {
        let lock = manager.lock().unwrap();
        let guard = lock.acquire().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                assert!(lock.try_acquire().unwrap().is_none());
                assert!(lock.acquire_timeout(SHORT).unwrap().is_none());
            });
        });
        drop(guard);
        drop(lock.try_acquire().unwrap().unwrap());
        let again = manager.rlock().unwrap();
        let both = (again.acquire().unwrap(), again.acquire().unwrap());
        thread::scope(|scope| {
            scope.spawn(|| assert!(again.try_acquire().unwrap().is_none()));
        });
        drop(both);
        assert!(again.release().unwrap_err().is("RuntimeError"), "nobody has it");
        let permits = manager.bounded_semaphore(2).unwrap();
        let held = [permits.try_acquire().unwrap(), permits.try_acquire().unwrap()];
        assert!(held.iter().all(Option::is_some) && permits.try_acquire().unwrap().is_none());
        drop(held);
        assert!(permits.release().unwrap_err().is("ValueError"));
        drop(manager.semaphore(1).unwrap().acquire().unwrap());
    });
}

#[test]
fn events_conditions_and_barriers_bring_threads_together() {
    each(|_, manager| {
        let event = manager.event().unwrap();
        assert!(!event.wait_timeout(SHORT).unwrap());
        thread::scope(|scope| {
            scope.spawn(|| event.wait().unwrap());
            event.set().unwrap();
        });
        assert!(event.is_set().unwrap());
        event.clear().unwrap();
        let condition = manager.condition().unwrap();
        let ready = manager.value('b', false).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut lock = condition.acquire().unwrap();
                while !ready.get::<bool>().unwrap() {
                    condition.wait(&mut lock).unwrap();
                }
            });
            let mut lock = condition.acquire().unwrap();
            ready.set(true).unwrap();
            condition.notify_one().unwrap();
            condition.notify_all().unwrap();
            assert!(!condition.wait_timeout(&mut lock, SHORT).unwrap());
        });
        let barrier = manager.barrier(2).unwrap();
        thread::scope(|scope| {
            let other = scope.spawn(|| barrier.wait().unwrap().unwrap());
            assert_eq!(barrier.wait().unwrap().unwrap() + other.join().unwrap(), 1);
        });
        assert_eq!((barrier.parties().unwrap(), barrier.waiting().unwrap()), (2, 0));
        assert_eq!(barrier.wait_timeout(SHORT).unwrap(), None);
        assert!(barrier.is_broken().unwrap());
        barrier.reset().unwrap();
        barrier.abort().unwrap();
    });
}

#[test]
fn types_of_ones_own_are_used_by_name() {
    each(|_, manager| {
        let maths = manager.create("Maths", (10,)).unwrap();
        assert_eq!(
            maths.methods(),
            ["add", "boom", "count", "custom", "length", "same", "unserializable"]
        );
        assert_eq!(maths.call::<i64>("add", (2, 3)).unwrap(), 15);
        let scaled = manager.create_with("Maths", (), &[("scale", 100.into())]).unwrap();
        assert_eq!(scaled.call::<i64>("add", (2, 3)).unwrap(), 500);
        let operator = manager.create("operator", ()).unwrap();
        assert_eq!(operator.call::<u128>("pow", (2, 94)).unwrap(), 1 << 94);
        // What a method makes by `method_to_typeid` is an object of its own.
        let counter = manager.create("Counter", ()).unwrap();
        let numbers = IteratorProxy::from(counter.call_proxy("count", (3,)).unwrap());
        assert_eq!(manager.number_of_objects().unwrap(), 5);
        assert_eq!(numbers.iter().map(Result::unwrap).collect::<Vec<u8>>(), [0, 1, 2]);
        // Values of all kinds go there and back.
        let all = (1, "é", [2.5], Some(Value::Set(vec![1.into()])), Value::ByteArray(vec![7]));
        let wanted = procession_python::to_value(&all).unwrap();
        assert_eq!(maths.call_value("same", (all,)).unwrap(), wanted);
        let megabytes = Value::Bytes(vec![7; 3 << 20]);
        assert_eq!(maths.call_value("same", (&megabytes,)).unwrap(), megabytes);
        assert_eq!(maths.call::<usize>("length", (&megabytes,)).unwrap(), 3 << 20);
    });
}

#[test]
fn errors_say_what_happened() {
    each(|python, manager| {
        let maths = manager.create("Maths", ()).unwrap();
        let raised = |error: CallError| match error {
            CallError::Raised(exception) => *exception,
            other => panic!("{other}"),
        };
        let boom = raised(maths.call::<()>("boom", ()).unwrap_err());
        assert_eq!(boom, Exception::builtin("KeyError", vec!["nope".into()]));
        let custom = raised(maths.call::<()>("custom", ()).unwrap_err());
        assert_eq!(
            (&custom.class.name[..], custom.args),
            ("MyError", vec!["custom".into(), 7.into()])
        );
        let wrong = raised(maths.call::<()>("add", (1,)).unwrap_err());
        assert!(wrong.to_string().contains("missing 1 required"), "{wrong}");
        let refused = |error: CallError, what: &str| match error {
            CallError::Refused(text) => assert!(text.contains(what), "{text}"),
            other => panic!("{other}, {python:?}"),
        };
        refused(maths.call::<()>("nosuch", ()).unwrap_err(), "AttributeError");
        refused(maths.call::<()>("_private", ()).unwrap_err(), "AttributeError");
        refused(maths.call::<()>("unserializable", ()).unwrap_err(), "lambda");
        refused(manager.create("nosuch", ()).unwrap_err(), "KeyError");
        refused(manager.create("Maths", (1, 2, 3)).unwrap_err(), "TypeError");
        // What comes is not what was asked for.
        let other = maths.call::<String>("add", (1, 2)).unwrap_err();
        assert!(
            matches!(&other, CallError::Failed(error) if error.kind() == ErrorKind::Decode),
            "{other}"
        );
        // And all of that time the connection went on.
        assert_eq!(maths.call::<i64>("add", (1, 2)).unwrap(), 3);
        let late = manager.queue(0).unwrap().proxy().call_timeout::<u8>("get", (), SHORT);
        assert!(
            matches!(late, Err(CallError::Failed(error)) if error.kind() == ErrorKind::TimedOut)
        );
        assert_eq!(maths.call::<i64>("add", (1, 2)).unwrap(), 3);
    });
}

#[test]
fn references_are_counted() {
    each(|_, manager| {
        let list = manager.list::<u8>(&[]).unwrap();
        let clone = list.clone();
        assert_eq!(manager.number_of_objects().unwrap(), 1);
        drop(list);
        assert_eq!(manager.number_of_objects().unwrap(), 1);
        assert!(manager.debug_info().unwrap().contains("refcount=1"));
        drop(clone);
        assert_eq!(manager.number_of_objects().unwrap(), 0);
        // Another client has references of its own.
        let other = Manager::connect(manager.address(), &key()).unwrap();
        let dict = other.dict().unwrap();
        dict.insert(1, 2).unwrap();
        let here = manager.proxy_of(&dict.proxy().to_value()).unwrap();
        drop((dict, other));
        assert_eq!(here.call::<u8>("get", (1,)).unwrap(), 2);
        // One that is gone cannot be had any more.
        let gone = here.to_value();
        drop(here);
        assert!(matches!(manager.proxy_of(&gone), Err(CallError::Refused(_))));
    });
}

#[test]
fn who_waits_for_a_manager_that_is_killed_learns_it() {
    let _dog = watchdog(300);
    for python in pythons() {
        let (mut script, manager) = start(&python, "None");
        let queue = manager.queue(0).unwrap();
        thread::scope(|scope| {
            let waits = scope.spawn(|| queue.get::<u8>());
            queue.put(1).unwrap();
            assert_eq!(waits.join().unwrap().unwrap(), 1);
            // This thread has its connection already.
            assert_eq!(queue.len().unwrap(), 0);
            scope.spawn(|| {
                script.running.0.kill().unwrap();
                script.running.0.wait().unwrap();
            });
            match queue.get::<u8>().unwrap_err() {
                CallError::Failed(error) => {
                    assert_eq!(error.kind(), ErrorKind::Closed, "{error:?}")
                }
                other => panic!("{other}"),
            }
        });
        assert!(matches!(queue.len(), Err(CallError::Failed(_))));
        assert!(Manager::connect(manager.address(), &key()).is_err());
    }
}

#[test]
fn a_wrong_key_is_refused() {
    let _dog = watchdog(300);
    for python in pythons() {
        let (script, manager) = start(&python, "None");
        let wrong = AuthKey::from(&b"wrong"[..]);
        let refused = Manager::connect(manager.address(), &wrong).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Authentication);
        manager.shutdown().unwrap();
        script.ends();
    }
}
