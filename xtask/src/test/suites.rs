//! The test binaries of the workspace, built at once and run one after the other, the quick rooms first.
//!
//! Each has a temporary folder of its own. A binary that leaves a file there, a mount or a process has failed.

use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::libtest::Report;
use super::traces::Traces;
use super::{Options, Outcome, Tally};
use crate::workspace::{Workspace, cargo};

/// The order in which rooms are tested; what is not named comes last.
const ORDER: [&str; 13] = [
    "xtask",
    "mica-core",
    "mica-sys",
    "mica-layer",
    "mica-transport",
    "mica-testkit",
    "mica-union",
    "mica-store",
    "mica-runtime",
    "mica-engine",
    "mica-build",
    "mica-fuse",
    "mica-cli",
];

/// Seconds after which a test binary is ended: it hangs.
const TIME_LIMIT: &str = "1200";

/// The file in which a test that skips itself leaves a line `crate::test: reason`, by the testkit's gates.
const SKIPS: &str = "MICA_TEST_SKIPS";

/// One line of cargo's messages.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    manifest_path: PathBuf,
    target: Option<Target>,
    profile: Option<Profile>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// One test binary.
#[derive(Debug, PartialEq, Eq)]
struct Suite {
    /// Position in [`ORDER`].
    rank: usize,
    /// Crate and target, as a person would name them.
    name: String,
    dir: PathBuf,
    program: PathBuf,
}

/// Builds and runs every test of the workspace.
pub(super) fn run(
    root: &Path,
    workspace: &Workspace,
    private: bool,
    options: Options,
    tally: &mut Tally,
) -> Result<()> {
    let mut suites = Vec::new();
    tally.check("build", "cargo test --workspace --no-run", || {
        let output = cargo(root)
            .args(["test", "--quiet", "--workspace", "--no-run", "--message-format", "json-render-diagnostics"])
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run cargo test")?;
        suites = found(workspace, &String::from_utf8_lossy(&output.stdout));
        Ok(output.status.success().into())
    });
    for suite in &suites {
        let mut command = Command::new("timeout");
        command.args(["-k", "10", TIME_LIMIT]).arg(&suite.program);
        command.current_dir(&suite.dir).env("CARGO_MANIFEST_DIR", &suite.dir);
        run_one(&suite.name, command, private, tally)?;
    }
    if suites.iter().all(|suite| suite.rank == 0) {
        tally.check("tests", "the rooms have tests", || Ok(Outcome::Failed));
    } else if !options.fast {
        let mut command = cargo(root);
        command.args(["test", "--workspace", "--doc"]);
        run_one("doc tests", command, private, tally)?;
    }
    Ok(())
}

/// The test binaries that cargo tells of, in the order in which they are run.
fn found(workspace: &Workspace, messages: &str) -> Vec<Suite> {
    let mut suites: Vec<Suite> = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter(|message| message.reason == "compiler-artifact")
        .filter(|message| message.profile.as_ref().is_some_and(|profile| profile.test))
        .filter_map(|message| {
            let package = workspace.packages.iter().find(|package| package.manifest_path == message.manifest_path)?;
            let (target, program) = (message.target?, message.executable?);
            let kind = target.kind.first().map_or("", String::as_str);
            Some(Suite {
                rank: ORDER.iter().position(|room| *room == package.name).unwrap_or(ORDER.len()),
                name: format!("{} {kind} {}", package.name, target.name),
                dir: package.dir().to_path_buf(),
                program,
            })
        })
        .collect();
    suites.sort_by(|a, b| (a.rank, &a.name).cmp(&(b.rank, &b.name)));
    suites
}

/// Runs one test binary and adds what it says to the count; its output is shown when it failed.
fn run_one(name: &str, mut command: Command, private: bool, tally: &mut Tally) -> Result<()> {
    println!("==> tests: {name}");
    let scratch = tempfile::Builder::new().prefix("mica-test.").tempdir().context("cannot make a temporary folder")?;
    // Tests work as other users, too, who pass through here to a folder of their own.
    std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o711))
        .context("cannot open the temporary folder")?;
    let (output, skips, tmp) =
        (scratch.path().join("output"), scratch.path().join("skips"), scratch.path().join("tmp"));
    std::fs::create_dir(&tmp).context("cannot make a temporary folder")?;
    let traces = Traces::before(private, scratch.path(), &tmp)?;
    let since = Instant::now();

    // Into a file, not a pipe: a process that outlives its test would hold a pipe open.
    let both = File::create(&output).context("cannot make the output file")?;
    let status = command
        .env(SKIPS, &skips)
        .env("TMPDIR", &tmp)
        .stdin(Stdio::null())
        .stderr(both.try_clone().context("cannot share the output file")?)
        .stdout(both)
        .status()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;

    let seconds = since.elapsed().as_secs_f64();
    let text = String::from_utf8_lossy(&std::fs::read(&output).context("cannot read the output")?).into_owned();
    let skips = std::fs::read_to_string(&skips).unwrap_or_default();
    let mut report = judged(&text, &skips, status);
    report.failed.extend(traces.left()?.iter().map(|trace| format!("({trace})")));

    println!(
        "    {} passed, {} failed, {} skipped, {seconds:.1} s",
        report.passed,
        report.failed.len(),
        report.skipped.len()
    );
    if !report.failed.is_empty() {
        println!("{text}");
    }
    let full = |test: &str| format!("{name}: {test}");
    tally.passed += report.passed;
    tally.failed.extend(report.failed.iter().map(|test| full(test)));
    tally.skipped.extend(report.skipped.into_iter().map(|(test, reason)| (full(&test), reason)));
    Ok(())
}

