//! PAX records: `length key=value newline`, sorted by key.

use std::collections::BTreeMap;

use mica_core::Timestamp;

#[derive(Default)]
pub(super) struct Records(BTreeMap<Vec<u8>, Vec<u8>>);

impl Records {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A path. PAX values are UTF-8 unless the header says otherwise, and then libarchive and Python take them as bytes;
    /// GNU tar and Go always do.
    pub(super) fn name(&mut self, key: &str, path: &[u8]) {
        if std::str::from_utf8(path).is_err() {
            self.0.insert(b"hdrcharset".to_vec(), b"BINARY".to_vec());
        }
        self.0.insert(key.into(), path.to_vec());
    }

    pub(super) fn number(&mut self, key: &str, value: u64) {
        self.0.insert(key.into(), value.to_string().into_bytes());
    }

    pub(super) fn time(&mut self, key: &str, time: Timestamp) {
        self.0.insert(key.into(), decimal(time).into_bytes());
    }

    /// `SCHILY.xattr.`, which everyone reads. A key ends at the first `=`, and GNU tar escapes that in a way that the
    /// others do not undo: such a name, and one that reads like an escape, gets libarchive's own key, which can say it.
    pub(super) fn xattr(&mut self, name: &[u8], value: &[u8]) {
        if name.contains(&b'=') || name.windows(3).any(|three| three == b"%3D" || three == b"%25") {
            let key = [b"LIBARCHIVE.xattr.", &percent(name)[..]].concat();
            self.0.insert(key, base64(value));
        } else {
            self.0.insert([b"SCHILY.xattr.", name].concat(), value.to_vec());
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (key, value) in &self.0 {
            // Space, equals sign and newline; the length counts its own digits.
            let rest = key.len() + value.len() + 3;
            let mut length = rest + digits(rest);
            length = rest + digits(length);
            out.extend_from_slice(length.to_string().as_bytes());
            for part in [b" ", &key[..], b"=", &value[..], b"\n"] {
                out.extend_from_slice(part);
            }
        }
        out
    }
}

fn digits(number: usize) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// Seconds with as many decimals as are needed; before 1970 the sign counts for the whole number: a quarter of a
/// second before it is -0.25.
fn decimal(time: Timestamp) -> String {
    let (sign, secs, nanos) = match (time.secs, time.nanos) {
        (secs @ 0.., nanos) => ("", secs.unsigned_abs(), nanos),
        (secs, 0) => ("-", secs.unsigned_abs(), 0),
        (secs, nanos) => ("-", secs.unsigned_abs() - 1, 1_000_000_000_u32.saturating_sub(nanos)),
    };
    if nanos == 0 {
        return format!("{sign}{secs}");
    }
    let text = format!("{sign}{secs}.{nanos:09}");
    text.trim_end_matches('0').to_owned()
}

/// As libarchive does: what is not printable ASCII, `%` and `=`.
fn percent(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    for byte in name {
        match byte {
            b'%' | b'=' | 0..=32 | 127.. => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
            _ => out.push(*byte),
        }
    }
    out
}

/// RFC 4648 without padding, as libarchive writes it.
fn base64(bytes: &[u8]) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let at = |index: usize| three.get(index).map_or(0, |byte| u32::from(*byte));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for shift in [18, 12, 6, 0].into_iter().take(three.len() + 1) {
            out.extend(ALPHABET.get((bits >> shift & 63) as usize));
        }
    }
    out
}
