//! The objects of a server, by number, with their references; and who is connected.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use procession_connection::Address;
use procession_core::Deadline;
use procession_sys::prim::Ordering::{AcqRel, Acquire, Relaxed};
use procession_sys::prim::{AtomicBool, AtomicU64, Condvar, Mutex, PoisonError, lock};

use super::arguments::Arguments;
use super::managed::{Managed, raise};
use crate::connection::Connection;
use crate::manager::message::{self, Token};
use crate::value::{Exception, Value};

/// Makes an object of a type.
pub(super) type Maker = Arc<dyn Fn(Arguments) -> Result<Arc<dyn Managed>, Exception> + Send + Sync>;

/// How much of an object `debug_info` shows, as CPython has it.
const MOST_SHOWN: usize = 75;

pub(super) struct Core {
    makers: HashMap<String, Maker>,
    pub(super) address: Address,
    max_connections: usize,
    objects: Mutex<Objects>,
    /// Those who are connected, so that they can be left.
    connections: Mutex<HashMap<u64, Arc<Connection>>>,
    /// Rung when a connection ends, or the server.
    changed: Condvar,
    next_connection: AtomicU64,
    refused: AtomicU64,
    is_over: AtomicBool,
}

#[derive(Default)]
struct Objects {
    by_ident: HashMap<String, Entry>,
    /// By type and place in memory, which is an object's own as long as it is here.
    by_place: HashMap<(String, usize), String>,
    last: u64,
}

/// An object.
pub(super) struct Entry {
    pub(super) typeid: String,
    pub(super) object: Arc<dyn Managed>,
    references: u64,
    /// A proxy of it lies in another object: it stays, as in CPython.
    is_inside: bool,
}

impl Core {
    pub(super) fn new(
        makers: HashMap<String, Maker>,
        address: Address,
        max_connections: usize,
    ) -> Self {
        Self {
            makers,
            address,
            max_connections,
            objects: Mutex::default(),
            connections: Mutex::default(),
            changed: Condvar::new(),
            next_connection: AtomicU64::new(1),
            refused: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        }
    }

    /// Makes an object of a type, with one reference; its number and its methods.
    pub(super) fn create(
        &self,
        typeid: &str,
        arguments: Arguments,
    ) -> Result<(String, Vec<String>), Exception> {
        let unknown = || Exception::builtin("KeyError", vec![typeid.into()]);
        let make = self.makers.get(typeid).ok_or_else(unknown)?;
        let object = make(arguments)?;
        Ok(self.add(typeid, object))
    }

    /// Takes an object in, with one reference. One that is here already, as one of this type, is the same.
    pub(super) fn add(&self, typeid: &str, object: Arc<dyn Managed>) -> (String, Vec<String>) {
        let methods = object.methods();
        let place = place_of(typeid, &object);
        let objects = &mut *lock(&self.objects);
        if let Some(ident) = objects.by_place.get(&place)
            && let Some(entry) = objects.by_ident.get_mut(ident)
        {
            entry.references += 1;
            return (ident.clone(), methods);
        }
        objects.last += 1;
        let ident = format!("{:x}", objects.last);
        let typeid = typeid.to_owned();
        let entry = Entry { typeid, object, references: 1, is_inside: false };
        objects.by_place.insert(place, ident.clone());
        objects.by_ident.insert(ident.clone(), entry);
        (ident, methods)
    }

    pub(super) fn incref(&self, ident: &str) -> Result<(), Exception> {
        let mut objects = lock(&self.objects);
        let entry = objects.by_ident.get_mut(ident).ok_or_else(|| unknown(ident))?;
        entry.references += 1;
        Ok(())
    }

    pub(super) fn decref(&self, ident: &str) -> Result<(), Exception> {
        let mut table = lock(&self.objects);
        let objects = &mut *table;
        let entry = objects.by_ident.get_mut(ident).ok_or_else(|| unknown(ident))?;
        entry.references = entry.references.checked_sub(1).ok_or_else(|| {
            raise("AssertionError", format!("there is no reference to {ident} to be given up"))
        })?;
        let gone = match entry.references == 0 && !entry.is_inside {
            true => {
                objects.by_place.remove(&place_of(&entry.typeid, &entry.object));
                objects.by_ident.remove(ident)
            }
            false => None,
        };
        drop(table);
        // Whatever its end does, the table is free.
        drop(gone);
        Ok(())
    }

