//! The functions of a template: Go's own, and those that Docker adds.

use super::Controls;
use super::value::Val;
use crate::output::plain;
use serde_json::Value;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::ops::RangeInclusive;

/// A function: what it makes of its arguments, the piped one last, or what is wrong with them.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) name: &'static str,
    arguments: RangeInclusive<usize>,
    run: for<'a> fn(&[Val<'a>], Controls) -> Result<Val<'a>, String>,
}

const ANY: usize = usize::MAX;

static FUNCTIONS: [Function; 24] = [
    Function { name: "Label", arguments: 2..=2, run: label },
    Function { name: "and", arguments: 1..=ANY, run: |v, _| Ok(first(v, |value| !value.is_true())) },
    Function { name: "eq", arguments: 2..=ANY, run: |v, _| Ok(Val::bool(equals_any(v))) },
    Function { name: "ge", arguments: 2..=2, run: |v, _| compare(v, Ordering::is_ge) },
    Function { name: "gt", arguments: 2..=2, run: |v, _| compare(v, Ordering::is_gt) },
    Function { name: "index", arguments: 1..=ANY, run: index },
    Function { name: "join", arguments: 2..=2, run: join },
    Function { name: "json", arguments: 1..=1, run: json },
    Function { name: "le", arguments: 2..=2, run: |v, _| compare(v, Ordering::is_le) },
    Function { name: "len", arguments: 1..=1, run: len },
    Function { name: "lower", arguments: 1..=1, run: |v, _| map_string(v, str::to_lowercase) },
    Function { name: "lt", arguments: 2..=2, run: |v, _| compare(v, Ordering::is_lt) },
    Function { name: "ne", arguments: 2..=2, run: |v, _| Ok(Val::bool(!equals_any(v))) },
    Function { name: "not", arguments: 1..=1, run: |v, _| Ok(Val::bool(!v.iter().any(Val::is_true))) },
    Function { name: "or", arguments: 1..=ANY, run: |v, _| Ok(first(v, Val::is_true)) },
    Function { name: "pad", arguments: 3..=3, run: pad },
    Function { name: "print", arguments: 0..=ANY, run: print },
    Function { name: "printf", arguments: 1..=ANY, run: printf },
    Function { name: "println", arguments: 0..=ANY, run: println },
    Function { name: "slice", arguments: 1..=3, run: slice },
    Function { name: "split", arguments: 2..=2, run: split },
    Function { name: "title", arguments: 1..=1, run: |v, _| map_string(v, title) },
    Function { name: "truncate", arguments: 2..=2, run: truncate },
    Function { name: "upper", arguments: 1..=1, run: |v, _| map_string(v, str::to_uppercase) },
];

/// The function of that name.
pub(super) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

/// The names of all functions that are called by name.
pub(super) fn names() -> String {
    let names: Vec<&str> = FUNCTIONS.iter().map(|function| function.name).filter(|name| *name != "Label").collect();
    names.join(", ")
}

impl Function {
    /// Its value for a row.
    pub(super) fn call<'a>(&self, values: &[Val<'a>], controls: Controls) -> Result<Val<'a>, String> {
        if !self.arguments.contains(&values.len()) {
            let (least, most) = (*self.arguments.start(), *self.arguments.end());
            let wanted = match most {
                ANY => format!("{least} or more"),
                most if most == least => least.to_string(),
                most => format!("{least} to {most}"),
            };
            return Err(format!("wants {wanted} arguments, not {}", values.len()));
        }
        (self.run)(values, controls)
    }

    /// What stands for it in the head of a table: the header of the field that it is given.
    pub(super) fn header<'a>(&self, values: &[Val<'a>]) -> Result<Val<'a>, String> {
        match self.name {
            "print" | "printf" | "println" => self.call(values, Controls::Escaped),
            "Label" => {
                let key = values.get(1).and_then(Val::as_str).unwrap_or_default();
                Ok(Val::Text(key.rsplit('.').next().unwrap_or_default().to_uppercase()))
            }
            _ => {
                let header = values.iter().find(|value| matches!(value, Val::Data(data) if data.is_string()));
                Ok(header.or(values.last()).cloned().unwrap_or(Val::Missing))
            }
        }
    }
}

