//! Man pages and completions, made from the one definition of the command line.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::args::Cli;

/// Prints a completion script.
pub(crate) fn completion(shell: Shell, out: &mut dyn std::io::Write) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "mica", &mut script);
    out.write_all(&script)?;
    Ok(())
}

/// Writes `man/` and `completions/` into a directory.
pub(crate) fn all(directory: &Path) -> Result<()> {
    let (man, completions) = (directory.join("man"), directory.join("completions"));
    for path in [&man, &completions] {
        fs::create_dir_all(path).with_context(|| format!("make {path:?}"))?;
    }
    clap_mangen::generate_to(Cli::command(), &man).with_context(|| format!("write man pages into {man:?}"))?;
    for (shell, name) in [(Shell::Bash, "mica.bash"), (Shell::Zsh, "_mica"), (Shell::Fish, "mica.fish")] {
        let mut script = Vec::new();
        completion(shell, &mut script)?;
        write(&completions.join(name), &script)?;
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("write {path:?}"))
}
