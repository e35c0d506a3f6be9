//! `try` and `apply`.

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use mica_engine::{Engine, Error, Kind, Real, Try};

use super::{confirmed, text};
use crate::args::{ApplyArgs, TryArgs};
use crate::failure::say;
use crate::output::plain;

#[expect(clippy::disallowed_methods, reason = "the command starts where the user stands")]
fn here() -> Result<std::path::PathBuf> {
    std::env::current_dir().context("find the working directory")
}

pub(super) fn run(engine: &Engine, args: TryArgs) -> Result<ExitCode> {
    // A program that draws on the terminal wants one of its own, with job control.
    let tty = io::stdin().is_terminal() && io::stdout().is_terminal();
    let env = std::env::vars_os()
        .filter_map(|(name, value)| Some(format!("{}={}", name.into_string().ok()?, value.into_string().ok()?)));
    let asked = Try {
        command: text(args.command)?,
        env: env.collect(),
        workdir: here()?,
        share: args.share,
        network: args.network.into(),
        tty,
        keep: args.keep,
    };
    let prepared = engine.prepare_try(&asked)?;
    if !args.quiet {
        tell(&prepared.real);
    }
    let tried = engine.run_try(prepared)?;
    if !args.quiet {
        list(&tried.changes)?;
        match (&asked.keep, tried.changes.len()) {
            (_, 0) => say("mica: nothing was changed"),
            (None, count) => say(&format!("mica: {count} changes, dropped; no file was touched")),
            (Some(name), count) => {
                say(&format!("mica: {count} changes, kept as {name}; no file was touched"));
                say(&format!(
                    "mica: `mica diff {name}` shows them, `mica apply {name}` does them for real, `mica rm {name}` forgets them"
                ));
            }
        }
    }
    Ok(ExitCode::from(tried.status))
}

fn tell(real: &Real) {
    let mut parts = Vec::new();
    if real.network {
        parts.push("the network".to_owned());
    }
    parts.extend(real.shared.iter().map(|path| path.display().to_string()));
    if !parts.is_empty() {
        say(&format!("mica: real, not a view: {}", parts.join(", ")));
    }
    if real.own_files_alone {
        say("mica: as an ordinary user: files of other users are shown, and cannot be changed");
    }
    if real.as_root {
        say("mica: as an ordinary user: the command is root of its view, and may change what you can read");
    }
    if !real.frames.is_empty() {
        let frames: Vec<_> = real.frames.iter().map(|path| path.display().to_string()).collect();
        say(&format!(
            "mica: something is mounted in {}: files there, not those deeper, are shown read-only",
            frames.join(", ")
        ));
    }
    for (path, why) in &real.read_only {
        say(&format!("mica: {} is shown read-only: {why}", path.display()));
    }
}

fn list(changes: &[mica_core::Change]) -> Result<()> {
    use std::io::Write as _;
    let mut stdout = io::stdout().lock();
    let escape = stdout.is_terminal();
    for change in changes {
        let text = change.to_string();
        writeln!(stdout, "{}", if escape { plain::escape(&text) } else { text.into() })?;
    }
    Ok(())
}

pub(super) fn apply(engine: &Engine, args: &ApplyArgs) -> Result<ExitCode> {
    let plan = engine.plan_apply(&args.name)?;
    if plan.changes.is_empty() {
        say(&format!("mica: {} changed nothing", args.name));
        return Ok(ExitCode::SUCCESS);
    }
    list(&plan.changes)?;
    for path in &plan.changed_since {
        say(&format!("mica: {path} changed on this machine since the try began; applying overwrites it"));
    }
    if !args.yes && !confirmed(&format!("Make these {} changes on this machine?", plan.changes.len()))? {
        return Err(Error::new(Kind::Cancelled, "nothing was applied").into());
    }
    let applied = engine.apply(&args.name)?;
    say(&format!(
        "mica: {} changes applied; {} is still kept, `mica rm {}` forgets it",
        applied.changes, args.name, args.name
    ));
    Ok(ExitCode::SUCCESS)
}
