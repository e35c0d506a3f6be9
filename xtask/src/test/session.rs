//! The sessions of the README and of the guide, run as they stand there, so that no page can lie.
//!
//! A session is a ```` ```console ```` block. A line `$ …` is a command and goes on over lines that end in `\`; what
//! follows is what it prints on both outputs, where `…` stands for any text, and alone on a line for any lines. Sessions
//! use a store of their own.

use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::traces::Traces;
use super::{Outcome, Tally, machine};
use crate::tool;
use crate::workspace::Workspace;

/// Seconds after which a command of a session is ended.
const TIME_LIMIT: &str = "900";

/// One command of a session and what it prints.
#[derive(Debug, PartialEq, Eq)]
struct Turn {
    command: String,
    expected: Vec<String>,
}

/// Where the pages of the guide are.
const GUIDE: &str = "docs/guide";

/// Runs every session of the README at `root` and of the guide, the README's first: they build what the others use.
pub(super) fn run(root: &Path, workspace: &Workspace, private: bool, tally: &mut Tally) -> Result<()> {
    let outer = std::env::var_os("PATH").unwrap_or_default();
    let path = [workspace.target_directory.join("release")].into_iter().chain(std::env::split_paths(&outer));
    let path = std::env::join_paths(path).context("the target folder has a colon in its path")?;
    for page in pages(root)? {
        let text = std::fs::read_to_string(root.join(&page)).with_context(|| format!("cannot read {page}"))?;
        let sessions = sessions(&text).with_context(|| page.clone())?;
        if sessions.is_empty() && page == README {
            bail!("{page} has no session");
        }
        for (number, turns) in (1..).zip(&sessions) {
            let first = turns.first().map_or("", |turn| turn.command.as_str());
            tally.check(&format!("{page}, session {number}"), first, || {
                if let Some(reason) = missing(turns)? {
                    return Ok(Outcome::Skipped(reason));
                }
                play(root, path.as_ref(), private, turns).map(|()| Outcome::Passed)
            });
        }
    }
    Ok(())
}

const README: &str = "README.md";

/// The pages with sessions, by their paths from `root`: the README, then the guide's by name.
fn pages(root: &Path) -> Result<Vec<String>> {
    let guide = std::fs::read_dir(root.join(GUIDE)).context("cannot read the guide")?;
    let mut pages = Vec::new();
    for entry in guide {
        let name = entry.context("cannot read the guide")?.file_name();
        pages.extend(name.to_str().filter(|name| name.ends_with(".md")).map(|name| format!("{GUIDE}/{name}")));
    }
    pages.sort_unstable();
    Ok([README.to_owned()].into_iter().chain(pages).collect())
}

/// Why a session cannot run here.
fn missing(turns: &[Turn]) -> Result<Option<String>> {
    if !machine::is_root()? {
        return Ok(Some("needs root".to_owned()));
    }
    let programs = turns.iter().filter_map(|turn| turn.command.split_whitespace().next());
    let absent =
        programs.filter(|program| !["mica", "mica-fuse"].contains(program)).find(|program| !tool::on_path(program));
    Ok(absent.map(|program| format!("needs {program}")))
}

/// Carries out the turns of one session: in `root` when it starts cargo, else in an empty folder.
fn play(root: &Path, path: &OsStr, private: bool, turns: &[Turn]) -> Result<()> {
    let scratch =
        tempfile::Builder::new().prefix("mica-readme.").tempdir().context("cannot make a temporary folder")?;
    // Programs that give up root on the way, as apt does, look into their temporary folder too.
    std::fs::set_permissions(scratch.path(), Permissions::from_mode(0o755)).context("cannot open the folder to all")?;
    let folder = |name: &str| -> Result<PathBuf> {
        let folder = scratch.path().join(name);
        std::fs::create_dir(&folder).context("cannot make a temporary folder")?;
        Ok(folder)
    };
    let (store, run_root, tmp, work) = (folder("store")?, folder("run")?, folder("tmp")?, folder("work")?);
    let in_tree = turns.iter().any(|turn| turn.command.starts_with("cargo "));
    let traces = Traces::before(private, scratch.path(), &tmp)?;
    for turn in turns {
        // Into a file, not a pipe: a process that outlives its command would hold a pipe open.
        let output = scratch.path().join("output");
        let both = File::create(&output).context("cannot make the output file")?;
        // timeout makes a process group: a program that signals its whole group, as mmdebstrap does when its reader is
        // gone, must not reach us.
        let status = Command::new("timeout")
            .args(["-k", "10", TIME_LIMIT, "bash", "-o", "pipefail", "-c", &turn.command])
            .current_dir(if in_tree { root } else { &work })
            .env("PATH", path)
            .env("TMPDIR", &tmp)
            .env("MICA_ROOT", &store)
            .env("MICA_RUN_ROOT", &run_root)
            .env("CARGO_TERM_QUIET", "true")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stderr(both.try_clone().context("cannot share the output file")?)
            .stdout(both)
            .status()
            .context("cannot run timeout")?;
        let printed = String::from_utf8_lossy(&std::fs::read(&output).context("cannot read the output")?).into_owned();
        if !status.success() {
            bail!("$ {}\n{printed}ended with {status}", turn.command);
        }
        let printed_lines: Vec<&str> = printed.lines().collect();
        let expected: Vec<&str> = turn.expected.iter().map(String::as_str).collect();
        if !shows(&expected, &printed_lines) {
            bail!("$ {}\nprinted\n{printed}where the page says\n{}", turn.command, expected.join("\n"));
        }
    }
    let left = traces.left()?;
    if !left.is_empty() {
        bail!("{}", left.join("\n    "));
    }
    Ok(())
}