/// What a test binary's output and end say together. No end but a good one is good.
fn judged(output: &str, skips: &str, status: ExitStatus) -> Report {
    let mut report = Report::read(output, skips).unwrap_or_else(|| Report {
        failed: vec![format!("(ended before its summary: {status})")],
        ..Report::default()
    });
    if !status.success() && report.failed.is_empty() {
        report.failed.push(format!("(ended after its summary: {status})"));
    }
    report
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    const GOOD: &str = "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n";

    /// A table of what is tested that names a test of old says less than none.
    #[test]
    fn every_test_that_the_table_of_layer_tars_names_is_there() {
        let root = crate::workspace::root().unwrap();
        let table = std::fs::read_to_string(root.join("docs/design/0006-layer-tar-tests.md")).unwrap();
        let mut code = String::new();
        for path in crate::arch::rust_files(&root.join("crates")).unwrap() {
            code.push_str(&std::fs::read_to_string(&path).unwrap());
        }
        let rows = table.lines().filter(|line| line.starts_with('|'));
        let last = rows.filter_map(|row| row.rsplit('|').nth(1));
        let names: Vec<&str> = last.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
        assert!(names.len() > 70, "the table is read: {names:?}");
        let missing: Vec<_> = names.iter().filter(|name| !code.contains(&format!("fn {name}("))).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn a_binary_that_dies_has_failed_whatever_it_printed() {
        let (good, killed, exited) = (ExitStatus::from_raw(0), ExitStatus::from_raw(9), ExitStatus::from_raw(0x100));
        assert!(judged(GOOD, "", good).failed.is_empty());
        for (output, status) in [(GOOD, killed), (GOOD, exited), ("", killed), ("", exited), ("", good)] {
            assert_eq!(judged(output, "", status).failed.len(), 1, "{output:?} {status}");
        }
    }

    #[test]
    fn a_suite_that_leaves_a_file_behind_has_failed() {
        let mut tally = Tally::default();
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "echo 'it::a::b: no moon' >> $MICA_TEST_SKIPS; echo 'test result: ok. 2 passed; 0 failed'; touch $TMPDIR/left",
        ]);
        run_one("a suite", command, false, &mut tally).unwrap();
        assert_eq!(tally.passed, 1);
        assert_eq!(tally.failed, ["a suite: (a temporary file was left behind: left)"]);
        assert_eq!(tally.skipped, [("a suite: a::b".to_owned(), "no moon".to_owned())]);
    }

    /// Runs itself once more in a mount namespace of its own, where a mount may be left behind.
    #[test]
    fn a_suite_that_leaves_a_mount_behind_has_failed() {
        const INSIDE: &str = "XTASK_TEST_INSIDE";
        if std::env::var_os(INSIDE).is_some() {
            let mut tally = Tally::default();
            let mut command = Command::new("sh");
            command.args(["-c", "mount --bind / / && echo 'test result: ok. 1 passed; 0 failed'"]);
            run_one("a suite", command, true, &mut tally).unwrap();
            assert_eq!(tally.failed.len(), 1, "{tally:?}");
            assert!(tally.failed[0].starts_with("a suite: (a mount was left behind: "), "{tally:?}");
            assert!(tally.failed[0].ends_with(" /)"), "{tally:?}");
            return;
        }
        let own = "test::suites::tests::a_suite_that_leaves_a_mount_behind_has_failed";
        if !super::super::machine::is_root().unwrap() {
            if let Some(skips) = std::env::var_os(SKIPS) {
                std::fs::write(skips, format!("xtask::{own}: needs root\n")).unwrap();
            }
            return;
        }
        let output = Command::new("unshare")
            .args(["--mount", "--propagation", "private"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", own])
            .env(INSIDE, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("test result: ok. 1 passed"), "{text}");
    }

    #[test]
    fn quick_rooms_are_run_first_and_programs_are_no_suites() {
        let root = crate::workspace::root().unwrap();
        let workspace = Workspace::members(&root).unwrap();
        let message = |room: &str, kind: &str, test: bool| {
            serde_json::json!({
                "reason": "compiler-artifact",
                "manifest_path": root.join("crates").join(room).join("Cargo.toml"),
                "target": { "name": "it", "kind": [kind] },
                "profile": { "test": test },
                "executable": "/target/debug/it",
            })
            .to_string()
        };
        let messages = [
            message("mica-cli", "bin", false),
            message("mica-store", "test", true),
            "not json".to_owned(),
            message("mica-core", "lib", true),
        ];
        let names: Vec<String> = found(&workspace, &messages.join("\n")).into_iter().map(|suite| suite.name).collect();
        assert_eq!(names, ["mica-core lib it", "mica-store test it"]);
    }
}
