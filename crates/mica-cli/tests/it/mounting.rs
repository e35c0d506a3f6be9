//! Trees on this machine's paths: mounted containers, live directories, and images of unusual shapes.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use mica_core::{BlobDigest, DiffId, RelPath};
use mica_testkit::{Snapshot, Tree, busybox_rootfs, needs, tree};
use serde_json::{Value, json};

use crate::common::Mica;

fn mount(mica: &Mica, container: &str) -> PathBuf {
    let said = mica.run(["mount", container]);
    assert_eq!(said.err, "");
    PathBuf::from(said.line())
}

/// An OCI archive of one image with these layers, base first, as `name`; digests are computed, nothing else is added.
fn archive_of(mica: &Mica, name: &str, layers: &[Vec<u8>]) -> PathBuf {
    let home = mica.path("hand-made");
    let blobs = home.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8], media_type: &str| {
        let digest = BlobDigest::of(bytes).to_string();
        fs::write(blobs.join(digest.strip_prefix("sha256:").unwrap()), bytes).unwrap();
        json!({"mediaType": format!("application/vnd.oci.image.{media_type}"), "digest": digest, "size": bytes.len()})
    };
    let diff_ids: Vec<String> = layers.iter().map(|layer| DiffId::of(layer).to_string()).collect();
    let config = json!({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": []});
    let layers: Vec<Value> = layers.iter().map(|layer| put(layer, "layer.v1.tar")).collect();
    let config = put(config.to_string().as_bytes(), "config.v1+json");
    let manifest = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config, "layers": layers});
    let mut described = put(manifest.to_string().as_bytes(), "manifest.v1+json");
    described["annotations"] = json!({"org.opencontainers.image.ref.name": name});
    fs::write(home.join("index.json"), json!({"schemaVersion": 2, "manifests": [described]}).to_string()).unwrap();
    fs::write(home.join("oci-layout"), "{\"imageLayoutVersion\": \"1.0.0\"}").unwrap();
    let archive = mica.path("hand-made.tar");
    let mut tar = mica_layer::tar::Writer::new(File::create(&archive).unwrap());
    for file in ["oci-layout", "index.json"] {
        tar.append_bytes(file.as_bytes(), &fs::read(home.join(file)).unwrap()).unwrap();
    }
    for blob in fs::read_dir(&blobs).unwrap() {
        let path = blob.unwrap().path();
        let inside = path.strip_prefix(&home).unwrap().to_str().unwrap();
        tar.append_bytes(inside.as_bytes(), &fs::read(&path).unwrap()).unwrap();
    }
    tar.finish().unwrap();
    archive
}

#[track_caller]
fn load(mica: &Mica, archive: &Path) {
    mica.run([OsStr::new("load"), OsStr::new("-q"), OsStr::new("-i"), archive.as_os_str()]);
}

/// Without the places that stand under every container, which no image has.
fn without_scaffold(mut tree: Tree, also: &[&str]) -> Tree {
    for path in ["etc/hostname", "etc/hosts", "etc/resolv.conf"].iter().chain(also) {
        tree.remove(&RelPath::parse(path.as_bytes()).unwrap());
    }
    tree
}

#[test]
fn a_container_that_goes_with_its_command_can_be_mounted_before() {
    needs!(root, overlay, program "busybox");
    let mica = Mica::new();
    mica.busybox("tiny");
    mica.run(["create", "--rm", "--name", "box", "tiny", "cat", "/made"]);
    fs::write(mount(&mica, "box").join("made"), "outside\n").unwrap();
    mica.run(["umount", "box"]);
    assert_eq!(mica.run(["start", "-a", "box"]).out, "outside\n");
    assert_eq!(mica.run(["ps", "-aq"]).out, "");
    // One that is still mounted goes with its mount.
    mica.run(["create", "--rm", "--name", "box", "tiny", "true"]);
    let place = mount(&mica, "box");
    mica.run(["start", "-a", "box"]);
    assert!(!place.exists());
}

