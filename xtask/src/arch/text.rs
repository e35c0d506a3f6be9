//! Rust source as words: what is left of a file without its comments, its literals and its tests.
//!
//! Not a parser: it knows where a comment, a literal and a braced item end, which is enough to tell code from prose.
//! Every line break stays, so that line numbers hold.

/// The code of a source file: comments and the insides of literals are blanked.
pub(super) fn code(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let length = match skipped(rest, out.chars().next_back()) {
            0 => {
                out.push(first);
                first.len_utf8()
            }
            length => {
                let (literal, _) = rest.split_at(length);
                out.push(' ');
                out.extend(literal.chars().filter(|c| *c == '\n'));
                length
            }
        };
        rest = rest.split_at(length).1;
    }
    out
}

/// The bytes of the comment or literal that `rest` starts with; zero when it starts with code.
fn skipped(rest: &str, before: Option<char>) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    if rest.starts_with('"') {
        return quoted(rest, '"');
    }
    if rest.starts_with('\'') {
        return character(rest);
    }
    // An `r` that ends a longer word, as in `for"`, starts no raw string.
    if before.is_some_and(is_word) {
        return 0;
    }
    let prefix = ["br", "cr", "r"].into_iter().find(|prefix| rest.starts_with(prefix));
    prefix.map_or(0, |prefix| raw(rest, prefix.len()))
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(here) = rest.get(at..).filter(|here| !here.is_empty()) {
        if here.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if here.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += here.chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// A literal from its opening quote to its closing one, with backslash escapes.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

/// A character literal; zero for a lifetime or a label.
fn character(rest: &str) -> usize {
    let mut inside = rest.chars().skip(1);
    match (inside.next(), inside.next()) {
        (Some('\\'), _) | (Some(_), Some('\'')) => quoted(rest, '\''),
        _ => 0,
    }
}

/// A raw string whose `r`, `br` or `cr` takes `prefix` bytes; zero when no string follows, as in `r#fn`.
fn raw(rest: &str, prefix: usize) -> usize {
    let after = rest.split_at(prefix).1;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let opened = after.split_at(hashes).1;
    if !opened.starts_with('"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let body = opened.split_at(1).1;
    body.find(&end).map_or(rest.len(), |at| prefix + hashes + 1 + at + end.len())
}

/// Blanks every item under `#[cfg(test)]` in code that [`code`] made.
pub(super) fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        let (before, marked) = rest.split_at(at);
        let (item, after) = marked.split_at(item_length(marked));
        out.push_str(before);
        out.extend(item.chars().filter(|c| *c == '\n'));
        rest = after;
    }
    out.push_str(rest);
    out
}

/// The bytes up to the end of the item that `code` starts with: its closing brace, or a semicolon outside any bracket.
fn item_length(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 && c == '}' {
                    return at + 1;
                }
            }
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// The lines, counted from one, on which `word` stands as a whole word.
pub(super) fn lines_with(code: &str, word: &str) -> Vec<usize> {
    (1..).zip(code.lines()).filter(|(_, line)| holds(line, word)).map(|(number, _)| number).collect()
}

fn holds(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let (before, from) = line.split_at(at);
        let after = from.split_at(word.len()).1;
        !before.chars().next_back().is_some_and(is_word) && !after.chars().next().is_some_and(is_word)
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_not_code() {
        for (source, left) in [
            ("a // unsafe\nb", "a  \nb"),
            ("a /* x /* unsafe */ y */ b", "a   b"),
            ("f(\"unsafe \\\" unsafe\") + 1", "f( ) + 1"),
            ("f(r#\"unsafe \" unsafe\"#) + 1", "f( ) + 1"),
            ("f(br\"\\\") + 1", "f( ) + 1"),
            ("for\"x\"", "for "),
            ("r#unsafe_name", "r#unsafe_name"),
            ("fn f<'a>(c: char) -> bool { c == '\"' || c == '\\'' }", "fn f<'a>(c: char) -> bool { c ==   || c ==   }"),
            ("\"one\ntwo\" three", " \n three"),
            ("/* open", " "),
        ] {
            assert_eq!(code(source), left, "{source}");
        }
    }

    #[test]
    fn an_item_under_cfg_test_is_left_out_and_lines_hold() {
        let source = "a\n#[cfg(test)]\nmod tests {\n  fn f() { [1; 2]; }\n}\nb\n#[cfg(test)]\nuse std::fs;\nc";
        assert_eq!(without_tests(source), "a\n\n\n\n\nb\n\n\nc");
    }

    #[test]
    fn a_word_is_found_whole_or_not_at_all() {
        assert_eq!(lines_with("unsafe_code\nx unsafe { }\nmy_unsafe", "unsafe"), [2]);
        assert_eq!(lines_with("eprintln!()\nprintln!()", "println!"), [2]);
        assert_eq!(lines_with("env::vars()\nstd::env::var(x)", "env::var"), [2]);
    }
}
