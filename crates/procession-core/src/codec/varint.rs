//! Integers of as many bytes as they need: seven bits in each, the lowest first, and a bit that says whether more follow.

use super::fault::Fault;

/// The most bytes of a 64-bit number: 64 bits by seven.
pub(super) const MOST: usize = 10;

/// The bits that say that more bytes follow, in eight of them.
const MORE: u64 = 0x8080_8080_8080_8080;

/// Appends `value`.
#[inline]
pub(super) fn put(out: &mut Vec<u8>, value: u64) {
    if let Ok(byte @ ..0x80) = u8::try_from(value) {
        return out.push(byte);
    }
    let [.., high] = value.to_le_bytes();
    if high != 0 {
        out.extend_from_slice(&(spread(value) | MORE).to_le_bytes());
        return match high {
            ..0x80 => out.push(high),
            _ => out.extend_from_slice(&[high, 1]),
        };
    }
    // As many bytes as there are groups of seven bits; and all eight are stored, because that is one instruction.
    let len = (u64::BITS - value.leading_zeros()).div_ceil(7);
    let more = MORE & ((1 << (8 * (len - 1))) - 1);
    let end = out.len() + len as usize;
    out.extend_from_slice(&(spread(value) | more).to_le_bytes());
    out.truncate(end);
}

/// Eight groups of seven bits, one in each byte.
#[inline]
fn spread(value: u64) -> u64 {
    let by_32 = (value & 0xfff_ffff) | ((value << 4) & (0xfff_ffff << 32));
    let by_16 = (by_32 & 0x3fff_0000_3fff) | ((by_32 << 2) & 0x3fff_0000_3fff_0000);
    (by_16 & 0x7f_007f_007f_007f) | ((by_16 << 1) & 0x7f00_7f00_7f00_7f00)
}

/// Undoes [`spread`]; the highest bit of each byte does not matter.
#[inline]
fn gather(groups: u64) -> u64 {
    let by_16 = (groups & 0x7f_007f_007f_007f) | ((groups & 0x7f00_7f00_7f00_7f00) >> 1);
    let by_32 = (by_16 & 0x3fff_0000_3fff) | ((by_16 & 0x3fff_0000_3fff_0000) >> 2);
    (by_32 & 0xfff_ffff) | ((by_32 & (0xfff_ffff << 32)) >> 4)
}

/// Appends `value`.
pub(super) fn put_128(out: &mut Vec<u8>, mut value: u128) {
    while value >> 56 != 0 {
        out.extend_from_slice(&(spread(low_half(value)) | MORE).to_le_bytes());
        value >>= 56;
    }
    put(out, low_half(value));
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
fn low_half(value: u128) -> u64 {
    value as u64
}

/// Reads a number of at most `BITS` bits off the front of `input`.
///
/// Byte by byte: numbers at one place mostly have the same length, and what is predicted costs nothing. Without branches each
/// number waits for the length of the one before, which is five times as slow.
#[inline]
pub(super) fn take<const BITS: u32>(input: &mut &[u8]) -> Result<u64, Fault> {
    if let [byte @ ..0x80, rest @ ..] = *input {
        *input = rest;
        return Ok((*byte).into());
    }
    let last = BITS as usize / 7;
    if BITS == 64
        && let Some(eight) = input.first_chunk()
        && let groups = u64::from_le_bytes(*eight)
        && groups & MORE == MORE
    {
        let low = gather(groups);
        let (byte, rest) = input[8..].split_first().ok_or_else(Fault::end)?;
        let value = low | u64::from(byte & 0x7f) << 56;
        if *byte < 0x80 {
            *input = rest;
            return Ok(value);
        }
        let (bits, rest) = take_last::<BITS>(input, last)?;
        *input = rest;
        return Ok(value | u64::from(bits) << (7 * last));
    }
    let mut value = 0;
    for place in 0..last {
        let byte = *input.get(place).ok_or_else(Fault::end)?;
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte < 0x80 {
            *input = &input[place + 1..];
            return Ok(value);
        }
    }
    let (bits, rest) = take_last::<BITS>(input, last)?;
    *input = rest;
    Ok(value | u64::from(bits) << (7 * last))
}

/// Reads a number of 128 bits off the front of `input`.
#[inline]
pub(super) fn take_128(input: &mut &[u8]) -> Result<u128, Fault> {
    let mut value = 0;
    // In parts that fit into a register.
    for part in 0..2 {
        let mut bits = 0;
        for place in 0..9 {
            let byte = *input.get(9 * part + place).ok_or_else(Fault::end)?;
            bits |= u64::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                *input = &input[9 * part + place + 1..];
                return Ok(value | u128::from(bits) << (63 * part));
            }
        }
        value |= u128::from(bits) << (63 * part);
    }
    let (bits, rest) = take_last::<128>(input, 18)?;
    *input = rest;
    Ok(value | u128::from(bits) << 126)
}

/// The last byte that a number of `BITS` bits can have, at `place`, and what is behind it.
#[inline]
fn take_last<const BITS: u32>(input: &[u8], place: usize) -> Result<(u8, &[u8]), Fault> {
    match input.get(place..) {
        Some([byte, rest @ ..]) if *byte < 1 << (BITS % 7) => Ok((*byte, rest)),
        Some([_, ..]) => Err(too_large()),
        _ => Err(Fault::end()),
    }
}

#[cold]
pub(super) fn too_large() -> Fault {
    Fault::because("an integer is larger than its type")
}

/// Signed as unsigned, so that what is close to zero is short.
#[inline]
pub(super) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

/// As [`put_signed`].
pub(super) fn put_signed_128(out: &mut Vec<u8>, value: i128) {
    put_128(out, ((value << 1) ^ (value >> 127)).cast_unsigned());
}

/// Reads what [`put_signed`] has written.
#[inline]
pub(super) fn take_signed<const BITS: u32>(input: &mut &[u8]) -> Result<i64, Fault> {
    let value = take::<BITS>(input)?;
    Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
}

/// Reads what [`put_signed_128`] has written.
pub(super) fn take_signed_128(input: &mut &[u8]) -> Result<i128, Fault> {
    let value = take_128(input)?;
    Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
}

/// Writes `value` at the front of `bytes` and tells how many it takes.
#[inline]
pub(super) fn write(bytes: &mut [u8; MOST], mut value: u64) -> usize {
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = value.to_le_bytes()[0] | 0x80;
        value >>= 7;
        if value == 0 {
            *byte &= 0x7f;
            return place + 1;
        }
    }
    MOST
}
