//! Archives of other tools come in, and ours go out to them, with the names and digests that they had.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mica_testkit::gate::find_program;
use mica_testkit::{Scratch, needs};
use serde_json::{Value, json};

use crate::common::{Mica, Said};
use crate::peers_at_work::{Listed, Podman, at, tool};

/// A layout made by umoci with three layers, the last with a whiteout, under the tag `three`.
fn umoci_layout(scratch: &Scratch) -> PathBuf {
    let layout = scratch.path().join("layout");
    let image = format!("{}:three", layout.display());
    let file = scratch.path().join("file");
    fs::write(&file, "content\n".repeat(1000)).unwrap();
    let insert = |args: &[&str]| {
        tool("umoci", ["insert", "--rootless", "--image", &image].iter().chain(args));
    };
    tool("umoci", [OsStr::new("init"), OsStr::new("--layout"), layout.as_os_str()]);
    tool("umoci", ["new", "--image", &image]);
    insert(&[file.to_str().unwrap(), "/etc/file"]);
    insert(&[file.to_str().unwrap(), "/srv/stays"]);
    insert(&["--whiteout", "/etc/file"]);
    layout
}

#[track_caller]
fn load(mica: &Mica, archive: &Path) -> Said {
    mica.run([OsStr::new("load"), OsStr::new("-i"), archive.as_os_str()])
}

#[track_caller]
fn save(mica: &Mica, form: &str, images: &[&str]) -> PathBuf {
    let archive = mica.path(&format!("saved-{form}-{}.tar", images.join("+").replace(['/', ':'], "_")));
    let args = ["save", "-q", "--format", form, "-o"].map(OsStr::new);
    let said = mica.run(args.into_iter().chain([archive.as_os_str()]).chain(images.iter().map(OsStr::new)));
    assert_eq!((said.out.as_str(), said.err.as_str()), ("", ""), "-q says nothing");
    archive
}

/// The one manifest digest that an OCI archive's index names.
fn manifest_digest(archive: &Path) -> String {
    let index = tool("tar", [OsStr::new("-xOf"), archive.as_os_str(), OsStr::new("index.json")]);
    let index: Value = serde_json::from_str(&index).unwrap();
    let manifests = index["manifests"].as_array().unwrap();
    assert_eq!(manifests.len(), 1, "{index}");
    manifests[0]["digest"].as_str().unwrap().to_owned()
}

