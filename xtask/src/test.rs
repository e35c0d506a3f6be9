//! Everything that is checked before a change lands, in one run, with one count at its end.
//!
//! Each check counts as one test. The last line stands alone: `N passed, N failed, N skipped`.

mod libtest;
mod machine;
mod session;
mod suites;
mod traces;

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::workspace::{Workspace, cargo};
use crate::{arch, conformance, deny, fuzz, man};

/// Set in the run that has its own mount namespace.
const PRIVATE_MOUNTS: &str = "XTASK_PRIVATE_MOUNTS";

/// What the person who runs the tests asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// A skipped test fails the run.
    no_skips: bool,
    /// What takes minutes and rarely breaks is left out.
    fast: bool,
}

impl Options {
    pub(crate) fn parse(flags: &[&str]) -> Result<Self> {
        let mut options = Self::default();
        for flag in flags {
            match *flag {
                "--no-skips" => options.no_skips = true,
                "--fast" => options.fast = true,
                other => bail!("test takes --no-skips and --fast, not {other:?}"),
            }
        }
        Ok(options)
    }

    fn flags(self) -> impl Iterator<Item = &'static str> {
        [(self.no_skips, "--no-skips"), (self.fast, "--fast")].into_iter().filter_map(|(on, flag)| on.then_some(flag))
    }
}

/// How a check ended.
enum Outcome {
    Passed,
    /// It found fault, and has said what.
    Failed,
    Skipped(String),
}

impl From<bool> for Outcome {
    fn from(good: bool) -> Self {
        if good { Self::Passed } else { Self::Failed }
    }
}

/// The count so far.
#[derive(Debug, Default)]
struct Tally {
    passed: usize,
    /// Names of what failed.
    failed: Vec<String>,
    /// Names of what was skipped, with the reason.
    skipped: Vec<(String, String)>,
}

impl Tally {
    /// Announces one check, runs it and counts it.
    fn check(&mut self, name: &str, what: &str, check: impl FnOnce() -> Result<Outcome>) {
        println!("==> {name}: {what}");
        let since = Instant::now();
        match check() {
            Ok(Outcome::Passed) => self.passed += 1,
            Ok(Outcome::Failed) => self.failed.push(name.to_owned()),
            Ok(Outcome::Skipped(reason)) => {
                println!("    skipped: {reason}");
                self.skipped.push((name.to_owned(), reason));
            }
            Err(error) => {
                println!("    {error:#}");
                self.failed.push(name.to_owned());
            }
        }
        let seconds = since.elapsed().as_secs();
        if seconds > 1 {
            println!("    {seconds} s");
        }
    }

    /// Tells all that is not as it should be, then the count, and whether the run is good.
    fn close(&self, options: Options) -> bool {
        if !self.skipped.is_empty() {
            println!("\nskipped:");
            for (name, reason) in &self.skipped {
                println!("    {name}: {reason}");
            }
        }
        if !self.failed.is_empty() {
            println!("\nfailed:");
            for name in &self.failed {
                println!("    {name}");
            }
        }
        let skips_fail = options.no_skips && !self.skipped.is_empty();
        if skips_fail {
            println!("\na skipped test fails this run (--no-skips)");
        }
        println!();
        println!("{} passed, {} failed, {} skipped", self.passed, self.failed.len(), self.skipped.len());
        self.failed.is_empty() && !skips_fail
    }
}

