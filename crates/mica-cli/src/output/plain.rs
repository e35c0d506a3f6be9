//! Plain text: what is left of a string once nothing in it can steer a terminal.
//!
//! Names, labels and commands come from whoever made the image. An escape sequence in one could rewrite what the user reads, a newline could
//! forge a row of a listing, and a bidirectional override could show `exe.cod` for `doc.exe`.

use std::borrow::Cow;
use std::fmt::Write as _;

/// `text` with every character that steers a terminal written as Rust writes it: `\n`, `\u{1b}`.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    if !text.chars().any(steers) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if steers(character) {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

/// JSON text with every such character written as JSON writes it: `\u001b`. The value that the text stands for is the same, because JSON has
/// none of them outside of strings once it is on one line.
pub(crate) fn escape_json(json: String) -> String {
    if !json.chars().any(steers) {
        return json;
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        if steers(character) {
            // All of them lie in the Basic Multilingual Plane. Writing to a string cannot fail, and a failure would end the text early.
            if write!(escaped, "\\u{:04x}", u32::from(character)).is_err() {
                break;
            }
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// Whether a terminal, or whoever lays out lines, would obey the character instead of showing it.
fn steers(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_escaped() {
        for (text, shown) in [
            ("plain", "plain"),
            ("größe 漢字", "größe 漢字"),
            ("a\nb\tc\r", "a\\nb\\tc\\r"),
            ("\x1b[31mred", "\\u{1b}[31mred"),
            ("del\x7f c1\u{9b}2J", "del\\u{7f} c1\\u{9b}2J"),
            ("\u{202e}exe.cod", "\\u{202e}exe.cod"),
        ] {
            assert_eq!(escape(text), shown);
        }
    }

    #[test]
    fn escaped_json_is_the_same_value() {
        let value = serde_json::json!({"a\u{9b}": "\x1b[0m \u{7f}\u{202e} ü", "n": [1, null]});
        let json = escape_json(value.to_string());
        assert!(!json.chars().any(steers), "{json}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap(), value);
    }
}
