//! The program's image in memory: where it lies, and which build it is.

#![expect(unsafe_code, reason = "walks the tables of the loader")]

use std::ffi::{c_int, c_void};
use std::ops::Range;

/// A program or library as the loader mapped it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The addresses of its parts, as the loader mapped them.
    pub segments: Vec<Range<usize>>,
    /// The identity that the linker wrote into it (`NT_GNU_BUILD_ID`), if it did.
    pub build_id: Option<Vec<u8>>,
}

impl Image {
    /// Whether `len` bytes from `address` on lie in one part of this image.
    pub fn contains(&self, address: usize, len: usize) -> bool {
        self.segments
            .iter()
            .any(|segment| segment.contains(&address) && segment.end - address >= len)
    }
}

/// Finds the image that holds the address `address`.
///
/// # Source
///
/// `dl_iterate_phdr(3)`, `elf(5)`.
pub fn find(address: usize) -> Option<Image> {
    let mut search = Search { address, found: None };
    let data = std::ptr::from_mut(&mut search).cast::<c_void>();
    // SAFETY: `visit` has the type that the loader expects and gets back `data`, which outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(visit), data) };
    search.found
}

struct Search {
    address: usize,
    found: Option<Image>,
}

unsafe extern "C" fn visit(
    info: *mut libc::dl_phdr_info,
    _size: usize,
    data: *mut c_void,
) -> c_int {
    // SAFETY: `find` passes a `Search` that nobody else uses during the walk.
    let search = unsafe { &mut *data.cast::<Search>() };
    // SAFETY: The loader passes a description that is valid during the call.
    let info = unsafe { &*info };
    if info.dlpi_phdr.is_null() {
        return 0;
    }
    // SAFETY: The loader passes a table with this many entries, valid during the call.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    let base = to_usize(info.dlpi_addr);
    let addresses = |header: &libc::Elf64_Phdr| {
        let start = base.wrapping_add(to_usize(header.p_vaddr));
        start..start.wrapping_add(to_usize(header.p_memsz))
    };
    let of_kind = |kind| headers.iter().filter(move |header| header.p_type == kind).map(addresses);
    let mut image = Image { segments: of_kind(libc::PT_LOAD).collect(), build_id: None };
    if !image.contains(search.address, 1) {
        return 0;
    }
    image.build_id = of_kind(libc::PT_NOTE).find_map(|notes| build_id_of(notes, &image));
    search.found = Some(image);
    1
}

fn build_id_of(notes: Range<usize>, image: &Image) -> Option<Vec<u8>> {
    if notes.is_empty() || !image.contains(notes.start, notes.len()) {
        return None;
    }
    let address = std::ptr::with_exposed_provenance::<u8>(notes.start);
    // SAFETY: The range lies inside a part of the image; the loader maps note segments readable and nobody writes to them.
    let mut rest = unsafe { std::slice::from_raw_parts(address, notes.len()) };
    while let Some((note, next)) = split_note(rest) {
        if note.name == b"GNU\0" && note.kind == NT_GNU_BUILD_ID {
            return Some(note.content.to_vec());
        }
        rest = next;
    }
    None
}

const NT_GNU_BUILD_ID: u32 = 3;

/// One entry of a note segment.
#[derive(Debug, PartialEq, Eq)]
struct Note<'a> {
    name: &'a [u8],
    kind: u32,
    content: &'a [u8],
}

/// Splits the first note off; the second half is what lies behind it.
fn split_note(notes: &[u8]) -> Option<(Note<'_>, &[u8])> {
    let number = |at: usize| -> Option<u32> {
        Some(u32::from_ne_bytes(notes.get(at..at + 4)?.try_into().ok()?))
    };
    let padded = |len: u32| (len as usize).next_multiple_of(4);
    let (name_len, content_len, kind) = (number(0)?, number(4)?, number(8)?);
    let name = notes.get(12..12 + name_len as usize)?;
    let content_at = 12 + padded(name_len);
    let content = notes.get(content_at..content_at + content_len as usize)?;
    let next = notes.get(content_at + padded(content_len)..).unwrap_or_default();
    Some((Note { name, kind, content }, next))
}

#[expect(clippy::cast_possible_truncation, reason = "addresses of this process fit its word")]
fn to_usize(value: u64) -> usize {
    value as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    static HERE: u32 = 7;

    #[test]
    fn a_static_lies_in_the_image_of_its_program() {
        let address = std::ptr::from_ref(&HERE).addr();
        let image = find(address).unwrap();
        assert!(image.contains(address, 4));
        assert!(!image.contains(address, usize::MAX));
        let function: fn() -> u32 = super::super::process::id;
        assert!(image.contains(function as usize, 1));
    }

    #[test]
    fn the_heap_lies_in_no_image() {
        let boxed = Box::new(7);
        assert_eq!(find(std::ptr::from_ref(&*boxed).addr()), None);
    }

    #[test]
    fn notes_are_split_and_nonsense_ends_the_walk() {
        let mut note = Vec::new();
        for number in [4u32, 3, NT_GNU_BUILD_ID] {
            note.extend(number.to_ne_bytes());
        }
        note.extend(b"GNU\0abc\0");
        let (split, next) = split_note(&note).unwrap();
        assert_eq!(split, Note { name: b"GNU\0", kind: 3, content: b"abc" });
        assert_eq!(next, b"");
        assert_eq!(split_note(&note[..14]), None);
        assert_eq!(split_note(&[0xff; 64]), None);
    }
}
