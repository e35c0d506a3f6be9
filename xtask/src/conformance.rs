//! The conformance kit (`conformance/`) played on unions, each result held against what is expected of it.
//!
//! A suite is a driver script of the kit, a subject a union that a shell command mounts. What a subject should score in a suite
//! stands in a [table](expected), with the names of what fails: a result that is better fails the run as one that is worse does.

mod expected;
mod ring;
mod subjects;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::tool;
use crate::workspace::cargo;
use expected::{Expected, Failing};
use ring::RingOn;
use subjects::Subject;

/// The release of pjdfstest that the table is of.
const PJDFSTEST: &str = "0.2.2";

pub(crate) const HELP: &str = "\
usage: cargo xtask conformance [SUITE…] [--subject NAME | --transport device|ring]… [--user] [--full] [--keep]

  SUITE           pjd, copyup, stress; all unless named
  --subject NAME  mica (by /dev/fuse), mica-ring (by io_uring), overlay, overlay-full, fuse-overlayfs, unionfs-fuse or ext4;
                  ours by each transport unless named
  --user          as an ordinary user, root of a user namespace of its own
  --full          stressors run for five seconds instead of one, and all of them by each transport
  --keep          directories and logs stay where they are, and their place is told";

/// A part of the kit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suite {
    /// pjdfstest: what each system call must do and refuse.
    Pjd,
    /// What a copy-up can break.
    Copyup,
    /// stress-ng's stressors of file systems.
    Stress,
}

impl Suite {
    const ALL: [Self; 3] = [Self::Pjd, Self::Copyup, Self::Stress];

    const fn name(self) -> &'static str {
        match self {
            Self::Pjd => "pjd",
            Self::Copyup => "copyup",
            Self::Stress => "stress",
        }
    }

    const fn script(self) -> &'static str {
        match self {
            Self::Pjd => "conf-pjd-rs",
            Self::Copyup => "conf-copyup",
            Self::Stress => "conf-stress",
        }
    }

    /// Programs without which it cannot be played.
    const fn needs(self) -> &'static [&'static str] {
        match self {
            Self::Pjd => &["mount"],
            Self::Copyup => &["python3", "setfattr", "setfacl"],
            Self::Stress => &["stress-ng"],
        }
    }
}

/// What the person who runs it asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// All when empty.
    suites: Vec<Suite>,
    /// Ours when empty.
    subjects: Vec<&'static str>,
    user: bool,
    full: bool,
    keep: bool,
}

impl Options {
    pub(crate) fn parse(words: &[&str]) -> Result<Self> {
        let mut options = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--subject" => {
                    let name = words.next().context("--subject takes a name")?;
                    options.subjects.push(subjects::named(name)?.name);
                }
                "--transport" => match words.next() {
                    Some(&"device") => options.subjects.push(subjects::OURS[0].name),
                    Some(&"ring") => options.subjects.push(subjects::OURS[1].name),
                    _ => bail!("--transport takes device or ring"),
                },
                "--user" => options.user = true,
                "--full" => options.full = true,
                "--keep" => options.keep = true,
                flag if flag.starts_with('-') => bail!("conformance takes no {flag:?}\n{HELP}"),
                name => match Suite::ALL.into_iter().find(|suite| suite.name() == name) {
                    Some(suite) => options.suites.push(suite),
                    None => bail!("no suite {name:?}; there are pjd, copyup and stress"),
                },
            }
        }
        Ok(options)
    }
}

/// Plays what was asked for, one after the other; `false` when a result is not the expected one.
pub(crate) fn run(root: &Path, options: &Options) -> Result<bool> {
    let subjects = subjects::asked(&options.subjects);
    let mica_fuse = if subjects.iter().any(|subject| subject.is_ours()) { build(root)? } else { PathBuf::new() };
    let mut good = true;
    for subject in subjects {
        for suite in Suite::ALL {
            if options.suites.is_empty() || options.suites.contains(&suite) {
                let game = Game { suite, subject, user: options.user, full: options.full, keep: options.keep };
                if let Some(obstacle) = game.obstacle() {
                    bail!("{}: {obstacle}", game.name());
                }
                good &= game.play(root, &mica_fuse)?;
            }
        }
    }
    Ok(good)
}

/// What continuous integration has time for: every suite on ours by each transport, of the stressors all by one of them; and the two quick
/// suites as an ordinary user.
pub(crate) fn bounded() -> Vec<Game> {
    let game = |suite, subject, user| Game { suite, subject, user, full: false, keep: false };
    let by_root =
        Suite::ALL.into_iter().flat_map(|suite| subjects::OURS.iter().map(move |ours| game(suite, ours, false)));
    let by_user = [Suite::Pjd, Suite::Copyup].into_iter().map(|suite| game(suite, &subjects::OURS[0], true));
    by_root.chain(by_user).collect()
}

