//! Addresses as the system has them.

use std::net::{SocketAddr, ToSocketAddrs};

use procession_connection::Address;
use procession_core::{Error, ErrorKind, Result};
use procession_sys::net::SocketName;

/// The names that an address stands for, in the order in which they are to be tried. CPython listens by IPv4 only, so that comes first.
pub(crate) fn names(address: &Address) -> Result<Vec<SocketName>> {
    match address {
        Address::Path(path) => Ok(vec![SocketName::Path(path.clone())]),
        Address::Abstract(name) => Ok(vec![SocketName::Abstract(name.clone())]),
        Address::Tcp(address) => Ok(vec![SocketName::Inet(*address)]),
        Address::Host { host, port } => {
            let found = (&host[..], *port).to_socket_addrs().map_err(|error| {
                let text = format!("could not look up `{host}`: {error}");
                Error::new(ErrorKind::Os, text).caused_by(&error)
            })?;
            let mut found: Vec<SocketAddr> = found.collect();
            found.sort_by_key(SocketAddr::is_ipv6);
            Ok(found.into_iter().map(SocketName::Inet).collect())
        }
    }
}

/// What a system's name is called; `None` for a socket without one.
pub(crate) fn of_name(name: SocketName) -> Option<Address> {
    match name {
        SocketName::Unnamed => None,
        SocketName::Path(path) => Some(Address::Path(path)),
        SocketName::Abstract(name) => Some(Address::Abstract(name)),
        SocketName::Inet(address) => Some(Address::Tcp(address)),
    }
}
