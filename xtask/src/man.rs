//! Man pages and shell completions: made by the command line from its own definition, committed under `docs/`.
//!
//! Each program writes `DIR/man` and `DIR/completions` when it is asked to; each of the two folders under `docs/` is wholly made.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::{Findings, workspace};

/// The programs: package, name, and the word that asks for their pages.
const PROGRAMS: [(&str, &str, &str); 2] =
    [("mica-cli", "mica", "__generate"), ("mica-fuse", "mica-fuse", "--__generate")];

/// The folders that they make.
const FOLDERS: [&str; 2] = ["man", "completions"];

/// Makes the folders under `docs/` anew.
pub(crate) fn write(root: &Path) -> Result<()> {
    let made = made(root)?;
    for folder in FOLDERS {
        let committed = root.join("docs").join(folder);
        for name in read_folder(&committed)?.keys() {
            let stale = committed.join(name);
            std::fs::remove_file(&stale).with_context(|| format!("cannot remove {}", stale.display()))?;
        }
        std::fs::create_dir_all(&committed).with_context(|| format!("cannot make {}", committed.display()))?;
    }
    for (path, text) in made {
        let path = root.join("docs").join(path);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Holds what is committed under `docs/` against what the command line makes now.
pub(crate) fn check(root: &Path) -> Result<Findings> {
    let committed = read_folders(&root.join("docs"))?;
    Ok(compare(&made(root)?, &committed))
}

type Files = BTreeMap<PathBuf, Vec<u8>>;

fn compare(made: &Files, committed: &Files) -> Findings {
    let mut found = Findings::default();
    for (path, text) in made {
        let path_shown = path.display();
        match committed.get(path) {
            None => found.problem(format!("docs/{path_shown} is missing: run cargo xtask man")),
            Some(old) if old != text => found.problem(format!("docs/{path_shown} is out of date: run cargo xtask man")),
            Some(_) => {}
        }
    }
    for path in committed.keys().filter(|path| !made.contains_key(*path)) {
        found.problem(format!("docs/{} is made by nothing: run cargo xtask man", path.display()));
    }
    found
}

/// Has the programs write their pages into a folder that is dropped again.
fn made(root: &Path) -> Result<Files> {
    let dir = tempfile::tempdir().context("cannot make a temporary folder")?;
    for (package, program, word) in PROGRAMS {
        let before = read_folders(dir.path())?.len();
        let status = workspace::cargo(root)
            .args(["run", "--quiet", "--package", package, "--bin", program, "--", word])
            .arg(dir.path())
            .stdin(Stdio::null())
            .status()
            .with_context(|| format!("cannot run {program}"))?;
        if !status.success() {
            bail!("{program} {word} ended with {status}");
        }
        if read_folders(dir.path())?.len() == before {
            bail!("{program} {word} wrote no page");
        }
    }
    read_folders(dir.path())
}

fn read_folders(dir: &Path) -> Result<Files> {
    let mut files = Files::new();
    for folder in FOLDERS {
        for (name, text) in read_folder(&dir.join(folder))? {
            files.insert(Path::new(folder).join(name), text);
        }
    }
    Ok(files)
}

/// The files of a folder; none where there is no folder.
fn read_folder(dir: &Path) -> Result<Files> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Files::new()),
        entries => entries.with_context(|| format!("cannot list {}", dir.display()))?,
    };
    let mut files = Files::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", dir.display()))?;
        let text = std::fs::read(entry.path()).with_context(|| format!("cannot read {}", entry.path().display()))?;
        files.insert(entry.file_name().into(), text);
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(of: &[(&str, &str)]) -> Files {
        of.iter().map(|(path, text)| (PathBuf::from(path), text.as_bytes().to_vec())).collect()
    }

    #[test]
    fn a_page_that_is_missing_stale_or_left_over_is_named() {
        let made = files(&[("man/a.1", "a"), ("man/b.1", "new"), ("man/c.1", "c")]);
        let committed = files(&[("man/b.1", "old"), ("man/c.1", "c"), ("man/d.1", "d")]);
        assert_eq!(
            compare(&made, &committed).problems,
            [
                "docs/man/a.1 is missing: run cargo xtask man",
                "docs/man/b.1 is out of date: run cargo xtask man",
                "docs/man/d.1 is made by nothing: run cargo xtask man",
            ]
        );
        assert_eq!(compare(&made, &made).problems, Vec::<String>::new());
    }
}
