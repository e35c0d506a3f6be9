//! Values, and how Go prints them.

use super::Controls;
use crate::output::plain;
use serde_json::{Number, Value};
use std::borrow::Cow;

/// A value while a template is rendered.
#[derive(Debug, Clone)]
pub(super) enum Val<'a> {
    /// A name that is not there.
    Missing,
    /// Something of the row. Its strings are escaped when they are printed, if the caller asked for that.
    Data(Cow<'a, Value>),
    /// A string that the template wrote or that a function printed; nothing in it is escaped (again).
    Text(String),
}

impl<'a> Val<'a> {
    pub(super) fn number(number: usize) -> Self {
        Self::Data(Cow::Owned(Value::Number(Number::from(number))))
    }

    pub(super) fn bool(value: bool) -> Self {
        Self::Data(Cow::Owned(Value::Bool(value)))
    }

    /// The value as JSON; what is missing is null.
    pub(super) fn to_json(&self) -> Cow<'_, Value> {
        match self {
            Self::Missing => Cow::Owned(Value::Null),
            Self::Data(value) => Cow::Borrowed(value),
            Self::Text(text) => Cow::Owned(Value::String(text.clone())),
        }
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Missing => None,
            Self::Data(value) => value.as_str(),
            Self::Text(text) => Some(text),
        }
    }

    /// What is at `name`, if this is a map.
    pub(super) fn field(&self, name: &str) -> Self {
        match self {
            Self::Data(Cow::Borrowed(value)) => value.get(name).map_or(Self::Missing, |v| Self::Data(Cow::Borrowed(v))),
            Self::Data(Cow::Owned(value)) => {
                value.get(name).map_or(Self::Missing, |v| Self::Data(Cow::Owned(v.clone())))
            }
            Self::Missing | Self::Text(_) => Self::Missing,
        }
    }

    /// What is at `index`, if this is a list that long.
    pub(super) fn element(&self, index: usize) -> Option<Self> {
        match self {
            Self::Data(Cow::Borrowed(value)) => value.get(index).map(|v| Self::Data(Cow::Borrowed(v))),
            Self::Data(Cow::Owned(value)) => value.get(index).map(|v| Self::Data(Cow::Owned(v.clone()))),
            Self::Missing | Self::Text(_) => None,
        }
    }

    /// Whether `if` takes it for true: not false, zero, empty or missing.
    pub(super) fn is_true(&self) -> bool {
        match &*self.to_json() {
            Value::Null => false,
            Value::Bool(value) => *value,
            Value::Number(number) => number.as_f64() != Some(0.0),
            Value::String(text) => !text.is_empty(),
            Value::Array(list) => !list.is_empty(),
            Value::Object(map) => !map.is_empty(),
        }
    }

    /// What kind of value it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match &*self.to_json() {
            Value::Null => "nothing",
            Value::Bool(_) => "a truth value",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "a list",
            Value::Object(_) => "a map",
        }
    }

    /// The text that Go's `%v` makes of it.
    pub(super) fn show(&self, controls: Controls) -> String {
        match self {
            Self::Missing => "<no value>".to_owned(),
            Self::Data(value) if value.is_null() => "<no value>".to_owned(),
            Self::Data(value) => {
                let mut shown = String::new();
                show(value, controls, &mut shown);
                shown
            }
            Self::Text(text) => text.clone(),
        }
    }
}

/// Writes a value as Go does: lists as `[a b]`, maps as `map[k:v]` in the order of their keys.
fn show(value: &Value, controls: Controls, out: &mut String) {
    let text = |text: &str, out: &mut String| match controls {
        Controls::Raw => out.push_str(text),
        Controls::Escaped => out.push_str(&plain::escape(text)),
    };
    match value {
        Value::Null => out.push_str("<nil>"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => out.push_str(&show_number(number)),
        Value::String(string) => text(string, out),
        Value::Array(list) => {
            out.push('[');
            for (index, element) in list.iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                show(element, controls, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            out.push_str("map[");
            for (index, (key, value)) in entries.into_iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                text(key, out);
                out.push(':');
                show(value, controls, out);
            }
            out.push(']');
        }
    }
}

/// Whole numbers as they are; others in the fewest digits, with an exponent below 1e-4 and from 1e21 on.
fn show_number(number: &Number) -> String {
    let float = match number.as_f64() {
        Some(float) if number.is_f64() => float,
        _ => return number.to_string(),
    };
    if float == 0.0 || (1e-4..1e21).contains(&float.abs()) {
        return float.to_string();
    }
    let shown = format!("{float:e}");
    match shown.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
            format!("{digits}e{sign}{exponent:0>2}")
        }
        None => shown,
    }
}
