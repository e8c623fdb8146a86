//! The streams of the C library, which programs in other languages and libraries write to.

#![expect(unsafe_code, reason = "calls the C library")]

use rustix::io::Errno;

use super::fail;
use crate::Result;

/// Writes out what the C library's streams hold back: before a fork, after which parent and child would both write it.
///
/// It waits for each thread that is inside a call on a stream: for good if one reads from a terminal that nobody types on.
///
/// # Errors
///
/// When a stream could not be written; the others are.
///
/// # Source
///
/// `fflush(3)` on a null pointer.
pub fn flush_c() -> Result<()> {
    // SAFETY: A null pointer stands for all streams.
    match unsafe { libc::fflush(std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => {
            let error = std::io::Error::last_os_error();
            let code = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            Err(fail("flush the streams of the C library", String::new(), code))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_c_library_holds_back_is_written() {
        // A child of another test that exits would write it too.
        super::super::testing::alone(|| {
            let file = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
            let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
            let path = std::ffi::CString::new(path).unwrap();
            // SAFETY: Both are strings.
            let stream = unsafe { libc::fopen(path.as_ptr(), c"w".as_ptr()) };
            assert!(!stream.is_null());
            // SAFETY: The stream is open.
            assert!(unsafe { libc::fputs(c"held back".as_ptr(), stream) } >= 0);
            let length = || rustix::fs::fstat(&file).unwrap().st_size;
            assert_eq!(length(), 0, "the test needs a stream that holds back");
            flush_c().unwrap();
            assert_eq!(length(), 9);
        });
    }

    #[test]
    fn a_stream_that_cannot_be_written_is_told() {
        super::super::testing::alone(|| {
            // SAFETY: Both are strings.
            let stream = unsafe { libc::fopen(c"/dev/full".as_ptr(), c"w".as_ptr()) };
            assert!(!stream.is_null());
            // SAFETY: The stream is open.
            assert!(unsafe { libc::fputs(c"held back".as_ptr(), stream) } >= 0);
            assert_eq!(flush_c().unwrap_err().code().raw(), libc::ENOSPC);
        });
    }
}