/// Builds our command line, as the tests do.
pub(crate) fn build(root: &Path) -> Result<PathBuf> {
    let status = cargo(root)
        .args(["build", "--quiet", "--package", "mica-fuse"])
        .stdin(Stdio::null())
        .status()
        .context("cannot run cargo build")?;
    if !status.success() {
        bail!("mica-fuse does not build");
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(target.join("debug/mica-fuse"))
}

/// One suite on one subject.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Game {
    suite: Suite,
    subject: &'static Subject,
    user: bool,
    full: bool,
    keep: bool,
}

impl Game {
    /// As a person would name it.
    pub(crate) fn name(&self) -> String {
        let user = if self.user { ", as a user" } else { "" };
        format!("{} on {}{user}", self.suite.name(), self.subject.name)
    }

    /// Why it cannot be played here; `None` where it can.
    pub(crate) fn obstacle(&self) -> Option<String> {
        let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
        if !is_root {
            return Some("the suites need root".to_owned());
        }
        let user: &[&str] = if self.user { &["newuidmap", "setpriv"] } else { &[] };
        let missing =
            self.suite.needs().iter().chain(self.subject.needs).chain(user).find(|program| !tool::on_path(program));
        if let Some(program) = missing {
            return Some(format!("{program} is not installed"));
        }
        if self.subject.ring && !ring::is_here() {
            return Some("this kernel has no FUSE over io_uring".to_owned());
        }
        None
    }

    /// Plays it, tells what came out, and whether that is what the table says.
    pub(crate) fn play(&self, root: &Path, mica_fuse: &Path) -> Result<bool> {
        let kit = root.join("conformance");
        let base = tempfile::Builder::new().prefix("mica-conformance.").tempdir().context("cannot make a folder")?;
        // An ordinary user passes through here to a folder of its own.
        std::fs::set_permissions(base.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711))
            .context("cannot open the folder")?;
        let mut command = Command::new(kit.join(self.suite.script()));
        command.arg("--mount").arg(self.subject.template(self.user, mica_fuse, base.path())?);
        command.arg("--base").arg(base.path().join("base"));
        command.args(self.user.then_some("--user")).args(self.keep.then_some("--keep"));
        match self.suite {
            Suite::Pjd => {
                let program = match tool::ours(root, "pjdfstest") {
                    program if tool::version(&program, "pjdfstest").as_deref() == Some(PJDFSTEST) => program,
                    _ => tool::install(root, "pjdfstest", PJDFSTEST)?,
                };
                let copy = base.path().join("pjdfstest");
                std::fs::copy(&program, &copy).with_context(|| format!("cannot copy {}", program.display()))?;
                command.env("PJD", copy);
            }
            Suite::Copyup => {}
            Suite::Stress => {
                command.env("STRESS_SECS", if self.full { "5" } else { "1" });
                command.args(self.stressors());
            }
        }
        let _ring = if self.subject.ring { Some(RingOn::new()?) } else { None };
        let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
        let output = output.with_context(|| format!("cannot run {}", command.get_program().display()))?;
        if self.keep {
            println!("    kept: {}", base.keep().display());
        }
        let said = String::from_utf8_lossy(&output.stdout);
        let Some(found) = Found::read(&said) else {
            println!("    {}: ended with {} and no count\n{said}", self.name(), output.status);
            return Ok(false);
        };
        println!(
            "    {}: {} passed, {} failed, {} skipped",
            self.name(),
            found.passed,
            found.failed.len(),
            found.skipped
        );
        let wanted = expected::of(self.suite, self.subject.name, self.user);
        let complaints = match wanted {
            Some(wanted) => found.differs_from(wanted, self.stressors().len()),
            None => vec!["nothing is expected of it yet: xtask/src/conformance/expected.rs".to_owned()],
        };
        for line in complaints.iter().chain(found.reasons.iter().filter(|_| !complaints.is_empty())) {
            println!("        {line}");
        }
        Ok(complaints.is_empty())
    }

    /// The stressors to play; all where it names none.
    fn stressors(&self) -> &'static [&'static str] {
        let bounded = self.suite == Suite::Stress && self.subject.ring && !self.full;
        if bounded { &expected::FEW_STRESSORS } else { &[] }
    }
}

/// What a driver script said.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    passed: usize,
    failed: BTreeSet<String>,
    skipped: usize,
    /// Lines that say why something failed or was skipped.
    reasons: Vec<String>,
}

impl Found {
    /// Reads the lines `FAIL name why`, `SKIP name why` and the count at the end.
    fn read(said: &str) -> Option<Self> {
        let mut found = Self::default();
        for line in said.lines() {
            if let Some(name) = line.strip_prefix("FAIL ").and_then(|rest| rest.split_whitespace().next()) {
                found.failed.insert(name.to_owned());
            }
            if line.starts_with("FAIL ") || line.starts_with("SKIP ") {
                found.reasons.push(line.to_owned());
            }
        }
        let last = said.lines().rev().find(|line| line.ends_with(" skipped"))?;
        let mut numbers = last.split(", ").filter_map(|part| part.split(' ').next()?.parse::<usize>().ok());
        let (passed, failed, skipped) = (numbers.next()?, numbers.next()?, numbers.next()?);
        (found.passed, found.skipped) = (passed, skipped);
        (found.failed.len() == failed).then_some(found)
    }

