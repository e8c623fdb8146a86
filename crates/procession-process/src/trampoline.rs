//! Names a function so that another process of the same program can call it.
//!
//! For every function that is sent somewhere, the compiler leaves an entry in the program: a marker, the function's
//! type, and the address of code that decodes the arguments, calls the function and encodes what it returns. A
//! [`FunctionRef`] is the distance from one fixed static of this crate to that entry, which is the same in every process
//! that runs this build, wherever the loader put it.
//!
//! The receiver trusts the distance no further than it can check: the entry must lie, aligned, in one loaded part of the
//! receiver's own image; it must start with the marker; and its type must have the fingerprint that came along. What is
//! called is then a function pointer that the compiler wrote, never one made of a number. Both sides know beforehand that
//! they run the same build.

#![expect(unsafe_code, reason = "makes functions out of nothing and entries out of addresses")]

use std::any::TypeId;
use std::cell::Cell;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::ptr::{self, NonNull};

use procession_core::codec::{Block, as_block, from_word, to_word};
use procession_core::{Error, ErrorKind, Message, Result};
use procession_sys::clock;
use procession_sys::image::{self, Image};
use procession_sys::prim::{AtomicU64, OnceLock, Ordering, compiler_fence, fence};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Target;

/// What a call brought, ready to be sent back.
#[derive(Debug)]
pub enum Reply {
    /// What the function returned.
    Value(Message),
    /// The arguments could not be decoded; the function was not called.
    Refused(Error),
    /// What the function returned could not be encoded.
    Unsendable(Error),
}

/// Tasks of one function, to be run one after the other by [`FunctionRef::call_each`].
pub trait Tasks {
    /// The encoded arguments of the next task, and what they hold; nothing when no further one shall be run.
    fn next(&mut self) -> Option<(&[u8], Vec<OwnedFd>)>;

    /// Where the value of the task is appended that was given out last.
    fn buffer(&mut self) -> &mut Vec<u8>;

    /// The task is done; its value is in the [buffer](Self::buffer), and holds these.
    fn done(&mut self, handles: Vec<OwnedFd>);

