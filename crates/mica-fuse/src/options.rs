//! Mount options: one table from which parsing, help, the man page and suggestions come.
//!
//! The names are those of fuse-overlayfs, of the kernel's overlayfs, of mount(8) and of libfuse, so that a line of `fstab` or a
//! configuration of podman works as it is; a few are ours. Where a name is given twice, the last one counts, but for lists. A name that nobody
//! knows is refused, since a union that is mounted otherwise than asked for may lose data; names that mean nothing here are known
//! and passed over.

mod groups;
mod suggest;
mod words;

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::asked::Asked;
use crate::owners;
use mica_union::fuse::IdRow;
use words::{OpenQuote, Value, Word};

pub(crate) use groups::GROUPS;

/// One option: its names, what it takes, and what it does.
pub(crate) struct Known {
    /// Its name, and others that mean the same.
    pub(crate) names: &'static [&'static str],
    /// What stands after its name in help: `=DIR`, or nothing.
    pub(crate) value: &'static str,
    /// One or two sentences.
    pub(crate) help: &'static str,
    /// What it does.
    take: Take,
}

/// What an option takes, and what it does with it.
enum Take {
    /// Nothing.
    Flag(fn(&mut Asked)),
    /// A value. An error says what is wrong with it.
    Value(fn(&mut Asked, &Value) -> Result<(), String>),
    /// A value or none.
    Either(fn(&mut Asked, Option<&Value>) -> Result<(), String>),
    /// Anything: it means nothing here.
    Nothing,
    /// Nothing: it is refused, and this is why.
    Refused(&'static str),
}

/// An option that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OptionError {
    /// Nobody knows it.
    #[error("unknown option `{name}`")]
    Unknown {
        /// What was written.
        name: String,
        /// What was meant, most likely.
        near: Option<&'static str>,
    },
    /// It lacks a value.
    #[error("option `{name}` needs a value: {name}{form}")]
    NoValue {
        /// Its name.
        name: String,
        /// What the value looks like.
        form: &'static str,
    },
    /// It has a value that it does not take.
    #[error("option `{name}` takes no value")]
    NeedlessValue {
        /// Its name.
        name: String,
    },
    /// Its value means nothing.
    #[error("option `{name}={value}`: {wrong}")]
    Value {
        /// Its name.
        name: String,
        /// What was written.
        value: String,
        /// What is wrong with it.
        wrong: String,
    },
    /// It is known, and asks for what there is not.
    #[error("option `{name}`: {why}")]
    Refused {
        /// Its name.
        name: String,
        /// Why.
        why: &'static str,
    },
    /// The string cannot be cut.
    #[error(transparent)]
    Quote(#[from] OpenQuote),
}

impl OptionError {
    /// What to try.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { near: Some(near), .. } => Some(format!("did you mean `{near}`?")),
            Self::Unknown { near: None, .. } => Some("`mica-fuse --help` lists all options".to_owned()),
            _ => None,
        }
    }
}

/// Reads a string of options into what was asked for. With `is_sloppy`, what nobody knows is passed over (mount(8), `-s`).
///
/// # Errors
/// The first option that is wrong.
pub(crate) fn read(options: &[u8], is_sloppy: bool, asked: &mut Asked) -> Result<(), OptionError> {
    for word in words::cut(options)? {
        match take(&word, asked) {
            Err(OptionError::Unknown { .. }) if is_sloppy => {}
            taken => taken?,
        }
    }
    Ok(())
}

/// All options there are.
fn all() -> impl Iterator<Item = &'static Known> {
    GROUPS.iter().flat_map(|group| group.options)
}

fn take(word: &Word, asked: &mut Asked) -> Result<(), OptionError> {
    let name = String::from_utf8_lossy(&word.name).into_owned();
    // mount(8), COMMAND-LINE OPTIONS: `x-` is for user space, `X-` is not passed on by it, and a leading comment is one.
    if name.starts_with("x-") || name.starts_with("X-") {
        return Ok(());
    }
    let Some(known) = all().find(|known| known.names.contains(&name.as_str())) else {
        let near = suggest::nearest(&name, all().flat_map(|known| known.names).copied());
        return Err(OptionError::Unknown { name, near });
    };
    let wrong = |value: Option<&Value>, wrong| {
        let (name, value) = (name.clone(), value.map(Value::text).unwrap_or_default());
        OptionError::Value { name, value, wrong }
    };
    match (&known.take, &word.value) {
        (Take::Nothing, _) => Ok(()),
        (Take::Refused(why), _) => Err(OptionError::Refused { name, why }),
        (Take::Flag(set), None) => {
            set(asked);
            Ok(())
        }
        (Take::Flag(_), Some(_)) => Err(OptionError::NeedlessValue { name }),
        (Take::Value(_), None) => Err(OptionError::NoValue { name, form: known.value }),
        (Take::Value(set), Some(value)) => set(asked, value).map_err(|why| wrong(Some(value), why)),
        (Take::Either(set), value) => set(asked, value.as_ref()).map_err(|why| wrong(value.as_ref(), why)),
    }
}

/// A switch: `on` or `off`, or a number as fuse-overlayfs has it.
fn switch(value: &Value) -> Result<bool, String> {
    match value.text().as_str() {
        "on" | "1" | "yes" | "true" => Ok(true),
        "off" | "0" | "no" | "false" => Ok(false),
        _ => Err("neither `on` nor `off`".to_owned()),
    }
}

/// A switch whose name alone turns it on.
fn switch_or_on(value: Option<&Value>) -> Result<bool, String> {
    value.map_or(Ok(true), switch)
}

/// One of some words.
fn one_of<T: Copy>(value: &Value, words: &[(&str, T)]) -> Result<T, String> {
    let text = value.text();
    words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning).ok_or_else(|| {
        let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        format!("not one of {}", words.join(", "))
    })
}

/// A number of whole things.
fn number<T: std::str::FromStr>(value: &Value) -> Result<T, String> {
    let text = value.text();
    // A sign is no digit.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().ok_or_else(|| "no number that it may be".to_owned())
}

/// A user or a group. 2³²-1 is none: chown(2) reads it as "leave it as it is".
fn id(value: &Value) -> Result<u32, String> {
    number(value).ok().filter(|id| *id != u32::MAX).ok_or_else(|| "no id".to_owned())
}

/// Seconds, with a fraction or without.
fn seconds(value: &Value) -> Result<Duration, String> {
    let seconds: Option<f64> = value.text().parse().ok();
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "no number of seconds".to_owned())
}

/// A map of owners.
fn map(value: &Value) -> Result<Vec<IdRow>, String> {
    owners::parse(&value.text())
}
