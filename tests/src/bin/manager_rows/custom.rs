//! Types of the user's own behind a server.

use std::time::Duration;

use procession::manager::{here, share};
use procession::{
    DictProxy, ErrorKind, EventProxy, ListProxy, Manager, Process, ValueProxy, shared,
};
use procession_tests::wait_until;

pub(crate) const ROWS: &[(&str, fn())] = &[
    ("custom::methods_run_at_the_server", methods_run_at_the_server),
    ("custom::errors_and_panics_are_told", errors_and_panics_are_told),
    ("custom::methods_take_and_return_proxies", methods_take_and_return_proxies),
    ("custom::one_call_at_a_time_runs_on_a_value", one_call_at_a_time_runs_on_a_value),
    ("custom::a_method_that_waits_holds_up_nobody", a_method_that_waits_holds_up_nobody),
    ("custom::methods_are_called_by_name", methods_are_called_by_name),
    ("custom::a_type_has_to_be_registered", a_type_has_to_be_registered),
    ("custom::a_value_is_dropped_with_its_last_proxy", a_value_is_dropped_with_its_last_proxy),
];

/// What the processes share.
struct Account {
    balance: i64,
    /// Counts the accounts that are gone.
    gone: Option<ValueProxy<u32>>,
}

#[shared]
impl Account {
    /// An account with so much.
    fn open(balance: i64) -> Self {
        Self { balance, gone: None }
    }

    fn open_counted(gone: ValueProxy<u32>) -> Self {
        Self { balance: 0, gone: Some(gone) }
    }

    fn open_if(is_allowed: bool) -> Result<Self, String> {
        match is_allowed {
            true => Ok(Self { balance: 1, gone: None }),
            false => Err("it is not allowed".into()),
        }
    }

    fn balance(&self) -> i64 {
        self.balance
    }

    fn pay_in(&mut self, amount: i64) -> i64 {
        self.balance += amount;
        self.balance
    }

    fn pay_out(&mut self, amount: i64) -> Result<i64, String> {
        if amount > self.balance {
            return Err(format!("{amount} of {}", self.balance));
        }
        self.balance -= amount;
        Ok(self.balance)
    }

    fn close(&mut self) {
        assert!(self.balance == 0, "there is {} left", self.balance);
    }

    fn pid(&self) -> u32 {
        std::process::id()
    }

    /// Not in one step, on purpose.
    fn pay_in_slowly(&mut self, amount: i64) {
        let before = self.balance;
        std::thread::yield_now();
        self.balance = before + amount;
    }

    fn wait_for(&self, event: EventProxy) -> bool {
        event.wait().is_ok()
    }

    fn history(&self, of: DictProxy<String, i64>) -> procession::Result<ListProxy<(String, i64)>> {
        let all: Result<Vec<_>, _> = of.iter().collect();
        here()?.list_of(all?)
    }

    fn split(&mut self) -> procession::Result<Vec<AccountProxy>> {
        let half = std::mem::take(&mut self.balance) / 2;
        let account = || share(Self { balance: half, gone: None });
        Ok(vec![account()?, account()?])
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if let Some(gone) = &self.gone {
            gone.fetch_add(1).unwrap();
        }
    }
}

fn start() -> Manager {
    Manager::builder().register::<Account>().start().unwrap()
}

fn methods_run_at_the_server() {
    let manager = start();
    let account = AccountProxy::open(&manager, 10).unwrap();
    assert_eq!(account.balance().unwrap(), 10);
    assert_eq!(account.pay_in(5).unwrap(), 15);
    if procession::start_method() != procession::StartMethod::Thread {
        assert_eq!(account.pid().unwrap(), manager.process().unwrap().pid());
    }
    let child = Process::spawn(|account: AccountProxy| account.pay_in(1), (account.clone(),));
    assert_eq!(child.unwrap().join().unwrap().unwrap(), 16);
    // In a container, and by a name.
    let list = manager.list_of([account.clone()]).unwrap();
    assert_eq!(list.get(0).unwrap().unwrap().pay_in(1).unwrap(), 17);
    manager.publish("account", &account).unwrap();
    assert_eq!(manager.find::<AccountProxy>("account").unwrap().balance().unwrap(), 17);
    assert_eq!(manager.find::<ListProxy<u8>>("account").unwrap_err().kind(), ErrorKind::Decode);
}

