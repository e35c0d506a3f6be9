//! What commands print: data on standard output, in Docker's words, and nothing else there.

use std::ffi::OsStr;

use mica_testkit::needs;
use serde_json::Value;

use crate::common::{Mica, Said};

/// A store with two images, one of them under two names, and an ended container.
fn furnished() -> Mica {
    let mica = Mica::new();
    mica.busybox("quay.io/some/tiny:v1");
    mica.run(["tag", "quay.io/some/tiny:v1", "tiny"]);
    let script = "echo a > /etc/new; rm /etc/group; chmod 700 /var; exit 3";
    assert_eq!(mica.try_run(["run", "--name", "box", "tiny", "sh", "-c", script]).status, 3);
    mica.run(["commit", "-q", "-m", "a message", "box", "next:2"]);
    mica
}

/// Runs a listing, which must say nothing on standard error.
#[track_caller]
fn quiet(mica: &Mica, args: &[&str]) -> String {
    let said = mica.run(args);
    assert_eq!(said.err, "", "{args:?}");
    said.out
}

#[track_caller]
fn header(mica: &Mica, args: &[&str]) -> String {
    let out = quiet(mica, args);
    let first = out.lines().next().unwrap_or_default();
    assert!(out.ends_with('\n'), "{out}");
    first.split("  ").map(str::trim).filter(|word| !word.is_empty()).collect::<Vec<_>>().join("|")
}

/// The objects that `--format json` prints, one a line.
#[track_caller]
fn objects(text: &str) -> Vec<Value> {
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    text.lines().map(parse).collect()
}

#[test]
fn tables_have_dockers_headers() {
    needs!(root, overlay, program "busybox");
    let mica = furnished();
    for (args, words) in [
        (&["images"][..], "REPOSITORY|TAG|IMAGE ID|CREATED|SIZE"),
        (&["image", "ls"], "REPOSITORY|TAG|IMAGE ID|CREATED|SIZE"),
        (&["images", "--digests"], "REPOSITORY|TAG|DIGEST|IMAGE ID|CREATED|SIZE"),
        (&["ps", "-a"], "CONTAINER ID|IMAGE|COMMAND|CREATED|STATUS|NAMES"),
        (&["ps"], "CONTAINER ID|IMAGE|COMMAND|CREATED|STATUS|NAMES"),
        (&["container", "ls", "-a"], "CONTAINER ID|IMAGE|COMMAND|CREATED|STATUS|NAMES"),
        (&["history", "next:2"], "IMAGE|CREATED|CREATED BY|SIZE|COMMENT"),
        (&["layers"], "DIFFID|SIZE|ENTRIES|IMAGES|CONTAINERS"),
        (&["system", "df"], "TYPE|TOTAL|ACTIVE|SIZE|RECLAIMABLE"),
        (&["images", "--format", "table {{.ID}}\\t{{.Repository}}"], "IMAGE ID|REPOSITORY"),
    ] {
        assert_eq!(header(&mica, args), words, "{args:?}");
    }
}

#[test]
fn an_empty_store_lists_headers_alone() {
    let mica = Mica::new();
    for args in [&["images"][..], &["ps", "-a"], &["layers"]] {
        assert_eq!(quiet(&mica, args).lines().count(), 1, "{args:?}");
        let with_format = [args, &["--format", "json"]].concat();
        assert_eq!(quiet(&mica, &with_format), "", "{with_format:?}");
        assert_eq!(quiet(&mica, &[args, &["-q"]].concat()), "", "{args:?} -q");
    }
}

#[test]
fn quiet_prints_ids_alone_and_no_trunc_whole_ones() {
    needs!(root, overlay, program "busybox");
    let mica = furnished();
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase());
    for (args, lines, prefix) in [
        (&["images"][..], 3, "sha256:"),
        (&["ps", "-a"], 1, ""),
        (&["layers", "next:2"], 2, "sha256:"),
        (&["history", "next:2"], 2, "sha256:"),
    ] {
        let short = quiet(&mica, &[args, &["-q"]].concat());
        let whole = quiet(&mica, &[args, &["-q", "--no-trunc"]].concat());
        assert_eq!((short.lines().count(), whole.lines().count()), (lines, lines), "{args:?}");
        for (short, whole) in short.lines().zip(whole.lines()) {
            if short == "<missing>" {
                assert_eq!(whole, short);
                continue;
            }
            let hex = whole.strip_prefix(prefix).unwrap_or_else(|| panic!("{args:?}: {whole}"));
            assert!(is_hex(hex) && hex.len() == 64 && short.len() == 12 && hex.starts_with(short), "{short} {whole}");
        }
    }
}

