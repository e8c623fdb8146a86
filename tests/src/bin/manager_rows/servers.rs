//! Servers: how they start, how they end, and whom they refuse.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use procession::connection::Family;
use procession::{
    Address, AuthKey, Client, Connection, ErrorKind, EventProxy, ListProxy, LockError, Manager,
    Process, Receiver, Sender, ValueProxy, WaitError, pipe,
};
use procession_tests::wait_until;

pub(crate) const ROWS: &[(&str, fn())] = &[
    ("servers::a_killed_server_is_told_to_all", a_killed_server_is_told_to_all),
    (
        "servers::a_killed_server_is_one_error_to_all_and_leaves_no_path",
        a_killed_server_is_one_error_to_all_and_leaves_no_path,
    ),
    ("servers::a_server_ends_with_its_manager", a_server_ends_with_its_manager),
    ("servers::a_server_is_shut_down_by_a_client", a_server_is_shut_down_by_a_client),
    ("servers::an_initializer_prepares_the_server", an_initializer_prepares_the_server),
    ("servers::an_initializer_that_fails_is_told", an_initializer_that_fails_is_told),
    ("servers::a_server_serves_in_this_process", a_server_serves_in_this_process),
    ("servers::by_tcp_it_is_the_same", by_tcp_it_is_the_same),
    ("servers::the_port_is_free_at_once", the_port_is_free_at_once),
    ("servers::strangers_are_refused", strangers_are_refused),
    ("servers::limits_answer_with_errors", limits_answer_with_errors),
    ("servers::one_who_does_not_read_holds_up_nobody", one_who_does_not_read_holds_up_nobody),
    ("servers::what_is_not_read_at_once_is_put_aside", what_is_not_read_at_once_is_put_aside),
    ("servers::a_link_that_is_cut_is_an_error_in_time", a_link_that_is_cut_is_an_error_in_time),
    ("servers::ctrl_c_is_not_for_the_server", ctrl_c_is_not_for_the_server),
];

const PATIENCE: Duration = Duration::from_secs(20);

fn a_killed_server_is_told_to_all() {
    let manager = Manager::start().unwrap();
    let (list, event, lock) =
        (manager.list::<u8>().unwrap(), manager.event().unwrap(), manager.lock().unwrap());
    let guard = lock.lock().unwrap();
    let waits = |event: EventProxy| match event.wait() {
        Err(WaitError::Failed(error)) => error.kind() == ErrorKind::Closed,
        _ => false,
    };
    let child = Process::spawn(waits, (event.clone(),)).unwrap();
    wait_until("it waits", || manager.debug_info().unwrap().contains("1 calls wait"));
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| waits(event.clone()));
        wait_until("both wait", || {
            manager.debug_info().unwrap().matches("1 calls wait").count() == 2
        });
        manager.process().unwrap().kill().unwrap();
        assert!(thread.join().unwrap());
    });
    assert!(child.join().unwrap());
    assert_eq!(list.push(&1).unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(manager.list::<u8>().unwrap_err().kind(), ErrorKind::Closed);
    drop(guard);
    assert!(
        matches!(lock.lock(), Err(LockError::Failed(error)) if error.kind() == ErrorKind::Closed)
    );
    manager.shutdown(PATIENCE).unwrap();
}

