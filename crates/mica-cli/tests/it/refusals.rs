//! Bad input: one clear error each, and a store that is as it was.

use std::fs;

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Stdio;

use mica_testkit::{Tree, needs, tree};

use crate::common::{Mica, Said};

/// The command is refused with `words` in the error and with a hint where one is due, and nothing in the store changes.
#[track_caller]
pub(crate) fn refused(mica: &Mica, args: &[&str], words: &[&str], hint: Option<&str>) {
    let before = mica.contents();
    let error = mica.refuses(args);
    for word in words {
        assert!(error.contains(word), "{args:?}: no {word:?} in {error}");
    }
    let hints: Vec<&str> = error.lines().filter_map(|line| line.strip_prefix("hint: ")).collect();
    match hint {
        Some(hint) => assert!(hints.len() == 1 && hints[0].contains(hint), "{args:?}: no hint {hint:?} in {error}"),
        None => assert!(hints.len() <= 1, "{args:?}: {error}"),
    }
    unchanged(mica, &before, &format!("{args:?}"));
}

#[track_caller]
fn unchanged(mica: &Mica, before: &std::collections::BTreeMap<PathBuf, String>, after: &str) {
    let now = mica.contents();
    let differs: Vec<&PathBuf> =
        before.keys().chain(now.keys()).filter(|path| before.get(*path) != now.get(*path)).collect();
    assert!(differs.is_empty(), "{after}: the store changed: {differs:?}");
}

fn small() -> Tree {
    tree! {
        "etc/" mtime 1;
        "etc/hosts" = "127.0.0.1 localhost\n" mtime 1;
        "usr/share/text" = ("something to pack ".repeat(300)) mtime 1;
    }
}

/// Imports a small tree under `name`, with `more` in it so that IDs differ.
pub(crate) fn import(mica: &Mica, name: &str, more: &str) -> String {
    let dir = mica.path(&format!("rootfs-{}", name.replace([':', '/'], "-")));
    fs::create_dir(&dir).unwrap();
    small().write_to(&dir);
    fs::write(dir.join("more"), more).unwrap();
    mica.run(["import", "-q", dir.to_str().unwrap(), name]).line()
}

/// An archive of one image that another store has, in this form.
pub(crate) fn archive(mica: &Mica, form: &str) -> Vec<u8> {
    let other = Mica::new();
    import(&other, "packed", form);
    let path = mica.path(&format!("{form}.tar"));
    other.run(["save", "--format", form, "-o", path.to_str().unwrap(), "packed"]);
    fs::read(path).unwrap()
}