#[test]
fn what_skopeo_writes_comes_in_and_goes_out_unchanged() {
    needs!(program "umoci", program "skopeo");
    let scratch = Scratch::new();
    let layout = umoci_layout(&scratch);
    let from = at("oci", &layout, "three");
    let mut ids = Vec::new();
    for (transport, file, flags) in [
        ("oci-archive", "gzip.tar", &[][..]),
        ("oci-archive", "zstd.tar", &["--dest-compress-format=zstd"]),
        ("docker-archive", "docker.tar", &[]),
    ] {
        let archive = scratch.path().join(file);
        let to = at(transport, &archive, "quay.io/some/three:v1");
        tool("skopeo", ["copy", "-q"].iter().chain(flags).chain(&[from.as_str(), &to]));
        let mica = Mica::new();
        assert_eq!(load(&mica, &archive).out, "Loaded image: quay.io/some/three:v1\n", "{file}");
        assert_eq!(mica.run(["layers", "-q", "quay.io/some/three:v1"]).out.lines().count(), 3, "{file}");
        ids.push(mica.run(["images", "-q", "--no-trunc"]).line());
        mica.assert_whole();

        let saved = save(&mica, "oci-archive", &["quay.io/some/three:v1"]);
        if transport == "oci-archive" {
            assert_eq!(manifest_digest(&saved), manifest_digest(&archive), "{file}: compressed layers are kept");
        }
        // skopeo proves every digest as it copies.
        let copied = scratch.path().join(format!("{file}.copied"));
        tool("skopeo", ["copy", "-q", &at("oci-archive", &saved, "quay.io/some/three:v1"), &at("oci", &copied, "x")]);
        let docker = save(&mica, "docker-archive", &["quay.io/some/three:v1"]);
        let copied = scratch.path().join(format!("{file}.docker.copied"));
        let copy = at("docker-archive", &docker, "quay.io/some/three:v1");
        tool("skopeo", ["copy", "-q", &copy, &at("oci", &copied, "x")]);
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[test]
fn saving_what_was_loaded_from_a_save_gives_the_same_bytes() {
    needs!(program "umoci", program "skopeo");
    let scratch = Scratch::new();
    let layout = umoci_layout(&scratch);
    let archive = scratch.path().join("theirs.tar");
    tool("skopeo", ["copy", "-q", &at("oci", &layout, "three"), &at("oci-archive", &archive, "three:v1")]);
    for form in ["docker-archive", "oci-archive"] {
        let (first, second) = (Mica::new(), Mica::new());
        load(&first, &archive);
        first.run(["tag", "three:v1", "other/name:2"]);
        let one = save(&first, form, &["three:v1", "other/name:2"]);
        assert_eq!(load(&second, &one).out, "Loaded image: three:v1\nLoaded image: other/name:2\n", "{form}");
        let two = save(&second, form, &["three:v1", "other/name:2"]);
        assert!(fs::read(&one).unwrap() == fs::read(&two).unwrap(), "{form}: {one:?} and {two:?} differ");
        let third = Mica::new();
        load(&third, &two);
        let three = third.feed(["save", "-q", "--format", form, "three:v1", "other/name:2"], b"");
        assert_eq!(three.status, 0, "{three:?}");
    }
}

#[test]
fn without_a_form_a_save_is_a_docker_archive() {
    needs!(program "skopeo", program "busybox");
    let mica = Mica::new();
    let id = mica.busybox("tiny");
    let archive = mica.path("default.tar");
    mica.run([OsStr::new("save"), OsStr::new("-qo"), archive.as_os_str(), OsStr::new("tiny")]);
    let manifest = tool("tar", [OsStr::new("-xOf"), archive.as_os_str(), OsStr::new("manifest.json")]);
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest[0]["RepoTags"], json!(["docker.io/library/tiny:latest"]));
    // A root that no layer states is shown by others in ways of their own.
    let layer = mica.path("layer.tar");
    let name = manifest[0]["Layers"][0].as_str().unwrap();
    let mut extract = Command::new("tar");
    extract.arg("-xOf").arg(&archive).arg(name).stdout(fs::File::create(&layer).unwrap());
    assert!(extract.status().unwrap().success());
    assert_eq!(tool("tar", [OsStr::new("-tf"), layer.as_os_str()]).lines().next(), Some("./"));
    let of_skopeo = tool("skopeo", ["inspect", "--raw", &at("docker-archive", &archive, "tiny:latest")]);
    let of_skopeo: Value = serde_json::from_str(&of_skopeo).unwrap();
    assert_eq!(of_skopeo["config"]["digest"], json!(id));
}

#[test]
fn podman_and_we_read_each_other() {
    needs!(root, overlay, program "podman", program "busybox");
    let mica = Mica::new();
    let id = mica.busybox("quay.io/ours/tiny:v1");
    mica.run([
        "run",
        "--name",
        "box",
        "quay.io/ours/tiny:v1",
        "sh",
        "-c",
        "rm /etc/group; echo a > /etc/srv; ln /etc/srv /var/srv2",
    ]);
    let changed = mica.run(["commit", "-q", "-c", "CMD [\"cat\", \"/etc/srv\"]", "box", "changed"]).line();
    let tree = Listed::of(Path::new(&mica.run(["mount", "box"]).line()));
    let scaffold = ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];
    let tree = tree.without(&scaffold);
    for form in ["docker-archive", "oci-archive"] {
        let podman = Podman::vfs();
        // podman loads OCI archives of one image only.
        let archives = match form {
            "oci-archive" => vec![save(&mica, form, &["quay.io/ours/tiny:v1"]), save(&mica, form, &["changed"])],
            _ => vec![save(&mica, form, &["quay.io/ours/tiny:v1", "changed"])],
        };
        for archive in archives {
            podman.run(&["load", "-q", "-i", archive.to_str().unwrap()]);
        }
        assert_eq!((podman.id("quay.io/ours/tiny:v1"), podman.id("changed")), (id.clone(), changed.clone()), "{form}");
        tree.assert_is(&podman.tree("changed"), form);

        // And back: its own archives, in both forms, from the store that it filled.
        for back in ["docker-archive", "oci-archive"] {
            let theirs = mica.path(&format!("podman-{form}-{back}.tar"));
            podman.run(&["save", "-q", "--format", back, "-o", theirs.to_str().unwrap(), "changed"]);
            let second = Mica::new();
            assert_eq!(load(&second, &theirs).out, "Loaded image: changed:latest\n", "{form} {back}");
            // podman writes another config when it goes over to the other form.
            let id = second.run(["images", "-q", "--no-trunc"]).line();
            assert!(id == changed || form != back, "{form} {back}: {id}");
            assert_eq!(second.run(["run", "--rm", "changed"]).out, "a\n", "{form} {back}");
            second.run(["create", "--name", "same", "changed"]);
            let found = Listed::of(Path::new(&second.run(["mount", "same"]).line()));
            // Nor does an archive of podman say the root's time.
            let without = [&scaffold[..], &["/"]].concat();
            tree.assert_is(&found.without(&without), &format!("{form} {back}"));
        }
        let both = mica.path(&format!("podman-both-{form}.tar"));
        podman.run(&["save", "-q", "-m", "-o", both.to_str().unwrap(), "quay.io/ours/tiny:v1", "changed"]);
        let mut names: Vec<String> = load(&Mica::new(), &both).out.lines().map(str::to_owned).collect();
        names.sort();
        assert_eq!(names, ["Loaded image: changed:latest", "Loaded image: quay.io/ours/tiny:v1"]);
    }
}

