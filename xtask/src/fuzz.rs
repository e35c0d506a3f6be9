//! The fuzz targets, built with coverage by the stable compiler and run for a while each.
//!
//! `fuzz/` is a package for cargo-fuzz too; this needs neither cargo-fuzz nor a nightly compiler: LLVM's coverage pass is
//! asked for by name, as cargo-fuzz does with `--sanitizer none`. Memory errors are no concern of a tree whose unsafe code is
//! one crate of system calls; what is looked for are panics, overflows, endless loops, memory and broken promises.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;

use crate::workspace::cargo;

/// What makes LLVM count edges and tell comparisons; libFuzzer reads both.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";

/// Seconds that each target gets where nothing else is asked for. Ten of them stay within a minute.
const SECONDS: u32 = 4;

/// Targets that make owners, devices and marks of overlayfs as root does.
const AS_ROOT: [&str; 3] = ["recon", "store", "unpack"];

/// What the person who runs it asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    seconds: u32,
    /// All when empty.
    targets: Vec<String>,
}

impl Options {
    pub(crate) fn parse(flags: &[&str]) -> Result<Self> {
        let mut options = Self::default();
        let mut flags = flags.iter();
        while let Some(flag) = flags.next() {
            match *flag {
                "--seconds" => {
                    let value = flags.next().context("--seconds takes a number")?;
                    options.seconds =
                        value.parse().with_context(|| format!("--seconds takes a number, not {value:?}"))?;
                }
                flag if flag.starts_with('-') => bail!("fuzz takes --seconds N and names of targets, not {flag:?}"),
                target => options.targets.push(target.to_owned()),
            }
        }
        Ok(options)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self { seconds: SECONDS, targets: Vec::new() }
    }
}

/// Why nothing can be fuzzed here; `None` where it can.
pub(crate) fn obstacle(is_root: bool) -> Option<String> {
    if !runs("c++", &["--version"]) {
        return Some("libFuzzer is C++, and there is no c++ (Debian: g++)".to_owned());
    }
    (!is_root).then(|| format!("the targets {} need root", AS_ROOT.join(", ")))
}

fn runs(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

/// Builds the targets and runs them, as many at a time as there are processors; `false` when one found something, which is told.
pub(crate) fn run(root: &Path, options: &Options) -> Result<bool> {
    let built = build(root)?;
    let unknown = options.targets.iter().find(|name| !built.iter().any(|(target, _)| target == *name));
    if let Some(unknown) = unknown {
        let names: Vec<&str> = built.iter().map(|(name, _)| name.as_str()).collect();
        bail!("no fuzz target {unknown:?}; there are {}", names.join(", "));
    }
    let wanted: Vec<_> =
        built.iter().filter(|(name, _)| options.targets.is_empty() || options.targets.contains(name)).collect();
    let mut good = true;
    // Each has one thread, so that a processor is enough for it.
    let at_once = std::thread::available_parallelism().map_or(1, usize::from);
    for some in wanted.chunks(at_once) {
        let ended = std::thread::scope(|scope| {
            let running: Vec<_> = some
                .iter()
                .map(|(name, program)| scope.spawn(move || one(root, name, program, options.seconds)))
                .collect();
            running.into_iter().map(std::thread::ScopedJoinHandle::join).collect::<Vec<_>>()
        });
        for ended in ended {
            good &= ended.map_err(|_| anyhow!("the thread of a fuzz target ended early"))??;
        }
    }
    Ok(good)
}

/// One line of cargo's messages.
#[derive(Deserialize)]
struct Message {
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

fn build(root: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut command = cargo(&root.join("fuzz"));
    command.args([
        "build",
        "--quiet",
        "--locked",
        "--release",
        "--bins",
        "--message-format",
        "json-render-diagnostics",
    ]);
    // With a target named, flags are not for build scripts and macros, which would not link.
    command.args(["--target", &host()?]).arg("--target-dir").arg(root.join("target/fuzz"));
    command.env("RUSTFLAGS", COVERAGE).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().context("cannot run cargo build")?;
    if !output.status.success() {
        bail!("the fuzz targets do not build");
    }
    let mut built = Vec::new();
    for line in output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let message: Message = serde_json::from_slice(line).context("cargo's messages are not as expected")?;
        if let (Some(target), Some(executable)) = (message.target, message.executable) {
            built.push((target.name, executable));
        }
    }
    built.sort();
    Ok(built)
}

fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output().context("cannot run rustc")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc does not say what machine this is")
}

