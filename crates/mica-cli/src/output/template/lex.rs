//! Tokens: a template cut into text and actions, and an action into words.

use super::TemplateError;

/// A stretch of a template.
#[derive(Debug, PartialEq)]
pub(super) enum Piece {
    /// What is printed as it is, escapes and trimming done.
    Text(String),
    /// What stood between `{{` and `}}`; `column` is that of the braces.
    Action { column: usize, tokens: Vec<Token> },
}

/// A word of an action.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    /// Where it begins, from 1.
    pub(super) column: usize,
    /// Whether nothing separates it from the token before: `(index .X 0).Name` is one operand, `.X .Name` are two.
    pub(super) glued: bool,
    /// What it is.
    pub(super) kind: Kind,
}

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// A lone `.`.
    Dot,
    /// `.Name`, without the dot.
    Field(String),
    /// `$name`, without the sign; `$` alone is empty.
    Variable(String),
    /// A keyword, a function, `true`, `false` or `nil`.
    Word(String),
    /// A quoted string, its escapes done.
    Text(String),
    /// A number.
    Number(serde_json::Number),
    /// `|`.
    Pipe,
    /// `(`.
    Open,
    /// `)`.
    Close,
    /// `,`.
    Comma,
    /// `:=`.
    Assign,
}

/// Cuts a template into its pieces.
pub(super) fn split(template: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut scanner = Scanner { rest: template, column: 1 };
    let mut trim = false;
    loop {
        let (text, opened) = match scanner.rest.find("{{") {
            Some(at) => (scanner.take(at), true),
            None => (scanner.take(scanner.rest.len()), false),
        };
        let text = text.replace("\\t", "\t").replace("\\n", "\n");
        let mut text = if trim { text.trim_start() } else { &text };
        let column = scanner.column;
        if opened {
            scanner.take(2);
            if scanner.rest.strip_prefix('-').is_some_and(|after| after.starts_with(char::is_whitespace)) {
                scanner.take(1);
                text = text.trim_end();
            }
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text.to_owned()));
        }
        if !opened {
            return Ok(pieces);
        }
        let tokens;
        (tokens, trim) = action(&mut scanner, column)?;
        if let Some(tokens) = tokens {
            pieces.push(Piece::Action { column, tokens });
        }
    }
}

/// The tokens up to and past `}}`, none for a comment, and whether what follows is to be trimmed.
fn action(scanner: &mut Scanner<'_>, column: usize) -> Result<(Option<Vec<Token>>, bool), TemplateError> {
    let unclosed = || syntax(column, "\"{{\" is not closed by \"}}\"");
    let mut tokens = Vec::new();
    let blanks = scanner.skip_blanks();
    if scanner.rest.starts_with("/*") {
        let end =
            scanner.rest.find("*/").ok_or_else(|| syntax(column + 2 + blanks, "a comment is not closed by \"*/\""))?;
        scanner.take(end + 2);
        scanner.skip_blanks();
        let trim = scanner.eat("-}}");
        return if trim || scanner.eat("}}") { Ok((None, trim)) } else { Err(unclosed()) };
    }
    let mut glued = false;
    loop {
        if scanner.skip_blanks() > 0 {
            glued = false;
            if scanner.eat("-}}") {
                return Ok((Some(tokens), true));
            }
        }
        if scanner.eat("}}") {
            return Ok((Some(tokens), false));
        }
        if scanner.rest.is_empty() {
            return Err(unclosed());
        }
        let column = scanner.column;
        tokens.push(Token { column, glued, kind: scanner.token()? });
        glued = true;
    }
}

/// A place in a template.
struct Scanner<'a> {
    rest: &'a str,
    column: usize,
}

impl<'a> Scanner<'a> {
    /// The next `bytes`, which end between two characters.
    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.rest = rest;
        self.column += taken.chars().count();
        taken
    }

    fn eat(&mut self, expected: &str) -> bool {
        let there = self.rest.starts_with(expected);
        if there {
            self.take(expected.len());
        }
        there
    }

    fn take_while(&mut self, matches: impl Fn(char) -> bool) -> &'a str {
        self.take(self.rest.find(|c| !matches(c)).unwrap_or(self.rest.len()))
    }

    fn skip_blanks(&mut self) -> usize {
        self.take_while(char::is_whitespace).len()
    }

    fn name(&mut self) -> String {
        self.take_while(|c| c.is_alphanumeric() || c == '_').to_owned()
    }

    fn token(&mut self) -> Result<Kind, TemplateError> {
        let column = self.column;
        let mut ahead = self.rest.chars();
        let (first, second) = (ahead.next().unwrap_or_default(), ahead.next().unwrap_or_default());
        let digit_first = first.is_ascii_digit() || (matches!(first, '-' | '+') && second.is_ascii_digit());
        Ok(match first {
            '.' => {
                self.take(1);
                match self.name() {
                    name if name.is_empty() => Kind::Dot,
                    name => Kind::Field(name),
                }
            }
            '$' => {
                self.take(1);
                Kind::Variable(self.name())
            }
            '"' => Kind::Text(self.quoted()?),
            '`' => {
                self.take(1);
                let text = self.take_while(|c| c != '`').to_owned();
                if !self.eat("`") {
                    return Err(syntax(column, "a string is not closed by \"`\""));
                }
                Kind::Text(text)
            }
            _ if digit_first => {
                let sign = if self.eat("-") { "-" } else { "" };
                self.eat("+");
                let digits = self.take_while(|c| c.is_alphanumeric() || c == '.' || c == '_');
                let number = serde_json::from_str(&format!("{sign}{digits}"));
                Kind::Number(number.map_err(|_| syntax(column, format!("{digits:?} is not a number")))?)
            }
            _ if first.is_alphabetic() || first == '_' => Kind::Word(self.name()),
            _ => {
                let symbols = [
                    (":=", Kind::Assign),
                    ("|", Kind::Pipe),
                    ("(", Kind::Open),
                    (")", Kind::Close),
                    (",", Kind::Comma),
                ];
                let found = symbols.into_iter().find(|(symbol, _)| self.eat(symbol));
                found.ok_or_else(|| syntax(column, format!("unexpected {first:?}")))?.1
            }
        })
    }

    /// A string in double quotes, with Go's common escapes.
    fn quoted(&mut self) -> Result<String, TemplateError> {
        let column = self.column;
        self.take(1);
        let mut text = String::new();
        loop {
            text.push_str(self.take_while(|c| c != '"' && c != '\\'));
            if self.eat("\"") {
                return Ok(text);
            }
            let escapes = [("\\n", '\n'), ("\\t", '\t'), ("\\r", '\r'), ("\\\"", '"'), ("\\\\", '\\')];
            match escapes.into_iter().find(|(escape, _)| self.eat(escape)) {
                Some((_, character)) => text.push(character),
                None if self.rest.is_empty() => return Err(syntax(column, "a string is not closed by '\"'")),
                None => {
                    let known = "\\n, \\t, \\r, \\\" and \\\\";
                    return Err(syntax(self.column, format!("unknown escape in a string; there are {known}")));
                }
            }
        }
    }
}

/// A [`TemplateError::Syntax`].
pub(super) fn syntax(column: usize, problem: impl Into<String>) -> TemplateError {
    TemplateError::Syntax { column, problem: problem.into() }
}