    /// In what it is not as it should be. Where only some of a suite were played (`bounded` of them), there is no count to hold it against.
    fn differs_from(&self, wanted: &Expected, bounded: usize) -> Vec<String> {
        let mut lines = Vec::new();
        let mut count = |what: &str, wanted: usize, found: usize| {
            if wanted != found {
                lines.push(format!("{what}: {found}, and {wanted} are expected"));
            }
        };
        if bounded == 0 {
            count("passed", wanted.passed, self.passed);
            count("skipped", wanted.skipped, self.skipped);
        } else {
            count("passed of the few", bounded, self.passed);
        }
        match wanted.failing {
            Failing::Count(number) => count("failed", number, self.failed.len()),
            Failing::Devices(number) => {
                count("failed", number, self.failed.len());
                let others = self.failed.iter().filter(|name| !Failing::makes_device(name));
                lines.extend(others.map(|name| format!("{name} fails, and makes no device")));
            }
            Failing::These(names) => {
                let worse = self.failed.iter().filter(|name| !names.contains(&name.as_str()));
                lines.extend(worse.map(|name| format!("{name} fails")));
                let better = names.iter().filter(|name| bounded == 0 && !self.failed.contains(**name));
                lines.extend(
                    better.map(|name| format!("{name} passes: say so in the table and in docs/conformance.md")),
                );
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "ok   a\nFAIL b - stale mapping\nSKIP c (rc=1)\nend\n1 passed, 1 failed, 1 skipped\n";

    fn wanted(passed: usize, names: &'static [&'static str]) -> Expected {
        Expected { suite: Suite::Copyup, subject: "x", user: false, passed, failing: Failing::These(names), skipped: 1 }
    }

    #[test]
    fn a_result_is_read_and_one_without_its_count_is_none() {
        let found = Found::read(SAID).unwrap();
        assert_eq!((found.passed, found.skipped, found.reasons.len()), (1, 1, 2));
        assert_eq!(found.failed.iter().collect::<Vec<_>>(), ["b"]);
        assert_eq!(Found::read("FAIL b\n"), None);
        assert_eq!(Found::read("1 passed, 2 failed, 0 skipped\n"), None, "a failure without a name");
    }

    #[test]
    fn better_and_worse_both_differ() {
        let found = Found::read(SAID).unwrap();
        assert!(found.differs_from(&wanted(1, &["b"]), 0).is_empty());
        assert_eq!(found.differs_from(&wanted(1, &[]), 0), ["b fails"]);
        assert_eq!(found.differs_from(&wanted(1, &["b", "d"]), 0).len(), 1);
        assert_eq!(found.differs_from(&wanted(0, &["b"]), 0), ["passed: 1, and 0 are expected"]);
        assert_eq!(found.differs_from(&wanted(9, &["b"]), 1), Vec::<String>::new());
    }

    #[test]
    fn what_makes_no_device_is_not_among_what_may_fail_for_it() {
        let wanted = Expected { failing: Failing::Devices(2), ..wanted(3, &[]) };
        let found = |names: [&str; 2]| Found {
            passed: 3,
            failed: names.map(str::to_owned).into(),
            skipped: 1,
            reasons: Vec::new(),
        };
        assert!(found(["mknod::device_files::char", "open::x::block"]).differs_from(&wanted, 0).is_empty());
        let complaints = found(["open::x::char", "open::x::block"]).differs_from(&wanted, 0);
        assert_eq!(complaints, ["open::x::char fails, and makes no device"]);
    }

    #[test]
    fn words_are_suites_and_subjects_of_the_tables() {
        assert_eq!(Options::parse(&[]).unwrap(), Options::default());
        let options = Options::parse(&["pjd", "--subject", "overlay", "--transport", "ring", "--user"]).unwrap();
        assert_eq!((options.suites, options.subjects), (vec![Suite::Pjd], vec!["overlay", "mica-ring"]));
        for words in [&["xfs"][..], &["--subject"], &["--subject", "ntfs"], &["--transport", "pigeon"], &["--fast"]] {
            assert!(Options::parse(words).is_err(), "{words:?}");
        }
    }

    /// A game that nothing is expected of would fail each time.
    #[test]
    fn something_is_expected_of_each_game_of_continuous_integration() {
        for game in bounded() {
            assert!(expected::of(game.suite, game.subject.name, game.user).is_some(), "{}", game.name());
        }
        for wanted in expected::ALL {
            assert!(subjects::named(wanted.subject).is_ok(), "{}", wanted.subject);
        }
    }
}