/// Runs one target. What it learns is kept in `fuzz/corpus/`, what it finds in `fuzz/artifacts/`.
fn one(root: &Path, name: &str, program: &Path, seconds: u32) -> Result<bool> {
    let (corpus, artifacts) = (root.join("fuzz/corpus").join(name), root.join("fuzz/artifacts").join(name));
    for folder in [&corpus, &artifacts] {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    // libFuzzer leaves by exit, so that no folder of a target is cleaned up by itself. Thousands of small files a second
    // are for memory.
    let place = ["/dev/shm", "/tmp"].into_iter().find(|place| Path::new(place).is_dir()).unwrap_or(".");
    let made = tempfile::Builder::new().prefix("mica-fuzz-").tempdir_in(place);
    let scratch = made.with_context(|| format!("cannot make a folder in {place}"))?;
    let output = Command::new(program)
        .current_dir(scratch.path())
        .args([&corpus, &root.join("fuzz/seeds").join(name)])
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(format!("-max_total_time={seconds}"))
        .args(["-max_len=20000", "-rss_limit_mb=768", "-timeout=20"])
        .env("TMPDIR", scratch.path())
        .stdin(Stdio::null())
        .output();
    scratch.close().context("cannot remove what a target left")?;
    let output = output.with_context(|| format!("cannot run {}", program.display()))?;
    let log = String::from_utf8_lossy(&output.stderr);
    let mut told = format!("    {name}: {}", summary(&log));
    if !output.status.success() {
        let found: Vec<&str> = log.lines().filter(|line| !line.starts_with('#')).collect();
        for line in found.get(found.len().saturating_sub(40)..).unwrap_or_default() {
            told.push('\n');
            told.push_str(line);
        }
    }
    // At once, since others are told of too.
    println!("{told}");
    Ok(output.status.success())
}

/// How many inputs were run, and how many edges they reached.
fn summary(log: &str) -> String {
    let edges = log.lines().rev().find_map(|line| line.split_once("cov: ")?.1.split(' ').next());
    let done = log.lines().rev().find(|line| line.starts_with("Done "));
    format!("{}, {} edges", done.unwrap_or("ended early"), edges.unwrap_or("no"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_seconds_and_names() {
        assert_eq!(Options::parse(&[]).unwrap(), Options::default());
        let some = Options { seconds: 60, targets: vec!["tar".to_owned(), "index".to_owned()] };
        assert_eq!(Options::parse(&["tar", "--seconds", "60", "index"]).unwrap(), some);
        assert!(Options::parse(&["--seconds"]).is_err());
        assert!(Options::parse(&["--seconds", "soon"]).is_err());
        assert!(Options::parse(&["--all"]).is_err());
    }

    #[test]
    fn a_log_is_told_in_one_line() {
        let log =
            "#2\tINITED cov: 7 ft: 7 corp: 1/1b\n#40\tNEW    cov: 8 ft: 8 corp: 2/5b\nDone 17 runs in 6 second(s)\n";
        assert_eq!(summary(log), "Done 17 runs in 6 second(s), 8 edges");
        assert_eq!(summary("==1== ERROR: libFuzzer: deadly signal"), "ended early, no edges");
    }

    /// A target without a seed starts from nothing, and one without an entry in the table is documented nowhere.
    #[test]
    fn every_target_has_seeds_and_a_line_in_the_table() {
        let root = crate::workspace::root().unwrap().join("fuzz");
        let table = std::fs::read_to_string(root.join("src/lib.rs")).unwrap();
        let mut targets = 0;
        for entry in std::fs::read_dir(root.join("fuzz_targets")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            assert!(std::fs::read_dir(root.join("seeds").join(name)).unwrap().count() > 0, "{name}");
            assert!(table.contains(&format!("[`{name}`]")) || table.contains(&format!("[`mod@{name}`]")), "{name}");
            targets += 1;
        }
        assert!(AS_ROOT.iter().all(|name| root.join("fuzz_targets").join(name).with_extension("rs").is_file()));
        // Ten of four seconds are within a minute.
        assert!(u64::from(SECONDS) * targets <= 60);
    }
}
