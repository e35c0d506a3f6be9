//! PAX extended headers: records of `length key=value\n`, and what those that count mean.

use mica_core::{Timestamp, Xattrs};

/// What the records of extended headers say of an entry. `None` where they say nothing.
///
/// A record with an empty value takes back what an earlier header said (POSIX.1-2001), except that of an extended
/// attribute, which may well be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    /// `path`, or `GNU.sparse.name` where that is given.
    pub path: Option<Vec<u8>>,
    /// `linkpath`.
    pub link: Option<Vec<u8>>,
    /// `size`.
    pub size: Option<u64>,
    /// `uid`.
    pub uid: Option<u64>,
    /// `gid`.
    pub gid: Option<u64>,
    /// `mtime`.
    pub mtime: Option<Timestamp>,
    /// `SCHILY.xattr.*`, `RHT.security.selinux`, and `LIBARCHIVE.xattr.*` where the others do not have the name.
    pub xattrs: Xattrs,
    /// `GNU.sparse.*`.
    pub sparse: SparseFields,
}

/// What `GNU.sparse.*` records say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SparseFields {
    /// `GNU.sparse.name`: the path; then `path` is only for readers that know no sparse files.
    pub name: Option<Vec<u8>>,
    /// `GNU.sparse.major` is 1: the map stands at the start of the body.
    pub map_in_body: bool,
    /// `GNU.sparse.size` or `GNU.sparse.realsize`: the file's length, holes included.
    pub size: Option<u64>,
    /// Offsets and lengths, of forms 0.0 (a record each) and 0.1 (`GNU.sparse.map`).
    pub map: Option<Vec<u64>>,
}

/// Why an extended header is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaxProblem {
    /// The records do not follow each other as `length key=value\n`.
    Malformed,
    /// The value of this key is no number, or one out of range.
    Number(&'static str),
}

impl Fields {
    /// Adds what the records in `body` say to what was said before them.
    ///
    /// # Errors
    /// [`PaxProblem`]; records before the wrong one have been added.
    pub fn add(&mut self, body: &[u8]) -> Result<(), PaxProblem> {
        let mut rest = body;
        let mut libarchive = Xattrs::new();
        while !rest.is_empty() {
            let (key, value) = record(&mut rest).ok_or(PaxProblem::Malformed)?;
            self.record(key, value, &mut libarchive)?;
        }
        for (name, value) in libarchive {
            self.xattrs.entry(name).or_insert(value);
        }
        Ok(())
    }

    fn record(&mut self, key: &[u8], value: &[u8], libarchive: &mut Xattrs) -> Result<(), PaxProblem> {
        match key {
            b"path" => self.path = some(value),
            b"linkpath" => self.link = some(value),
            b"size" => self.size = optional(value, "size")?,
            b"uid" => self.uid = optional(value, "uid")?,
            b"gid" => self.gid = optional(value, "gid")?,
            b"mtime" => {
                self.mtime = match value {
                    b"" => None,
                    value => Some(timestamp(value).ok_or(PaxProblem::Number("mtime"))?),
                }
            }
            b"RHT.security.selinux" => {
                self.xattrs.insert(b"security.selinux".to_vec(), value.to_vec());
            }
            b"GNU.sparse.name" => self.sparse.name = some(value),
            b"GNU.sparse.major" => self.sparse.map_in_body = value == b"1",
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse.size = optional(value, "GNU.sparse.size")?,
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                let value = decimal(value).ok_or(PaxProblem::Number("GNU.sparse.offset"))?;
                self.sparse.map.get_or_insert_default().push(value);
            }
            b"GNU.sparse.map" => {
                let values = value.split(|byte| *byte == b',').map(decimal).collect::<Option<Vec<_>>>();
                self.sparse.map = Some(values.ok_or(PaxProblem::Number("GNU.sparse.map"))?);
            }
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.insert(unescape_keyword(name), value.to_vec());
                } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
                    let name = percent_decoded(name).ok_or(PaxProblem::Malformed)?;
                    libarchive.insert(name, base64_decoded(value).ok_or(PaxProblem::Malformed)?);
                }
            }
        }
        Ok(())
    }
}

