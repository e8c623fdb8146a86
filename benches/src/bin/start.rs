//! Family `start`, the limits: what the operating system and `std` charge for a process.
//!
//! The first argument names the way: `posix_spawn`, `fork`, `zygote`, `std-command`, `thread`.
#![expect(unsafe_code, reason = "fork, posix_spawn and waitpid themselves are what is measured")]

use std::ffi::CString;
use std::io::{self, Read as _, Write};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::ptr;
use std::time::Instant;

use procession_benches::measure::measure_starts;

fn main() -> io::Result<()> {
    let way = std::env::args().nth(1).unwrap_or_default();
    match way.as_str() {
        "posix_spawn" => {
            let program = CString::new(tiny_path()?.as_os_str().as_bytes())?;
            measure_starts(|| by_posix_spawn(&program))
        }
        "fork" => measure_starts(by_fork),
        "zygote" => by_zygote(),
        "std-command" => {
            let program = tiny_path()?;
            measure_starts(|| by_std_command(&program))
        }
        "thread" => measure_starts(by_thread),
        _ => Err(io::Error::other(format!(
            "unknown way `{way}`; one of posix_spawn, fork, zygote, std-command, thread"
        ))),
    }
}

/// `tiny` lies beside this program.
fn tiny_path() -> io::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name("tiny"))
}

fn by_posix_spawn(program: &CString) -> io::Result<Instant> {
    let (mut from_child, to_parent) = io::pipe()?;
    let pid = posix_spawn(program, to_parent.as_raw_fd())?;
    drop(to_parent);
    let message = receive(&mut from_child)?;
    reap(pid)?;
    Ok(message)
}

fn by_fork() -> io::Result<Instant> {
    let (mut from_child, mut to_parent) = io::pipe()?;
    let pid = fork_to_write(&mut to_parent)?;
    drop(to_parent);
    let message = receive(&mut from_child)?;
    reap(pid)?;
    Ok(message)
}

/// A server that was forked while this program was still small, and forks on request.
fn by_zygote() -> io::Result<()> {
    let (mut parent, zygote) = UnixStream::pair()?;
    // SAFETY: no thread but this one was ever started, so the child is a whole program.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            drop(parent);
            let status = i32::from(serve_forks(zygote).is_err());
            // SAFETY: ends the process; nothing after it runs.
            unsafe { libc::_exit(status) }
        }
        pid => {
            drop(zygote);
            measure_starts(|| {
                parent.write_all(b"f")?;
                let message = receive(&mut parent)?;
                receive(&mut parent)?;
                io::Result::Ok(message)
            })?;
            drop(parent);
            reap(pid)
        }
    }
}

/// One byte in: fork a child that writes one byte, reap it, say so with another byte.
fn serve_forks(mut socket: UnixStream) -> io::Result<()> {
    while socket.read(&mut [0])? == 1 {
        let child = fork_to_write(&mut socket)?;
        reap(child)?;
        socket.write_all(b"j")?;
    }
    Ok(())
}

fn by_std_command(program: &PathBuf) -> io::Result<Instant> {
    #[expect(clippy::disallowed_methods, reason = "a contender of this family")]
    let mut child =
        std::process::Command::new(program).stdout(std::process::Stdio::piped()).spawn()?;
    let from_child = child.stdout.as_mut().expect("the output was asked for as a pipe");
    let message = receive(from_child)?;
    match child.wait()? {
        status if status.success() => Ok(message),
        status => Err(io::Error::other(format!("tiny: {status}"))),
    }
}

fn by_thread() -> io::Result<Instant> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || sender.send(1_u8));
    receiver.recv().map_err(io::Error::other)?;
    let message = Instant::now();
    match thread.join() {
        Ok(sent) => sent.map(|()| message).map_err(io::Error::other),
        Err(_) => Err(io::Error::other("the thread panicked")),
    }
}

/// Waits for one byte and takes the time.
fn receive(from: &mut impl io::Read) -> io::Result<Instant> {
    from.read_exact(&mut [0])?;
    Ok(Instant::now())
}

/// Forks a child that writes one byte to `out` and ends.
fn fork_to_write(out: &mut impl Write) -> io::Result<libc::pid_t> {
    // SAFETY: no other thread runs, and the child only writes to a descriptor and ends.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let status = i32::from(out.write_all(b"x").is_err());
            // SAFETY: ends the process; nothing after it runs.
            unsafe { libc::_exit(status) }
        }
        pid => Ok(pid),
    }
}

/// Starts `program` without arguments or environment, with `output` as its standard output.
fn posix_spawn(program: &CString, output: libc::c_int) -> io::Result<libc::pid_t> {
    let mut actions = std::mem::MaybeUninit::<libc::posix_spawn_file_actions_t>::uninit();
    let actions = actions.as_mut_ptr();
    // SAFETY: the pointer is to room for one object.
    check(unsafe { libc::posix_spawn_file_actions_init(actions) })?;
    // SAFETY: the object was initialised above.
    check(unsafe { libc::posix_spawn_file_actions_adddup2(actions, output, 1) })?;
    let argv = [program.as_ptr().cast_mut(), ptr::null_mut()];
    let envp = [ptr::null_mut()];
    let mut pid = 0;
    // SAFETY: `program`, `argv` and `envp` end in nulls and live through the call; the attributes
    // may be null; the call does not write through `argv`.
    let started = check(unsafe {
        libc::posix_spawn(
            &raw mut pid,
            program.as_ptr(),
            actions,
            ptr::null(),
            argv.as_ptr(),
            envp.as_ptr(),
        )
    });
    // SAFETY: the object was initialised above and is not used again.
    check(unsafe { libc::posix_spawn_file_actions_destroy(actions) })?;
    started.map(|()| pid)
}

/// Turns the result of the `posix_spawn` family, which is an error number, into ours.
fn check(code: libc::c_int) -> io::Result<()> {
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) }
}

/// Waits for the end of a child, which must be a good one.
fn reap(pid: libc::pid_t) -> io::Result<()> {
    let mut status = 0;
    // SAFETY: `status` is an integer that the call may write.
    let reaped = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    if reaped != pid {
        return Err(io::Error::last_os_error());
    }
    if status != 0 {
        return Err(io::Error::other(format!("child {pid} ended with wait status {status}")));
    }
    Ok(())
}