#[test]
fn an_archive_may_come_through_a_pipe_and_be_compressed() {
    needs!(program "busybox", program "gzip", program "zstd", program "skopeo");
    let mica = Mica::new();
    let id = mica.busybox("tiny");
    for form in ["docker-archive", "oci-archive"] {
        let archive = save(&mica, form, &["tiny"]);
        for packer in [&["cat"][..], &["gzip", "-c"], &["zstd", "-qc"]] {
            let mut packing = Command::new(find_program(packer[0]).unwrap());
            packing.args(&packer[1..]).stdin(fs::File::open(&archive).unwrap());
            let packed = packing.output().unwrap().stdout;
            let second = Mica::new();
            let said = second.feed(["load"], &packed);
            assert_eq!(
                (said.status, said.out.as_str()),
                (0, "Loaded image: tiny:latest\n"),
                "{form} {packer:?}: {said:?}"
            );
            second.assert_whole();
            let file = mica.path("packed");
            fs::write(&file, &packed).unwrap();
            let third = Mica::new();
            assert_eq!(third.run([OsStr::new("load"), OsStr::new("-qi"), file.as_os_str()]).line(), id);
            // `mica load < FILE` has a file on standard input, and `-i -` means it.
            let out = third.command(["load", "-q", "-i", "-"]).stdin(fs::File::open(&file).unwrap()).output().unwrap();
            assert_eq!(String::from_utf8(out.stdout).unwrap().trim(), id, "{form} {packer:?}");
        }
    }
}