pub(crate) fn file(mica: &Mica, name: &str, content: &[u8]) -> String {
    let path = mica.path(name);
    fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn archives_that_are_cut_off_or_damaged() {
    needs!(root);
    let mica = Mica::new();
    import(&mica, "here", "");
    for form in ["oci-archive", "docker-archive"] {
        let whole = archive(&mica, form);
        // At the beginning, amid members, and amid the layer.
        for parts in [1, 3, 5, 9, 13, 15] {
            let cut = file(&mica, "cut.tar", &whole[..whole.len() * parts / 16]);
            refused(&mica, &["load", "-q", "-i", &cut], &["load ", "cut.tar"], None);
            let said = mica.feed(["load", "-q"], &whole[..whole.len() * parts / 16]);
            assert_eq!((said.status, said.err.matches("mica: ").count()), (125, 1), "{said:#?}");
        }
        let text = whole.windows(9).position(|part| part == b"something").expect("the layer is plain in the archive");
        let mut damaged = whole.clone();
        damaged[text + 40] ^= 1;
        let damaged = file(&mica, "damaged.tar", &damaged);
        refused(&mica, &["load", "-q", "-i", &damaged], &["load ", "sha256:"], Some("damaged"));
        let whole = file(&mica, "whole.tar", &whole);
        mica.run(["load", "-q", "-i", &whole]);
        mica.run(["rmi", "packed"]);
    }
    mica.assert_whole();
}

/// A member of a tar, as small as can be.
fn member(path: &str, kind: u8, content: &[u8]) -> Vec<u8> {
    let mut header = vec![0u8; 512];
    header[..path.len()].copy_from_slice(path.as_bytes());
    for (at, text) in [(100, "0000644\0"), (108, "0000000\0"), (116, "0000000\0"), (136, "00000000000\0")] {
        header[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
    header[156] = kind;
    header[257..265].copy_from_slice(b"ustar\x0000");
    sum_header(&mut header);
    header.extend_from_slice(content);
    header.resize(header.len().div_ceil(512) * 512, 0);
    header
}

/// Writes the checksum of the header that `bytes` begin with.
pub(crate) fn sum_header(bytes: &mut [u8]) {
    let header = &mut bytes[..512];
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

pub(crate) fn tar(members: &[(&str, u8, &[u8])]) -> Vec<u8> {
    let mut tar: Vec<u8> = members.iter().flat_map(|(path, kind, content)| member(path, *kind, content)).collect();
    tar.resize(tar.len() + 1024, 0);
    tar
}

#[test]
fn a_layer_that_climbs_out() {
    needs!(root);
    let mica = Mica::new();
    import(&mica, "here", "");
    let target = mica.path("outside");
    for path in ["../../../../outside", "a/../../../outside"] {
        let layer = tar(&[("ok", b'0', b"fine"), (path, b'0', b"bad")]);
        let plain = file(&mica, "layer.tar", &layer);
        refused(&mica, &["import", "-q", &plain, "evil"], &["import ", path], None);
        // Within an archive, with digests that are right.
        let id = mica_core::DiffId::of(&layer);
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["{id}"]}}}}"#
        );
        let manifest = r#"[{"Config":"c.json","RepoTags":["evil:1"],"Layers":["l.tar"]}]"#;
        let whole = tar(&[
            ("c.json", b'0', config.as_bytes()),
            ("l.tar", b'0', &layer),
            ("manifest.json", b'0', manifest.as_bytes()),
        ]);
        let whole = file(&mica, "evil.tar", &whole);
        refused(&mica, &["load", "-q", "-i", &whole], &["load ", path], None);
        assert!(!target.exists());
    }
    mica.assert_whole();
}

#[test]
fn what_is_no_archive() {
    needs!(root);
    let mica = Mica::new();
    import(&mica, "here", "");
    let text = file(&mica, "notes.txt", b"these are notes, not an image\n");
    let empty = file(&mica, "empty", b"");
    let tree = file(
        &mica,
        "tree.tar",
        &tar(&[("bin/", b'5', b""), ("etc/", b'5', b""), ("etc/passwd", b'0', b"x"), ("usr/", b'5', b"")]),
    );
    refused(&mica, &["load", "-i", &text], &["load ", "notes.txt", "not an image archive"], None);
    refused(&mica, &["load", "-i", &empty], &["load ", "empty file"], None);
    refused(&mica, &["load", "-i", "/dev/zero"], &["load ", "empty file"], None);
    refused(&mica, &["import", &empty, "nothing"], &["import ", "not a single byte"], Some("whoever writes it"));
    refused(&mica, &["load", "-i", &tree], &["load "], Some("mica import"));
    refused(&mica, &["load", "-i", "/etc"], &["load \"/etc\"", "directory"], Some("mica import"));
    refused(&mica, &["load", "-i", "/no/such/file"], &["open \"/no/such/file\"", "No such file"], None);
    refused(&mica, &["import", &text], &["import ", "notes.txt"], None);
    refused(&mica, &["import", "/no/such/file"], &["/no/such/file", "No such file"], None);
    mica.assert_whole();
}

