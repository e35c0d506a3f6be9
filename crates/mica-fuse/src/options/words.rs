//! Words: a string of mount options, cut where its commas say so.
//!
//! ```text
//! options = word { "," word }          word = name [ "=" value ]
//! value   = text | '"' text '"'        in text: \ and any character stand for that character
//! ```
//!
//! As the kernel's overlayfs reads them, `\,` is a comma of a path, `\:` a colon of a path in a list, and `\\` a backslash. In double
//! quotes, which mount(8) and SELinux labels use, a comma stands for itself. Names and values are bytes: a path need not be UTF-8.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// One option as it was written: its backslashes are still there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    /// What is before the first `=`.
    pub(crate) name: Vec<u8>,
    /// What is after it; `None` where there is no `=`.
    pub(crate) value: Option<Value>,
}

/// A value that is not unescaped yet, since a list has to be cut first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Value(Vec<u8>);

/// A quote that does not end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the quote in `{0}` does not end")]
pub(crate) struct OpenQuote(String);

/// Cuts one string of options. Empty words, as in `ro,,nodev`, are passed over.
pub(crate) fn cut(options: &[u8]) -> Result<Vec<Word>, OpenQuote> {
    let mut words = Vec::new();
    let mut rest = options;
    while !rest.is_empty() {
        let (word, after) = next(rest)?;
        words.extend(word);
        rest = after;
    }
    Ok(words)
}

/// The first word of `text`, and what follows its comma.
fn next(text: &[u8]) -> Result<(Option<Word>, &[u8]), OpenQuote> {
    let end = find(text, |byte| byte == b'=' || byte == b',');
    let (name, rest) = text.split_at(end);
    if !rest.starts_with(b"=") {
        let word = Word { name: name.to_vec(), value: None };
        return Ok(((!name.is_empty()).then_some(word), past(rest, 1)));
    }
    let rest = past(rest, 1);
    let (value, rest) = match rest.strip_prefix(b"\"") {
        None => rest.split_at(find(rest, |byte| byte == b',')),
        Some(quoted) => {
            let (value, rest) = quoted.split_at(find(quoted, |byte| byte == b'"'));
            if rest.is_empty() {
                return Err(OpenQuote(String::from_utf8_lossy(text).into_owned()));
            }
            // What stands between the quote and the comma belongs to nothing; mount(8) drops it too.
            let rest = past(rest, 1);
            (value, past(rest, find(rest, |byte| byte == b',')))
        }
    };
    let word = Word { name: name.to_vec(), value: Some(Value(value.to_vec())) };
    Ok((Some(word), past(rest, 1)))
}

/// Where the first byte is that `wanted` takes and no backslash stands before; else the end.
fn find(text: &[u8], wanted: impl Fn(u8) -> bool) -> usize {
    let mut escaped = false;
    let found = text.iter().position(|&byte| {
        let hit = !escaped && wanted(byte);
        escaped = !escaped && byte == b'\\';
        hit
    });
    found.unwrap_or(text.len())
}

/// What is left after `count` bytes.
fn past(text: &[u8], count: usize) -> &[u8] {
    text.get(count..).unwrap_or_default()
}

/// `text` with each backslash replaced by the character that follows it. One at the end stands for itself.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        plain.push(if byte == b'\\' { bytes.next().copied().unwrap_or(byte) } else { byte });
    }
    plain
}

