//! The tree of a template.

use super::TemplateError;
use super::functions::{self, Function};
use super::lex::{Kind, Piece, Token, syntax};
use serde_json::Value;

/// How deep blocks and parentheses may nest: far beyond what is written, far below what a stack holds.
const DEPTH: usize = 64;

/// A step of rendering.
#[derive(Debug, Clone)]
pub(super) enum Node {
    /// Text as it is.
    Text(String),
    /// A value, printed.
    Print(Pipe),
    /// `{{$name := pipe}}`, which prints nothing.
    Assign(String, Pipe),
    /// `if`, `with` or `range`: a condition, what is done when it holds, and what otherwise.
    Block { what: Block, variables: Vec<String>, over: Pipe, body: Vec<Self>, otherwise: Vec<Self> },
}

/// What a block does with its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Block {
    /// The body is rendered if the value is not empty.
    If,
    /// Likewise, with the value as the dot.
    With,
    /// The body is rendered for each element.
    Range,
}

/// Commands, each of which gets the value of the one before as its last argument.
#[derive(Debug, Clone)]
pub(super) struct Pipe {
    pub(super) commands: Vec<Command>,
}

/// One command of a pipe.
#[derive(Debug, Clone)]
pub(super) enum Command {
    /// A value.
    Operand(Operand),
    /// A function and its arguments.
    Call { column: usize, function: &'static Function, arguments: Vec<Operand> },
}

/// A value: where it begins, and the fields that are followed from there.
#[derive(Debug, Clone)]
pub(super) struct Operand {
    pub(super) column: usize,
    pub(super) base: Base,
    pub(super) path: Vec<String>,
}

/// Where a value begins.
#[derive(Debug, Clone)]
pub(super) enum Base {
    /// `.`, which `with` and `range` move.
    Dot,
    /// `$`, the row.
    Root,
    /// `$name`.
    Variable(String),
    /// A string, a number, `true`, `false` or `nil`.
    Literal(Value),
    /// A pipe in parentheses.
    Group(Pipe),
}

/// Reads the tree of a template that is cut into `pieces`.
pub(super) fn parse(pieces: Vec<Piece>) -> Result<Vec<Node>, TemplateError> {
    let mut blocks = Blocks { pieces: pieces.into_iter(), scope: Vec::new() };
    match blocks.nodes(0)? {
        (nodes, None) => Ok(nodes),
        (_, Some(Stop { column, word, .. })) => Err(syntax(column, format!("{word:?} outside of if, with and range"))),
    }
}

/// The `else` or `end` at which a list of nodes stopped.
struct Stop {
    column: usize,
    word: &'static str,
    /// What stands after `else`.
    rest: Tokens,
}

/// The pieces not yet read, and the variables known here.
struct Blocks {
    pieces: std::vec::IntoIter<Piece>,
    scope: Vec<String>,
}

impl Blocks {
    fn nodes(&mut self, depth: usize) -> Result<(Vec<Node>, Option<Stop>), TemplateError> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let (column, mut tokens) = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action { column, tokens } => (column, Tokens::new(column, tokens)),
            };
            let stop = ["else", "end"].into_iter().find(|word| tokens.eat_word(word));
            if let Some(word) = stop {
                return Ok((nodes, Some(Stop { column, word, rest: tokens })));
            }
            nodes.push(match block_word(&mut tokens) {
                Some(what) => self.block(what, column, tokens, depth)?,
                None => self.action(tokens)?,
            });
        }
        Ok((nodes, None))
    }

    /// The rest of a block of which the first word is read.
    fn block(&mut self, what: Block, column: usize, mut tokens: Tokens, depth: usize) -> Result<Node, TemplateError> {
        if depth >= DEPTH {
            return Err(syntax(column, format!("blocks nest deeper than {DEPTH}")));
        }
        let outer = self.scope.len();
        let variables = tokens.variables()?;
        let most = if what == Block::Range { 2 } else { 1 };
        if variables.len() > most {
            return Err(syntax(column, format!("at most {most} variables are set here")));
        }
        let over = tokens.whole_pipe(&self.scope)?;
        self.scope.extend(variables.iter().cloned());
        let (body, stop) = self.nodes(depth + 1)?;
        let unclosed = || syntax(column, "a block is not closed by {{end}}");
        let mut stop = stop.ok_or_else(unclosed)?;
        let mut otherwise = Vec::new();
        if stop.word == "else" {
            // `{{else if x}}…{{end}}` is an if inside of the else, closed by the same end.
            if let Some(inner) = block_word(&mut stop.rest) {
                otherwise.push(self.block(inner, stop.column, stop.rest, depth + 1)?);
                self.scope.truncate(outer);
                return Ok(Node::Block { what, variables, over, body, otherwise });
            }
            stop.rest.finished()?;
            let (nodes, next) = self.nodes(depth + 1)?;
            otherwise = nodes;
            stop = next.ok_or_else(unclosed)?;
            if stop.word != "end" {
                return Err(syntax(stop.column, "a second else"));
            }
        }
        stop.rest.finished()?;
        self.scope.truncate(outer);
        Ok(Node::Block { what, variables, over, body, otherwise })
    }

    /// An action that is no block: a value to print, or a variable to set.
    fn action(&mut self, mut tokens: Tokens) -> Result<Node, TemplateError> {
        let column = tokens.column();
        let mut variables = tokens.variables()?;
        let pipe = tokens.whole_pipe(&self.scope)?;
        match (variables.pop(), variables.is_empty()) {
            (None, _) => Ok(Node::Print(pipe)),
            (Some(name), true) => {
                self.scope.push(name.clone());
                Ok(Node::Assign(name, pipe))
            }
            (Some(_), false) => Err(syntax(column, "one variable is set at a time")),
        }
    }
}

