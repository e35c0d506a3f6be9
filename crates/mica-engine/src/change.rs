//! A change to an image's config, written as a Dockerfile instruction: what `commit -c` and `import -c` take.
//!
//! The instructions are those that Docker allows there, with Dockerfile's meaning of quotes, variables and JSON lists.

use std::collections::BTreeMap;

use mica_core::image::{ContainerConfig, Healthcheck};
use serde_json::{Map, Value};

use crate::error::{Error, Kind, Result};

mod words;

const KNOWN: &str =
    "CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME and WORKDIR are";

/// Applies `instructions` in order.
///
/// # Errors
/// The first that is not understood, with the instruction in the message; `config` may then be half changed.
pub fn apply(config: &mut ContainerConfig, instructions: &[String]) -> Result<()> {
    let mut command_set = false;
    for instruction in instructions {
        one(config, instruction, &mut command_set)
            .map_err(|error| error.while_(format_args!("change {instruction:?}")))?;
    }
    Ok(())
}

fn one(config: &mut ContainerConfig, instruction: &str, command_set: &mut bool) -> Result<()> {
    let (word, rest) = instruction.trim().split_once(char::is_whitespace).unwrap_or((instruction.trim(), ""));
    let rest = rest.trim();
    let verb = word.to_ascii_uppercase();
    if rest.is_empty() && !matches!(verb.as_str(), "CMD" | "ENTRYPOINT") {
        return Err(match KNOWN.contains(&verb) && !verb.is_empty() {
            true => Error::new(Kind::Usage, format!("{verb} says nothing")),
            false => unknown(word),
        });
    }
    let env = config.env.clone();
    let lookup = |name: &str| {
        env.iter()
            .filter_map(|item| item.split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.to_owned())
    };
    match verb.as_str() {
        "CMD" => {
            config.cmd = command(rest, config.shell.as_deref())?;
            *command_set = true;
        }
        "ENTRYPOINT" => {
            config.entrypoint = command(rest, config.shell.as_deref())?;
            // As a Dockerfile has it: the old command belonged to the old entrypoint.
            if !*command_set {
                config.cmd = None;
            }
        }
        "ENV" => pairs(rest, &lookup)?.into_iter().for_each(|(name, value)| set_env(&mut config.env, &name, &value)),
        "LABEL" => config.labels.extend(pairs(rest, &lookup)?),
        "EXPOSE" => {
            for port in words::words(rest, &lookup)? {
                expose(&mut config.exposed_ports, &port)?;
            }
        }
        "VOLUME" => {
            let paths = json_list(rest).map_or_else(|| words::words(rest, &lookup), Ok)?;
            for path in paths {
                if path.trim().is_empty() {
                    return Err(Error::new(Kind::Usage, "a volume has no path"));
                }
                config.volumes.insert(path, Value::Object(Map::new()));
            }
        }
        "USER" => config.user = words::one(rest, &lookup)?,
        "WORKDIR" => config.working_dir = directory(&config.working_dir, &words::one(rest, &lookup)?),
        "STOPSIGNAL" => config.stop_signal = Some(signal(&words::one(rest, &lookup)?)?),
        "ONBUILD" => {
            let inner = rest.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
            if matches!(inner.as_str(), "ONBUILD" | "FROM" | "MAINTAINER") {
                return Err(Error::new(Kind::Usage, format!("{inner} cannot be put off by ONBUILD")));
            }
            config.on_build.push(rest.to_owned());
        }
        "HEALTHCHECK" => config.healthcheck = Some(healthcheck(rest)?),
        _ => return Err(unknown(word)),
    }
    Ok(())
}

fn unknown(word: &str) -> Error {
    Error::new(Kind::Usage, format!("instruction {word:?} is not one that a commit can make")).hinted(KNOWN)
}

/// Sets `NAME=value` where it stands, or at the end.
pub(crate) fn set_env(env: &mut Vec<String>, name: &str, value: &str) {
    let item = format!("{name}={value}");
    match env.iter_mut().find(|item| item.split_once('=').map_or(item.as_str(), |(key, _)| key) == name) {
        Some(old) => *old = item,
        None => env.push(item),
    }
}

fn json_list(text: &str) -> Option<Vec<String>> {
    text.starts_with('[').then(|| serde_json::from_str(text).ok()).flatten()
}