/// The first value for which `stops` holds, or else the last.
fn first<'a>(values: &[Val<'a>], stops: impl Fn(&Val<'a>) -> bool) -> Val<'a> {
    values.iter().find(|value| stops(value)).or(values.last()).cloned().unwrap_or(Val::Missing)
}

fn equals_any(values: &[Val<'_>]) -> bool {
    values.split_first().is_some_and(|(one, others)| others.iter().any(|other| same(&one.to_json(), &other.to_json())))
}

fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        // 1 and 1.0 are two numbers to serde_json.
        (Value::Number(one), Value::Number(other)) => one == other || one.as_f64() == other.as_f64(),
        _ => one == other,
    }
}

fn compare<'a>(values: &[Val<'a>], holds: fn(Ordering) -> bool) -> Result<Val<'a>, String> {
    let [one, other] = two(values)?;
    let ordering = match (&*one.to_json(), &*other.to_json()) {
        (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
        (Value::Number(one), Value::Number(other)) => match (one.as_i128(), other.as_i128()) {
            (Some(one), Some(other)) => Some(one.cmp(&other)),
            _ => one.as_f64().partial_cmp(&other.as_f64()),
        },
        _ => None,
    };
    let unlike = || format!("{} and {} have no order", one.kind(), other.kind());
    Ok(Val::bool(holds(ordering.ok_or_else(unlike)?)))
}

fn json<'a>(values: &[Val<'a>], _: Controls) -> Result<Val<'a>, String> {
    let [value] = one(values)?;
    Ok(Val::Text(plain::escape_json(value.to_json().to_string())))
}

fn len<'a>(values: &[Val<'a>], _: Controls) -> Result<Val<'a>, String> {
    let [value] = one(values)?;
    Ok(Val::number(match &*value.to_json() {
        Value::Null => 0,
        Value::String(text) => text.len(),
        Value::Array(list) => list.len(),
        Value::Object(map) => map.len(),
        Value::Bool(_) | Value::Number(_) => return Err(format!("{} has no length", value.kind())),
    }))
}

fn index<'a>(values: &[Val<'a>], _: Controls) -> Result<Val<'a>, String> {
    let (container, keys) = values.split_first().ok_or("wants a list or a map")?;
    let mut value = container.clone();
    for key in keys {
        value = match (&*value.to_json(), &*key.to_json()) {
            (Value::Object(map), Value::String(key)) => match value.field(key) {
                // Go answers with the zero value of the map's type, which scripts rely on for labels; that type shows in the siblings.
                Val::Missing if map.values().all(Value::is_string) => Val::Text(String::new()),
                found => found,
            },
            (Value::Null, Value::String(_)) => Val::Text(String::new()),
            (Value::Array(list), Value::Number(number)) => {
                let at = number.as_u64().and_then(|number| usize::try_from(number).ok());
                let element = at.and_then(|at| value.element(at));
                element.ok_or_else(|| format!("{number} is not an index of a list of {}", list.len()))?
            }
            (Value::Array(_), _) => return Err(format!("a list is indexed by a number, not by {}", key.kind())),
            (Value::Object(_), _) => return Err(format!("a map is indexed by a string, not by {}", key.kind())),
            _ => return Err(format!("{} has no elements", value.kind())),
        };
    }
    Ok(value)
}

/// `.Label "key"`: from a map, or from Docker's `a=b,c=d`.
fn label<'a>(values: &[Val<'a>], _: Controls) -> Result<Val<'a>, String> {
    let [row, key] = two(values)?;
    let key = key.as_str().ok_or("wants the name of a label")?;
    let labels = row.field("Labels");
    let value = match &*labels.to_json() {
        Value::String(pairs) => {
            let mut pairs = pairs.split(',').filter_map(|pair| pair.split_once('='));
            pairs.find(|(name, _)| *name == key).map(|(_, value)| value.to_owned())
        }
        Value::Object(map) => map.get(key).and_then(Value::as_str).map(str::to_owned),
        _ => None,
    };
    Ok(Val::Data(Cow::Owned(Value::String(value.unwrap_or_default()))))
}