#[test]
fn a_live_directory_may_hold_the_store_and_be_named_by_a_symlink() {
    needs!(root, overlay, program "busybox");
    let mica = Mica::new();
    let tree = mica.root().parent().unwrap().to_owned();
    busybox_rootfs(&tree);
    // What the scaffold has elsewhere.
    for file in ["hosts", "hostname", "resolv.conf"] {
        File::create(tree.join("etc").join(file)).unwrap();
    }
    let link = mica.path("link");
    symlink(".", &link).unwrap();
    let image = format!("dir:{}", link.display());
    let said = mica.run(["run", "--name", "box", &image, "sh", "-c", "echo new > /made; test -d /store/layers"]);
    assert_eq!(said.err, "");
    assert_eq!(mica.run(["diff", "box"]).out, "A /made\n");
    assert!(!tree.join("made").exists());
}

#[test]
fn a_mounted_container_is_the_tree_that_it_sees() {
    needs!(root, overlay, program "busybox");
    let mica = Mica::new();
    mica.busybox("tiny");
    let lower = fs::read_dir(mica.root().join("layers/sha256")).unwrap().next().unwrap().unwrap().path().join("diff");
    let before = Snapshot::of(&lower);
    mica.run(["run", "--name", "box", "tiny", "sh", "-c", "echo a > /etc/new; rm /etc/group"]);
    let place = mount(&mica, "box");
    assert_eq!(mount(&mica, "box"), place, "a second time it stays where it is");
    assert_eq!(mica.run(["mount"]).out, format!("box {}\n", place.display()));
    assert_eq!(fs::read_to_string(place.join("etc/new")).unwrap(), "a\n");
    assert!(!place.join("etc/group").exists() && place.join("bin/busybox").exists());

    fs::write(place.join("etc/from-outside"), "b").unwrap();
    fs::set_permissions(place.join("bin/busybox"), fs::Permissions::from_mode(0o700)).unwrap();
    let diff = mica.run(["diff", "box"]).out;
    assert_eq!(
        diff,
        "C /bin\nC /bin/busybox\nC /etc\nA /etc/from-outside\nD /etc/group\nA /etc/new\n"
            .replace("C /bin\n", if diff.contains("C /bin\n") { "C /bin\n" } else { "" })
    );
    let image = mica.run(["commit", "-q", "box", "next"]).line();
    assert!(image.starts_with("sha256:"));
    assert_eq!(mica.run(["run", "--rm", "next", "cat", "/etc/from-outside"]).out, "b");

    let said = mica.refuses(["rm", "box"]);
    assert!(said.contains("mounted") && said.contains("mica umount box"), "{said}");
    assert_eq!(mica.run(["umount", "box"]).out, "box\n");
    assert!(!place.exists(), "the place goes with the mount");
    assert!(mica.refuses(["umount", "box"]).contains("not mounted"));
    assert_eq!(mica.run(["mount"]).out, "");
    mica.run(["rm", "box"]);
    before.assert_unchanged(&lower, "all of it");
    mica.assert_whole();
}

#[test]
fn a_mounted_container_starts_on_that_very_mount() {
    needs!(root, overlay, program "busybox");
    let mica = Mica::new();
    mica.busybox("tiny");
    mica.run(["create", "--name", "box", "tiny", "sh", "-c", "cat /etc/outside; echo inside > /etc/inside"]);
    let place = mount(&mica, "box");
    fs::write(place.join("etc/outside"), "outside\n").unwrap();
    // A second mount of the same upper would not see through what this one remembers.
    assert!(!place.join("etc/inside").exists());
    assert_eq!(mica.run(["start", "-a", "box"]).out, "outside\n");
    assert_eq!(fs::read_to_string(place.join("etc/inside")).unwrap(), "inside\n");
    // What the container had mounted is not here.
    assert_eq!(fs::read_dir(place.join("proc")).unwrap().count(), 0);
    assert_eq!(mica.run(["mount"]).out.lines().count(), 1, "it stays mounted");
    mica.run(["rm", "-f", "box"]);
    assert!(!place.exists(), "force unmounts");
    assert_eq!(mica.run(["mount"]).out, "");
    mica.assert_whole();
}

