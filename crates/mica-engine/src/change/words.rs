//! The words of a Dockerfile instruction: quotes, escapes and variables.

use crate::error::{Error, Kind, Result};

/// Looks up a variable.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Splits `text` at white space outside of quotes, takes quotes and escapes away, and puts values in for `$NAME`,
/// `${NAME}`, `${NAME:-word}` and `${NAME:+word}`. In single quotes nothing has a meaning.
pub(super) fn words(text: &str, lookup: Lookup<'_>) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = text.chars().peekable();
    let mut quote = None;
    while let Some(next) = rest.next() {
        match (quote, next) {
            (None, ' ' | '\t' | '\n') => words.extend(word.take()),
            (None, '\'' | '"') => {
                quote = Some(next);
                word.get_or_insert_default();
            }
            (Some(open), close) if open == close => quote = None,
            (Some('\''), plain) => word.get_or_insert_default().push(plain),
            (Some(_), '\\') => match rest.peek() {
                Some('"' | '\\' | '$') => word.get_or_insert_default().extend(rest.next()),
                _ => word.get_or_insert_default().push('\\'),
            },
            (None, '\\') => word.get_or_insert_default().extend(rest.next()),
            (_, '$') => word.get_or_insert_default().push_str(&variable(&mut rest, text, lookup)?),
            (_, plain) => word.get_or_insert_default().push(plain),
        }
    }
    if quote.is_some() {
        return Err(Error::new(Kind::Usage, format!("{text:?}: a quote is not closed")));
    }
    words.extend(word);
    Ok(words)
}

/// The whole text as one word, with variables put in.
pub(super) fn one(text: &str, lookup: Lookup<'_>) -> Result<String> {
    Ok(words(text, lookup)?.join(" "))
}

fn variable(rest: &mut std::iter::Peekable<std::str::Chars<'_>>, text: &str, lookup: Lookup<'_>) -> Result<String> {
    let is_name = |letter: &char| letter.is_ascii_alphanumeric() || *letter == '_';
    let mut name = String::new();
    if rest.next_if_eq(&'{').is_none() {
        while let Some(letter) = rest.next_if(is_name) {
            name.push(letter);
        }
        return Ok(if name.is_empty() { "$".to_owned() } else { lookup(&name).unwrap_or_default() });
    }
    let mut inside = String::new();
    let mut depth = 1;
    loop {
        match rest.next() {
            Some('}') if depth == 1 => break,
            Some(letter) => {
                depth += i32::from(letter == '{') - i32::from(letter == '}');
                inside.push(letter);
            }
            None => return Err(Error::new(Kind::Usage, format!("{text:?}: \"${{\" is not closed"))),
        }
    }
    let end = inside.find(|letter| !is_name(&letter)).unwrap_or(inside.len());
    let (name, modifier) = inside.split_at(end);
    let value = lookup(name).filter(|value| !value.is_empty() || modifier.is_empty());
    match modifier.split_at_checked(2) {
        None if modifier.is_empty() => Ok(value.unwrap_or_default()),
        Some((":-", word)) => value.map_or_else(|| one(word, lookup), Ok),
        Some((":+", word)) => value.map_or_else(|| Ok(String::new()), |_| one(word, lookup)),
        _ => Err(Error::new(Kind::Usage, format!("{text:?}: \"${{{inside}}}\" is not understood"))
            .hinted("${NAME}, ${NAME:-word} and ${NAME:+word} are")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<String> {
        words(text, &|name| match name {
            "PATH" => Some("/bin".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        })
        .unwrap()
    }

    #[test]
    fn words_are_split_as_a_dockerfile_splits_them() {
        for (text, expected) in [
            ("a b", &["a", "b"][..]),
            ("  a\tb  ", &["a", "b"]),
            ("a=\"b c\" d='e f'", &["a=b c", "d=e f"]),
            (r"a\ b", &["a b"]),
            (r#""a\"b\n""#, &[r#"a"b\n"#]),
            ("''", &[""]),
            ("$PATH:/x", &["/bin:/x"]),
            ("'$PATH'", &["$PATH"]),
            (r"\$PATH", &["$PATH"]),
            ("\"$PATH\"", &["/bin"]),
            ("${PATH}x", &["/binx"]),
            ("${NONE:-d}${EMPTY:-e}${PATH:-f}", &["de/bin"]),
            ("${PATH:+yes}${NONE:+no}", &["yes"]),
            ("${NONE:-${PATH}}", &["/bin"]),
            ("$", &["$"]),
            ("ü=${PATH}é", &["ü=/biné"]),
            ("", &[]),
        ] {
            assert_eq!(split(text), expected, "{text}");
        }
        for bad in ["'a", "\"a", "${PATH", "${PATH:?x}", "${PATH%x}"] {
            assert!(words(bad, &|_| Some("x".to_owned())).is_err(), "{bad:?} was taken");
        }
    }
}