#[test]
fn words_that_name_nothing_or_too_much() {
    needs!(root);
    let mica = Mica::new();
    mica.run(["images"]);
    refused(&mica, &["run", "--rm", "debian", "true"], &["no such image: debian"], Some("mica load"));
    let mut ids: Vec<String> = Vec::new();
    // Among 17 IDs two begin with the same letter.
    for number in 0..17 {
        ids.push(import(&mica, &format!("image{number}"), &number.to_string()).replace("sha256:", ""));
    }
    let first = |id: &String| id[..1].to_owned();
    let shared = ids.iter().map(first).find(|one| ids.iter().filter(|id| first(id) == *one).count() > 1).unwrap();
    refused(&mica, &["run", "imaeg3", "true"], &["no such image: imaeg3"], Some("image3"));
    refused(&mica, &["history", &shared], &[&shared], Some("more"));
    refused(&mica, &["rmi", "zzz"], &["no such image: zzz"], Some("mica images"));
    refused(&mica, &["tag", "image0", "Upper/Case"], &["Upper/Case", "lower"], Some("reference"));
    refused(&mica, &["run", "BAD:REF:x", "true"], &["BAD:REF:x"], Some("reference"));
    mica.run(["create", "--name", "box", "image0", "true"]);
    refused(&mica, &["rm", "bxo"], &["no such container: bxo"], Some("did you mean box?"));
    refused(&mica, &["create", "--name", "box", "image1", "true"], &["box"], Some("--name"));
    refused(&mica, &["create", "--name", "b/x", "image1", "true"], &["b/x"], None);
    refused(&mica, &["rmi", "image0"], &["box"], Some("--force"));
    refused(&mica, &["commit", "-q", "-c", "RUN x", "box"], &["RUN"], None);
    refused(&mica, &["commit", "-q", "box", "Not/Good"], &["Not/Good"], Some("reference"));
    refused(&mica, &["create", "image0"], &["no command"], Some("mica run image0"));
    refused(&mica, &["create", "dir:/no/such", "true"], &["/no/such"], None);
    refused(&mica, &["save", "nothing"], &["no such image: nothing"], None);
    refused(&mica, &["system", "prune"], &["no terminal"], Some("--force"));
    mica.run(["rm", "box"]);
    mica.assert_whole();
}

#[test]
fn words_that_mean_nothing() {
    let mica = Mica::new();
    for (args, word) in [
        (&["frobnicate"][..], "frobnicate"),
        (&["load", "--frobnicate"], "--frobnicate"),
        (&["rmi"], "required"),
        (&["run", "--network", "moon", "x"], "moon"),
    ] {
        let error = mica.refuses(args);
        assert!(error.starts_with("mica: ") && error.contains(word), "{error}");
    }
    assert!(!mica.root().exists(), "a store was made for nothing");
    assert!(mica.run(["--help"]).out.contains("Usage: mica"));
}

#[test]
fn a_running_container_is_not_removed_but_by_force() {
    needs!(root, overlay, program "busybox");
    let mica = Mica::new();
    mica.busybox("tiny");
    let mut running = mica.command(["run", "--name", "box", "tiny", "sh", "-c", "echo ready; exec sleep 300"]);
    let mut running = running.stdout(Stdio::piped()).spawn().unwrap();
    let mut ready = [0; 6];
    std::io::Read::read_exact(running.stdout.as_mut().unwrap(), &mut ready).unwrap();
    // The command may speak before it is recorded that it runs.
    while mica.run(["ps", "-q"]).out.is_empty() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    refused(&mica, &["rm", "box"], &["box", "running"], Some("--force"));
    refused(&mica, &["start", "-a", "box"], &["box", "runs already"], None);
    refused(&mica, &["export", "-o", "/dev/null", "box"], &["box", "running"], None);
    refused(&mica, &["rmi", "tiny"], &["box"], Some("--force"));
    mica.run(["rm", "-f", "box"]);
    assert_eq!(running.wait().unwrap().code(), Some(137));
    assert_eq!(mica.run(["ps", "-aq"]).out, "");
    mica.assert_whole();
}