/// The sessions of a text, in order.
fn sessions(text: &str) -> Result<Vec<Vec<Turn>>> {
    let mut sessions = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line != "```console" {
            continue;
        }
        let mut turns: Vec<Turn> = Vec::new();
        let mut goes_on = false;
        for line in lines.by_ref().take_while(|line| *line != "```") {
            match (line.strip_prefix("$ "), turns.last_mut()) {
                (None, Some(turn)) if goes_on => {
                    turn.command.push('\n');
                    turn.command.push_str(line);
                }
                (Some(command), _) => turns.push(Turn { command: command.to_owned(), expected: Vec::new() }),
                (None, Some(turn)) => turn.expected.push(line.to_owned()),
                (None, None) => bail!("a session starts with a command, not with {line:?}"),
            }
            goes_on = line.ends_with('\\') && (goes_on || line.starts_with("$ "));
        }
        sessions.push(turns);
    }
    Ok(sessions)
}

/// Whether the printed lines are the expected ones, `…` standing for any.
fn shows(expected: &[&str], printed: &[&str]) -> bool {
    match (expected.split_first(), printed.split_first()) {
        (None, None) => true,
        (Some((&"…", rest)), _) => {
            (0..=printed.len()).any(|skip| shows(rest, printed.get(skip..).unwrap_or_default()))
        }
        (Some((first, rest)), Some((line, lines))) => line_shows(first, line) && shows(rest, lines),
        _ => false,
    }
}

fn line_shows(expected: &str, line: &str) -> bool {
    let Some((start, rest)) = expected.split_once('…') else {
        return expected == line;
    };
    line.strip_prefix(start).is_some_and(|line| {
        line.char_indices()
            .map(|(at, _)| at)
            .chain([line.len()])
            .any(|at| line.get(at..).is_some_and(|line| line_shows(rest, line)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_commands_with_what_they_print() {
        let text = "# T\n```console\n$ a \\\n  b\none\n\ntwo\n$ c\n```\n```sh\n$ no\n```\n```console\n$ d\n```\n";
        let turn = |command: &str, expected: &[&str]| Turn {
            command: command.to_owned(),
            expected: expected.iter().map(|line| (*line).to_owned()).collect(),
        };
        assert_eq!(
            sessions(text).unwrap(),
            [vec![turn("a \\\n  b", &["one", "", "two"]), turn("c", &[])], vec![turn("d", &[])]]
        );
        assert!(sessions("```console\nprose\n```\n").is_err());
    }

    #[test]
    fn the_readme_comes_first_and_then_every_page_of_the_guide() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join(GUIDE)).unwrap();
        for name in ["two.md", "one.md", "picture.svg"] {
            std::fs::write(root.path().join(GUIDE).join(name), "").unwrap();
        }
        assert_eq!(pages(root.path()).unwrap(), [README, "docs/guide/one.md", "docs/guide/two.md"]);
    }

    #[test]
    fn printed_lines_are_held_against_the_page() {
        for (expected, printed, same) in [
            (&["a", "b"][..], &["a", "b"][..], true),
            (&["a"], &["a", "b"], false),
            (&["a", "b"], &["a"], false),
            (&["…", "b"], &["x", "y", "b"], true),
            (&["…"], &[], true),
            (&["…", "b"], &["x"], false),
            (&["a…c"], &["abbc"], true),
            (&["a…c…"], &["abcbcd"], true),
            (&["a…c"], &["abcd"], false),
            (&["…c"], &["ab"], false),
        ] {
            assert_eq!(shows(expected, printed), same, "{expected:?} {printed:?}");
        }
    }

    #[test]
    fn a_turn_that_fails_or_prints_something_else_fails_its_session() {
        let play_one = |command: &str, expected: &[&str]| {
            let expected = expected.iter().map(|line| (*line).to_owned()).collect();
            let turns = [Turn { command: command.to_owned(), expected }];
            play(Path::new("/"), "/usr/bin:/bin".as_ref(), false, &turns)
        };
        play_one("echo out; echo err >&2; pwd", &["out", "err", "…/work"]).unwrap();
        assert!(play_one("false | true", &[]).is_err());
        assert!(play_one("echo a", &["b"]).is_err());
    }
}
