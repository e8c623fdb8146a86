//! Which part this process plays: the program itself, or a child that was started to run one function of it.
//!
//! A child is told by its command line, which is made from scratch: one word, its [`Role`], and in the packet socket that it
//! inherited the first message must name its own process number. Nothing is in the environment, which would reach the
//! grandchildren too.

use std::ffi::{OsStr, OsString};
use std::os::fd::BorrowedFd;

use procession_core::{Error, ErrorKind, Result};
use procession_sys::prim::{AtomicBool, OnceLock, Ordering};
use procession_sys::signal::Mask;
use procession_sys::spawn;

use crate::{executable, run, server};

/// What a process of this program can be beside the program itself. The word on its command line says which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Runs one function.
    Child,
    /// Forks children on request.
    ForkServer,
}

impl Role {
    const ALL: [Self; 2] = [Self::Child, Self::ForkServer];

    fn word(self) -> &'static str {
        match self {
            Self::Child => "procession-child",
            Self::ForkServer => "procession-fork-server",
        }
    }

    fn of_word(word: &OsStr) -> Option<Self> {
        Self::ALL.into_iter().find(|role| word == role.word())
    }

    /// Plays the role, and ends the process.
    fn play(self, harness: bool) -> ! {
        match self {
            Self::Child => run::run_as_child(),
            Self::ForkServer => server::run_as_server(harness),
        }
    }
}

static INITIALIZED: AtomicBool = AtomicBool::new(false);

/// The test that children of a test program run in; noted before `main`.
static TEST_CHILD: OnceLock<&'static str> = OnceLock::new();

/// Lets this program start processes. **The first line of `main`.**
///
/// A process that is started runs this same program. There, this call runs the function that it was started for, and
/// does not return: nothing of `main` behind it happens in a child. What stands before it happens in every child.
///
/// In the program itself it returns at once, and calling it again does nothing.
///
/// # Examples
///
/// ```
/// # use procession_process as procession;
/// fn main() {
///     procession::init();
///     // the program
/// }
/// ```
///
/// # Source
///
/// CPython `multiprocessing.freeze_support()`, which is needed for the same reason.
#[doc(alias = "freeze_support")]
pub fn init() {
    if INITIALIZED.swap(true, Ordering::Relaxed) {
        return;
    }
    let mut arguments = std::env::args_os().skip(1);
    if let (Some(word), None) = (arguments.next(), arguments.next())
        && let Some(role) = Role::of_word(&word)
    {
        role.play(false);
    }
}

/// How a child of this program is started.
pub(crate) struct Recipe {
    /// Its command line, behind the name of the program.
    pub(crate) arguments: Vec<&'static OsStr>,
    /// Whether what runs before our code may print: a test harness announces its tests.
    pub(crate) discard_output: bool,
}

impl Recipe {
    pub(crate) fn of_this_program(role: Role) -> Result<Self> {
        if INITIALIZED.load(Ordering::Relaxed) {
            return Ok(Self { arguments: vec![OsStr::new(role.word())], discard_output: false });
        }
        if let Some(test) = TEST_CHILD.get() {
            // A child is a harness that runs one test; the role is one more filter, which matches no test.
            let words = ["--exact", test, role.word(), "--nocapture", "-q", "--test-threads=1"];
            let arguments = words.into_iter().map(OsStr::new).collect();
            return Ok(Self { arguments, discard_output: true });
        }
        Err(Error::new(
            ErrorKind::NotInitialized,
            "this program cannot start processes yet: make `procession::init();` the first line of `main`, or in a \
             test program put `procession::test_support!();` at the top of the file",
        ))
    }
}

impl Recipe {
    /// Executes this program once more, with `bootstrap` as its one descriptor; returns the process's number.
    pub(crate) fn execute(
        &self,
        bootstrap: BorrowedFd<'_>,
        mask: Mask,
        environment: &[(OsString, OsString)],
        name: Option<OsString>,
    ) -> Result<u32> {
        let program = match executable::current() {
            Some(path) => path.as_os_str(),
            None => OsStr::new(spawn::THIS_PROGRAM),
        };
        let own_name = name
            .or_else(|| std::env::args_os().next())
            .unwrap_or_else(|| spawn::THIS_PROGRAM.into());
        let command_line: Vec<&OsStr> =
            std::iter::once(own_name.as_os_str()).chain(self.arguments.iter().copied()).collect();
        Ok(spawn::spawn(&spawn::Spec {
            program,
            arguments: &command_line,
            bootstrap,
            mask,
            environment,
            discard_output: self.discard_output,
        })?)
    }
}

/// Makes processes work in a test program: under `cargo test`, under nextest, and in any mix of the two.
///
/// Expands to a test named `procession_child`, which passes at once when it is run as a test, and in which children run
/// their function. Once per test program, at the top of the file (or of any module).
///
/// # Examples
///
/// ```
/// # use procession_process as procession;
/// procession::test_support!();
///
/// #[test]
/// fn children_answer() {
///     let child = procession::Process::spawn(|x: u32| x + 1, (41,)).unwrap();
///     assert_eq!(child.join().unwrap(), 42);
/// }
/// # fn main() {}
/// ```
#[macro_export]
#[expect(
    clippy::test_attr_in_doctest,
    reason = "the example is a test program, and shows what one looks like"
)]
macro_rules! test_support {
    () => {
        #[test]
        fn procession_child() {
            $crate::__private::run_test_child();
        }

        $crate::__private::before_main!(procession_note_test_child);

        fn procession_note_test_child() {
            $crate::__private::note_test_child(concat!(module_path!(), "::procession_child"));
        }
    };
}

/// Notes the test that children of this program run in: the full path of a function.
pub fn note_test_child(path: &'static str) {
    // The harness names tests without the crate.
    let (_crate, name) = path.split_once("::").unwrap_or(("", path));
    // A second one in the same program changes nothing: either will do.
    TEST_CHILD.get_or_init(|| name);
}

/// Runs the function that this process was started for, if it is a child; returns if it is not.
pub fn run_test_child() {
    if let Some(role) = std::env::args_os().find_map(|word| Role::of_word(&word)) {
        role.play(true);
    }
}
