//! Starts a program with exactly one descriptor beside the standard streams.

#![expect(unsafe_code, reason = "calls posix_spawn")]

use std::ffi::{CStr, CString, OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::ptr;

use rustix::io::{Errno, FdFlags, fcntl_setfd};

use super::signal::Mask;
use super::{call, fail, fd};
use crate::Result;

/// The number under which the started program finds the descriptor that it inherits.
pub const BOOTSTRAP: i32 = 3;

/// The image that this process runs, also when the file has been replaced or removed since.
pub const THIS_PROGRAM: &str = "/proc/self/exe";

/// What to start, and how.
#[derive(Debug)]
pub struct Spec<'a> {
    /// The path of the program.
    pub program: &'a OsStr,
    /// Its arguments, the first one being its own name.
    pub arguments: &'a [&'a OsStr],
    /// The descriptor that becomes [`BOOTSTRAP`].
    pub bootstrap: BorrowedFd<'a>,
    /// The signals that are blocked when it starts. Those by which a terminal stops processes are blocked as well: a
    /// stop between two steps of the start would stop this process too.
    pub mask: Mask,
    /// Its environment: names and values.
    pub environment: &'a [(OsString, OsString)],
    /// Whether its output goes nowhere until it redirects it.
    pub discard_output: bool,
}

/// Starts a program and returns its process number.
///
/// The program inherits the working directory, the standard output and error, limits and priorities;
/// its standard input is `/dev/null`; it has the one descriptor and no other. This process is not copied: the cost does
/// not depend on its size.
///
/// # Errors
///
/// When the program cannot be executed or the system has no room for another process.
///
/// # Source
///
/// `posix_spawn(3)`; `posix_spawn_file_actions_addclosefrom_np` (glibc 2.34).
pub fn spawn(spec: &Spec<'_>) -> Result<u32> {
    let subject = || spec.program.to_string_lossy().into_owned();
    let failed = |code| fail("start", subject(), code);
    // Whatever is number 3 now, the actions below must not overwrite the descriptor before they have copied it.
    let bootstrap = fd::duplicate(spec.bootstrap)?;
    let program = c_string(spec.program).map_err(failed)?;
    let arguments = c_strings(spec.arguments.iter().copied()).map_err(failed)?;
    let environment = environment(spec.environment).map_err(failed)?;
    let actions = Actions::new(bootstrap.as_fd(), spec.discard_output).map_err(failed)?;
    let attributes = Attributes::new(spec.mask).map_err(failed)?;
    let mut pid = 0;
    // SAFETY: 1. The strings end in zero bytes and the two lists in null pointers, and all outlive the call. 2. Actions
    // and attributes are initialised. 3. `pid` is valid for writing.
    let code = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            program.as_ptr(),
            &raw const actions.0,
            &raw const attributes.0,
            pointers(&arguments).as_ptr(),
            pointers(&environment).as_ptr(),
        )
    };
    checked(code).map_err(failed)?;
    Ok(pid.cast_unsigned())
}

struct Actions(libc::posix_spawn_file_actions_t);

impl Actions {
    fn new(bootstrap: BorrowedFd<'_>, discard_output: bool) -> std::result::Result<Self, Errno> {
        const NOWHERE: &CStr = c"/dev/null";
        let mut actions = MaybeUninit::uninit();
        // SAFETY: The pointer is valid for writing.
        checked(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
        // SAFETY: The call above initialised it.
        let mut this = Self(unsafe { actions.assume_init() });
        let list = &raw mut this.0;
        let open = |fd, flags| {
            // SAFETY: The list is initialised; the path is copied.
            checked(unsafe {
                libc::posix_spawn_file_actions_addopen(list, fd, NOWHERE.as_ptr(), flags, 0)
            })
        };
        open(libc::STDIN_FILENO, libc::O_RDONLY)?;
        if discard_output {
            open(libc::STDOUT_FILENO, libc::O_WRONLY)?;
        }
        // SAFETY: The list is initialised. Copying a descriptor onto itself clears close-on-exec (glibc 2.29).
        checked(unsafe {
            libc::posix_spawn_file_actions_adddup2(list, bootstrap.as_raw_fd(), BOOTSTRAP)
        })?;
        // SAFETY: The list is initialised.
        checked(unsafe { libc::posix_spawn_file_actions_addclosefrom_np(list, BOOTSTRAP + 1) })?;
        Ok(this)
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: Initialised in `new`, destroyed only here.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn new(mask: Mask) -> std::result::Result<Self, Errno> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: The pointer is valid for writing.
        checked(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: The call above initialised it.
        let mut this = Self(unsafe { attributes.assume_init() });
        let list = &raw mut this.0;
        let blocked = mask.with_job_control().to_set();
        // SAFETY: Both are initialised.
        checked(unsafe { libc::posix_spawnattr_setsigmask(list, &raw const blocked) })?;
        // A host that ignores SIGCHLD must not make the child lose the statuses of its own children.
        let reset = Mask::from_bits(1 << (libc::SIGCHLD - 1)).to_set();
        // SAFETY: Both are initialised.
        checked(unsafe { libc::posix_spawnattr_setsigdefault(list, &raw const reset) })?;
        let flags = libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF;
        let flags = flags.try_into().map_err(|_too_large| Errno::INVAL)?;
        // SAFETY: The list is initialised.
        checked(unsafe { libc::posix_spawnattr_setflags(list, flags) })?;
        Ok(this)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: Initialised in `new`, destroyed only here.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}

fn checked(code: i32) -> std::result::Result<(), Errno> {
    match code {
        0 => Ok(()),
        code => Err(Errno::from_raw_os_error(code)),
    }
}

fn environment(entries: &[(OsString, OsString)]) -> std::result::Result<Vec<CString>, Errno> {
    let joined = entries.iter().map(|(name, value)| {
        let mut entry = name.clone();
        entry.push("=");
        entry.push(value);
        c_string(&entry)
    });
    joined.collect()
}

fn c_strings<'a>(
    strings: impl Iterator<Item = &'a OsStr>,
) -> std::result::Result<Vec<CString>, Errno> {
    strings.map(c_string).collect()
}

fn c_string(string: &OsStr) -> std::result::Result<CString, Errno> {
    CString::new(string.as_bytes()).map_err(|_zero_byte| Errno::INVAL)
}

/// A list of pointers with a null pointer at its end, as the C library wants it.
fn pointers(strings: &[CString]) -> Vec<*mut libc::c_char> {
    strings.iter().map(|string| string.as_ptr().cast_mut()).chain([ptr::null_mut()]).collect()
}

/// Takes over the descriptor that [`spawn`] gave to this program, if this program was started by it.
///
/// # Errors
///
/// [`INVALID`](crate::OsCode::INVALID) when there is no packet socket at [`BOOTSTRAP`].
///
/// # Source
///
/// `getsockopt(2)`, `SO_TYPE`.
pub fn take_bootstrap() -> Result<OwnedFd> {
    let subject = || "the bootstrap socket".into();
    // SAFETY: `BOOTSTRAP` is not -1. Whether it is open is what the next call finds out.
    let number = unsafe { BorrowedFd::borrow_raw(BOOTSTRAP) };
    if !super::socket::is_seqpacket(number) {
        return Err(fail("take over", subject(), Errno::INVAL));
    }
    call("take over", subject, || fcntl_setfd(number, FdFlags::CLOEXEC))?;
    // SAFETY: The number is open (checked above) and belongs to nobody else in this process: it was inherited, and
    // whoever started this program did so for this purpose.
    Ok(unsafe { OwnedFd::from_raw_fd(BOOTSTRAP) })
}
