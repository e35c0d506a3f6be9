//! Rendering: a walk over the tree with the row at hand.

use super::parse::{Base, Block, Command, Node, Operand, Pipe};
use super::value::Val;
use super::{Controls, TemplateError};
use serde_json::Value;
use std::borrow::Cow;

/// What is rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// A row.
    Data(Controls),
    /// The head of a table: the data are the headers of the fields, and whatever a row would do with a field, its header stands for it.
    Header,
}

/// Renders `nodes` with `row` as the dot.
pub(super) fn render(nodes: &[Node], row: &Value, mode: Mode) -> Result<String, TemplateError> {
    let dot = Val::Data(Cow::Borrowed(row));
    let mut walk = Walk { row, mode, variables: Vec::new(), out: String::new() };
    walk.nodes(nodes, &Dot { value: dot, is_row: true })?;
    Ok(walk.out)
}

/// What `.` is.
struct Dot<'a> {
    value: Val<'a>,
    is_row: bool,
}

struct Walk<'a> {
    row: &'a Value,
    mode: Mode,
    variables: Vec<(&'a str, Val<'a>)>,
    out: String,
}

impl<'a> Walk<'a> {
    fn controls(&self) -> Controls {
        match self.mode {
            Mode::Data(controls) => controls,
            Mode::Header => Controls::Escaped,
        }
    }

    fn nodes(&mut self, nodes: &'a [Node], dot: &Dot<'a>) -> Result<(), TemplateError> {
        for node in nodes {
            match node {
                Node::Text(text) => self.out.push_str(text),
                Node::Print(pipe) => {
                    let value = self.pipe(pipe, dot)?;
                    self.out.push_str(&value.show(self.controls()));
                }
                Node::Assign(name, pipe) => {
                    let value = self.pipe(pipe, dot)?;
                    self.variables.push((name, value));
                }
                Node::Block { what, variables, over, body, otherwise } => {
                    let outer = self.variables.len();
                    let value = self.pipe(over, dot)?;
                    match what {
                        Block::Range => self.range(variables, &value, (over, body, otherwise), dot)?,
                        Block::If | Block::With => {
                            let holds = value.is_true();
                            self.variables.extend(variables.iter().map(|name| (name.as_str(), value.clone())));
                            match (holds, what) {
                                (true, Block::With) => self.nodes(body, &Dot { value, is_row: false })?,
                                (true, _) => self.nodes(body, dot)?,
                                (false, _) => self.nodes(otherwise, dot)?,
                            }
                        }
                    }
                    self.variables.truncate(outer);
                }
            }
        }
        Ok(())
    }

