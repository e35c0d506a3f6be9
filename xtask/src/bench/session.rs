//! The session: the folders that a run of the bench works in, the programs it finds, and how much it does.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::line::Line;
use super::runner;

/// A program that is not installed; says how it would be.
#[derive(Debug)]
pub(super) struct Absent(pub(super) String);

impl std::fmt::Display for Absent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Absent {}

/// Where things are, and how much is done.
#[derive(Debug)]
pub(super) struct Session {
    /// What is kept between runs: images, tools, fetched peers, results.
    pub(super) home: PathBuf,
    /// The `mica` that is measured.
    mica: PathBuf,
    pub(super) quick: bool,
}

impl Session {
    /// Of a target directory and a built `mica`. Nothing is left in the work folder.
    pub(super) fn new(target: &Path, mica: PathBuf, quick: bool) -> Result<Self> {
        let session = Self { home: target.join("bench"), mica, quick };
        session.clear()?;
        Ok(session)
    }

    /// Empties the work folder, which holds the stores of all contenders.
    pub(super) fn clear(&self) -> Result<()> {
        runner::empty(&self.work())
    }

    pub(super) fn work(&self) -> PathBuf {
        self.home.join("work")
    }

    /// A folder of that name in the work folder, made where it is missing.
    pub(super) fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.work().join(name);
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }

    /// How often what takes seconds is run.
    pub(super) const fn slow_rounds(&self) -> usize {
        if self.quick { 1 } else { 3 }
    }

    /// How often what takes milliseconds is run.
    pub(super) const fn fast_rounds(&self) -> usize {
        if self.quick { 5 } else { 21 }
    }

    /// Of sizes in rising order, those that are measured.
    pub(super) fn sizes<'a>(&self, sizes: &'a [u64]) -> &'a [u64] {
        let last = sizes.len().saturating_sub(usize::from(self.quick));
        sizes.get(..last).unwrap_or_default()
    }

    /// `mica` on a store in `folder`.
    pub(super) fn mica(&self, folder: &Path) -> Line {
        let line = Line::new(&self.mica);
        line.arg("--root").path(folder.join("store")).arg("--run-root").path(folder.join("run"))
    }

    /// The program that is measured.
    pub(super) fn mica_program(&self) -> &Path {
        &self.mica
    }

    /// Where `cargo xtask bench --fetch` puts programs.
    pub(super) fn fetched(&self) -> PathBuf {
        self.home.join("peers")
    }

    /// A program: a fetched one, or one on the path.
    ///
    /// # Errors
    /// [`Absent`] names the Debian package that has it.
    pub(super) fn program(&self, name: &str, package: &str) -> Result<Line> {
        let fetched = self.fetched();
        if let Some(program) =
            ["usr/bin", "usr/sbin"].map(|dir| fetched.join(dir).join(name)).into_iter().find(|p| p.is_file())
        {
            let libraries = fetched.join("usr/lib").join(format!("{}-linux-gnu", std::env::consts::ARCH));
            return Ok(Line::new(program).env("LD_LIBRARY_PATH", libraries));
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .chain(["/usr/sbin".into(), "/sbin".into()])
            .map(|folder| folder.join(name))
            .find(|program| program.is_file())
            .map(Line::new)
            .ok_or_else(|| Absent(format!("apt-get install {package}")).into())
    }
}