/// A list runs as it is, any other text through the shell; nothing unsets.
fn command(text: &str, shell: Option<&[String]>) -> Result<Option<Vec<String>>> {
    if let Some(list) = json_list(text) {
        return Ok((!list.is_empty()).then_some(list));
    }
    if text.is_empty() {
        return Ok(None);
    }
    let mut list = shell.map_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()], <[String]>::to_vec);
    list.push(text.to_owned());
    Ok(Some(list))
}

/// `a=b c="d e"`, or the old `a the rest`.
fn pairs(text: &str, lookup: words::Lookup<'_>) -> Result<Vec<(String, String)>> {
    let first = text.split_whitespace().next().unwrap_or_default();
    if !first.contains('=') {
        let Some((name, value)) = text.split_once(char::is_whitespace) else {
            return Err(Error::new(Kind::Usage, format!("{text:?} is not NAME=value")));
        };
        return Ok(vec![(name.to_owned(), words::one(value.trim(), lookup)?)]);
    }
    let pair = |word: String| match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Error::new(Kind::Usage, format!("{word:?} is not NAME=value"))),
    };
    words::words(text, lookup)?.into_iter().map(pair).collect()
}

fn expose(ports: &mut BTreeMap<String, Value>, text: &str) -> Result<()> {
    let wrong = || Error::new(Kind::Usage, format!("{text:?} is not a port such as 80, 53/udp or 8000-8010/tcp"));
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(wrong());
    }
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last): (u16, u16) = (first.parse().map_err(|_| wrong())?, last.parse().map_err(|_| wrong())?);
    if first == 0 || last < first {
        return Err(wrong());
    }
    for port in first..=last {
        ports.insert(format!("{port}/{protocol}"), Value::Object(Map::new()));
    }
    Ok(())
}

/// `path` against `from`, without `.` and `..`.
pub(crate) fn directory(from: &str, path: &str) -> String {
    let whole = if path.starts_with('/') { path.to_owned() } else { format!("{from}/{path}") };
    let mut parts = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn signal(text: &str) -> Result<String> {
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let number = text.parse::<u8>().is_ok_and(|number| (1..=64).contains(&number));
    const NAMES: &str = " HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN \
                         TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS ";
    let real_time = |at: &str| {
        let offset = name.strip_prefix(at);
        offset.is_some_and(|rest| {
            rest.is_empty() || rest.strip_prefix(['+', '-']).is_some_and(|n| n.parse::<u8>().is_ok())
        })
    };
    if number || NAMES.contains(&format!(" {name} ")) || real_time("RTMIN") || real_time("RTMAX") {
        return Ok(text.to_owned());
    }
    Err(Error::new(Kind::Usage, format!("{text:?} is not a signal such as SIGTERM or 15")))
}

fn healthcheck(text: &str) -> Result<Healthcheck> {
    let mut check = Healthcheck::default();
    let mut rest = text;
    while let Some(option) = rest.strip_prefix("--") {
        let (option, after) = option.split_once(char::is_whitespace).unwrap_or((option, ""));
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let wrong =
            || Error::new(Kind::Usage, format!("--{option} is not understood")).hinted("--interval=30s, --retries=3");
        match name {
            "interval" => check.interval = nanoseconds(value).ok_or_else(wrong)?,
            "timeout" => check.timeout = nanoseconds(value).ok_or_else(wrong)?,
            "start-period" => check.start_period = nanoseconds(value).ok_or_else(wrong)?,
            "start-interval" => check.start_interval = nanoseconds(value).ok_or_else(wrong)?,
            "retries" => check.retries = value.parse().ok().filter(|count| *count >= 0).ok_or_else(wrong)?,
            _ => return Err(wrong()),
        }
        rest = after.trim_start();
    }
    let (kind, command) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let command = command.trim();
    check.test = match kind.to_ascii_uppercase().as_str() {
        "NONE" if command.is_empty() => vec!["NONE".to_owned()],
        "CMD" if !command.is_empty() => match json_list(command) {
            Some(list) => std::iter::once("CMD".to_owned()).chain(list).collect(),
            None => vec!["CMD-SHELL".to_owned(), command.to_owned()],
        },
        _ => return Err(Error::new(Kind::Usage, "a health check is NONE, or CMD and a command")),
    };
    Ok(check)
}

/// A duration as Go writes it: `1m30s`, `500ms`.
fn nanoseconds(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut sum = 0f64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|letter: char| letter.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let scale = match unit {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        sum += number.parse::<f64>().ok()? * scale;
        rest = after;
    }
    // 292 years are enough for a health check.
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
    (sum < 9e18).then_some(sum as i64)
}

#[cfg(test)]
mod tests;
