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
use std::hash::{DefaultHasher, Hash, Hasher};
use std::marker::PhantomData;
use std::ptr::NonNull;

use procession_core::{Error, ErrorKind, Message, Result};
use procession_sys::image::{self, Image};
use procession_sys::prim::OnceLock;
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

/// Decodes the arguments, calls, and encodes behind the given bytes what was returned.
type Call = fn(Message, Vec<u8>) -> Reply;

/// What the compiler leaves in the program for each function that is sent.
#[derive(Debug)]
#[repr(C)]
struct Entry {
    /// INVARIANT: `MARKER` in every value of this type, and nowhere else in a program but by intent.
    marker: [u64; 4],
    function: TypeId,
    call: Call,
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

    const ENTRY: &'static Entry =
        &Entry { marker: MARKER, function: TypeId::of::<(F, A, F::Output)>(), call: Self::call };

    fn call(arguments: Message, prefix: Vec<u8>) -> Reply {
        let arguments: A = match arguments.decode() {
            Ok(arguments) => arguments,
            Err(error) => return Reply::Refused(error),
        };
        let () = Self::CAPTURES_NOTHING;
        // SAFETY: 1. The size of `F` is zero (asserted above, or this does not compile), so a dangling aligned pointer
        // is valid to read it from. 2. `F` is inhabited: `FunctionRef::of` took a value of it. 3. `F: Copy` has no
        // destructor to run twice, and `F: Send` may appear in another thread.
        let function = unsafe { NonNull::<F>::dangling().read() };
        match Message::encode_behind(prefix, &function.call(arguments)) {
            Ok(value) => Reply::Value(value),
            Err(error) => Reply::Unsendable(error),
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
        let address = std::ptr::from_ref(entry).expose_provenance();
        if !image()?.contains(address, size_of::<Entry>()) {
            let name = std::any::type_name::<F>();
            let text = format!("`{name}` is a function of a library that was loaded at run time");
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let distance = address.wrapping_sub(base()).cast_signed() as i64;
        Ok(Self { distance, fingerprint: fingerprint(entry.function) })
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

    fn entry(self) -> Result<&'static Entry> {
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
