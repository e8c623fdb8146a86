//! Where somebody listens.

use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use procession_core::{Error, ErrorKind, Result};
use procession_sys::net::{MAX_NAME_BYTES, SocketName};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Where somebody listens.
///
/// # As text
///
/// | text | what |
/// |---|---|
/// | `/run/my.sock`, `./my.sock`, `../my.sock` | a path |
/// | `unix:my.sock` | any path |
/// | `@name`, `abstract:name` | a name in Linux's abstract namespace |
/// | `127.0.0.1:5000`, `[::1]:5000` | an address and a port |
/// | `localhost:5000` | a host and a port |
/// | `tcp:` before either of these | the same |
/// | `unix%:`, `abstract%:` | a path or name with its bytes written as `%2F`, where they are not text |
///
/// What [`Display`](fmt::Display) prints, [`FromStr`] reads as the same address, with two exceptions: the flow label of an IPv6
/// address is not printed, and a [`Host`](Self::Host) that is a number in truth is read as what it is. An address travels as this
/// text.
///
/// # Examples
///
/// ```
/// use procession_connection::Address;
///
/// let address: Address = "127.0.0.1:5000".parse()?;
/// assert_eq!(address, Address::Tcp(([127, 0, 0, 1], 5000).into()));
/// assert_eq!(address.to_string(), "127.0.0.1:5000");
/// assert!(r"\\.\pipe\name".parse::<Address>().is_err());
/// # Ok::<(), procession_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// A path, at which a socket lies that only its owner can connect to. At most 107 bytes.
    Path(PathBuf),
    /// A name that Linux keeps beside the file system, per network namespace, without permissions: give a key. It goes with its
    /// owner. Any bytes, at most 107, at least one.
    Abstract(Vec<u8>),
    /// An address and a port of TCP.
    Tcp(SocketAddr),
    /// A host that has to be looked up, and a port of TCP.
    Host {
        /// Its name.
        host: String,
        /// The port.
        port: u16,
    },
}

/// A kind of address.
///
/// # Examples
///
/// ```
/// use procession_connection::{Family, Listener};
///
/// let listener = Listener::builder().family(Family::Tcp4).bind()?;
/// assert_eq!(listener.address().family(), Some(Family::Tcp4));
/// assert_eq!(Family::default(), Family::Unix);
/// # Ok::<(), procession_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Family {
    /// Of this system: a path or an abstract name. Handles travel.
    #[default]
    Unix,
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
}

/// What can be given as an address.
///
/// Text, paths, `std`'s socket addresses, and a host with a port.
///
/// # Examples
///
/// ```
/// use procession_connection::{Address, ToAddress};
/// use std::path::Path;
///
/// assert_eq!("/run/my.sock".to_address()?, Path::new("/run/my.sock").to_address()?);
/// assert_eq!(("localhost", 80).to_address()?, "localhost:80".parse::<Address>()?);
/// # Ok::<(), procession_core::Error>(())
/// ```
pub trait ToAddress {
    /// The address.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] when it is none.
    fn to_address(&self) -> Result<Address>;
}

impl Address {
    /// Its kind; `None` for a host, which may be of more than one.
    pub fn family(&self) -> Option<Family> {
        match self {
            Self::Path(_) | Self::Abstract(_) => Some(Family::Unix),
            Self::Tcp(SocketAddr::V4(_)) => Some(Family::Tcp4),
            Self::Tcp(SocketAddr::V6(_)) => Some(Family::Tcp6),
            Self::Host { .. } => None,
        }
    }

    /// Where to listen when only the family is known; `None` for a private path, which has to be made.
    pub(crate) fn default_of(family: Family) -> Option<Self> {
        let ip: IpAddr = match family {
            Family::Unix => return None,
            Family::Tcp4 => Ipv4Addr::LOCALHOST.into(),
            Family::Tcp6 => Ipv6Addr::LOCALHOST.into(),
        };
        Some(Self::Tcp((ip, 0).into()))
    }

    /// What a system's name is called here; `None` for a socket without one.
    pub(crate) fn from_name(name: SocketName) -> Option<Self> {
        match name {
            SocketName::Unnamed => None,
            SocketName::Path(path) => Some(Self::Path(path)),
            SocketName::Abstract(name) => Some(Self::Abstract(name)),
            SocketName::Inet(address) => Some(Self::Tcp(address)),
        }
    }

    /// The names that this stands for, in the order in which they are to be tried: one, but for a host.
    pub(crate) fn names(&self, family: Option<Family>) -> Result<Vec<SocketName>> {
        self.check()?;
        if let (Some(wanted), Some(own)) = (family, self.family())
            && wanted != own
        {
            return Err(invalid(format!("`{self}` is not of the family {wanted:?}")));
        }
        match self {
            Self::Path(path) => Ok(vec![SocketName::Path(path.clone())]),
            Self::Abstract(name) => Ok(vec![SocketName::Abstract(name.clone())]),
            Self::Tcp(address) => Ok(vec![SocketName::Inet(*address)]),
            Self::Host { host, port } => look_up(host, *port, family),
        }
    }

