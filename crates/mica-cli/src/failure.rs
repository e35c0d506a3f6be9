//! How an error reaches the user: one line with what was attempted and why not, one with what to try, and an exit status.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use crate::output::plain;

/// Mica itself could not do it (Docker's number).
const OURS: u8 = 125;

/// Prints an error and gives the exit status of its kind.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if is_broken_pipe(error) {
        // Whoever read the output has seen enough.
        return ExitCode::SUCCESS;
    }
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = cause.to_string();
        // Some libraries repeat their source.
        if !parts.last().is_some_and(|last| last.ends_with(&text)) {
            parts.push(text);
        }
    }
    let ours = error.chain().find_map(|cause| cause.downcast_ref::<mica_engine::Error>());
    say(&format!("mica: {}", parts.join(": ")));
    if let Some(hint) = ours.and_then(mica_engine::Error::hint) {
        say(&format!("hint: {hint}"));
    }
    ExitCode::from(ours.map_or(OURS, |error| error.kind().exit_status()))
}

/// Prints what is wrong with the words on the command line, or the help or version that was asked for.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    if error.use_stderr() {
        let text = error.render().to_string();
        // What is wrong begins as every error does; help for want of a command is none.
        let text = match text.strip_prefix("error: ") {
            Some(wrong) => format!("mica: {wrong}"),
            None => text,
        };
        text.trim_end().lines().for_each(say);
        return ExitCode::from(OURS);
    }
    match error.print() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(OURS),
    }
}

/// A line on standard error; what a stranger wrote does not reach a terminal as control characters.
pub(crate) fn say(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let text = if stderr.is_terminal() { plain::escape(text) } else { text.into() };
    // ignored: there is nowhere left to say that standard error is gone.
    match writeln!(stderr, "{text}") {
        Ok(()) | Err(_) => {}
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    })
}
