//! Where a process's standard streams lead.

use std::io::{PipeReader, PipeWriter};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use procession_core::{Handle, OsCode, Result};
use procession_sys::fd::{self, StandardStream, replace_standard_stream};
use procession_sys::wipe::SetOnce;

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
    Piped,
    Open(Arc<OwnedFd>),
}

/// Whether a process has its parent's standard output from the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HasOwn {
    Yes,
    No,
}

/// The ends of a process's standard streams that its parent holds.
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    pub(crate) input: Option<PipeWriter>,
    pub(crate) output: Option<PipeReader>,
    pub(crate) error_output: Option<PipeReader>,
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

    /// A pipe, whose other end this process [takes](crate::Child::take_stdout) from the handle.
    pub fn piped() -> Self {
        Self(Kind::Piped)
    }

    pub(crate) fn is_inherited(&self) -> bool {
        matches!(self.0, Kind::Inherit)
    }

    /// What the process makes its standard input.
    pub(crate) fn for_input(&self, pipes: &mut Pipes) -> Result<Option<Handle<OwnedFd>>> {
        Ok(Some(Handle(match &self.0 {
            Kind::Inherit => or_null(std::io::stdin())?,
            Kind::Null => null()?,
            Kind::Open(fd) => fd::duplicate(fd)?,
            Kind::Piped => {
                let (reader, writer) = std::io::pipe()?;
                pipes.input = Some(writer);
                fd::duplicate(OwnedFd::from(reader))?
            }
        })))
    }

    /// What the process makes its standard output; nothing when it has the right one.
    pub(crate) fn for_output(
        &self,
        pipes: &mut Pipes,
        has_own: HasOwn,
    ) -> Result<Option<Handle<OwnedFd>>> {
        match self.is_inherited() && has_own == HasOwn::Yes {
            true => Ok(None),
            false => self.outward(std::io::stdout(), &mut pipes.output),
        }
    }

    /// What the process makes its standard error; nothing when it has the right one.
    pub(crate) fn for_error_output(&self, pipes: &mut Pipes) -> Result<Option<Handle<OwnedFd>>> {
        match self.is_inherited() {
            true => Ok(None),
            false => self.outward(std::io::stderr(), &mut pipes.error_output),
        }
    }

    fn outward(
        &self,
        own: impl AsFd,
        end: &mut Option<PipeReader>,
    ) -> Result<Option<Handle<OwnedFd>>> {
        Ok(Some(Handle(match &self.0 {
            Kind::Inherit => or_null(own)?,
            Kind::Null => null()?,
            Kind::Open(fd) => fd::duplicate(fd)?,
            Kind::Piped => {
                let (reader, writer) = std::io::pipe()?;
                *end = Some(reader);
                fd::duplicate(OwnedFd::from(writer))?
            }
        })))
    }
}

/// `/dev/null`, once some process of the line of forks has opened it: to look it up takes longer than the rest of what a fork
/// does to its streams.
static NULL: SetOnce<OwnedFd> = SetOnce::new();

/// A copy of one of this process's standard streams, or of `/dev/null` when that is closed.
pub(crate) fn or_null(own: impl AsFd) -> Result<OwnedFd> {
    match fd::duplicate(own) {
        Err(error) if error.code() == OsCode::BAD_DESCRIPTOR => Ok(fd::duplicate(kept_null()?)?),
        copied => Ok(copied?),
    }
}

/// Opens `/dev/null` for this process and its forks.
pub(crate) fn kept_null() -> Result<&'static OwnedFd> {
    match NULL.get() {
        Some(null) => Ok(null),
        None => Ok(NULL.set(null()?)),
    }
}

/// Makes `/dev/null` this process's standard input.
pub(crate) fn discard_input() -> Result<()> {
    Ok(replace_standard_stream(kept_null()?, StandardStream::Input)?)
}

pub(crate) fn null() -> Result<OwnedFd> {
    let file = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    // Where a standard stream is closed, this would become it.
    Ok(fd::duplicate(&file)?)
}

impl<T: Into<OwnedFd>> From<T> for Stream {
    fn from(open: T) -> Self {
        Self(Kind::Open(Arc::new(open.into())))
    }
}
