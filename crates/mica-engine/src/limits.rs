//! Limits: how much an image may ask of the machine before it is refused, by the names that users set them by.

use crate::error::{Error, Kind, Result};

/// What one layer, and one document of an image, may cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    pub(crate) layer: mica_layer::Limits,
    pub(crate) json_bytes: u64,
}

/// The name of the one limit that no layer has: bytes of a manifest, an index or a config.
pub(crate) const JSON: &str = "json";

impl Default for Limits {
    fn default() -> Self {
        Self { layer: mica_layer::Limits::default(), json_bytes: mica_transport::OpenOptions::default().json_max }
    }
}

impl Limits {
    /// Sets one by its text, `NAME=NUMBER`; the number may end in K, M, G or T, powers of 1024.
    ///
    /// # Errors
    /// [`Kind::Usage`] for a text of another form, and for a name that no limit has.
    pub fn set(&mut self, text: &str) -> Result<()> {
        let usage = |message: String| {
            let names = mica_layer::Limits::NAMES.join(", ");
            Error::new(Kind::Usage, message).hinted(format!("limits are {names} and {JSON}, such as content=2T"))
        };
        let Some((name, value)) = text.split_once('=') else {
            return Err(usage(format!("limit {text:?} is not of the form NAME=NUMBER")));
        };
        let value = number(value).ok_or_else(|| usage(format!("limit {text:?}: {value:?} is no number")))?;
        if name == JSON {
            self.json_bytes = value;
            return Ok(());
        }
        self.layer.set(name, value).ok_or_else(|| usage(format!("there is no limit {name:?}")))
    }
}

/// What to try where a limit was met.
pub(crate) fn raise(name: &str, limit: u64) -> String {
    let value = text(limit.saturating_mul(2).max(1));
    format!("if its maker is to be trusted, raise the limit: --limit {name}={value}, or MICA_LIMITS={name}={value}")
}

const UNITS: [(char, u32); 4] = [('T', 40), ('G', 30), ('M', 20), ('K', 10)];

fn number(text: &str) -> Option<u64> {
    let unit = UNITS.iter().find_map(|(unit, shift)| Some((text.strip_suffix(*unit)?, *shift)));
    let (digits, shift) = unit.unwrap_or((text, 0));
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

fn text(number: u64) -> String {
    let unit = UNITS.iter().find(|(_, shift)| number.trailing_zeros() >= *shift);
    unit.map_or_else(|| number.to_string(), |(unit, shift)| format!("{}{unit}", number >> shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_and_printed() {
        for (said, value) in [("0", 0), ("7", 7), ("1K", 1024), ("3M", 3 << 20), ("2T", 2 << 40)] {
            assert_eq!(number(said), Some(value), "{said}");
            assert_eq!(text(value.max(1)), if value == 0 { "1" } else { said });
        }
        for wrong in ["", "K", "-1", "+1", "1.5G", "1k", "1 M", "99999999999999999999", "99999999T"] {
            assert_eq!(number(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_limit_is_set_by_its_name_or_refused() {
        let mut limits = Limits::default();
        for text in ["content=2T", "json=8M", "depth=9"] {
            limits.set(text).unwrap();
        }
        assert_eq!((limits.layer.content_bytes, limits.json_bytes, limits.layer.depth), (2 << 40, 8 << 20, 9));
        for (text, message) in [
            ("content", "limit \"content\" is not of the form NAME=NUMBER"),
            ("content=much", "limit \"content=much\": \"much\" is no number"),
            ("colour=1", "there is no limit \"colour\""),
        ] {
            let error = limits.set(text).unwrap_err();
            assert_eq!((error.kind(), error.to_string().as_str()), (Kind::Usage, message));
            assert!(error.hint().is_some_and(|hint| hint.contains("metadata, window and json")));
        }
    }
}