    /// Whether there can be such an address.
    fn check(&self) -> Result<()> {
        let (what, bytes) = match self {
            Self::Path(path) => ("path of a socket", path.as_os_str().as_bytes()),
            Self::Abstract(name) => ("abstract name", &name[..]),
            Self::Tcp(_) => return Ok(()),
            Self::Host { host, .. } => {
                let is_sound = is_host(host);
                return is_sound.then_some(()).ok_or_else(|| invalid(no_address(host)));
            }
        };
        match bytes.len() {
            0 => Err(invalid(format!("the {what} is empty"))),
            1..=MAX_NAME_BYTES if matches!(self, Self::Path(_)) && bytes.contains(&0) => {
                Err(invalid(format!("the {what} has a zero in it")))
            }
            1..=MAX_NAME_BYTES => Ok(()),
            len => Err(invalid(format!(
                "the {what} has {len} bytes, at most {MAX_NAME_BYTES} are possible: `{self}`"
            ))),
        }
    }
}

/// Asks the system for the addresses of a host.
fn look_up(host: &str, port: u16, family: Option<Family>) -> Result<Vec<SocketName>> {
    let found = (host, port).to_socket_addrs().map_err(|error| {
        let text = format!("could not look up `{host}`: {error}");
        Error::new(ErrorKind::Os, text).caused_by(&error)
    })?;
    let wanted = |address: &SocketAddr| match family {
        None => true,
        Some(Family::Tcp4) => address.is_ipv4(),
        Some(Family::Tcp6) => address.is_ipv6(),
        Some(Family::Unix) => false,
    };
    let names: Vec<SocketName> = found.filter(wanted).map(SocketName::Inet).collect();
    match names.is_empty() {
        true => Err(invalid(format!("`{host}` has no address of that family"))),
        false => Ok(names),
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let address = parse(text).ok_or_else(|| invalid(no_address(text)))?;
        address.check()?;
        Ok(address)
    }
}

fn parse(text: &str) -> Option<Address> {
    let path = |text: &str| Address::Path(text.into());
    let name = |text: &str| Address::Abstract(text.into());
    if let Some((prefix, rest)) = text.split_once(':') {
        match prefix {
            "unix" => return Some(path(rest)),
            "abstract" => return Some(name(rest)),
            "tcp" => return parse_tcp(rest),
            "unix%" => {
                return Some(Address::Path(OsString::from_vec(unescape(rest)?).into()));
            }
            "abstract%" => return Some(Address::Abstract(unescape(rest)?)),
            _ => {}
        }
    }
    if let Some(rest) = text.strip_prefix('@') {
        return Some(name(rest));
    }
    if ["/", "./", "../"].iter().any(|start| text.starts_with(start)) {
        return Some(path(text));
    }
    parse_tcp(text)
}

fn parse_tcp(text: &str) -> Option<Address> {
    if let Ok(address) = text.parse() {
        return Some(Address::Tcp(address));
    }
    let (host, port) = text.rsplit_once(':')?;
    // `u16` would read a sign.
    let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|_| is_number)?;
    is_host(host).then(|| Address::Host { host: host.into(), port })
}

/// Whether this may be the name of a host. The system knows which there are.
fn is_host(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=253).contains(&text.len()) && text.bytes().all(is_part)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |text: &str| !text.chars().any(char::is_control);
        match self {
            Self::Path(path) => match path.to_str() {
                Some(text) if is_plain(text) && text.starts_with('/') => f.write_str(text),
                Some(text) if is_plain(text) => write!(f, "unix:{text}"),
                _ => write!(f, "unix%:{}", escape(path.as_os_str().as_bytes())),
            },
            Self::Abstract(name) => match std::str::from_utf8(name) {
                Ok(text) if is_plain(text) => write!(f, "@{text}"),
                _ => write!(f, "abstract%:{}", escape(name)),
            },
            Self::Tcp(address) => address.fmt(f),
            Self::Host { host, port } => match host.as_str() {
                // It would be read as a prefix.
                "unix" | "abstract" | "tcp" => write!(f, "tcp:{host}:{port}"),
                host => write!(f, "{host}:{port}"),
            },
        }
    }
}

fn escape(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("%{byte:02X}")).collect()
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut parts = text.split('%');
    if !parts.next()?.is_empty() {
        return None;
    }
    parts
        .map(|digits| {
            let is_byte =
                digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            u8::from_str_radix(digits, 16).ok().filter(|_| is_byte)
        })
        .collect()
}

fn no_address(text: &str) -> String {
    if text.starts_with(r"\\") {
        return format!("`{text}` is the name of a Windows pipe, which there are none of here");
    }
    format!("`{text}` is no address: a `/path`, an `@name` or a `host:port` is")
}

