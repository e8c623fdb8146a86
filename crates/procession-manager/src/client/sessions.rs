//! The sessions of this process, one for each server.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use procession_connection::Address;
use procession_core::authkey::AuthKey;
use procession_core::{Error, ErrorKind, Result};
use procession_sys::wipe::PerProcess;

use super::{CONNECT, Session};

/// Forked children start without any: what their parents have is not theirs.
static SESSIONS: PerProcess<HashMap<u64, Weak<Session>>> = PerProcess::new();
/// The keys of servers whose key is not that of the process, by address.
static KEYS: PerProcess<HashMap<Address, AuthKey>> = PerProcess::new();

impl Session {
    /// Notes that there is this session; the one that there was before, if there was.
    pub(crate) fn join(self: Arc<Self>) -> Result<Arc<Self>> {
        let mut sessions = SESSIONS.lock()?;
        let known = sessions.get(&self.server).and_then(Weak::upgrade);
        if let Some(known) = known.filter(|known| !known.is_lost()) {
            return Ok(known);
        }
        sessions.retain(|_, session| session.strong_count() > 0);
        sessions.insert(self.server, Arc::downgrade(&self));
        Ok(self)
    }
}

/// Notes the key of the server at an address.
pub(crate) fn know_key(address: &Address, key: &AuthKey) -> Result<()> {
    KEYS.lock()?.insert(address.clone(), key.clone());
    Ok(())
}

/// The session with the server of that number, which is at that address if it lives.
pub(crate) fn session_at(server: u64, address: &Address) -> Result<Arc<Session>> {
    let known = SESSIONS.lock()?.get(&server).and_then(Weak::upgrade);
    if let Some(known) = known.filter(|known| !known.is_lost()) {
        return Ok(known);
    }
    let key = KEYS.lock()?.get(address).cloned();
    let session = Session::connect(address, key.as_ref(), CONNECT)?;
    if session.server != server {
        let text = format!("the manager that had the object is gone; another one is at {address}");
        return Err(Error::new(ErrorKind::Closed, text));
    }
    session.join()
}
