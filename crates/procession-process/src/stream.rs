//! Where a process's standard streams lead.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use procession_core::{Handle, Result};
use procession_sys::fd;

/// Where a standard stream of a process leads.
///
/// Anything with a descriptor converts into one: a file, a socket, an end of `std::io::pipe()`.
///
/// # Examples
///
/// ```
/// # use procession_process as procession;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # procession::init();
/// use procession::Process;
/// use std::io::Read;
///
/// let (mut reader, writer) = std::io::pipe()?;
/// let child = Process::builder().stdout(writer).spawn(|| println!("hello"), ())?;
/// child.join()?;
/// let mut text = String::new();
/// reader.read_to_string(&mut text)?;
/// assert_eq!(text, "hello\n");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Stream(Kind);

#[derive(Debug, Clone, Default)]
enum Kind {
    #[default]
    Inherit,
    Null,
    Open(Arc<OwnedFd>),
}

impl Stream {
    /// Where this process's stream leads. The default for standard output and error.
    pub fn inherit() -> Self {
        Self(Kind::Inherit)
    }

    /// Nowhere: `/dev/null`. The default for standard input.
    pub fn null() -> Self {
        Self(Kind::Null)
    }

    /// What the process makes its stream; nothing when it has the right one. `own` is this process's.
    pub(crate) fn descriptor(&self, own: impl AsFd) -> Result<Option<Handle<OwnedFd>>> {
        Ok(match &self.0 {
            Kind::Inherit => Some(Handle(fd::duplicate(own)?)),
            Kind::Null => Some(Handle(null()?)),
            Kind::Open(fd) => Some(Handle(fd::duplicate(fd)?)),
        })
    }

    /// The same, for a stream that is inherited anyhow.
    pub(crate) fn descriptor_unless_inherited(&self) -> Result<Option<Handle<OwnedFd>>> {
        match &self.0 {
            Kind::Inherit => Ok(None),
            Kind::Null | Kind::Open(_) => self.descriptor(std::io::stderr()),
        }
    }
}

fn null() -> Result<OwnedFd> {
    let file = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    Ok(file.into())
}

impl<T: Into<OwnedFd>> From<T> for Stream {
    fn from(open: T) -> Self {
        Self(Kind::Open(Arc::new(open.into())))
    }
}