    /// Takes the value of the task that was given out last as the block of bytes that it is, if that is better than to have it encoded: then the
    /// task is done.
    fn take_block(&mut self, block: &Block<'_>) -> bool;

    /// The task failed: its arguments could not be decoded, or its value not be encoded.
    fn failed(&mut self, failure: Failure);
}

/// Why a task has no value, although its function did not panic.
#[derive(Debug)]
pub enum Failure {
    /// The arguments could not be decoded; the function was not called.
    Refused(Error),
    /// What the function returned could not be encoded.
    Unsendable(Error),
}

/// Tasks of one function whose arguments are [words](procession_core::codec::to_word), to be run one after the other by
/// [`FunctionRef::call_row`]. Everything that is looked at or written between two of them is here.
#[derive(Debug)]
pub struct Row<'a> {
    /// The arguments, each as the bytes of its word, the lowest first.
    pub arguments: &'a [[u8; 8]],
    /// Where values go that are words too; no more tasks are run than there is room for.
    pub values: &'a [AtomicU64],
    /// Where it is said which task is begun: one more than its place, of which the first one's is `place`.
    pub begun: &'a AtomicU64,
    /// See `begun`.
    pub place: u64,
    /// Where it is said since when it runs, in [nanoseconds](procession_sys::clock::nanos), if anybody wants to know.
    pub since: Option<&'a AtomicU64>,
    /// Where it is said how many values are there: that many more than `row`.
    pub done_word: &'a AtomicU64,
    /// See `done_word`.
    pub row: u64,
    /// No task is begun when one of these is not zero.
    pub stops: [&'a AtomicU64; 2],
    /// The row ends with the next value when this is `wanted`.
    pub wants: &'a AtomicU64,
    /// See `wants`.
    pub wanted: u64,
    /// Whether there is a fence between what is said and what is looked at.
    pub is_fenced: bool,
    /// Where a value goes that is no word.
    pub buffer: &'a mut Vec<u8>,
    /// How many values are there. It is right also after a panic.
    pub done: usize,
}

/// How a row ended.
#[derive(Debug)]
pub enum RowEnd {
    /// All tasks were run for which there was room, or somebody wants to know of them.
    Done,
    /// The next task shall not be begun.
    Stopped,
    /// The value of the next task is no word: it is in the buffer, and holds these.
    Value(Vec<OwnedFd>),
    /// The next task failed.
    Failed(Failure),
}

/// Runs a row.
type CallRow = fn(&mut Row<'_>) -> RowEnd;

/// Decodes the arguments, calls, and encodes behind the given bytes what was returned.
type Call = fn(Message, Vec<u8>) -> Reply;

/// The same for each of some tasks.
type CallEach = fn(&mut dyn Tasks);

/// What the compiler leaves in the program for each function that is sent.
#[derive(Debug)]
#[repr(C)]
struct Entry {
    /// INVARIANT: `MARKER` in every value of this type, and nowhere else in a program but by intent.
    marker: [u64; 4],
    function: TypeId,
    name: fn() -> &'static str,
    call: Call,
    call_each: CallEach,
    call_row: CallRow,
}

/// 256 random bits, the same for every build: the build is checked before.
const MARKER: [u64; 4] =
    [0x51c4_9be6_0a7d_38f2, 0xe90f_2b6a_d3c8_4571, 0x3a86_f1d7_95be_204c, 0xb872_6ce3_0f49_dd15];

/// What distances are measured from. There is one: a static that is not generic is not copied.
static BASE: u64 = 0;

/// A function of this program, as a value that means the same in every process that runs this build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FunctionRef {
    distance: i64,
    fingerprint: u64,
}

thread_local! {
    /// What this thread has looked up last.
    static LAST: Cell<Option<(FunctionRef, &'static Entry)>> = const { Cell::new(None) };
}

struct Entries<F, A>(PhantomData<(F, A)>);

impl<F, A> Entries<F, A>
where
    F: Target<A>,
    F::Output: Serialize + 'static,
    A: DeserializeOwned + 'static,
{
    const CAPTURES_NOTHING: () = assert!(
        size_of::<F>() == 0,
        "what runs in another process captures nothing: pass what a closure captures as an argument, and name a function \
         itself instead of a pointer to it"
    );

    const ENTRY: &'static Entry = &Entry {
        marker: MARKER,
        function: TypeId::of::<(F, A, F::Output)>(),
        name: std::any::type_name::<F>,
        call: Self::call,
        call_each: Self::call_each,
        call_row: Self::call_row,
    };

    /// The function, of which there is nothing but its type.
    fn function() -> F {
        let () = Self::CAPTURES_NOTHING;
        // SAFETY: 1. The size of `F` is zero (asserted above, or this does not compile), so a dangling aligned pointer
        // is valid to read it from. 2. `F` is inhabited: `FunctionRef::of` took a value of it. 3. `F: Copy` has no
        // destructor to run twice, and `F: Send` may appear in another thread.
        unsafe { NonNull::<F>::dangling().read() }
    }

    fn call(arguments: Message, prefix: Vec<u8>) -> Reply {
        let arguments: A = match arguments.decode() {
            Ok(arguments) => arguments,
            Err(error) => return Reply::Refused(error),
        };
        match Message::encode_behind(prefix, &Self::function().call(arguments)) {
            Ok(value) => Reply::Value(value),
            Err(error) => Reply::Unsendable(error),
        }
    }

    fn call_row(row: &mut Row<'_>) -> RowEnd {
        // What is not looked at takes no time, nor registers.
        match (row.since.is_some(), row.is_fenced) {
            (false, false) => Self::run_row::<false, false>(row),
            (false, true) => Self::run_row::<false, true>(row),
            (true, false) => Self::run_row::<true, false>(row),
            (true, true) => Self::run_row::<true, true>(row),
        }
    }

    #[inline(always)]
    fn run_row<const IS_TIMED: bool, const IS_FENCED: bool>(row: &mut Row<'_>) -> RowEnd {
        let function = Self::function();
        // Taken out of the row, as the compiler would load them again for each task. How many are done is only written there, for who
        // catches a panic.
        let Row { begun, place, since, done_word, row: base, stops, wants, wanted, .. } = *row;
        let (arguments, values) = (row.arguments, row.values);
        let mut done = row.done;
        while let (Some(argument), Some(value_at)) = (arguments.get(done), values.get(done)) {
            if IS_TIMED && let Some(since) = since {
                since.store(clock::nanos(), Ordering::Relaxed);
            }
            // ORDERING: Release: whoever reads it sees what was said before.
            begun.store(place + done as u64 + 1, Ordering::Release);
            match IS_FENCED {
                true => fence(Ordering::SeqCst),
                false => compiler_fence(Ordering::SeqCst),
            }
            if stops.iter().any(|stop| stop.load(Ordering::Relaxed) != 0) {
                begun.store(0, Ordering::Release);
                return RowEnd::Stopped;
            }
            let arguments: A = match from_word(u64::from_le_bytes(*argument)) {
                Ok(arguments) => arguments,
                Err(error) => return RowEnd::Failed(Failure::Refused(error)),
            };
            let value = function.call(arguments);
            let Some(word) = to_word(&value) else {
                return Self::leave_row(row, &value);
            };
            value_at.store(word, Ordering::Relaxed);
            done += 1;
            row.done = done;
            // ORDERING: Release: whoever reads it sees the value.
            done_word.store(base + done as u64, Ordering::Release);
            if wants.load(Ordering::Relaxed) == wanted {
                return RowEnd::Done;
            }
        }
        RowEnd::Done
    }

    /// Ends a row with a value that is no word.
    #[inline(never)]
    fn leave_row(row: &mut Row<'_>, value: &F::Output) -> RowEnd {
        row.buffer.clear();
        match Message::encode_onto(row.buffer, value) {
            Ok(handles) => RowEnd::Value(handles),
            Err(error) => RowEnd::Failed(Failure::Unsendable(error)),
        }
    }

    fn call_each(tasks: &mut dyn Tasks) {
        let function = Self::function();
        while let Some((bytes, handles)) = tasks.next() {
            let arguments: A = match Message::decode_parts(bytes, handles) {
                Ok(arguments) => arguments,
                Err(error) => {
                    tasks.failed(Failure::Refused(error));
                    continue;
                }
            };
            let value = function.call(arguments);
            if as_block(&value).is_some_and(|block| tasks.take_block(&block)) {
                continue;
            }
            match Message::encode_onto(tasks.buffer(), &value) {
                Ok(handles) => tasks.done(handles),
                Err(error) => tasks.failed(Failure::Unsendable(error)),
            }
        }
    }
}

impl FunctionRef {
    /// The name of `function` called with arguments `A`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] when the function lives in a library that was loaded at run time: another process may
    /// have it elsewhere or not at all.
    pub fn of<F, A>(_function: F) -> Result<Self>
    where
        F: Target<A>,
        F::Output: Serialize + 'static,
        A: DeserializeOwned + 'static,
    {
        let () = Entries::<F, A>::CAPTURES_NOTHING;
        let entry = Entries::<F, A>::ENTRY;
        if let Some((known, last)) = LAST.get()
            && ptr::eq(last, entry)
        {
            return Ok(known);
        }
        let address = std::ptr::from_ref(entry).expose_provenance();
        if !image()?.contains(address, size_of::<Entry>()) {
            let name = std::any::type_name::<F>();
            let text = format!("`{name}` is a function of a library that was loaded at run time");
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let distance = address.wrapping_sub(base()).cast_signed() as i64;
        let this = Self { distance, fingerprint: fingerprint(entry.function) };
        LAST.set(Some((this, entry)));
        Ok(this)
    }

    /// Calls the function with encoded arguments; what it returns is encoded behind `prefix`.
    ///
    /// A panic of the function passes through.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`] when this program has no such function.
    pub fn call(self, arguments: Message, prefix: Vec<u8>) -> Result<Reply> {
        Ok((self.entry()?.call)(arguments, prefix))
    }

    /// Calls the function with the arguments of one task after the other. What is slow about a call of a function by its name is done
    /// once for all of them.
    ///
    /// A panic of the function passes through, and leaves the rest to another call.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn call_each(self, tasks: &mut dyn Tasks) -> Result<()> {
        (self.entry()?.call_each)(tasks);
        Ok(())
    }