    fn range(
        &mut self,
        variables: &'a [String],
        value: &Val<'a>,
        (over, body, otherwise): (&'a Pipe, &'a [Node], &'a [Node]),
        dot: &Dot<'a>,
    ) -> Result<(), TemplateError> {
        let elements = self.elements(value).ok_or_else(|| TemplateError::Value {
            column: over.column(),
            problem: format!("range wants a list or a map, not {}", value.kind()),
        })?;
        if elements.is_empty() {
            return self.nodes(otherwise, dot);
        }
        for (key, element) in elements {
            let outer = self.variables.len();
            match variables {
                [] => {}
                [one] => self.variables.push((one, element.clone())),
                [first, second, ..] => {
                    self.variables.extend([(first.as_str(), key), (second.as_str(), element.clone())])
                }
            }
            self.nodes(body, &Dot { value: element, is_row: false })?;
            self.variables.truncate(outer);
        }
        Ok(())
    }

    /// What `range` goes through, each with its index or key; keys in their order.
    fn elements(&self, value: &Val<'a>) -> Option<Vec<(Val<'a>, Val<'a>)>> {
        match &*value.to_json() {
            Value::Null => Some(Vec::new()),
            Value::Array(list) => {
                Some((0..list.len()).filter_map(|index| Some((Val::number(index), value.element(index)?))).collect())
            }
            Value::Object(map) => {
                let mut keys: Vec<&String> = map.keys().collect();
                keys.sort();
                let key = |key: &String| Val::Data(Cow::Owned(Value::String(key.clone())));
                Some(keys.into_iter().map(|name| (key(name), value.field(name))).collect())
            }
            Value::String(_) if self.mode == Mode::Header => Some(vec![(Val::number(0), value.clone())]),
            Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        }
    }

    fn pipe(&mut self, pipe: &'a Pipe, dot: &Dot<'a>) -> Result<Val<'a>, TemplateError> {
        let mut piped: Option<Val<'a>> = None;
        for command in &pipe.commands {
            piped = Some(match command {
                Command::Operand(operand) => self.operand(operand, dot)?,
                Command::Call { column, function, arguments } => {
                    let mut values = arguments.iter().map(|a| self.operand(a, dot)).collect::<Result<Vec<_>, _>>()?;
                    values.extend(piped.take());
                    let result = match self.mode {
                        Mode::Header => function.header(&values),
                        Mode::Data(controls) => function.call(&values, controls),
                    };
                    result.map_err(|problem| TemplateError::Value {
                        column: *column,
                        problem: format!("{}: {problem}", function.name),
                    })?
                }
            });
        }
        Ok(piped.unwrap_or(Val::Missing))
    }

    fn operand(&mut self, operand: &'a Operand, dot: &Dot<'a>) -> Result<Val<'a>, TemplateError> {
        let row = Val::Data(Cow::Borrowed(self.row));
        let (mut value, is_row) = match &operand.base {
            Base::Dot => (dot.value.clone(), dot.is_row),
            Base::Root => (row, true),
            Base::Variable(name) => {
                let set = self.variables.iter().rev().find(|(known, _)| known == name);
                (set.map_or(Val::Missing, |(_, value)| value.clone()), false)
            }
            Base::Literal(Value::String(text)) => (Val::Text(text.clone()), false),
            Base::Literal(value) => (Val::Data(Cow::Borrowed(value)), false),
            Base::Group(pipe) => (self.pipe(pipe, dot)?, false),
        };
        for (depth, name) in operand.path.iter().enumerate() {
            value = match &*value.to_json() {
                Value::Object(_) if is_row && depth == 0 => self.row_field(name, operand.column)?,
                Value::Object(_) | Value::Null => value.field(name),
                Value::String(_) if self.mode == Mode::Header => value.clone(),
                _ => {
                    let problem = format!("{} has no field {name:?}", value.kind());
                    return Err(TemplateError::Value { column: operand.column, problem });
                }
            };
        }
        Ok(value)
    }

    /// A field of the row. Docker has `.ID` where its JSON has `Id`, and takes both, so letters' case matters only where two fields differ by it.
    fn row_field(&self, name: &str, column: usize) -> Result<Val<'a>, TemplateError> {
        let fields = self.row.as_object();
        let exact = fields.and_then(|fields| fields.get(name));
        let found = exact.or_else(|| {
            let mut alike = fields.into_iter().flatten().filter(|(field, _)| field.eq_ignore_ascii_case(name));
            match (alike.next(), alike.next()) {
                (Some((_, value)), None) => Some(value),
                _ => None,
            }
        });
        found.map(|value| Val::Data(Cow::Borrowed(value))).ok_or_else(|| {
            let fields: Vec<&str> = fields.into_iter().flatten().map(|(field, _)| field.as_str()).collect();
            TemplateError::NoField { column, name: name.to_owned(), known: fields.join(", ") }
        })
    }
}

impl Pipe {
    /// Where the pipe begins.
    fn column(&self) -> usize {
        match self.commands.first() {
            Some(Command::Operand(operand)) => operand.column,
            Some(Command::Call { column, .. }) => *column,
            None => 1,
        }
    }
}
