//! `inspect`: all that is known, as JSON or through a template.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::Result;
use mica_engine::{Engine, Inspected};
use serde_json::Value;

use crate::args::InspectArgs;
use crate::output::plain;
use crate::output::template::{Controls, Template};

pub(super) fn inspect(engine: &Engine, args: &InspectArgs, kind: Option<&str>) -> Result<ExitCode> {
    let what = match kind.or(args.kind.as_deref()) {
        Some("image") => Inspected::Image,
        Some("container") => Inspected::Container,
        _ => Inspected::Any,
    };
    let template = match args.format.as_deref() {
        None | Some("" | "json") => None,
        Some(text) => Some(Template::parse(text)?),
    };
    let mut found = Vec::new();
    let mut code = ExitCode::SUCCESS;
    for name in &args.names {
        match engine.inspect(name, what) {
            Ok(value) => found.push(value),
            Err(error) => code = crate::failure::report(&error.into()),
        }
    }
    let mut stdout = io::stdout().lock();
    let controls = if stdout.is_terminal() { Controls::Escaped } else { Controls::Raw };
    match template {
        Some(template) => {
            for value in &found {
                writeln!(stdout, "{}", template.render(value, controls)?)?;
            }
        }
        None if args.format.is_some() => {
            for value in &found {
                writeln!(stdout, "{}", plain::escape_json(serde_json::to_string(value)?))?;
            }
        }
        None => {
            // A line at a time: a newline between values is the layout and stays.
            for line in serde_json::to_string_pretty(&Value::Array(found))?.lines() {
                writeln!(stdout, "{}", plain::escape_json(line.to_owned()))?;
            }
        }
    }
    Ok(code)
}