    /// Calls the function with the arguments of one task after the other.
    ///
    /// A panic of the function passes through.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn call_row(self, row: &mut Row<'_>) -> Result<RowEnd> {
        Ok((self.entry()?.call_row)(row))
    }

    /// What the compiler calls the function, for people to read.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn name(self) -> Result<&'static str> {
        Ok((self.entry()?.name)())
    }

    /// Two numbers that stand for this.
    pub fn to_bits(self) -> [u64; 2] {
        [self.distance.cast_unsigned(), self.fingerprint]
    }

    /// What the two numbers stand for; they are checked when it is called.
    pub fn from_bits([distance, fingerprint]: [u64; 2]) -> Self {
        Self { distance: distance.cast_signed(), fingerprint }
    }

    fn entry(self) -> Result<&'static Entry> {
        // Whoever calls one function often looks it up once.
        if let Some((known, entry)) = LAST.get()
            && known == self
        {
            return Ok(entry);
        }
        let entry = self.look_up()?;
        LAST.set(Some((self, entry)));
        Ok(entry)
    }

    fn look_up(self) -> Result<&'static Entry> {
        let unknown = || {
            Error::new(
                ErrorKind::Decode,
                "this program has no such function as it was asked to call",
            )
        };
        let distance = isize::try_from(self.distance).map_err(|_too_far| unknown())?;
        let address = base().wrapping_add_signed(distance);
        let entry = std::ptr::with_exposed_provenance::<Entry>(address);
        if !entry.is_aligned() || !image()?.contains(address, size_of::<Entry>()) {
            return Err(unknown());
        }
        // SAFETY: The first field lies in a loaded part of this image, which is readable, and any bits are a number.
        // Entries are constants; if this is something else that its owner writes to, the worst is a wrong number.
        let marker = unsafe { entry.cast::<[u64; 4]>().read_volatile() };
        if marker != MARKER {
            return Err(unknown());
        }
        // SAFETY: It is aligned, lies whole in this image, and starts with the marker that only entries start with
        // (invariant of `Entry`); entries are constants of this build and live for ever.
        let entry = unsafe { &*entry };
        if fingerprint(entry.function) != self.fingerprint {
            return Err(unknown());
        }
        Ok(entry)
    }
}

fn base() -> usize {
    std::ptr::from_ref(&BASE).addr()
}

/// The image that this crate is part of.
pub(crate) fn image() -> Result<&'static Image> {
    static IMAGE: OnceLock<Option<Image>> = OnceLock::new();
    IMAGE.get_or_init(|| image::find(base())).as_ref().ok_or_else(|| {
        Error::new(ErrorKind::Unsupported, "this program's image cannot be found in its memory")
    })
}

/// A number that two functions of one build share by accident only. The type identifier is stable within a build.
fn fingerprint(function: TypeId) -> u64 {
    let mut hasher = DefaultHasher::new();
    function.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