/// Through memory and through sockets, to who waits and to who sends.
fn a_killed_server_is_one_error_to_all_and_leaves_no_path() {
    for (round, sockets_only) in [false, true].into_iter().cycle().take(20).enumerate() {
        let builder = Manager::builder();
        let builder = if sockets_only { builder.sockets_only() } else { builder };
        let manager = builder.start().unwrap();
        let Address::Path(path) = manager.address().unwrap() else { panic!("a private path") };
        let (dict, lock) = (manager.dict::<u32, u32>().unwrap(), manager.lock().unwrap());
        let event = manager.event().unwrap();
        let begun = std::sync::Barrier::new(3);
        std::thread::scope(|scope| {
            // Who waits reads for all: the others send, and do not learn of the end by reading.
            let waits = scope.spawn(|| match event.wait() {
                Err(WaitError::Failed(error)) => error,
                other => panic!("{other:?}"),
            });
            let sends = scope.spawn(|| {
                begun.wait();
                loop {
                    if let Err(error) = dict.set(&1, &2) {
                        return error;
                    }
                }
            });
            let locks = scope.spawn(|| {
                begun.wait();
                loop {
                    match lock.lock() {
                        Ok(guard) => drop(guard),
                        Err(LockError::Failed(error)) => return error,
                        Err(other) => panic!("{other}"),
                    }
                }
            });
            begun.wait();
            for _ in 0..round * 20 {
                std::thread::yield_now();
            }
            manager.process().unwrap().kill().unwrap();
            let expected = format!("the manager at {} is gone, or out of reach", path.display());
            for thread in [waits, sends, locks] {
                let error = thread.join().unwrap();
                assert_eq!(
                    (error.kind(), error.to_string()),
                    (ErrorKind::Closed, expected.clone())
                );
            }
        });
        drop(event);
        drop((dict, lock, manager));
        assert!(!path.parent().unwrap().exists(), "{}", path.display());
    }
}

fn a_server_ends_with_its_manager() {
    let manager = Manager::start().unwrap();
    let list = manager.list::<u8>().unwrap();
    let clone = manager.clone();
    drop(manager);
    list.push(&1).unwrap();
    let address = clone.address().unwrap();
    drop(clone);
    // A proxy is enough.
    list.push(&1).unwrap();
    drop(list);
    let Address::Path(path) = address else { panic!("not a path") };
    assert!(!path.exists());

    let manager = Manager::start().unwrap();
    manager.shutdown(PATIENCE).unwrap();
    assert!(!manager.process().unwrap().is_alive().unwrap());
    assert_eq!(
        manager.process().unwrap().join().unwrap().map_err(|error| error.to_string()),
        Ok(())
    );
    manager.shutdown(PATIENCE).unwrap();
}

fn a_server_is_shut_down_by_a_client() {
    let manager = Manager::start().unwrap();
    let key = AuthKey::current().unwrap();
    let other = Manager::connect(manager.address().unwrap(), key).unwrap();
    assert!(other.process().is_some_and(|server| server.pid() == manager.process().unwrap().pid()));
    other.shutdown(PATIENCE).unwrap();
    assert!(manager.process().unwrap().wait(PATIENCE).unwrap());
    assert_eq!(manager.object_count().unwrap_err().kind(), ErrorKind::Closed);
}

fn an_initializer_prepares_the_server() {
    fn prepare(manager: Manager) -> procession::Result<()> {
        manager.publish("list", &manager.list_of([1u8, 2])?)?;
        manager.publish("pid", &manager.value(std::process::id())?)
    }
    let manager = Manager::builder().start_with(prepare).unwrap();
    assert_eq!(manager.find::<ListProxy<u8>>("list").unwrap().to_vec().unwrap(), [1, 2]);
    let pid = manager.find::<procession::ValueProxy<u32>>("pid").unwrap().get().unwrap();
    assert_eq!(pid, manager.process().unwrap().pid());
}

fn an_initializer_that_fails_is_told() {
    fn fails(_manager: Manager) -> procession::Result<()> {
        Err(procession::Error::new(ErrorKind::AlreadyExists, "no"))
    }
    fn ends(_manager: Manager) -> procession::Result<()> {
        procession::exit(3)
    }
    let failed = Manager::builder().start_with(fails).unwrap_err();
    assert_eq!((failed.kind(), failed.to_string()), (ErrorKind::AlreadyExists, "no".into()));
    if procession::start_method() != procession::StartMethod::Thread {
        assert_eq!(Manager::builder().start_with(ends).unwrap_err().kind(), ErrorKind::Died);
    }
    let taken = Manager::builder().address("127.0.0.1:0").start().unwrap();
    let address = taken.address().unwrap();
    assert_eq!(Manager::builder().address(address).start().unwrap_err().kind(), ErrorKind::Os);
}