fn invalid(text: String) -> Error {
    Error::new(ErrorKind::InvalidInput, text)
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl From<PathBuf> for Address {
    fn from(path: PathBuf) -> Self {
        Self::Path(path)
    }
}

impl From<&Path> for Address {
    fn from(path: &Path) -> Self {
        Self::Path(path.into())
    }
}

impl ToAddress for Address {
    fn to_address(&self) -> Result<Address> {
        self.check()?;
        Ok(self.clone())
    }
}

impl ToAddress for str {
    fn to_address(&self) -> Result<Address> {
        self.parse()
    }
}

impl ToAddress for String {
    fn to_address(&self) -> Result<Address> {
        self.parse()
    }
}

impl ToAddress for Path {
    fn to_address(&self) -> Result<Address> {
        Address::from(self).to_address()
    }
}

impl ToAddress for PathBuf {
    fn to_address(&self) -> Result<Address> {
        self.as_path().to_address()
    }
}

impl ToAddress for SocketAddr {
    fn to_address(&self) -> Result<Address> {
        Ok(Address::Tcp(*self))
    }
}

impl ToAddress for (&str, u16) {
    fn to_address(&self) -> Result<Address> {
        let (host, port) = *self;
        match host.parse::<IpAddr>() {
            Ok(ip) => Ok(Address::Tcp((ip, port).into())),
            Err(_a_name) => Address::Host { host: host.into(), port }.to_address(),
        }
    }
}

impl<T: ToAddress + ?Sized> ToAddress for &T {
    fn to_address(&self) -> Result<Address> {
        (**self).to_address()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn host(host: &str, port: u16) -> Address {
        Address::Host { host: host.into(), port }
    }

    #[test]
    fn text_is_read_as_the_address_that_it_names() {
        let tcp = |text: &str| Address::Tcp(text.parse().unwrap());
        for (text, address) in [
            ("/tmp/x", Address::Path("/tmp/x".into())),
            ("/tmp/a:b%41", Address::Path("/tmp/a:b%41".into())),
            ("./x", Address::Path("./x".into())),
            ("unix:x", Address::Path("x".into())),
            ("@name", Address::Abstract(b"name".to_vec())),
            ("abstract:/name", Address::Abstract(b"/name".to_vec())),
            ("abstract%:%00%FF", Address::Abstract(vec![0, 255])),
            ("127.0.0.1:80", tcp("127.0.0.1:80")),
            ("tcp:[::1]:80", tcp("[::1]:80")),
            ("localhost:65535", host("localhost", 65535)),
            ("tcp:tcp:80", host("tcp", 80)),
        ] {
            assert_eq!(text.parse::<Address>().unwrap(), address, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long = format!("/{}", "x".repeat(107));
        for text in [
            "",
            "@",
            "/a\0b",
            "name",
            ":80",
            "host:",
            "host:65536",
            "host:+1",
            "a b:80",
            "tcp:80",
            "::1:80x",
            "abstract%:4",
            "abstract%:%4",
            "unix%:%",
            "unix:",
            r"\\.\pipe\x",
            &long,
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text}");
        }
        assert!(long.parse::<Address>().unwrap_err().to_string().contains("107"));
        let longest = &long[..107];
        assert_eq!(longest.parse::<Address>().unwrap(), Address::Path(longest.into()));
        assert!(r"\\.\pipe\x".parse::<Address>().unwrap_err().to_string().contains("Windows"));
    }

    #[test]
    fn a_family_is_asked_for_or_found_out() {
        assert_eq!(Family::default(), Family::Unix);
        let address: Address = "[::1]:80".parse().unwrap();
        assert_eq!(address.family(), Some(Family::Tcp6));
        assert!(address.names(Some(Family::Tcp6)).is_ok());
        let refused = address.names(Some(Family::Tcp4)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        let found = host("localhost", 80).names(Some(Family::Tcp4)).unwrap();
        assert_eq!(found[0], SocketName::Inet(([127, 0, 0, 1], 80).into()));
    }

    fn any_address() -> impl Strategy<Value = Address> {
        let bytes = prop::collection::vec(1u8.., 1..100);
        let ip = any::<IpAddr>().prop_flat_map(|ip| (Just(ip), any::<u16>()));
        prop_oneof![
            bytes.prop_map(|bytes| Address::Path(OsString::from_vec(bytes).into())),
            "[./a-z%: @\u{80}-\u{ff}]{1,50}".prop_map(|text| Address::Path(text.into())),
            prop::collection::vec(any::<u8>(), 1..107).prop_map(Address::Abstract),
            "[a-z:@%]{1,50}".prop_map(|text| Address::Abstract(text.into())),
            ip.prop_map(|(ip, port)| Address::Tcp((ip, port).into())),
            ("(unix|abstract|tcp|[a-z][a-z0-9._-]{0,50})", any::<u16>())
                .prop_map(|(name, port)| host(&name, port)),
        ]
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_as_the_same(address in any_address()) {
            let text = address.to_string();
            prop_assert_eq!(text.parse::<Address>().unwrap(), address.clone());
            let message = procession_core::Message::encode(&address).unwrap();
            prop_assert_eq!(message.decode::<Address>().unwrap(), address);
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            drop(text.parse::<Address>());
        }
    }
}