#[test]
fn save_goes_through_a_pipe_to_podman() {
    needs!(root, program "podman", program "busybox");
    let mica = Mica::new();
    let id = mica.busybox("tiny");
    let mut saving = mica.command(["save", "tiny"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let archive = mica.path("piped.tar");
    let mut file = fs::File::create(&archive).unwrap();
    std::io::copy(saving.stdout.as_mut().unwrap(), &mut file).unwrap();
    file.flush().unwrap();
    assert!(saving.wait().unwrap().success());
    let podman = Podman::vfs();
    podman.run(&["load", "-q", "-i", archive.to_str().unwrap()]);
    assert_eq!(podman.id("tiny"), id);
}

#[test]
fn only_the_layers_that_are_missing_are_made() {
    needs!(root, overlay, program "busybox");
    let mica = Mica::new();
    mica.busybox("tiny");
    mica.run(["run", "--name", "box", "tiny", "touch", "/new"]);
    mica.run(["commit", "-q", "box", "bigger"]);
    let (base, both) = (save(&mica, "oci-archive", &["tiny"]), save(&mica, "docker-archive", &["bigger"]));
    let second = Mica::new();
    load(&second, &base);
    let layer = fs::read_dir(second.root().join("layers/sha256")).unwrap().next().unwrap().unwrap().path();
    let seal = layer.join("seal.json");
    let made = fs::metadata(&seal).unwrap();
    load(&second, &both);
    use std::os::unix::fs::MetadataExt as _;
    let now = fs::metadata(&seal).unwrap();
    assert_eq!((made.ino(), made.ctime_nsec()), (now.ino(), now.ctime_nsec()), "the base is not made again");
    assert_eq!(second.run(["layers", "-q"]).out.lines().count(), 2);
    assert_eq!(second.run(["run", "--rm", "bigger", "ls", "/new"]).out, "/new\n");
    second.assert_whole();
}

#[test]
fn of_several_platforms_the_one_that_was_asked_for_is_taken() {
    needs!(program "umoci", program "skopeo", program "tar");
    let scratch = Scratch::new();
    let layout = umoci_layout(&scratch);
    let path = |name: &str| layout.join(name);
    let index: Value = serde_json::from_slice(&fs::read(path("index.json")).unwrap()).unwrap();
    let image = format!("{}:three", layout.display());
    // A second image of another architecture beside the first, and an index over both.
    tool("umoci", ["config", "--image", &image, "--tag", "arm", "--architecture", "arm64"]);
    let with_both: Value = serde_json::from_slice(&fs::read(path("index.json")).unwrap()).unwrap();
    let described = |tag: &str, architecture: &str| {
        let all = with_both["manifests"].as_array().unwrap();
        let mut one =
            all.iter().find(|one| one["annotations"]["org.opencontainers.image.ref.name"] == tag).unwrap().clone();
        one.as_object_mut().unwrap().remove("annotations");
        one["platform"] = json!({"os": "linux", "architecture": architecture});
        one
    };
    let host = index["manifests"][0].clone();
    assert!(host.is_object());
    let nested = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [described("arm", "arm64"), described("three", "amd64")]});
    let bytes = nested.to_string().into_bytes();
    let digest = mica_core::BlobDigest::of(&bytes).to_string();
    fs::write(path("blobs/sha256").join(digest.strip_prefix("sha256:").unwrap()), &bytes).unwrap();
    let top = json!({"schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.index.v1+json", "digest": digest, "size": bytes.len(),
        "annotations": {"org.opencontainers.image.ref.name": "docker.io/library/many:1"}}]});
    fs::write(path("index.json"), top.to_string()).unwrap();
    let archive = scratch.path().join("many.tar");
    let args = [OsStr::new("-C"), layout.as_os_str(), OsStr::new("-cf"), archive.as_os_str()];
    tool("tar", args.into_iter().chain(["oci-layout", "index.json", "blobs"].map(OsStr::new)));

    for platform in ["linux/arm64", "linux/amd64"] {
        let mica = Mica::new();
        let args = [OsStr::new("load"), OsStr::new("--platform"), OsStr::new(platform), OsStr::new("-i")];
        let said = mica.run(args.into_iter().chain([archive.as_os_str()]));
        assert_eq!(said.out, "Loaded image: many:1\n");
        let listed = mica.run(["images", "--format", "{{.Repository}}:{{.Tag}} {{.Platform}}"]).line();
        assert!(listed.starts_with(&format!("many:1 {platform}")), "{listed}");
        let saved = save(&mica, "oci-archive", &["many:1"]);
        assert!(!manifest_digest(&saved).is_empty());
        mica.assert_whole();
    }
    let mica = Mica::new();
    let args = ["load", "--platform", "linux/s390x", "-i", archive.to_str().unwrap()];
    let error = mica.refuses(args);
    assert!(error.contains("s390x") && error.contains("arm64"), "{error}");
    assert!(mica.run(["images", "-q"]).out.is_empty());
    mica.assert_whole();
}

#[test]
fn a_name_that_moves_to_another_image_is_said() {
    needs!(root, overlay, program "busybox");
    let mica = Mica::new();
    let first = mica.busybox("tiny");
    let archive = save(&mica, "docker-archive", &["tiny"]);
    mica.run(["run", "--name", "box", "tiny", "touch", "/x"]);
    mica.run(["commit", "-q", "box", "tiny"]);
    let said = load(&mica, &archive);
    assert_eq!(said.out, "Loaded image: tiny:latest\n");
    assert!(said.err.contains("tiny:latest was the name of image"), "{said:?}");
    assert_eq!(mica.run(["inspect", "-f", "{{.Id}}", "tiny"]).line(), first);
    assert_eq!(mica.run(["images", "-q"]).out.lines().count(), 2, "the other stays, without a name");
}