    /// The object of a number, and the name of its type.
    pub(super) fn object(&self, ident: &str) -> Result<(Arc<dyn Managed>, String), Exception> {
        let objects = lock(&self.objects);
        let entry = objects.by_ident.get(ident).ok_or_else(|| unknown(ident))?;
        Ok((Arc::clone(&entry.object), entry.typeid.clone()))
    }

    /// Keeps the objects whose proxies are in a value: it may be put into another object.
    pub(super) fn keep_inside(&self, value: &Value) {
        match value {
            Value::Object(object) if object.is_a(message::MODULE, "RebuildProxy") => {
                let token = object.args().get(1).and_then(Token::from_value);
                if let Some((token, _)) = token
                    && let Some(entry) = lock(&self.objects).by_ident.get_mut(&token.ident)
                {
                    entry.is_inside = true;
                }
            }
            Value::List(items) | Value::Tuple(items) => {
                items.iter().for_each(|item| self.keep_inside(item));
            }
            Value::Dict(pairs) => pairs.iter().for_each(|(_, value)| self.keep_inside(value)),
            _ => {}
        }
    }

    pub(super) fn number_of_objects(&self) -> usize {
        lock(&self.objects).by_ident.values().filter(|entry| entry.references > 0).count()
    }

    pub(super) fn debug_info(&self) -> String {
        let objects = lock(&self.objects);
        let mut lines: Vec<_> = objects
            .by_ident
            .iter()
            .map(|(ident, entry)| (ident.clone(), entry.references, Arc::clone(&entry.object)))
            .collect();
        drop(objects);
        lines.sort_by(|one, other| one.0.cmp(&other.0));
        let mut text = String::new();
        for (ident, references, object) in lines {
            let shown: String = object.repr().chars().take(MOST_SHOWN).collect();
            let gap = if text.is_empty() { "" } else { "\n" };
            // Writing into a text does not fail.
            write!(text, "{gap}  {ident}:       refcount={references}\n    {shown}").ok();
        }
        text
    }

    /// A number for a connection, unless there are too many.
    pub(super) fn welcome(&self, connection: &Arc<Connection>) -> Option<u64> {
        let mut connections = lock(&self.connections);
        if connections.len() >= self.max_connections || self.is_over() {
            self.refused.fetch_add(1, Relaxed);
            return None;
        }
        let number = self.next_connection.fetch_add(1, Relaxed);
        connections.insert(number, Arc::clone(connection));
        Some(number)
    }

    /// A connection has ended.
    pub(super) fn leave(&self, number: u64, has_called: bool) {
        if has_called {
            let objects: Vec<_> = {
                let objects = lock(&self.objects);
                objects.by_ident.values().map(|entry| Arc::clone(&entry.object)).collect()
            };
            for object in objects {
                // Who waits for this connection to end must learn it, whatever an object of the program's own does.
                drop(catch_unwind(AssertUnwindSafe(|| object.left(number))));
            }
        }
        lock(&self.connections).remove(&number);
        self.changed.notify_all();
    }

    /// Waits for a connection to end, or for a moment: nobody tells when the system has room again.
    pub(super) fn wait_for_room(&self) {
        let moment = Duration::from_millis(10);
        drop(self.changed.wait_timeout(lock(&self.connections), moment));
    }

    pub(super) fn refused_connections(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Whether somebody has told the server to end.
    pub(super) fn is_over(&self) -> bool {
        // ORDERING: Acquire: pairs with the exchange in `end`.
        self.is_over.load(Acquire)
    }

    pub(super) fn end(&self) {
        // ORDERING: AcqRel: pairs with the load in `is_over`; under the lock, so that who is about to wait sees it.
        let connections = lock(&self.connections);
        self.is_over.swap(true, AcqRel);
        drop(connections);
        self.changed.notify_all();
    }

    pub(super) fn wait_for_end(&self, deadline: Deadline) -> bool {
        let mut connections = lock(&self.connections);
        while !self.is_over() && !deadline.has_passed() {
            let most = deadline.remaining().unwrap_or(Duration::MAX);
            let woken = self.changed.wait_timeout(connections, most);
            connections = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        self.is_over()
    }

    /// Closes all connections, and waits until nobody serves any more.
    pub(super) fn hang_up(&self) {
        let mut connections = lock(&self.connections);
        connections.values().for_each(|connection| connection.close());
        while !connections.is_empty() {
            connections = self.changed.wait(connections).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").finish_non_exhaustive()
    }
}

fn place_of(typeid: &str, object: &Arc<dyn Managed>) -> (String, usize) {
    (typeid.to_owned(), Arc::as_ptr(object).addr())
}

fn unknown(ident: &str) -> Exception {
    Exception::builtin("KeyError", vec![ident.into()])
}