/// Takes one record off the front: its key, which ends at the first `=`, and its value, which may hold any byte.
fn record<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let digits = rest.iter().position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(rest.get(..digits)?)?).ok()?;
    let (record, after) = rest.split_at_checked(length)?;
    let pair = record.get(digits + 1..)?.strip_suffix(b"\n")?;
    let equals = pair.iter().position(|byte| *byte == b'=').filter(|at| *at > 0)?;
    *rest = after;
    Some((pair.get(..equals)?, pair.get(equals + 1..)?))
}

fn some(value: &[u8]) -> Option<Vec<u8>> {
    (!value.is_empty()).then(|| value.to_vec())
}

fn optional(value: &[u8], field: &'static str) -> Result<Option<u64>, PaxProblem> {
    match value {
        b"" => Ok(None),
        value => decimal(value).map(Some).ok_or(PaxProblem::Number(field)),
    }
}

/// A decimal number without a sign; `None` for anything else.
#[must_use]
pub fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, digit| match digit {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// Seconds with an optional sign and fraction. Digits past the ninth of the fraction are cut off.
fn timestamp(value: &[u8]) -> Option<Timestamp> {
    let (negative, value) = match value.strip_prefix(b"-") {
        Some(value) => (true, value),
        None => (false, value),
    };
    let (whole, fraction) = match value.iter().position(|byte| *byte == b'.') {
        Some(point) => (value.get(..point)?, value.get(point + 1..)?),
        None => (value, &b""[..]),
    };
    let secs = if whole.is_empty() && !fraction.is_empty() { 0 } else { i64::try_from(decimal(whole)?).ok()? };
    if fraction.iter().any(|digit| !digit.is_ascii_digit()) {
        return None;
    }
    let nanos = (0..9).fold(0u32, |nanos, at| nanos * 10 + u32::from(fraction.get(at).map_or(0, |digit| digit - b'0')));
    Some(match (negative, nanos) {
        (false, nanos) => Timestamp { secs, nanos },
        (true, 0) => Timestamp { secs: -secs, nanos },
        (true, nanos) => Timestamp { secs: -secs - 1, nanos: 1_000_000_000 - nanos },
    })
}

/// GNU tar writes `=` and `%` in an attribute's name as `%3D` and `%25`, since a key ends at the first `=`.
fn unescape_keyword(name: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((first, after)) = rest.split_first() {
        let (byte, after) = match rest.get(..3) {
            Some(b"%3D") => (b'=', rest.get(3..)),
            Some(b"%25") => (b'%', rest.get(3..)),
            _ => (*first, Some(after)),
        };
        plain.push(byte);
        rest = after.unwrap_or_default();
    }
    plain
}

/// libarchive writes an attribute's name as a URL would have it.
fn percent_decoded(name: &[u8]) -> Option<Vec<u8>> {
    let hex = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut plain = Vec::with_capacity(name.len());
    let mut bytes = name.iter();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'%' => hex(*bytes.next()?)? << 4 | hex(*bytes.next()?)?,
            byte => *byte,
        });
    }
    Some(plain)
}