fn errors_and_panics_are_told() {
    let manager = start();
    let account = AccountProxy::open(&manager, 10).unwrap();
    assert_eq!(account.pay_out(4).unwrap(), Ok(6));
    assert_eq!(account.pay_out(40).unwrap(), Err("40 of 6".into()));
    let panic = account.close().unwrap_err();
    assert_eq!(panic.kind(), ErrorKind::Panicked);
    assert!(panic.to_string().contains("there is 6 left"), "{panic}");
    let backtrace = std::error::Error::source(&panic).unwrap().to_string();
    assert!(backtrace.contains("Account"), "{backtrace}");
    // It goes on.
    assert_eq!(account.pay_out(6).unwrap(), Ok(0));
    account.close().unwrap();
    let refused = AccountProxy::open_if(&manager, false).unwrap_err();
    assert_eq!((refused.kind(), &*refused.to_string()), (ErrorKind::Other, "it is not allowed"));
    assert_eq!(AccountProxy::open_if(&manager, true).unwrap().balance().unwrap(), 1);
}

fn methods_take_and_return_proxies() {
    let manager = start();
    let before = manager.object_count().unwrap();
    let account = AccountProxy::open(&manager, 10).unwrap();
    let dict = manager.dict_of([("a".to_owned(), 1), ("b".to_owned(), 2)]).unwrap();
    let list = account.history(dict.clone()).unwrap().unwrap();
    assert_eq!(list.to_vec().unwrap(), [("a".to_owned(), 1), ("b".to_owned(), 2)]);
    let halves = account.split().unwrap().unwrap();
    assert_eq!(halves[0].pay_in(1).unwrap(), 6);
    assert_eq!((halves[1].balance().unwrap(), account.balance().unwrap()), (5, 0));
    assert_eq!(manager.object_count().unwrap(), before + 5);
    drop((account, dict, list, halves));
    wait_until("all are gone", || manager.object_count().unwrap() == before);
}

fn one_call_at_a_time_runs_on_a_value() {
    let manager = start();
    let account = AccountProxy::open(&manager, 0).unwrap();
    let pay = |account: AccountProxy| (0..100).all(|_| account.pay_in_slowly(1).is_ok());
    let children: Vec<_> =
        (0..3).map(|_| Process::spawn(pay, (account.clone(),)).unwrap()).collect();
    assert!(children.into_iter().all(|child| child.join().unwrap()));
    assert_eq!(account.balance().unwrap(), 300);
}

fn a_method_that_waits_holds_up_nobody() {
    let manager = start();
    let event = manager.event().unwrap();
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..10)
            .map(|_| {
                let (manager, event) = (&manager, event.clone());
                scope.spawn(move || AccountProxy::open(manager, 0)?.wait_for(event))
            })
            .collect();
        let other = AccountProxy::open(&manager, 0).unwrap();
        for _ in 0..100 {
            other.pay_in(1).unwrap();
        }
        assert_eq!(other.balance().unwrap(), 100);
        event.set().unwrap();
        assert!(waiting.into_iter().all(|thread| thread.join().unwrap().unwrap()));
    });
}

fn methods_are_called_by_name() {
    let manager = start();
    let account = AccountProxy::open(&manager, 3).unwrap();
    assert_eq!(account.call_by_name::<_, i64>("pay_in", &(4i64,)).unwrap(), 7);
    let unknown = account.call_by_name::<_, i64>("rob", &()).unwrap_err();
    assert!(unknown.kind() == ErrorKind::Unsupported && unknown.to_string().contains("rob"));
    let other_types = account.call_by_name::<_, i64>("pay_in", &(4u8,)).unwrap_err();
    assert_eq!(other_types.kind(), ErrorKind::Unsupported);
    let other_result = account.call_by_name::<_, i32>("pay_in", &(4i64,)).unwrap_err();
    assert_eq!(other_result.kind(), ErrorKind::Unsupported);
    assert_eq!(account.balance().unwrap(), 7);
}

fn a_type_has_to_be_registered() {
    let manager = Manager::start().unwrap();
    let refused = AccountProxy::open(&manager, 1).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
    assert!(refused.to_string().contains("Account"), "{refused}");
    assert_eq!(here().unwrap_err().kind(), ErrorKind::Unsupported);
}

fn a_value_is_dropped_with_its_last_proxy() {
    let manager = start();
    let gone = manager.value(0u32).unwrap();
    let account = AccountProxy::open_counted(&manager, gone.clone()).unwrap();
    account.pay_in(1).unwrap();
    // The value itself has the counter.
    assert_eq!(manager.object_count().unwrap(), 2);
    drop(account);
    wait_until("it is dropped", || gone.get().unwrap() == 1);
    let child = Process::spawn(
        |manager: Manager, gone: ValueProxy<u32>| {
            let _account = AccountProxy::open_counted(&manager, gone)?;
            procession::exit(0)
        },
        (manager.clone(), gone.clone()),
    );
    let child: Process<procession::Result<()>> = child.unwrap();
    assert!(child.wait(Duration::from_secs(20)).unwrap());
    wait_until("it is dropped with its process", || gone.get().unwrap() == 2);
}