/// `join .X ","`, and with the list piped, which comes last then.
fn join<'a>(values: &[Val<'a>], controls: Controls) -> Result<Val<'a>, String> {
    let [list, separator] = two(values)?;
    let (list, separator) = if list.as_str().is_some() { (separator, list) } else { (list, separator) };
    let separator = separator.as_str().ok_or("wants a string between the elements")?;
    let elements = list.to_json();
    let count = match &*elements {
        Value::Array(list) => list.len(),
        Value::Null => 0,
        _ => return Err(format!("wants a list, not {}", list.kind())),
    };
    let shown: Vec<String> = (0..count).filter_map(|at| Some(list.element(at)?.show(controls))).collect();
    Ok(Val::Text(shown.join(separator)))
}

/// `split .X ","`, and with the text piped.
fn split<'a>(values: &[Val<'a>], _: Controls) -> Result<Val<'a>, String> {
    let [text, separator] = two(values)?;
    let (text, separator) = match (text, separator) {
        (Val::Text(_), Val::Data(_)) => (separator, text),
        _ => (text, separator),
    };
    let separator = string(separator)?;
    let parts = string(text)?.split(&*separator).map(|part| Value::String(part.to_owned())).collect();
    Ok(Val::Data(Cow::Owned(Value::Array(parts))))
}

fn print<'a>(values: &[Val<'a>], controls: Controls) -> Result<Val<'a>, String> {
    let mut text = String::new();
    let mut after_string = true;
    for value in values {
        // Go's Sprint sets a blank between two operands neither of which is a string.
        let is_string = value.as_str().is_some();
        if !after_string && !is_string {
            text.push(' ');
        }
        text.push_str(&value.show(controls));
        after_string = is_string;
    }
    Ok(Val::Text(text))
}

fn println<'a>(values: &[Val<'a>], controls: Controls) -> Result<Val<'a>, String> {
    let shown: Vec<String> = values.iter().map(|value| value.show(controls)).collect();
    Ok(Val::Text(shown.join(" ") + "\n"))
}

/// The verbs `%s`, `%v`, `%d`, `%q` and `%%`, with `-`, a width and a precision. Every verb but `%q` prints what it is given.
fn printf<'a>(values: &[Val<'a>], controls: Controls) -> Result<Val<'a>, String> {
    let (format, values) = values.split_first().ok_or("wants a format")?;
    string(format)?;
    let format = format.show(controls);
    let mut rest = format.as_str();
    let mut values = values.iter();
    let mut text = String::new();
    while let Some((before, after)) = rest.split_once('%') {
        text.push_str(before);
        let directive = after.trim_start_matches(|c: char| c == '-' || c == '.' || c.is_ascii_digit());
        let (flags, _) = after.split_at_checked(after.len() - directive.len()).unwrap_or_default();
        let mut left = directive.chars();
        let verb = left.next();
        rest = left.as_str();
        let (flags, to_the_left) = flags.strip_prefix('-').map_or((flags, false), |flags| (flags, true));
        let (width, precision) = flags.split_once('.').map_or((flags, None), |(width, most)| (width, Some(most)));
        let most = precision.map_or(usize::MAX, |precision| precision.parse().unwrap_or(0));
        let value = match verb {
            Some('%') => {
                text.push('%');
                continue;
            }
            Some('s' | 'v' | 'd' | 'q') => values.next().ok_or("has fewer values than verbs")?,
            Some(verb) => return Err(format!("unknown verb %{verb}; there are %s, %v, %d, %q and %%")),
            None => return Err("the format ends within a verb".to_owned()),
        };
        let mut shown: String = value.show(controls).chars().take(most).collect();
        if verb == Some('q') {
            shown = plain::escape_json(Value::String(shown).to_string());
        }
        let blanks = width.parse().unwrap_or(0_usize).min(WIDEST).saturating_sub(shown.chars().count());
        let blanks = " ".repeat(blanks);
        let (before, after) = if to_the_left { ("", blanks.as_str()) } else { (blanks.as_str(), "") };
        text.extend([before, &shown, after]);
    }
    text.push_str(rest);
    if values.next().is_some() {
        return Err("has more values than verbs".to_owned());
    }
    Ok(Val::Text(text))
}

