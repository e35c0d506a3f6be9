//! The project's own automation: what continuous integration runs, and what measures.
//!
//! `cargo xtask test` is the whole of the checks, and `arch`, `deny` and `man` are single steps of it, for use while one works. `bench` is no
//! check: speed is never a timed test.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a front end: it talks to the person who runs it")]

mod arch;
mod bench;
mod conformance;
mod deny;
mod fuzz;
mod man;
mod test;
mod tool;
mod workspace;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test [--no-skips] [--fast]   everything: formats, lints, docs, rooms, licences, tests, the README's sessions
                               --no-skips  a skipped test fails the run
                               --fast      no package is installed, and documentation, doc tests and the README wait
  bench [NAME…]                mica and other tools on the same work, measured; bench --help teaches
  arch                         the arrows between rooms, file sizes, and what a room must not do
  conformance [SUITE…]         pjdfstest, what a copy-up can break, and stress-ng, on unions; conformance --help teaches
  deny                         licences, sources and banned crates, by deny.toml (builds cargo-deny once)
  fuzz [--seconds N] [NAME…]   the fuzz targets, four seconds each unless told otherwise
  man [--check]                man pages and shell completions, made from the command line's definition";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Carries out one command; `false` means that it ran and found fault.
fn run(args: &[String]) -> Result<bool> {
    let Some((command, flags)) = args.split_first() else {
        bail!("no command given\n{USAGE}");
    };
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let root = workspace::root()?;
    match (command.as_str(), flags.as_slice()) {
        ("help" | "--help" | "-h", _) => {
            println!("{USAGE}");
            Ok(true)
        }
        ("bench", ["help" | "--help" | "-h"]) => {
            println!("{}", bench::HELP);
            Ok(true)
        }
        ("bench", words) => bench::run(&root, &bench::Options::parse(words)?, words),
        ("arch", []) => told(&arch::check(&root)?),
        ("conformance", ["help" | "--help" | "-h"]) => {
            println!("{}", conformance::HELP);
            Ok(true)
        }
        ("conformance", words) => conformance::run(&root, &conformance::Options::parse(words)?),
        ("deny", []) => deny::check(&root),
        ("fuzz", flags) => fuzz::run(&root, &fuzz::Options::parse(flags)?),
        ("man", []) => man::write(&root).map(|()| true),
        ("man", ["--check"]) => told(&man::check(&root)?),
        ("test", flags) => test::run(&root, test::Options::parse(flags)?),
        (command, flags) => bail!("no such command: {command} {}\n{USAGE}", flags.join(" ")),
    }
}

/// Prints what a check found; a warning does not fail it.
fn told(found: &Findings) -> Result<bool> {
    found.print();
    Ok(found.problems.is_empty())
}

/// What a check found: problems fail it, warnings are only said.
#[derive(Debug, Default)]
struct Findings {
    problems: Vec<String>,
    warnings: Vec<String>,
}

impl Findings {
    fn problem(&mut self, text: impl Into<String>) {
        self.problems.push(text.into());
    }

    fn warning(&mut self, text: impl Into<String>) {
        self.warnings.push(text.into());
    }

    fn print(&self) {
        for warning in &self.warnings {
            println!("    warning: {warning}");
        }
        for problem in &self.problems {
            println!("    problem: {problem}");
        }
    }
}