/// libarchive writes an attribute's value in base 64, mostly without padding.
fn base64_decoded(value: &[u8]) -> Option<Vec<u8>> {
    let digits = value.split(|byte| *byte == b'=').next()?;
    let mut plain = Vec::with_capacity(digits.len() * 3 / 4);
    for group in digits.chunks(4) {
        let mut bits = 0u32;
        for at in 0..4 {
            let digit = match group.get(at).copied().unwrap_or(b'A') {
                digit @ b'A'..=b'Z' => digit - b'A',
                digit @ b'a'..=b'z' => digit - b'a' + 26,
                digit @ b'0'..=b'9' => digit - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(digit);
        }
        let [_, bytes @ ..] = bits.to_be_bytes();
        // One digit alone is less than a byte.
        let whole = group.len().checked_sub(1).filter(|whole| *whole > 0)?;
        plain.extend_from_slice(bytes.get(..whole)?);
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn records(pairs: &[(&str, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (key, value) in pairs {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length.to_string().len() + rest != length {
                length = length.to_string().len() + rest;
            }
            body.extend_from_slice(format!("{length} {key}=").as_bytes());
            body.extend_from_slice(value);
            body.push(b'\n');
        }
        body
    }

    fn parsed(pairs: &[(&str, &[u8])]) -> Fields {
        let mut fields = Fields::default();
        fields.add(&records(pairs)).unwrap();
        fields
    }

    #[test]
    fn a_value_may_hold_equals_signs_newlines_and_nul() {
        let fields = parsed(&[("SCHILY.xattr.user.a", b"x=y\n12 z=\0"), ("path", b"a=b\nc")]);
        assert_eq!(fields.xattrs[&b"user.a"[..]], b"x=y\n12 z=\0");
        assert_eq!(fields.path.as_deref(), Some(&b"a=b\nc"[..]));
    }

    #[test]
    fn attribute_names_are_unescaped_as_their_writers_escaped_them() {
        let fields = parsed(&[
            ("SCHILY.xattr.user.a%3Db%25c%20", b""),
            ("LIBARCHIVE.xattr.user.l%3db", b"AP8"),
            ("LIBARCHIVE.xattr.user.both", b"AAAA"),
            ("SCHILY.xattr.user.both", b"schily"),
            ("RHT.security.selinux", b"u:r:t:s0\0"),
        ]);
        let expected: Xattrs = [
            (&b"user.a=b%c%20"[..], &b""[..]),
            (b"user.l=b", b"\0\xff"),
            (b"user.both", b"schily"),
            (b"security.selinux", b"u:r:t:s0\0"),
        ]
        .map(|(name, value)| (name.to_vec(), value.to_vec()))
        .into();
        assert_eq!(fields.xattrs, expected);
    }

    #[test]
    fn times_before_1970_count_their_nanoseconds_forward() {
        for (text, secs, nanos) in [
            ("0", 0, 0),
            ("1.5", 1, 500_000_000),
            ("-1.5", -2, 500_000_000),
            ("-0.000000001", -1, 999_999_999),
            ("1.0000000019", 1, 1),
            ("99999999999.25", 99_999_999_999, 250_000_000),
            (".5", 0, 500_000_000),
            ("7.", 7, 0),
        ] {
            assert_eq!(timestamp(text.as_bytes()), Some(Timestamp { secs, nanos }), "{text}");
        }
        for text in ["-", ".", "1.x", "x", "1e3", "--1", "99999999999999999999", "1.0000000000x"] {
            assert_eq!(timestamp(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn an_empty_value_takes_back_what_a_global_header_said() {
        let mut fields = parsed(&[("uid", b"7"), ("path", b"global")]);
        fields.add(&records(&[("uid", b""), ("path", b"")])).unwrap();
        assert_eq!(fields, Fields::default());
    }

    #[test]
    fn malformed_records_are_refused() {
        for body in [
            &b"x"[..],
            b"4 a=\n",
            b"7 a=b\n",
            b"5 a=b\n",
            b"6 a=b ",
            b"0 a=b\n",
            b"6 abc\n",
            b"5 =b\n",
            b"99999999999999999999 a=b\n",
            b"+6 a=b\n",
            b"2 \n",
        ] {
            let problem = Fields::default().add(body);
            assert_eq!(problem, Err(PaxProblem::Malformed), "{:?}", String::from_utf8_lossy(body));
        }
        let wrong = |key: &str, value: &[u8]| Fields::default().add(&records(&[(key, value)]));
        assert_eq!(wrong("size", b"-1"), Err(PaxProblem::Number("size")));
        assert_eq!(wrong("mtime", b"yesterday"), Err(PaxProblem::Number("mtime")));
        assert_eq!(wrong("GNU.sparse.map", b"0,1,"), Err(PaxProblem::Number("GNU.sparse.map")));
        assert_eq!(wrong("LIBARCHIVE.xattr.a", b"A"), Err(PaxProblem::Malformed));
        assert_eq!(wrong("LIBARCHIVE.xattr.%4", b""), Err(PaxProblem::Malformed));
    }
}