#[test]
fn json_is_an_object_a_line_with_dockers_fields() {
    needs!(root, overlay, program "busybox");
    let mica = furnished();
    for (args, rows, fields) in [
        (&["images"][..], 3, &["Repository", "Tag", "ID", "CreatedSince", "CreatedAt", "Size", "Digest"][..]),
        (&["ps", "-a"], 1, &["ID", "Image", "Command", "CreatedAt", "RunningFor", "State", "Status", "Names"]),
        (&["history", "next:2"], 2, &["ID", "CreatedSince", "CreatedAt", "CreatedBy", "Size", "Comment"]),
        (&["layers"], 3, &["ID", "Size", "Entries", "Images", "Containers"]),
        (&["system", "df"], 3, &["Type", "TotalCount", "Active", "Size", "Reclaimable"]),
        (&["diff", "box"], 4, &["Kind", "Path"]),
        (&["system", "info"], 1, &["Images", "Containers", "KernelVersion", "ServerVersion"]),
        (&["inspect", "box"], 1, &["Id", "Created", "State", "Image", "Name", "Config", "HostConfig", "GraphDriver"]),
        (&["inspect", "tiny"], 1, &["Id", "RepoTags", "RepoDigests", "Created", "Config", "Architecture", "RootFS"]),
    ] {
        let out = quiet(&mica, &[args, &["--format", "json"]].concat());
        let found = objects(&out);
        assert_eq!(found.len(), rows, "{args:?}: {out}");
        for object in &found {
            for field in fields {
                assert!(object.get(field).is_some(), "{args:?}: no {field} in {object}");
            }
        }
    }
    let changes = objects(&quiet(&mica, &["diff", "--format", "json", "box"]));
    let has = |kind: &str, path: &str| changes.iter().any(|one| one["Kind"] == kind && one["Path"] == path);
    assert!(has("A", "/etc/new") && has("D", "/etc/group") && has("C", "/var") && has("C", "/etc"), "{changes:?}");
    let whole: Value = serde_json::from_str(&quiet(&mica, &["inspect", "tiny", "box"])).unwrap();
    assert_eq!(whole.as_array().unwrap().len(), 2, "without a format it is one list");
}

#[test]
fn templates_are_gos() {
    needs!(root, overlay, program "busybox");
    let mica = furnished();
    for (args, text) in [
        (&["images", "--format", "{{.Repository}}:{{.Tag}}", "next"][..], "next:2\n"),
        (&["ps", "-a", "--format", "{{.Names}}\\t{{.State}}"], "box\texited\n"),
        (&["ps", "-a", "--format", "{{.Status | lower | printf \"%.10s\"}}"], "exited (3)\n"),
        (&["inspect", "-f", "{{.State.ExitCode}} {{.Name}}", "box"], "3 /box\n"),
        (&["inspect", "-f", "{{index .RepoTags 0}} {{len .RootFS.Layers}}", "tiny"], "tiny:latest 1\n"),
        (&["inspect", "-f", "{{json .RootFS.Type}}", "next:2"], "\"layers\"\n"),
        (&["inspect", "--type", "container", "-f", "{{.Config.Image}}", "box"], "tiny\n"),
        (&["diff", "--format", "{{.Kind}}{{.Path}}", "box"], "C/etc\nD/etc/group\nA/etc/new\nC/var\n"),
        (&["history", "--format", "{{.Comment}}", "next:2"], "a message\n\n"),
        (&["system", "info", "--format", "{{.Images}} {{.ContainersRunning}}"], "2 0\n"),
        (&["system", "df", "--format", "{{.Type}} {{.TotalCount}}"], "Images 2\nContainers 1\nLayers and blobs 3\n"),
    ] {
        let out = quiet(&mica, args);
        assert_eq!(out, text, "{args:?}");
    }
}

#[test]
fn a_field_that_there_is_not_is_an_error_that_names_those_there_are() {
    needs!(root, overlay, program "busybox");
    let mica = furnished();
    for args in [
        &["images", "--format", "{{.Nope}}"][..],
        &["ps", "-a", "--format", "{{.Nope}}"],
        &["ps", "--format", "{{.Nope}}"],
        &["history", "--format", "{{.Nope}}", "tiny"],
        &["layers", "--format", "{{.Nope}}"],
        &["diff", "--format", "{{.Nope}}", "box"],
        &["inspect", "-f", "{{.Nope}}", "tiny"],
        &["system", "df", "--format", "{{.Nope}}"],
        &["system", "info", "--format", "{{.Nope}}"],
    ] {
        let said = mica.try_run(args);
        assert_eq!((said.status, said.out.as_str()), (125, ""), "{args:?}: {said:?}");
        assert!(
            said.err.starts_with("mica: ") && said.err.contains("\"Nope\"") && said.err.contains("there are"),
            "{said:?}"
        );
    }
    for format in ["{{.ID", "{{nope .ID}}", "yaml"] {
        assert!(!mica.refuses(["images", "--format", format]).is_empty());
    }
}

