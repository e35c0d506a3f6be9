//! One header block: 512 bytes, read field by field.

use super::BLOCK;

/// Which variant a header's magic names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Before 1988: no magic; nothing after the link name counts.
    V7,
    /// POSIX ustar and PAX.
    Ustar,
    /// Jörg Schilling's: the end of the prefix holds times.
    Star,
    /// GNU's: no prefix.
    Gnu,
}

/// A header block.
#[derive(Debug, Clone, Copy)]
pub struct Header<'a>(&'a [u8; BLOCK]);

impl<'a> Header<'a> {
    /// Takes a block as a header; whether it is one, [`Header::checksum_is_right`] tells.
    #[must_use]
    pub const fn new(block: &'a [u8; BLOCK]) -> Self {
        Self(block)
    }

    fn field(&self, from: usize, length: usize) -> &'a [u8] {
        self.0.get(from..from + length).unwrap_or_default()
    }

    /// Whether the block is all zeros, which ends an archive.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.0.iter().all(|byte| *byte == 0)
    }

    /// Whether the sum of the bytes, with the checksum field as spaces, is what the field says. Old writers summed
    /// signed bytes.
    #[must_use]
    pub fn checksum_is_right(&self) -> bool {
        let Some(stated) = number(self.field(148, 8)) else { return false };
        let (mut unsigned, mut signed) = (0i64, 0i64);
        for (at, byte) in self.0.iter().enumerate() {
            let byte = if (148..156).contains(&at) { b' ' } else { *byte };
            unsigned += i64::from(byte);
            signed += i64::from(byte.cast_signed());
        }
        stated == unsigned || stated == signed
    }

    /// The variant.
    #[must_use]
    pub fn format(&self) -> Format {
        match self.field(257, 8) {
            b"ustar  \0" => Format::Gnu,
            magic if magic.starts_with(b"ustar\0") => {
                if self.field(508, 4) == b"tar\0" {
                    Format::Star
                } else {
                    Format::Ustar
                }
            }
            _ => Format::V7,
        }
    }

    /// The path: prefix and name, as far as this header has them.
    #[must_use]
    pub fn path(&self) -> Vec<u8> {
        let name = text(self.field(0, 100));
        let prefix = match self.format() {
            Format::Ustar => text(self.field(345, 155)),
            Format::Star => text(self.field(345, 131)),
            Format::V7 | Format::Gnu => b"",
        };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    /// What a link points to.
    #[must_use]
    pub fn link(&self) -> &'a [u8] {
        text(self.field(157, 100))
    }

    /// The type byte.
    #[must_use]
    pub fn typeflag(&self) -> u8 {
        self.field(156, 1).first().copied().unwrap_or(0)
    }

    /// Permission bits, often with the file type above them; `None` when the field is no number.
    #[must_use]
    pub fn mode(&self) -> Option<i64> {
        number(self.field(100, 8))
    }

    /// The owner; `None` when the field is no number.
    #[must_use]
    pub fn uid(&self) -> Option<i64> {
        number(self.field(108, 8))
    }

    /// The group; `None` when the field is no number.
    #[must_use]
    pub fn gid(&self) -> Option<i64> {
        number(self.field(116, 8))
    }

    /// Bytes of the body; `None` when the field is no number or negative.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        number(self.field(124, 12)).and_then(|size| u64::try_from(size).ok())
    }

    /// Seconds since 1970; `None` when the field is no number.
    #[must_use]
    pub fn mtime(&self) -> Option<i64> {
        number(self.field(136, 12))
    }

    /// The driver of a device; `None` when the field is no number.
    #[must_use]
    pub fn major(&self) -> Option<i64> {
        number(self.field(329, 8))
    }

    /// Which device of its driver; `None` when the field is no number.
    #[must_use]
    pub fn minor(&self) -> Option<i64> {
        number(self.field(337, 8))
    }

    /// GNU's old sparse header (type `S`): the first four entries of the map, 24 bytes each.
    #[must_use]
    pub fn sparse_entries(&self) -> &'a [u8] {
        self.field(386, 4 * 24)
    }

    /// GNU's old sparse header: whether more of the map follows in blocks of its own.
    #[must_use]
    pub fn sparse_is_extended(&self) -> bool {
        self.field(482, 1) != [0]
    }

    /// GNU's old sparse header: how long the file is with its holes; `None` when the field is no number or negative.
    #[must_use]
    pub fn sparse_size(&self) -> Option<u64> {
        number(self.field(483, 12)).and_then(|size| u64::try_from(size).ok())
    }
}

/// The bytes up to the first NUL.
#[must_use]
pub fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A number field: octal digits between spaces or NULs, or base-256 when its first bit is set (two's complement over
/// the bits that follow). A blank field is 0. `None` for anything else, and for what an `i64` cannot hold.
#[must_use]
pub fn number(field: &[u8]) -> Option<i64> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => base_256(field),
        _ => octal(field),
    }
}

fn octal(field: &[u8]) -> Option<i64> {
    let start = field.iter().position(|byte| !matches!(byte, b' ' | 0)).unwrap_or(field.len());
    let digits = field.get(start..)?;
    let end = digits.iter().position(|byte| matches!(byte, b' ' | 0)).unwrap_or(digits.len());
    digits.get(..end)?.iter().try_fold(0i64, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

fn base_256(field: &[u8]) -> Option<i64> {
    let (first, rest) = field.split_first()?;
    // Bit 6 is the sign; extended over bit 7, which only says that this is base-256.
    let first = if first & 0x40 == 0 { i64::from(first & 0x7f) } else { i64::from(first.cast_signed()) };
    rest.iter().try_fold(first, |value, byte| value.checked_mul(256)?.checked_add(i64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256() {
        for (field, value) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"644", Some(0o644)),
            (b"\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"777777777777", Some(0o777_777_777_777)),
            (b"12 garbage", Some(0o12)),
            (b"0000648\0", None),
            (b"-1\0", None),
            (b"\x80\0\0\0\0\x20\0\0", Some(1 << 21)),
            (b"\x80\0\0\0\x80\0\0\0", Some(1 << 31)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00", Some(-256)),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
            (b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
        ] {
            assert_eq!(number(field), value, "{field:?}");
        }
    }

    #[test]
    fn a_checksum_may_be_signed() {
        let mut block = [0u8; BLOCK];
        block[0] = 0xe9;
        block[148..156].fill(b' ');
        for sum in [0xe9 + 8 * 32, 0xe9 - 256 + 8 * 32] {
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            assert!(Header::new(&block).checksum_is_right());
        }
        block[148..156].copy_from_slice(b"000001\0 ");
        assert!(!Header::new(&block).checksum_is_right());
    }
}