/// The most blanks that one call adds, so that a slip of a digit does not ask for gigabytes.
const WIDEST: usize = 4096;

/// `pad .X 1 2`: blanks before and after, unless the text is empty.
fn pad<'a>(values: &[Val<'a>], _: Controls) -> Result<Val<'a>, String> {
    let (text, counts) = values.split_first().ok_or("wants a string")?;
    let [before, after] = two(counts)?;
    let (before, after) = (count(before)?.min(WIDEST), count(after)?.min(WIDEST));
    map_string(std::slice::from_ref(text), |text| match text {
        "" => String::new(),
        text => format!("{}{text}{}", " ".repeat(before), " ".repeat(after)),
    })
}

/// `truncate .X 5`: the first characters.
fn truncate<'a>(values: &[Val<'a>], _: Controls) -> Result<Val<'a>, String> {
    let [text, most] = two(values)?;
    let most = count(most)?;
    map_string(std::slice::from_ref(text), |text| text.chars().take(most).collect())
}

/// `slice .X 0 12`: a part of a string, in bytes, or of a list.
fn slice<'a>(values: &[Val<'a>], _: Controls) -> Result<Val<'a>, String> {
    let (value, bounds) = values.split_first().ok_or("wants a string or a list")?;
    let start = bounds.first().map_or(Ok(0), count)?;
    let end = bounds.get(1).map(count).transpose()?;
    let outside = |len: usize| format!("the bounds do not fit a length of {len}");
    if let Value::Array(list) = &*value.to_json() {
        let part = list.get(start..end.unwrap_or(list.len())).ok_or_else(|| outside(list.len()))?;
        return Ok(Val::Data(Cow::Owned(Value::Array(part.to_vec()))));
    }
    let text = string(value)?;
    let part = text.get(start..end.unwrap_or(text.len())).ok_or_else(|| outside(text.len()))?;
    map_string(std::slice::from_ref(value), |_| part.to_owned())
}

/// Each word with a capital.
fn title(text: &str) -> String {
    let mut within = false;
    let mut titled = String::with_capacity(text.len());
    for character in text.chars() {
        if within {
            titled.push(character);
        } else {
            titled.extend(character.to_uppercase());
        }
        within = character.is_alphanumeric() || character == '_';
    }
    titled
}

/// A string made of a string; what comes of data stays data, to be escaped when it is printed.
fn map_string<'a>(values: &[Val<'a>], change: impl Fn(&str) -> String) -> Result<Val<'a>, String> {
    let [value] = one(values)?;
    let changed = change(&string(value)?);
    Ok(match value {
        Val::Text(_) => Val::Text(changed),
        Val::Data(_) | Val::Missing => Val::Data(Cow::Owned(Value::String(changed))),
    })
}

fn string<'v>(value: &'v Val<'_>) -> Result<Cow<'v, str>, String> {
    match value.as_str() {
        Some(text) => Ok(Cow::Borrowed(text)),
        None if value.to_json().is_null() => Ok(Cow::Borrowed("")),
        None => Err(format!("wants a string, not {}", value.kind())),
    }
}

fn count(value: &Val<'_>) -> Result<usize, String> {
    let count = value.to_json().as_u64().and_then(|count| usize::try_from(count).ok());
    count.ok_or_else(|| format!("wants a number from 0 on, not {}", value.show(Controls::Escaped)))
}

fn one<'v, 'a>(values: &'v [Val<'a>]) -> Result<&'v [Val<'a>; 1], String> {
    values.try_into().map_err(|_| "wants one argument".to_owned())
}

fn two<'v, 'a>(values: &'v [Val<'a>]) -> Result<&'v [Val<'a>; 2], String> {
    values.try_into().map_err(|_| "wants two arguments".to_owned())
}