#[test]
fn what_is_asked_to_be_quiet_says_only_what_it_made() {
    needs!(root, overlay, program "busybox");
    let mica = furnished();
    let archive = mica.path("a.tar");
    let said =
        mica.run([OsStr::new("save"), OsStr::new("-q"), OsStr::new("-o"), archive.as_os_str(), OsStr::new("tiny")]);
    assert_eq!((said.out.as_str(), said.err.as_str()), ("", ""));
    let said = mica.run([OsStr::new("load"), OsStr::new("-q"), OsStr::new("-i"), archive.as_os_str()]);
    assert_eq!(said.err, "");
    let id = mica.run(["inspect", "-f", "{{.Id}}", "tiny"]).line();
    assert_eq!(said.out, format!("{id}\n"));
    assert_eq!(mica.run(["commit", "-q", "box"]).err, "");
    assert_eq!(mica.run(["system", "check", "-q"]).out, "");
    let imported = mica.run([OsStr::new("import"), OsStr::new("-q"), mica.path("busybox").as_os_str()]);
    assert_eq!((imported.out.lines().count(), imported.err.as_str()), (1, ""));
    let said = mica.run(["system", "prune", "-f", "-q"]);
    assert_eq!((said.out.as_str(), said.err.as_str()), ("", ""));
    assert!(!mica.run(["images"]).out.contains("<none>"), "it was removed");
    // An archive goes to standard output and its progress does not.
    let said = mica.command(["save", "tiny"]).output().unwrap();
    assert!(said.status.success() && said.stdout == std::fs::read(&archive).unwrap());
}

/// The commands that a help lists, by its lines `  name  description`.
fn subcommands(help: &str) -> Vec<String> {
    let part = help.split("Commands:\n").nth(1).unwrap_or_default();
    let lines = part.lines().take_while(|line| line.starts_with("  "));
    // What is further in goes on with the line above.
    let lines = lines.filter(|line| !line.starts_with("   "));
    lines.filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect()
}

fn help(mica: &Mica, path: &[String]) -> Said {
    mica.run(path.iter().map(String::as_str).chain(["--help"]))
}

#[test]
fn every_command_and_flag_says_what_it_is_for() {
    let mica = Mica::new();
    let mut todo = vec![Vec::new()];
    let mut seen = 0;
    while let Some(path) = todo.pop() {
        let said = help(&mica, &path);
        assert_eq!(said.err, "", "{path:?}");
        let lines: Vec<&str> = said.out.lines().collect();
        assert!(lines[0].len() > 10 && !lines[0].starts_with("Usage"), "{path:?}: {}", lines[0]);
        for (number, line) in lines.iter().enumerate() {
            // A flag's description is on its line, or on the next where it is long.
            let trimmed = line.trim_start();
            if trimmed.starts_with('-') && line.len() - trimmed.len() <= 6 {
                let here = trimmed.split_once("  ").is_some_and(|(_, text)| !text.trim().is_empty());
                let below = lines.get(number + 1).is_some_and(|next| next.starts_with("          "));
                assert!(here || below, "{path:?}: {line:?} says nothing");
            }
        }
        for command in subcommands(&said.out) {
            let line = lines.iter().find(|line| line.starts_with(&format!("  {command} "))).unwrap();
            assert!(line.split_whitespace().count() > 2, "{path:?}: {line:?}");
            todo.push([path.clone(), vec![command]].concat());
        }
        seen += 1;
    }
    assert!(seen > 30, "{seen} helps");
    assert!(!mica.root().exists(), "help makes no store");
}

#[test]
fn the_version_is_one_line() {
    let mica = Mica::new();
    let said = mica.run(["--version"]);
    assert_eq!(said.out, format!("mica {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(said.err, "");
}

#[test]
fn a_wrong_command_line_is_our_failure_and_prints_no_data() {
    let mica = Mica::new();
    for args in [&["nonsense"][..], &["images", "--nonsense"], &["run"], &["commit"], &["save"], &[]] {
        let said = mica.try_run(args);
        assert_eq!((said.status, said.out.as_str()), (125, ""), "{args:?}: {said:?}");
        assert!(!said.err.is_empty(), "{args:?}");
    }
}

#[test]
fn completions_and_man_pages_are_made() {
    let mica = Mica::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(quiet(&mica, &["completion", shell]).contains("mica"), "{shell}");
    }
    let place = mica.path("generated");
    mica.run([OsStr::new("__generate"), place.as_os_str()]);
    let page = std::fs::read_to_string(place.join("man/mica-run.1")).unwrap();
    assert!(page.contains("Run a command in a new container"), "{page}");
    assert!(std::fs::read_dir(place.join("man")).unwrap().count() > 30);
    assert_eq!(std::fs::read_dir(place.join("completions")).unwrap().count(), 3);
}

#[test]
fn a_reader_that_goes_away_ends_a_listing_and_fails_an_archive() {
    needs!(program "bash", program "busybox");
    let mica = Mica::new();
    mica.busybox("tiny");
    let mut shell = std::process::Command::new("bash");
    shell.env("MICA_ROOT", mica.root()).env("MICA_RUN_ROOT", mica.run_root()).env("MICA", env!("CARGO_BIN_EXE_mica"));
    let pipes = "set -o pipefail; $MICA images | true; a=$?; $MICA save tiny | head -c 100 >/dev/null; echo $a $?";
    let out = shell.args(["-c", pipes]).output().unwrap();
    // Whoever reads a listing may have seen enough; a part of an archive is none.
    assert_eq!(String::from_utf8(out.stdout).unwrap(), "0 125\n");
    let said = String::from_utf8(out.stderr).unwrap();
    assert!(said.lines().filter(|line| line.starts_with("mica: ")).count() == 1 && said.contains("pipe"), "{said}");
}
