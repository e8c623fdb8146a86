//! CPython's `_TestMyManager`, `_TestRemoteManager`, `_TestManagerRestart`, and what of `TestInitializers` is of managers.

use std::time::Duration;

use procession::connection::Family;
use procession::manager::share;
use procession::{AuthKey, ErrorKind, Manager, Process, QueueProxy, ValueProxy, shared};
use procession_tests::wait_until;
use serde::{Deserialize, Serialize};

pub(crate) const ROWS: &[(&str, fn())] = &[
    ("managers::mymanager", mymanager),
    ("managers::mymanager_context", mymanager_context),
    ("managers::mymanager_context_prestarted", mymanager_context_prestarted),
    ("managers::remote", remote),
    ("managers::rapid_restart", rapid_restart),
    ("managers::manager_initializer", manager_initializer),
];

const PATIENCE: Duration = Duration::from_secs(30);

struct FooBar;

#[shared]
impl FooBar {
    fn new() -> Self {
        Self
    }

    fn f(&self) -> String {
        "f()".into()
    }

    fn g(&self) -> Result<(), u32> {
        Err(7)
    }

    fn _h(&self) -> String {
        "_h()".into()
    }

    fn baz(&self) -> procession::Result<BazProxy> {
        share(Baz(0..10))
    }
}

impl FooBar {
    /// Exposed to nobody.
    fn hidden(&self) {}
}

struct Baz(std::ops::Range<u64>);

#[shared]
impl Baz {
    fn next(&mut self) -> Option<u64> {
        self.0.next().map(|number| number * number)
    }
}

fn work(manager: &Manager) {
    let shown = FooBarProxy::new(manager).unwrap();
    assert_eq!((shown.f().unwrap(), shown._h().unwrap()), ("f()".into(), "_h()".into()));
    assert_eq!(shown.g().unwrap(), Err(7));
    FooBar.hidden();
    let hidden = shown.call_by_name::<_, ()>("hidden", &()).unwrap_err();
    assert_eq!(hidden.kind(), ErrorKind::Unsupported);
    assert_eq!(shown.call_by_name::<_, String>("f", &()).unwrap(), "f()");
    let all = shown.baz().unwrap().unwrap();
    let squares: Vec<u64> = std::iter::from_fn(|| all.next().unwrap()).collect();
    assert!(squares.into_iter().eq((0..10).map(|number| number * number)));
}

fn mymanager() {
    let manager = Manager::builder().register::<FooBar>().start().unwrap();
    work(&manager);
    manager.shutdown(PATIENCE).unwrap();
    manager.process().unwrap().join().unwrap().unwrap();
}

fn mymanager_context() {
    let path = {
        let manager = Manager::builder().register::<FooBar>().start().unwrap();
        work(&manager);
        manager.address().unwrap()
    };
    assert!(Manager::connect(path, AuthKey::current().unwrap()).is_err());
}

/// Starting is all there is to entering; its end is in order.
fn mymanager_context_prestarted() {
    let manager = Manager::builder().register::<FooBar>().start().unwrap();
    let server = manager.clone();
    work(&manager);
    drop(manager);
    server.shutdown(PATIENCE).unwrap();
    assert!(server.process().unwrap().exit_status().unwrap().unwrap().is_success());
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Anything {
    Nothing,
    Truth(bool),
    Number(f64),
    Text(String),
    Bytes(Vec<u8>),
    All(Vec<Anything>),
}

fn anything() -> Vec<Anything> {
    use Anything::{All, Bytes, Nothing, Number, Text, Truth};
    let values = vec![
        Nothing,
        Truth(true),
        Truth(false),
        Number(0.5),
        Text("hallå världen".into()),
        Text("привет світ".into()),
        Bytes("hall\u{e5} v\u{e4}rlden".into()),
    ];
    [values.clone(), vec![All(values)]].concat()
}

fn remote() {
    let key = AuthKey::from(&b"a key of 32 bytes, or not of them"[..]);
    let manager = Manager::builder().family(Family::Tcp4).authkey(&key).start().unwrap();
    manager.publish("queue", &manager.queue::<Anything>().unwrap()).unwrap();
    let putter = |address: String, key: AuthKey| -> procession::Result<()> {
        let queue: QueueProxy<Anything> = Manager::connect(address, &key)?.find("queue")?;
        for value in anything() {
            queue.put(value)?;
        }
        Ok(())
    };
    let address = manager.address().unwrap().to_string();
    let child = Process::spawn(putter, (address.clone(), key.clone())).unwrap();
    let queue: QueueProxy<Anything> =
        Manager::connect(address, &key).unwrap().find("queue").unwrap();
    for value in anything() {
        assert_eq!(queue.get().unwrap(), value);
    }
    child.join().unwrap().unwrap();
}

fn rapid_restart() {
    let key = AuthKey::from(&b"again"[..]);
    let first = Manager::builder().family(Family::Tcp4).authkey(&key).start().unwrap();
    let address = first.address().unwrap();
    first.publish("queue", &first.queue::<String>().unwrap()).unwrap();
    let putter = |address: String, key: AuthKey| -> procession::Result<()> {
        let queue: QueueProxy<String> = Manager::connect(address, &key)?.find("queue")?;
        Ok(queue.put("hello world".into())?)
    };
    Process::spawn(putter, (address.to_string(), key.clone())).unwrap().join().unwrap().unwrap();
    let queue: QueueProxy<String> = first.find("queue").unwrap();
    assert_eq!(queue.get().unwrap(), "hello world");
    drop(queue);
    first.shutdown(PATIENCE).unwrap();
    let second = Manager::builder().address(&address).authkey(&key).start().unwrap();
    assert_eq!(second.address().unwrap(), address);
    second.shutdown(PATIENCE).unwrap();
}

fn manager_initializer() {
    fn initialize(manager: Manager) -> procession::Result<()> {
        manager.publish("times", &manager.value(1u32)?)
    }
    // What is no function does not compile.
    let manager = Manager::builder().start_with(initialize).unwrap();
    let times: ValueProxy<u32> = manager.find("times").unwrap();
    wait_until("it has run once", || times.get().unwrap() == 1);
    manager.shutdown(PATIENCE).unwrap();
}
