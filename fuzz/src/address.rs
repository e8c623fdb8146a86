//! Addresses: what is printed is read as the same, and no text does harm.
//!
//! # Input
//!
//! A byte that chooses a kind; then the text, or the parts of an address.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::unix::ffi::OsStringExt;

use procession::connection::ToAddress;
use procession::{Address, ErrorKind};
use procession_core::Message;

use super::input::Input;

/// Runs one input.
///
/// # Panics
///
/// When a property does not hold.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() {
        0 => text(&String::from_utf8_lossy(input.rest())),
        1 => made(&Address::Path(OsString::from_vec(input.rest().to_vec()).into())),
        2 => made(&Address::Abstract(input.rest().to_vec())),
        3 => {
            let (port, ip) = (u16::from_le_bytes(input.array()), input.array::<4>());
            made(&Address::Tcp((ip, port).into()));
        }
        4 => {
            let (port, ip) = (u16::from_le_bytes(input.array()), input.array::<16>());
            let (flow, scope) =
                (u32::from_le_bytes(input.array()), u32::from_le_bytes(input.array()));
            made(&Address::Tcp(SocketAddrV6::new(ip.into(), port, flow, scope).into()));
        }
        5 => {
            let port = u16::from_le_bytes(input.array());
            let host = String::from_utf8_lossy(input.rest()).into_owned();
            if let Ok(address) = (host.as_str(), port).to_address() {
                returns(&address);
            }
            made(&Address::Host { host, port });
        }
        _ => {}
    }
}

/// A text is an address that comes back, or it is refused.
fn text(text: &str) {
    match text.parse::<Address>() {
        Ok(address) => returns(&address),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text:?}");
            assert!(text.to_address().is_err(), "{text:?}");
        }
    }
    // What travels is text.
    let told = Message::encode(text).unwrap().decode::<Address>();
    assert_eq!(told.ok(), text.parse().ok(), "{text:?}");
}

/// Any address can be printed, and one that there can be comes back.
fn made(address: &Address) {
    let printed = address.to_string();
    match address.to_address() {
        Ok(same) => {
            assert_eq!(&same, address);
            returns(address);
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{printed}");
            let read: Option<Address> = printed.parse().ok();
            assert_ne!(read.as_ref(), Some(address), "there is no such address");
        }
    }
}

fn returns(address: &Address) {
    let printed = address.to_string();
    assert!(!printed.chars().any(char::is_control), "{printed:?}");
    let read = printed.parse::<Address>();
    if is_known_to_change(address) {
        assert!(read.is_ok(), "{printed} of {address:?}");
        return;
    }
    assert_eq!(read.as_ref().ok(), Some(address), "{printed}");
    assert_eq!(read.unwrap().family(), address.family());
    assert!(address.to_address().is_ok());
    let travelled = Message::encode(address).unwrap().decode::<Address>();
    assert_eq!(travelled.as_ref().ok(), Some(address), "{printed}");
}

/// The addresses that are printed as others, as the documentation says.
fn is_known_to_change(address: &Address) -> bool {
    match address {
        // The flow is not printed.
        Address::Tcp(SocketAddr::V6(address)) => address.flowinfo() != 0,
        // A number is read as one.
        Address::Host { host, .. } => host.parse::<IpAddr>().is_ok(),
        _ => false,
    }
}