/// Runs every check on the tree at `root`; `false` when one found fault.
pub(crate) fn run(root: &Path, options: Options) -> Result<bool> {
    let private = enter_private_mounts(options)?;
    if !options.fast {
        machine::prepare()?;
    }
    let mut tally = Tally::default();
    for (name, place) in [("fmt", root.to_path_buf()), ("fmt-fuzz", root.join("fuzz"))] {
        let what = format!("cargo fmt --all --check in {}", place.display());
        tally.check(name, &what, || {
            component(&place, "fmt", "rustfmt", cargo(&place).args(["fmt", "--all", "--check"]))
        });
    }
    tally.check("arch", "arrows, file sizes and absences", || {
        let found = arch::check(root)?;
        found.print();
        Ok(found.problems.is_empty().into())
    });
    tally.check("clippy", "cargo clippy --workspace --all-targets, warnings denied", || {
        let mut command = cargo(root);
        command.args(["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]);
        component(root, "clippy", "clippy", &mut command)
    });
    tally.check("deny", "licences, bans and sources, by deny.toml", || {
        if options.fast && deny::found(root).is_none() {
            return Ok(Outcome::Skipped("--fast does not build cargo-deny".to_owned()));
        }
        deny::check(root).map(Outcome::from)
    });
    if !options.fast {
        tally.check("doc", "cargo doc --workspace, warnings denied", || {
            let mut command = cargo(root);
            command.args(["doc", "--quiet", "--workspace", "--no-deps"]);
            succeeds(command.env("RUSTDOCFLAGS", "-D warnings"))
        });
    }
    tally.check("man", "man pages and completions are up to date", || {
        let found = man::check(root)?;
        found.print();
        Ok(found.problems.is_empty().into())
    });

    let workspace = Workspace::members(root)?;
    suites::run(root, &workspace, private, options, &mut tally)?;
    if !options.fast {
        tally.check("fuzz", "each fuzz target for some seconds, from its seeds", || {
            match fuzz::obstacle(machine::is_root()?) {
                Some(obstacle) => Ok(Outcome::Skipped(obstacle)),
                None => fuzz::run(root, &fuzz::Options::default()).map(Outcome::from),
            }
        });
        conform(root, &mut tally)?;
        session::run(root, &workspace, private, &mut tally)?;
    }
    Ok(tally.close(options))
}

/// The conformance kit on our union, each suite on each transport, as far as there is time.
fn conform(root: &Path, tally: &mut Tally) -> Result<()> {
    let mica_fuse = conformance::build(root)?;
    for game in conformance::bounded() {
        tally.check("conformance", &game.name(), || match game.obstacle() {
            Some(obstacle) => Ok(Outcome::Skipped(obstacle)),
            None => game.play(root, &mica_fuse).map(Outcome::from),
        });
    }
    Ok(())
}

/// Goes on in a mount namespace of our own where that is allowed, so that no mount of a test outlives the run.
///
/// Returns whether we are in one; the first call replaces the process.
fn enter_private_mounts(options: Options) -> Result<bool> {
    const UNSHARE: [&str; 3] = ["--mount", "--propagation", "private"];
    if std::env::var_os(PRIVATE_MOUNTS).is_some() {
        return Ok(true);
    }
    let allowed = Command::new("unshare")
        .args(UNSHARE)
        .arg("true")
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !allowed {
        println!(
            "note: no private mount namespace here; tests mount where they stand and leftover mounts are not looked for"
        );
        return Ok(false);
    }
    let own = std::env::current_exe().context("cannot name this program")?;
    let error = Command::new("unshare")
        .args(UNSHARE)
        .arg(own)
        .arg("test")
        .args(options.flags())
        .env(PRIVATE_MOUNTS, "1")
        .exec();
    Err(error).context("cannot run unshare")
}

/// Runs a command of a toolchain component that a small installation lacks.
fn component(root: &Path, subcommand: &str, name: &str, command: &mut Command) -> Result<Outcome> {
    let here = cargo(root)
        .args([subcommand, "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if here {
        succeeds(command)
    } else {
        Ok(Outcome::Skipped(format!("this toolchain has no {name} (rustup component add {name})")))
    }
}

fn succeeds(command: &mut Command) -> Result<Outcome> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    Ok(status.success().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(failed: &[&str], skipped: &[&str]) -> Tally {
        Tally {
            passed: 1,
            failed: failed.iter().map(|name| (*name).to_owned()).collect(),
            skipped: skipped.iter().map(|name| ((*name).to_owned(), "reason".to_owned())).collect(),
        }
    }

    #[test]
    fn a_failure_fails_and_a_skip_fails_only_when_asked() {
        let strict = Options { no_skips: true, fast: false };
        assert!(tally(&[], &[]).close(strict));
        assert!(!tally(&[], &["a"]).close(strict));
        assert!(tally(&[], &["a"]).close(Options::default()));
        assert!(!tally(&["a"], &[]).close(Options::default()));
    }

    #[test]
    fn a_check_that_cannot_run_has_failed() {
        let mut tally = Tally::default();
        tally.check("a", "", || bail!("no such program"));
        tally.check("b", "", || Ok(Outcome::Failed));
        tally.check("c", "", || Ok(Outcome::Skipped("not here".to_owned())));
        tally.check("d", "", || Ok(Outcome::Passed));
        assert_eq!((tally.passed, tally.failed), (1, vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(tally.skipped, [("c".to_owned(), "not here".to_owned())]);
    }

    #[test]
    fn flags_survive_the_step_into_the_namespace() {
        for flags in [&[][..], &["--fast"], &["--no-skips"], &["--no-skips", "--fast"]] {
            let options = Options::parse(flags).unwrap();
            assert_eq!(options.flags().collect::<Vec<_>>(), flags);
        }
        assert!(Options::parse(&["--slow"]).is_err());
    }
}