fn block_word(tokens: &mut Tokens) -> Option<Block> {
    let words = [("if", Block::If), ("with", Block::With), ("range", Block::Range)];
    words.into_iter().find(|(word, _)| tokens.eat_word(word)).map(|(_, what)| what)
}

/// The tokens of one action, from the next on.
struct Tokens {
    tokens: Vec<Token>,
    next: usize,
    /// The column of the action's braces.
    start: usize,
}

impl Tokens {
    fn new(start: usize, tokens: Vec<Token>) -> Self {
        Self { tokens, next: 0, start }
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    fn kind(&self) -> Option<&Kind> {
        self.peek().map(|token| &token.kind)
    }

    /// Where the next token is, or the action, if there is none.
    fn column(&self) -> usize {
        self.peek().map_or(self.start, |token| token.column)
    }

    fn eat(&mut self, kind: &Kind) -> bool {
        let there = self.kind() == Some(kind);
        self.next += usize::from(there);
        there
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let there = matches!(self.kind(), Some(Kind::Word(found)) if found == word);
        self.next += usize::from(there);
        there
    }

    fn finished(&self) -> Result<(), TemplateError> {
        match self.peek() {
            None => Ok(()),
            Some(token) => Err(syntax(token.column, "nothing more is expected here")),
        }
    }

    /// The names before `:=`: `$x :=` or `$i, $x :=`. None if there is no assignment.
    fn variables(&mut self) -> Result<Vec<String>, TemplateError> {
        let declared = self.tokens.iter().position(|token| token.kind == Kind::Assign);
        let mut names = Vec::new();
        if declared.is_none_or(|at| at < self.next) {
            return Ok(names);
        }
        loop {
            match self.kind() {
                Some(Kind::Variable(name)) if !name.is_empty() => names.push(name.clone()),
                _ => return Err(syntax(self.column(), "a variable like $x is expected before \":=\"")),
            }
            self.next += 1;
            if self.eat(&Kind::Assign) {
                return Ok(names);
            }
            if !self.eat(&Kind::Comma) {
                return Err(syntax(self.column(), "\":=\" is expected"));
            }
        }
    }

    /// A pipe that is all that is left.
    fn whole_pipe(&mut self, scope: &[String]) -> Result<Pipe, TemplateError> {
        let pipe = self.pipe(scope, 0)?;
        self.finished()?;
        Ok(pipe)
    }

    fn pipe(&mut self, scope: &[String], depth: usize) -> Result<Pipe, TemplateError> {
        if depth >= DEPTH {
            return Err(syntax(self.column(), format!("parentheses nest deeper than {DEPTH}")));
        }
        let mut commands = vec![self.command(scope, depth)?];
        while self.eat(&Kind::Pipe) {
            let column = self.column();
            let command = self.command(scope, depth)?;
            if matches!(command, Command::Operand(_)) {
                return Err(syntax(column, "only a function takes what is piped"));
            }
            commands.push(command);
        }
        Ok(Pipe { commands })
    }

    fn command(&mut self, scope: &[String], depth: usize) -> Result<Command, TemplateError> {
        let column = self.column();
        let word = match self.kind() {
            Some(Kind::Word(word)) if !is_literal(word) => Some(word.clone()),
            _ => None,
        };
        if let Some(name) = word {
            self.next += 1;
            let function = functions::find(&name).ok_or_else(|| TemplateError::NoFunction {
                column,
                name,
                known: functions::names(),
            })?;
            return Ok(Command::Call { column, function, arguments: self.arguments(scope, depth)? });
        }
        let operand = self.operand(scope, depth)?;
        let arguments = self.arguments(scope, depth)?;
        match (arguments.is_empty(), functions::find("Label")) {
            (true, _) => Ok(Command::Operand(operand)),
            // Docker's rows have one method with an argument: `.Label "key"`.
            (false, Some(function)) if operand.path == ["Label"] => {
                let row = Operand { column, base: operand.base, path: Vec::new() };
                let arguments = std::iter::once(row).chain(arguments).collect();
                Ok(Command::Call { column, function, arguments })
            }
            _ => Err(syntax(column, "a function is expected before arguments")),
        }
    }

    fn arguments(&mut self, scope: &[String], depth: usize) -> Result<Vec<Operand>, TemplateError> {
        let mut arguments = Vec::new();
        while !matches!(self.kind(), None | Some(Kind::Pipe | Kind::Close)) {
            arguments.push(self.operand(scope, depth)?);
        }
        Ok(arguments)
    }

    fn operand(&mut self, scope: &[String], depth: usize) -> Result<Operand, TemplateError> {
        let column = self.column();
        let unexpected = |what: &str| syntax(column, format!("a value is expected, not {what}"));
        let kind = self.kind().cloned().ok_or_else(|| unexpected("the end"))?;
        self.next += 1;
        let mut path = Vec::new();
        let base = match kind {
            Kind::Dot => Base::Dot,
            Kind::Field(name) => {
                path.push(name);
                Base::Dot
            }
            Kind::Variable(name) if name.is_empty() => Base::Root,
            Kind::Variable(name) if scope.contains(&name) => Base::Variable(name),
            Kind::Variable(name) => return Err(syntax(column, format!("the variable ${name} is not set"))),
            Kind::Text(text) => Base::Literal(Value::String(text)),
            Kind::Number(number) => Base::Literal(Value::Number(number)),
            Kind::Word(word) if is_literal(&word) => Base::Literal(match word.as_str() {
                "nil" => Value::Null,
                word => Value::Bool(word == "true"),
            }),
            Kind::Word(word) => {
                return Err(unexpected(&format!("{word:?}; put a function with its arguments into parentheses")));
            }
            Kind::Open => {
                let pipe = self.pipe(scope, depth + 1)?;
                if !self.eat(&Kind::Close) {
                    return Err(syntax(column, "\"(\" is not closed by \")\""));
                }
                Base::Group(pipe)
            }
            Kind::Pipe => return Err(unexpected("\"|\"")),
            Kind::Close => return Err(unexpected("\")\"")),
            Kind::Comma => return Err(unexpected("\",\"")),
            Kind::Assign => return Err(unexpected("\":=\"")),
        };
        while let Some(Token { glued: true, kind: Kind::Field(name), .. }) = self.peek() {
            path.push(name.clone());
            self.next += 1;
        }
        Ok(Operand { column, base, path })
    }
}

fn is_literal(word: &str) -> bool {
    matches!(word, "true" | "false" | "nil")
}
