//! HMAC (RFC 2104) over the digests that CPython allows.

use constant_time_eq::constant_time_eq;
use md5::Md5;
use sha2::{Sha256, Sha384};
use sha3::{Sha3_256, Sha3_384};

/// The longest block of these.
const LONGEST_BLOCK: usize = 136;
const INNER: u8 = 0x36;
const OUTER: u8 = 0x5c;

/// A digest, as `hashlib` calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Digest {
    Md5,
    Sha256,
    Sha384,
    Sha3_256,
    Sha3_384,
}

impl Digest {
    pub(crate) const ALL: [Self; 5] =
        [Self::Md5, Self::Sha256, Self::Sha384, Self::Sha3_256, Self::Sha3_384];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha3_256 => "sha3_256",
            Self::Sha3_384 => "sha3_384",
        }
    }

    /// The one that stands in braces before `text`, and what stands behind it.
    pub(crate) fn named_in(text: &[u8]) -> Option<(Self, &[u8])> {
        let rest = text.strip_prefix(b"{")?;
        Self::ALL.into_iter().find_map(|digest| {
            let rest = rest.strip_prefix(digest.name().as_bytes())?;
            Some((digest, rest.strip_prefix(b"}")?))
        })
    }

    /// How many bytes it takes at once (FIPS 180-4, FIPS 202, RFC 1321).
    fn block_bytes(self) -> usize {
        match self {
            Self::Md5 | Self::Sha256 => 64,
            Self::Sha384 => 128,
            Self::Sha3_256 => 136,
            Self::Sha3_384 => 104,
        }
    }

    fn of(self, parts: [&[u8]; 2]) -> Vec<u8> {
        fn run<D: sha2::digest::Digest>(parts: [&[u8]; 2]) -> Vec<u8> {
            let mut hash = D::new();
            parts.into_iter().for_each(|part| hash.update(part));
            hash.finalize().to_vec()
        }
        match self {
            Self::Md5 => run::<Md5>(parts),
            Self::Sha256 => run::<Sha256>(parts),
            Self::Sha384 => run::<Sha384>(parts),
            Self::Sha3_256 => run::<Sha3_256>(parts),
            Self::Sha3_384 => run::<Sha3_384>(parts),
        }
    }

    /// The MAC of `text` by `key`.
    pub(crate) fn mac(self, key: &[u8], text: &[u8]) -> Vec<u8> {
        let len = self.block_bytes();
        let mut block = [0; LONGEST_BLOCK];
        match key.len() <= len {
            true => block[..key.len()].copy_from_slice(key),
            false => {
                let short = self.of([key, &[]]);
                block[..short.len()].copy_from_slice(&short);
            }
        }
        let with = |pad: u8| block.map(|byte| byte ^ pad);
        let inner = self.of([&with(INNER)[..len], text]);
        self.of([&with(OUTER)[..len], &inner])
    }

    /// Whether `mac` is that of `text`, found out in a time that tells nothing.
    pub(crate) fn is_mac(self, key: &[u8], text: &[u8], mac: &[u8]) -> bool {
        constant_time_eq(&self.mac(key, text), mac)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn macs_are_cpythons() {
        let count: Vec<u8> = (0..40).collect();
        let of = |digest: Digest, name: &str| {
            let text = [name.as_bytes(), &count].concat();
            hex(&digest.mac(b"secret", &text))
        };
        assert_eq!(
            hex(&Digest::Md5.mac(b"secret", &count[..20])),
            "7defa9cc46abc3583325d17ccda75190"
        );
        assert_eq!(hex(&Digest::Md5.mac(b"", &count[..20])), "eee7e8c8fa6d98a59d76c44ce7018548");
        assert_eq!(
            of(Digest::Sha256, "{sha256}"),
            "fc57fbe650d6124b98215e7b5d197d5807ad69982d275a9735ea2d56f1fa6989"
        );
        assert_eq!(of(Digest::Md5, "{sha256}"), "8e48d2bb349b4b72b9382999ed5b62eb");
        assert_eq!(
            of(Digest::Sha384, "{sha384}"),
            "bae78a3376369f7b803a8473318a9b7062495b47434159ac84fc92ddb33c51b277c44c3edd9a5f9cb7d628f21abe2665"
        );
        assert_eq!(
            of(Digest::Sha3_256, "{sha3_256}"),
            "82e8fa62f363295b6655abecf0e98e510224c559e9745af9741c357aec358f90"
        );
        assert_eq!(
            of(Digest::Sha3_384, "{sha3_384}"),
            "bfbe71d4e622f58ebf6cbe049af4c8fe518645b482915af0940d678c37c0b46dd1a2a448f9ee5141c91bba42b46a7862"
        );
    }

    #[test]
    fn a_key_longer_than_a_block_is_hashed_first() {
        for digest in Digest::ALL {
            let long = vec![7; 200];
            let short = digest.of([&long, &[]]);
            assert_eq!(digest.mac(&long, b"text"), digest.mac(&short, b"text"), "{digest:?}");
        }
    }

    #[test]
    fn digests_are_named_in_braces() {
        assert_eq!(Digest::named_in(b"{md5}x"), Some((Digest::Md5, &b"x"[..])));
        for none in [&b"{sha1}x"[..], b"{sha512}", b"sha256}", b"{sha256", b"", b"{}", b"{sha3_25}"]
        {
            assert_eq!(Digest::named_in(none), None);
        }
        // One begins as another does.
        assert_eq!(Digest::named_in(b"{sha3_256}"), Some((Digest::Sha3_256, &b""[..])));
    }
}
