//! Texts as CPython writes them: UTF-8 that lets halves of surrogate pairs pass (`surrogatepass`).

use procession_core::Result;

use super::nonsense;

/// A text, and whether it is one of Rust's.
#[derive(Debug, PartialEq)]
pub(crate) enum Text {
    Plain(String),
    Surrogates(Vec<u8>),
}

pub(crate) fn read(bytes: &[u8]) -> Result<Text> {
    match str::from_utf8(bytes) {
        Ok(text) => Ok(Text::Plain(text.to_owned())),
        Err(_) if is_wild(bytes) => Ok(Text::Surrogates(bytes.to_vec())),
        Err(error) => Err(nonsense(format_args!("a text is not UTF-8: {error}"))),
    }
}

/// Whether it is UTF-8 but for surrogates.
fn is_wild(mut bytes: &[u8]) -> bool {
    loop {
        match str::from_utf8(bytes) {
            Ok(_) => return true,
            Err(error) => match &bytes[error.valid_up_to()..] {
                [0xed, 0xa0..=0xbf, 0x80..=0xbf, rest @ ..] => bytes = rest,
                _ => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn surrogates_pass_and_nonsense_does_not() {
        assert_eq!(read("é".as_bytes()).unwrap(), Text::Plain("é".into()));
        for wild in [&b"\xed\xa0\x80"[..], b"a\xed\xb2\x80b\xed\xbf\xbf"] {
            assert_eq!(read(wild).unwrap(), Text::Surrogates(wild.to_vec()));
        }
        for nonsense in [&b"\xff"[..], b"\xed\xa0", b"\xed\xa0\x80\xff", b"\xc0\x80"] {
            assert!(read(nonsense).is_err(), "{nonsense:?}");
        }
    }
}