impl Value {
    /// What it stands for.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        unescape(&self.0)
    }

    /// What it stands for, as text; bytes that are none show as such.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    /// The path that it stands for.
    pub(crate) fn path(&self) -> PathBuf {
        OsString::from_vec(self.bytes()).into()
    }

    /// The paths of a list that is cut at its colons.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        let mut rest = Some(self.0.as_slice());
        while let Some(text) = rest {
            let end = find(text, |byte| byte == b':');
            let (path, after) = text.split_at(end);
            paths.push(OsString::from_vec(unescape(path)).into());
            rest = after.get(1..);
        }
        paths
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(options: &str) -> Vec<(String, Option<String>)> {
        let words = cut(options.as_bytes()).unwrap();
        let text = |word: Word| (String::from_utf8(word.name).unwrap(), word.value.map(|value| value.text()));
        words.into_iter().map(text).collect()
    }

    #[test]
    fn words_are_cut_at_commas_that_stand_for_none_of_a_path() {
        let word = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
        for (options, words) in [
            ("", vec![]),
            (",", vec![]),
            ("ro", vec![word("ro", None)]),
            ("ro,,nodev,", vec![word("ro", None), word("nodev", None)]),
            ("a=", vec![word("a", Some(""))]),
            ("a=b=c,d", vec![word("a", Some("b=c")), word("d", None)]),
            (r"a=b\,c,d", vec![word("a", Some("b,c")), word("d", None)]),
            (r"a=b\\,c", vec![word("a", Some(r"b\")), word("c", None)]),
            (r"a=b\", vec![word("a", Some(r"b\"))]),
            (r#"a="b,c",d"#, vec![word("a", Some("b,c")), word("d", None)]),
            (r#"a="b\"c",d"#, vec![word("a", Some(r#"b"c"#)), word("d", None)]),
            (r#"a="b"rest,d"#, vec![word("a", Some("b")), word("d", None)]),
            (r#"a=b"c,d"#, vec![word("a", Some(r#"b"c"#)), word("d", None)]),
            ("=x", vec![word("", Some("x"))]),
        ] {
            assert_eq!(shown(options), words, "{options}");
        }
        let wrong = cut(br#"ro,a="b,c"#).unwrap_err();
        assert_eq!(wrong.to_string(), r#"the quote in `a="b,c` does not end"#);
    }

    #[test]
    fn lists_are_cut_at_colons_that_stand_for_none_of_a_path() {
        for (list, paths) in [
            ("/a", vec!["/a"]),
            ("/a:/b", vec!["/a", "/b"]),
            (r"/a\:b:/c", vec!["/a:b", "/c"]),
            (r"/a\\:/b", vec![r"/a\", "/b"]),
            (r"/a\,b", vec!["/a,b"]),
            ("", vec![""]),
            ("/a::/b:", vec!["/a", "", "/b", ""]),
        ] {
            let paths: Vec<PathBuf> = paths.into_iter().map(PathBuf::from).collect();
            assert_eq!(Value(list.as_bytes().to_vec()).paths(), paths, "{list}");
        }
    }

    /// A path as one writes it into a list of options.
    fn escape(path: &[u8]) -> Vec<u8> {
        path.iter().flat_map(|&byte| if b",:\\\"".contains(&byte) { vec![b'\\', byte] } else { vec![byte] }).collect()
    }

    proptest! {
        #[test]
        fn every_path_comes_through_when_it_is_escaped(
            paths in prop::collection::vec(prop::collection::vec(prop_oneof![Just(b','), Just(b':'), Just(b'\\'), Just(b'"'), any::<u8>()], 0..8), 1..6),
            after in "[a-z]{0,3}",
        ) {
            let list: Vec<Vec<u8>> = paths.iter().map(|path| escape(path)).collect();
            let options = [b"x,lowerdir=", list.join(&b':').as_slice(), b",", after.as_bytes()].concat();
            let words = cut(&options).unwrap();
            prop_assert_eq!(words.len(), if after.is_empty() { 2 } else { 3 });
            let expected: Vec<PathBuf> = paths.into_iter().map(|path| OsString::from_vec(path).into()).collect();
            prop_assert_eq!(words[1].value.as_ref().unwrap().paths(), expected);
        }

        #[test]
        fn no_string_of_options_is_too_odd(options in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(words) = cut(&options) {
                prop_assert!(words.len() <= options.len());
                for value in words.iter().filter_map(|word| word.value.as_ref()) {
                    prop_assert!(!value.paths().is_empty());
                }
            }
        }
    }
}