fn a_server_serves_in_this_process() {
    let server = Manager::builder().server().unwrap();
    let address = server.address().clone();
    let manager = server.manager().unwrap();
    manager.publish("list", &manager.list_of([7u8]).unwrap()).unwrap();
    drop(manager);
    let serving = std::thread::spawn(move || server.serve_forever());
    let client = Manager::connect(address, AuthKey::current().unwrap()).unwrap();
    let list = client.find::<ListProxy<u8>>("list").unwrap();
    let child = Process::builder()
        .start_method(procession::StartMethod::ForkServer)
        .spawn(|list: ListProxy<u8>| list.push(&8), (list.clone(),));
    child.unwrap().join().unwrap().unwrap();
    assert_eq!(list.to_vec().unwrap(), [7, 8]);
    client.shutdown(PATIENCE).unwrap();
    serving.join().unwrap().unwrap();
    assert_eq!(list.len().unwrap_err().kind(), ErrorKind::Closed);
}

fn by_tcp_it_is_the_same() {
    let key = AuthKey::from(&b"abracadabra"[..]);
    let manager = Manager::builder().family(Family::Tcp4).authkey(&key).start().unwrap();
    assert_eq!(manager.address().unwrap().family(), Some(Family::Tcp4));
    let other = Manager::connect(manager.address().unwrap(), &key).unwrap();
    let list = other.list_of(0..1000u64).unwrap();
    list.update_all(|items| items.reverse()).unwrap();
    assert_eq!(list.get(0).unwrap(), Some(999));
    let (event, large) = (manager.event().unwrap(), vec![1u8; 10 << 20]);
    let values = manager.list_of([large.clone()]).unwrap();
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| event.wait());
        assert!(values.get(0).unwrap() == Some(large));
        event.set().unwrap();
        waits.join().unwrap().unwrap();
    });
    let sent: Vec<_> = (0..2000).map(|_| list.calls().len().send().unwrap()).collect();
    assert!(sent.into_iter().all(|call| call.wait().unwrap() == 1000));
    let wrong = Manager::connect(manager.address().unwrap(), &AuthKey::from(&b"other"[..]));
    assert_eq!(wrong.unwrap_err().kind(), ErrorKind::Authentication);
    assert_eq!(list.len().unwrap(), 1000);
}

fn the_port_is_free_at_once() {
    let first = Manager::builder().family(Family::Tcp4).start().unwrap();
    let address = first.address().unwrap();
    let list = first.list::<u8>().unwrap();
    first.shutdown(PATIENCE).unwrap();
    let second = Manager::builder().address(address.clone()).start().unwrap();
    assert_eq!(second.address().unwrap(), address);
    // What the first had, the second has not.
    assert_eq!(list.len().unwrap_err().kind(), ErrorKind::Closed);
    second.list::<u8>().unwrap().push(&1).unwrap();
}

fn strangers_are_refused() {
    let manager = Manager::start().unwrap();
    let address = manager.address().unwrap();
    let Address::Path(path) = &address else { panic!("not a path") };
    // Garbage before the key.
    let mut stranger = UnixStream::connect(path).unwrap();
    stranger.write_all(&[0xff; 4096]).unwrap();
    let mut rest = Vec::new();
    // It may be a reset.
    drop(stranger.read_to_end(&mut rest));
    // Garbage behind it.
    let key = AuthKey::current().unwrap();
    let connect = || Client::builder(&address).authkey(key).connect().unwrap();
    let garbage = connect();
    garbage.send_bytes(b"what is this?").unwrap();
    let answer = garbage.recv_bytes().unwrap();
    assert_eq!(answer[0], 1);
    assert!(garbage.recv_bytes().is_err());
    let other_build = connect();
    other_build.send_bytes(b"PRMANG99\0\0\0\0\0").unwrap();
    assert_eq!(other_build.recv_bytes().unwrap()[0], 1);
    // One that greets, and then says anything at all.
    let hello = connect();
    hello.send_bytes(b"PRMANG01\0\x02\0\0\0me").unwrap();
    assert_eq!(hello.recv_bytes().unwrap()[0], 0);
    let mut seed = 1u64;
    for length in 0..400 {
        let mut frame: Vec<u8> = (0..length)
            .map(|_| {
                seed = seed
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (seed >> 33).to_le_bytes()[0]
            })
            .collect();
        // Not the one that ends the server.
        if frame.get(16) == Some(&9) {
            frame[16] = 8;
        }
        hello.send_bytes(&frame).unwrap();
    }
    drop(hello);
    // Nobody else has noticed.
    let list = manager.list_of([1u8]).unwrap();
    assert_eq!(list.len().unwrap(), 1);
    assert!(manager.process().unwrap().is_alive().unwrap());
}

