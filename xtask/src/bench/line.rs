//! A command line as data: run as it stands, measured, and printed in the report.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// A program with its arguments and what is added to its environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    words: Vec<String>,
    env: Vec<(String, String)>,
}

impl Line {
    pub(super) fn new(program: impl AsRef<Path>) -> Self {
        Self { words: vec![text(program.as_ref())], env: Vec::new() }
    }

    /// A script of the shell.
    pub(super) fn shell(script: impl Into<String>) -> Self {
        Self::new("sh").arg("-ec").arg(script.into())
    }

    pub(super) fn arg(mut self, word: impl Into<String>) -> Self {
        self.words.push(word.into());
        self
    }

    pub(super) fn path(self, path: impl AsRef<Path>) -> Self {
        let word = text(path.as_ref());
        self.arg(word)
    }

    pub(super) fn args<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.words.extend(words.into_iter().map(Into::into));
        self
    }

    pub(super) fn env(mut self, name: &str, value: impl AsRef<Path>) -> Self {
        self.env.push((name.to_owned(), text(value.as_ref())));
        self
    }

    /// The same, run by another program that takes the words as its last arguments.
    pub(super) fn under(self, outer: Self) -> Self {
        let Self { words, env } = self;
        let mut line = outer.args(words);
        line.env.extend(env);
        line
    }

    /// Ready to be run, with nothing on its input.
    pub(super) fn command(&self) -> Command {
        let (program, arguments) = self.words.split_first().map_or(("", &[][..]), |(first, rest)| (first, rest));
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs it to its success and gives what it printed, its last line feed aside.
    pub(super) fn run(&self) -> Result<String> {
        let ran = self.command().output().with_context(|| format!("cannot run {self}"))?;
        if !ran.status.success() {
            bail!("{self} ended with {}: {}", ran.status, last_lines(&ran.stderr));
        }
        Ok(String::from_utf8_lossy(&ran.stdout).trim_end().to_owned())
    }

    /// Runs it, whatever comes of it: it takes away what may not be there.
    pub(super) fn attempt(&self) -> Result<()> {
        let ran = self.command().output().with_context(|| format!("cannot run {self}"))?;
        drop(ran);
        Ok(())
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// The end of what a program said, in one line.
pub(super) fn last_lines(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let from = lines.len().saturating_sub(3);
    lines.get(from..).unwrap_or_default().join("; ")
}

/// As one would type it into a shell.
impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let env = self.env.iter().map(|(name, value)| format!("{name}={}", quoted(value)));
        let words = env.chain(self.words.iter().map(|word| quoted(word)));
        f.write_str(&words.collect::<Vec<_>>().join(" "))
    }
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@+,%[]~".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_printed_as_a_shell_takes_it() {
        let line = Line::new("/bin/echo").arg("a b").arg("it's").arg("").arg("plain-1.2").env("HOME", "/x y");
        assert_eq!(line.to_string(), r"HOME='/x y' /bin/echo 'a b' 'it'\''s' '' plain-1.2");
        let printed = Line::shell(format!("printf '%s|' {line}")).run().unwrap();
        assert_eq!(printed, "HOME=/x y|/bin/echo|a b|it's||plain-1.2|");
    }

    #[test]
    fn a_failure_says_what_the_program_said_last() {
        let error = Line::shell("echo first; for i in 1 2 3 4; do echo line $i >&2; done; exit 3").run().unwrap_err();
        assert!(error.to_string().ends_with("exit status: 3: line 2; line 3; line 4"), "{error}");
        Line::shell("exit 3").attempt().unwrap();
    }

    #[test]
    fn a_line_under_another_keeps_both_environments() {
        let line = Line::shell("echo $A $B").env("A", "1").under(Line::new("env").env("B", "2"));
        assert_eq!(line.run().unwrap(), "1 2");
    }
}
