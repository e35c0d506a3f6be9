//! Four digests that cannot be mistaken for each other.
//!
//! All are SHA-256, the one algorithm every image of this field uses (OCI image specification, "Descriptors",
//! registered algorithms). There is no conversion between them: a [`BlobDigest`] names stored bytes, a [`DiffId`] the
//! uncompressed tar of one layer, a [`ChainId`] a stack of layers, an [`ImageId`] a config.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DigestError {
    /// There is no `algorithm:` before the hex digits.
    #[error("digest {text:?} has no algorithm, such as sha256:")]
    NoAlgorithm {
        /// What was read.
        text: String,
    },
    /// Another algorithm than SHA-256.
    #[error("digest algorithm {algorithm:?} is not supported, only sha256 is")]
    Algorithm {
        /// The algorithm that was asked for.
        algorithm: String,
    },
    /// Not 64 lower-case hex digits.
    #[error("digest {text:?} does not have 64 lower-case hex digits")]
    Hex {
        /// What was read.
        text: String,
    },
}

fn parse_hex(hex: &str) -> Option<[u8; 32]> {
    let bytes = hex.as_bytes();
    if bytes.len() != 64 {
        return None;
    }
    let mut out = [0u8; 32];
    for (to, pair) in out.iter_mut().zip(bytes.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *to = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(out)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8; 32]) -> fmt::Result {
    // A listing writes thousands; formatting byte by byte is a tenth of its time.
    let mut digits = [0; 64];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        for (to, nibble) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
            *to = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
        }
    }
    f.write_str(std::str::from_utf8(&digits).unwrap_or_default())
}

macro_rules! digest {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// The digest of `bytes`.
            #[must_use]
            pub fn of(bytes: &[u8]) -> Self {
                Self(Sha256::digest(bytes).into())
            }

            /// From a finished SHA-256, 32 bytes.
            #[must_use]
            pub const fn from_sha256(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The 64 lower-case hex digits, without `sha256:`.
            #[must_use]
            pub fn hex(&self) -> String {
                format!("{:x}", self)
            }

            /// The first 12 hex digits, as listings show them.
            #[must_use]
            pub fn short(&self) -> String {
                let mut hex = self.hex();
                hex.truncate(12);
                hex
            }

            /// From 64 lower-case hex digits without an algorithm, as file names of the store have them.
            ///
            /// # Errors
            /// [`DigestError::Hex`] for anything else.
            pub fn from_hex(hex: &str) -> Result<Self, DigestError> {
                parse_hex(hex).map(Self).ok_or_else(|| DigestError::Hex { text: hex.to_owned() })
            }
        }

        impl fmt::LowerHex for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(f, &self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("sha256:")?;
                write_hex(f, &self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self)
            }
        }

        impl FromStr for $name {
            type Err = DigestError;

            fn from_str(text: &str) -> Result<Self, DigestError> {
                let Some((algorithm, hex)) = text.split_once(':') else {
                    return Err(DigestError::NoAlgorithm { text: text.to_owned() });
                };
                if algorithm != "sha256" {
                    return Err(DigestError::Algorithm { algorithm: algorithm.to_owned() });
                }
                Self::from_hex(hex)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

digest! {
    /// The digest of a blob's stored bytes, compressed or not: what a descriptor names.
    BlobDigest
}
digest! {
    /// The digest of a layer's uncompressed tar (OCI image specification, "Layer DiffID").
    DiffId
}
digest! {
    /// The digest of a stack of layers (OCI image specification, "Layer ChainID").
    ChainId
}
digest! {
    /// The digest of an image's config (OCI image specification, "ImageID").
    ImageId
}

impl ChainId {
    /// The chain of a base layer alone: its DiffID.
    #[must_use]
    pub const fn base(layer: DiffId) -> Self {
        Self(layer.0)
    }

    /// The chain with one more layer on top.
    #[must_use]
    pub fn with(self, layer: DiffId) -> Self {
        Self::of(format!("{self} {layer}").as_bytes())
    }

    /// The chain of `layers`, base first; `None` when there are none.
    #[must_use]
    pub fn of_layers(layers: &[DiffId]) -> Option<Self> {
        let (base, above) = layers.split_first()?;
        Some(above.iter().fold(Self::base(*base), |chain, layer| chain.with(*layer)))
    }
}

/// A SHA-256 under way, for bytes that come piece by piece.
#[derive(Debug, Clone, Default)]
pub struct DigestHasher(Sha256);

impl DigestHasher {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The 32 bytes of the digest, to be named by `from_sha256` of the type that is meant.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_prints_as_it_parses() {
        let digest = DiffId::of(b"");
        assert_eq!(digest.to_string(), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(digest.to_string().parse::<DiffId>(), Ok(digest));
        assert_eq!(DiffId::from_hex(&digest.hex()), Ok(digest));
        assert_eq!(digest.short(), "e3b0c44298fc");
    }

    #[test]
    fn other_texts_are_refused_with_the_reason() {
        let hex = "E3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert!(matches!("abc".parse::<BlobDigest>(), Err(DigestError::NoAlgorithm { .. })));
        assert!(matches!("sha512:abc".parse::<BlobDigest>(), Err(DigestError::Algorithm { .. })));
        assert!(matches!("sha256:abc".parse::<BlobDigest>(), Err(DigestError::Hex { .. })));
        assert!(matches!(format!("sha256:{hex}").parse::<BlobDigest>(), Err(DigestError::Hex { .. })));
        assert!(matches!(
            BlobDigest::from_hex("../../../../../../../../../../../../../../../../../../../etc/passwd"),
            Err(DigestError::Hex { .. })
        ));
    }

    // The worked example of the OCI image specification, config.md "Layer ChainID": ChainID(A|B) = Digest(ChainID(A) + " " + DiffID(B)).
    #[test]
    fn a_chain_hashes_its_parent_and_its_top() {
        let (a, b, c) = (DiffId::of(b"a"), DiffId::of(b"b"), DiffId::of(b"c"));
        assert_eq!(ChainId::of_layers(&[]), None);
        assert_eq!(ChainId::of_layers(&[a]).unwrap().hex(), a.hex());
        let ab = ChainId::of(format!("{a} {b}").as_bytes());
        assert_eq!(ChainId::of_layers(&[a, b]), Some(ab));
        assert_eq!(ChainId::of_layers(&[a, b, c]), Some(ChainId::of(format!("{ab} {c}").as_bytes())));
    }
}