#[test]
fn a_busy_mount_is_told_and_stays() {
    needs!(root, overlay, program "busybox");
    let mica = Mica::new();
    mica.busybox("tiny");
    mica.run(["create", "--name", "box", "tiny", "true"]);
    let place = mount(&mica, "box");
    let open = File::open(place.join("etc/passwd")).unwrap();
    let said = mica.refuses(["umount", "box"]);
    assert!(said.contains("busy") && said.contains("hint: "), "{said}");
    assert!(place.join("etc/passwd").exists());
    drop(open);
    mica.run(["umount", "box"]);
    assert!(mica.refuses(["mount", "bx"]).contains("did you mean box?"));
}

#[test]
fn a_live_directory_is_an_image_and_stays_as_it_is() {
    needs!(root, overlay, program "busybox");
    let mica = Mica::new();
    let root = mica.path("live");
    fs::create_dir(&root).unwrap();
    mica_testkit::busybox_rootfs(&root);
    fs::set_permissions(&root, fs::Permissions::from_mode(0o751)).unwrap();
    fs::set_permissions(root.join("etc"), fs::Permissions::from_mode(0o711)).unwrap();
    fs::write(root.join("etc/hosts"), "its own\n").unwrap();
    let before = Snapshot::of(&root);
    let image = format!("dir:{}", root.display());
    let script = "echo a > /etc/new; rm -r /var; chmod 700 /bin/busybox; stat -c %a / /etc";
    assert_eq!(mica.run(["run", "--name", "box", &image, "sh", "-c", script]).out, "751\n711\n");
    before.assert_unchanged(&root, "a run");
    assert_eq!(mica.run(["diff", "box"]).out, "C /bin/busybox\nC /etc\nA /etc/new\nD /var\n");
    let place = mount(&mica, "box");
    assert!(!place.join("var").exists());
    assert_eq!(fs::read_to_string(place.join("etc/hosts")).unwrap(), "its own\n");
    mica.run(["umount", "box"]);

    // Relative paths are of the folder that the command is called in, whatever it is later.
    let mut near = mica.command(["create", "--name", "near", "dir:live", "ls", "/etc/passwd"]);
    assert!(near.current_dir(root.parent().unwrap()).output().unwrap().status.success());
    assert_eq!(mica.run(["start", "-a", "near"]).out, "/etc/passwd\n");
    for (word, part) in [("dir:/no/such/place", "/no/such/place"), ("dir:", "dir"), ("dir:/etc/passwd", "/etc/passwd")]
    {
        let said = mica.refuses(["run", "--rm", word, "true"]);
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(mica.run(["ps", "-aq"]).out.lines().count(), 2, "what was refused left no container");
    before.assert_unchanged(&root, "all of it");
    // It goes, and comes back with the directory.
    fs::rename(&root, mica.path("moved")).unwrap();
    assert!(mica.refuses(["start", "-a", "near"]).contains("live"));
    fs::rename(mica.path("moved"), &root).unwrap();
    assert_eq!(mica.run(["start", "-a", "near"]).out, "/etc/passwd\n");
    mica.assert_whole();
}

#[test]
fn an_image_with_no_layers_is_an_empty_tree() {
    needs!(root, overlay, program "busybox");
    let mica = Mica::new();
    load(&mica, &archive_of(&mica, "scratch:1", &[]));
    assert_eq!(mica.run(["layers", "-q", "scratch:1"]).out, "");
    mica.run(["create", "--name", "box", "scratch:1"]);
    let place = mount(&mica, "box");
    assert_eq!(mica.run(["diff", "box"]).out, "");
    tree! { "dev/"; "etc/"; "proc/"; "sys/" }
        .without_times()
        .assert_is(&without_scaffold(Tree::read(&place), &[]).without_times(), "the tree of no layers");
    fs::create_dir(place.join("bin")).unwrap();
    let busybox = mica_testkit::gate::find_program("busybox").unwrap();
    fs::copy(busybox, place.join("bin/busybox")).unwrap();
    symlink("busybox", place.join("bin/sh")).unwrap();
    assert_eq!(mica.run(["diff", "box"]).out, "A /bin\nA /bin/busybox\nA /bin/sh\n");
    mica.run(["commit", "-q", "box", "full"]);
    assert_eq!(mica.run(["run", "--rm", "full", "sh", "-c", "echo ran"]).out, "ran\n");
    for form in ["docker-archive", "oci-archive"] {
        let saved = mica.path(form);
        let args = ["save", "-q", "--format", form, "-o"].map(OsStr::new);
        mica.run(args.into_iter().chain([saved.as_os_str(), OsStr::new("scratch:1")]));
        let second = Mica::new();
        load(&second, &saved);
        assert_eq!(second.run(["inspect", "-f", "{{len .RootFS.Layers}}", "scratch:1"]).line(), "0", "{form}");
    }
    mica.assert_whole();
}

#[test]
fn a_layer_that_stands_twice_counts_at_its_topmost_place() {
    needs!(root, overlay);
    let mica = Mica::new();
    let base = tree! { "d/"; "d/a" = "base"; "d/b" = "b" }.to_layer_tar();
    let over = tree! { "d/"; "d/a" = "over"; "d/b" whiteout; "d/c" = "c" }.to_layer_tar();
    load(&mica, &archive_of(&mica, "twice:1", &[base.clone(), over, base]));
    mica.run(["create", "--name", "box", "twice:1"]);
    let seen = without_scaffold(Tree::read(&mount(&mica, "box")), &["dev", "etc", "proc", "sys"]);
    tree! { "d/"; "d/a" = "base"; "d/b" = "b"; "d/c" = "c" }
        .without_times()
        .assert_is(&seen.without_times(), "the tree");
    assert_eq!(
        mica.run(["layers", "-q"]).out.lines().filter(|line| !line.is_empty()).count(),
        3,
        "two and the scaffold"
    );
    assert_eq!(mica.run(["inspect", "-f", "{{len .RootFS.Layers}}", "twice:1"]).line(), "3");
    mica.run(["commit", "-q", "box", "again"]);
    mica.assert_whole();
}

#[test]
fn a_hundred_and_thirty_layers_are_one_tree() {
    needs!(root, overlay, program "busybox");
    let mica = Mica::new();
    let layer = |number: usize| {
        let mut tree = tree! { "d/"; "d/all" = (number.to_string()) };
        tree.put(
            RelPath::parse(format!("d/{number:03}").as_bytes()).unwrap(),
            mica_testkit::Entry::new(mica_testkit::What::File(vec![b'x'; number])),
        );
        if number > 0 && number.is_multiple_of(10) {
            tree.put(
                RelPath::parse(format!("d/{:03}", number - 5).as_bytes()).unwrap(),
                mica_testkit::Entry::new(mica_testkit::What::Whiteout),
            );
        }
        tree.to_layer_tar()
    };
    let layers: Vec<Vec<u8>> = (0..130).map(layer).collect();
    load(&mica, &archive_of(&mica, "high:130", &layers));
    assert_eq!(mica.run(["layers", "-q", "high:130"]).out.lines().count(), 130);
    mica.run(["create", "--name", "box", "high:130"]);
    let place = mount(&mica, "box");
    assert_eq!(fs::read_to_string(place.join("d/all")).unwrap(), "129");
    // 130, but for 12 that were deleted on the way, and the one that all have.
    assert_eq!(fs::read_dir(place.join("d")).unwrap().count(), 130 - 12 + 1);
    assert_eq!(fs::metadata(place.join("d/129")).unwrap().len(), 129);
    fs::remove_file(place.join("d/all")).unwrap();
    // A name that one layer has and a later one deleted is new.
    fs::write(place.join("d/005"), "again").unwrap();
    fs::write(place.join("d/006"), "other").unwrap();
    assert_eq!(mica.run(["diff", "box"]).out, "C /d\nA /d/005\nC /d/006\nD /d/all\n");
    mica.run(["commit", "-q", "box", "high:131"]);
    assert_eq!(mica.run(["layers", "-q", "high:131"]).out.lines().count(), 131);
    mica.run(["create", "--name", "next", "high:131"]);
    assert!(!mount(&mica, "next").join("d/all").exists());
    mica.assert_whole();
}

#[test]
fn a_parent_that_a_layer_omits_keeps_what_the_layer_below_says_of_it() {
    needs!(root, overlay);
    let mica = Mica::new();
    let base = tree! {
        "deep/" mode 0o750 uid 7 gid 8 mtime 1000000001;
        "deep/er/" mode 0o1777 uid 9 mtime 1000000002 xattr "user.note" = "kept";
        "deep/er/old" = "old";
        "linked" = "shared" mode 0o640 uid 5 mtime 1000000003;
    };
    // A tar that says only this one file, and one that is another name of a file below it.
    let mut tar = mica_layer::tar::Writer::new(Vec::new());
    tar.append_bytes(b"deep/er/new", b"new").unwrap();
    let attrs = mica_core::Attrs { mode: 0o644, ..mica_core::Attrs::default() };
    let link = mica_layer::tar::Member {
        path: b"deep/er/another-name",
        kind: mica_layer::tar::MemberKind::HardLink(b"linked"),
        attrs: &attrs,
    };
    tar.append(&link, &mut std::io::empty()).unwrap();
    let over = tar.finish().unwrap();
    load(&mica, &archive_of(&mica, "omits:1", &[base.to_layer_tar(), over]));
    mica.run(["create", "--name", "box", "omits:1"]);
    let place = mount(&mica, "box");
    let stat = |path: &str| {
        let found = fs::symlink_metadata(place.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        (found.mode() & 0o7777, found.uid(), found.gid(), found.mtime())
    };
    assert_eq!(stat("deep"), (0o750, 7, 8, 1_000_000_001));
    assert_eq!(stat("deep/er"), (0o1777, 9, 0, 1_000_000_002));
    let seen = Tree::read(&place);
    let entry = seen.get(&RelPath::parse(b"deep/er").unwrap()).unwrap();
    assert!(entry.xattrs.iter().any(|(key, value)| key == b"user.note" && value == b"kept"), "{entry}");
    assert_eq!(stat("deep/er/another-name"), (0o640, 5, 0, 1_000_000_003));
    assert_eq!(fs::read_to_string(place.join("deep/er/another-name")).unwrap(), "shared");
    assert_eq!(fs::read_to_string(place.join("deep/er/new")).unwrap(), "new");
    assert_eq!(fs::read_to_string(place.join("deep/er/old")).unwrap(), "old");
    assert_eq!(mica.run(["diff", "box"]).out, "", "what had to be mended is no change of the container");
    // A commit on it carries only what is new, and shows the same again.
    fs::write(place.join("deep/er/third"), "3").unwrap();
    assert_eq!(mica.run(["diff", "box"]).out, "C /deep/er\nA /deep/er/third\n");
    mica.run(["commit", "-q", "box", "omits:2"]);
    mica.run(["create", "--name", "next", "omits:2"]);
    let next = mount(&mica, "next");
    assert_eq!(fs::symlink_metadata(next.join("deep/er")).unwrap().mode() & 0o7777, 0o1777);
    assert_eq!(fs::read_to_string(next.join("deep/er/another-name")).unwrap(), "shared");
    mica.assert_whole();
}