fn limits_answer_with_errors() {
    let manager =
        Manager::builder().max_clients(3).max_objects(5).max_bytes(10_000).start().unwrap();
    let list = manager.list::<Vec<u8>>().unwrap();
    list.push(&vec![0; 9_000]).unwrap();
    assert_eq!(list.push(&vec![0; 2_000]).unwrap_err().kind(), ErrorKind::TooLarge);
    let dict = manager.dict::<u32, Vec<u8>>().unwrap();
    assert_eq!(dict.set(&1, &vec![0; 2_000]).unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!((list.len().unwrap(), dict.len().unwrap()), (1, 0));
    list.set(0, &vec![0; 10]).unwrap();
    list.clear().unwrap();
    dict.set(&1, &vec![0; 9_000]).unwrap();
    drop(dict.remove(&1).unwrap());
    list.push(&vec![0; 9_000]).unwrap();
    let more: Vec<_> = (0..3).map(|_| manager.event().unwrap()).collect();
    assert_eq!(manager.event().unwrap_err().kind(), ErrorKind::TooLarge);
    drop(more);
    drop(manager.event().unwrap());

    let (address, key) = (manager.address().unwrap(), AuthKey::current().unwrap());
    let client = || {
        let client = Client::builder(&address).authkey(key).connect().unwrap();
        client.send_bytes(b"PRMANG01\0\x02\0\0\0me").unwrap();
        let answer = client.recv_bytes().unwrap();
        (client, answer[0])
    };
    let (one, two) = (client(), client());
    assert_eq!((one.1, two.1), (0, 0));
    assert_eq!(client().1, 1);
    drop(one);
    wait_until("there is room again", || client().1 == 0);
    assert_eq!(list.len().unwrap(), 1);
}

fn one_who_does_not_read_holds_up_nobody() {
    let manager = Manager::start().unwrap();
    let list = manager.list_of([vec![1u8; 100_000]]).unwrap();
    manager.publish("list", &list).unwrap();
    let address = manager.address().unwrap();
    let lazy = Client::builder(&address).authkey(AuthKey::current().unwrap()).connect().unwrap();
    lazy.send_bytes(b"PRMANG01\0\x02\0\0\0me").unwrap();
    assert_eq!(lazy.recv_bytes().unwrap()[0], 0);
    // Asks for the item again and again (the first object has the number 1), and reads nothing.
    let mut get = [7u64.to_le_bytes(), 1u64.to_le_bytes()].concat();
    get.push(34);
    get.extend(0i64.to_le_bytes());
    while lazy.send_bytes_timeout(&get, Duration::from_millis(20)).is_ok() {}
    for _ in 0..100 {
        assert_eq!(list.get(0).unwrap().map(|item| item.len()), Some(100_000));
    }
    drop(lazy);
    wait_until("it is gone", || manager.debug_info().unwrap().matches("client").count() == 1);
}

fn what_is_not_read_at_once_is_put_aside() {
    put_aside(|socket| {
        socket.send_bytes(b"PRMANG01\0\x02\0\0\0me").unwrap();
        assert_eq!(socket.recv_bytes().unwrap()[0], 0);
        socket
    });
    put_aside(|socket| {
        socket.send_bytes(b"PRMANG01\x01\x02\0\0\0me").unwrap();
        assert_eq!(socket.recv_bytes().unwrap()[0], 0);
        // Memory follows.
        socket.recv().unwrap()
    });
}

fn put_aside(greet: impl FnOnce(Connection) -> Connection) {
    const ITEMS: u8 = 50;
    let manager = Manager::start().unwrap();
    // The first object has the number 1.
    let queue = manager.queue::<Vec<u8>>().unwrap();
    let address = manager.address().unwrap();
    let client = Client::builder(&address).authkey(AuthKey::current().unwrap());
    let lazy = greet(client.connect().unwrap());
    for call in 1..=u64::from(ITEMS) {
        let mut take = [call.to_le_bytes(), 1u64.to_le_bytes()].concat();
        take.push(97);
        take.extend(u64::MAX.to_le_bytes());
        lazy.send_bytes(&take).unwrap();
    }
    let waits = format!("{ITEMS} calls wait");
    wait_until("all of them wait", || manager.debug_info().unwrap().contains(&waits));
    // More than the socket holds; who puts waits for nobody.
    (0..ITEMS).for_each(|number| queue.put(vec![number; 100_000]).unwrap());
    assert_eq!(queue.len().unwrap(), 0);
    let mut got = Vec::new();
    for _ in 0..ITEMS {
        let answer = lazy.recv_bytes().unwrap();
        // The call, the status, the lengths of the item and of what it mentions, and the item, which begins with its length.
        let item = &answer[8 + 1 + 8..];
        assert!(answer[8] == 0 && item.len() == 100_003, "{}", item.len());
        assert!(item[3..].iter().all(|byte| *byte == item[3]));
        got.push(item[3]);
    }
    got.sort_unstable();
    assert!(got.into_iter().eq(0..ITEMS));
}

/// A server that is stopped looks like one whose link is cut.
fn a_link_that_is_cut_is_an_error_in_time() {
    fn far(address: String, waits: Receiver<()>, tx: Sender<()>) -> procession::Result<ErrorKind> {
        let limit = Duration::from_millis(200);
        let manager = Manager::connect_timeout(address, AuthKey::current()?, limit)?;
        let (count, event): (ValueProxy<u32>, EventProxy) =
            (manager.find("count")?, manager.find("event")?);
        count.fetch_add(1)?;
        tx.send(())?;
        waits.recv()?;
        let before = Instant::now();
        let late = count.fetch_add(1).unwrap_err();
        assert!(before.elapsed() >= limit && late.kind() == ErrorKind::Closed, "{late:?}");
        // The same for all that comes.
        let Err(WaitError::Failed(again)) = event.wait() else { panic!("it is set") };
        Ok(again.kind())
    }
    let manager = Manager::builder().family(Family::Tcp4).start().unwrap();
    let (count, event) = (manager.value(0u32).unwrap(), manager.event().unwrap());
    manager.publish("count", &count).unwrap();
    manager.publish("event", &event).unwrap();
    let ((go, waits), (tx, ready)) = (pipe().unwrap(), pipe().unwrap());
    let address = manager.address().unwrap().to_string();
    let child = Process::spawn(far, (address, waits, tx)).unwrap();
    ready.recv().unwrap();
    let server = manager.process().unwrap();
    server.signal(procession_sys::signal::STOP).unwrap();
    go.send(()).unwrap();
    let ended = child.join();
    server.signal(procession_sys::signal::CONTINUE).unwrap();
    assert_eq!(ended.unwrap().unwrap(), ErrorKind::Closed);
    // The call that was cut off was done, when the server went on, and once.
    wait_until("it is done", || count.get().unwrap() == 2);
    wait_until("it is gone", || manager.debug_info().unwrap().matches("client").count() == 1);
}

fn ctrl_c_is_not_for_the_server() {
    let manager = Manager::start().unwrap();
    let list = manager.list::<u8>().unwrap();
    manager.process().unwrap().interrupt().unwrap();
    list.push(&1).unwrap();
    assert_eq!(list.len().unwrap(), 1);
    assert!(manager.process().unwrap().is_alive().unwrap());
}