#[test]
fn a_store_that_a_newer_version_wrote() {
    needs!(root);
    let mica = Mica::new();
    import(&mica, "here", "");
    let path = mica.root().join("format.json");
    let ours = fs::read_to_string(&path).unwrap();
    for (newer, word) in [
        (ours.replace("\"format\":1", "\"format\":2"), "2"),
        (ours.replace("\"incompat\":[]", "\"incompat\":[\"warp-drive\"]"), "warp-drive"),
    ] {
        assert_ne!(newer, ours);
        fs::write(&path, &newer).unwrap();
        for args in [&["images"][..], &["rmi", "here"], &["load", "-i", "/dev/null"], &["system", "check"]] {
            refused(&mica, args, &["open the store", word], Some("newer mica"));
        }
    }
    // One that older versions can read, but must not write.
    fs::write(&path, ours.replace("\"ro_compat\":[]", "\"ro_compat\":[\"new-index\"]")).unwrap();
    assert!(mica.run(["images"]).out.contains("here"));
    refused(&mica, &["rmi", "here"], &["new-index"], Some("newer mica"));
    refused(&mica, &["create", "here", "true"], &["new-index"], Some("newer mica"));
    mica.run(["ps", "-a"]);
    fs::write(&path, "{").unwrap();
    refused(&mica, &["images"], &["format.json"], None);
    fs::write(&path, ours).unwrap();
    mica.assert_whole();
}

#[test]
fn whoever_is_not_root_is_told_so_by_every_command() {
    needs!(root);
    let mica = Mica::new();
    import(&mica, "here", "");
    let before = mica.contents();
    let copy = mica.path("mica");
    let mut copied = std::process::Command::new("cp");
    assert!(copied.arg(env!("CARGO_BIN_EXE_mica")).arg(&copy).status().unwrap().success());
    let home = copy.parent().unwrap();
    fs::set_permissions(home, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for args in [&["images"][..], &["run", "here", "true"], &["load"], &["system", "check"], &["try", "true"]] {
        let mut command = std::process::Command::new(&copy);
        command.args(args).env("MICA_ROOT", mica.root()).env("MICA_RUN_ROOT", mica.run_root()).stdin(Stdio::null());
        let output = command.uid(65534).gid(65534).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(125), "{args:?}: {error}");
        assert!(error.starts_with("mica: ") && error.matches("mica: ").count() == 1, "{error}");
        assert!(error.contains("root") && error.contains("\nhint: "), "{error}");
    }
    unchanged(&mica, &before, "commands of another user");
}

#[test]
fn a_store_whose_format_cannot_be_read_is_not_sent_to_a_repair_that_cannot_read_it_either() {
    let mica = Mica::new();
    mica.run(["images"]);
    for (damage, command) in [("", &["images"][..]), ("{}", &["system", "check", "--repair"]), ("null", &["ps"])] {
        fs::write(mica.root().join("format.json"), damage).unwrap();
        let error = mica.refuses(command);
        assert!(error.contains("format record format.json is damaged"), "{error}");
        assert!(error.contains("\nhint: put the record back") && !error.contains("--repair"), "{error}");
    }
}

#[test]
fn too_few_open_files_are_told_with_the_limit() {
    let mica = Mica::new();
    mica.run(["images"]);
    let before = mica.contents();
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "ulimit -n 8 && exec \"$0\" images", env!("CARGO_BIN_EXE_mica")]);
    let output = shell.env("MICA_ROOT", mica.root()).env("MICA_RUN_ROOT", mica.run_root()).output().unwrap();
    let said = Said::of(output);
    assert_eq!((said.status, said.err.matches("mica: ").count()), (125, 1), "{said:#?}");
    assert!(
        said.err.contains("Too many open files") && said.err.contains("\nhint: allow more open files"),
        "{said:#?}"
    );
    assert!(mica.contents() == before);
}
