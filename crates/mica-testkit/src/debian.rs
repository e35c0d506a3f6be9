//! A Debian as people have it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A Debian as mmdebstrap makes it, as a tar in `home`, which is `CARGO_TARGET_TMPDIR`. Made once and kept with the build.
///
/// # Errors
/// Why there is none.
pub fn debian_tar(home: &Path) -> Result<PathBuf, String> {
    let tar = home.join("debian-bookworm.tar");
    let lock = File::create(home.join("debian-bookworm.lock")).unwrap();
    lock.lock().unwrap();
    if tar.exists() {
        return Ok(tar);
    }
    let part = home.join("debian-bookworm.part");
    let made = Command::new("timeout")
        .args(["-k", "10", "600", "mmdebstrap", "--quiet", "--variant=minbase", "bookworm", "-"])
        .stdout(File::create(&part).unwrap())
        .output()
        .unwrap();
    if !made.status.success() {
        return Err(format!("mmdebstrap made no Debian: {}", String::from_utf8_lossy(&made.stderr)));
    }
    fs::rename(&part, &tar).unwrap();
    Ok(tar)
}
