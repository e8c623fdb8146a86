//! CPython's managers: `client` uses the objects of one, `server` is one.
//!
//! ```text
//! control, one request for each connection           (None, name, args, kwargs)   ->  (kind, value), and the end
//! calls, any number behind `accept_connection`       (ident, method, args, kwargs)  ->  (kind, value)
//! ```
//!
//! `message` has the bytes of both, for both sides.

pub(crate) mod client;
pub(crate) mod error;
pub(crate) mod message;
pub(crate) mod proxies;
pub(crate) mod proxy;
pub(crate) mod sync;
