//! Docker and containerd load what we save, and we load what they save: the same IDs, digests and trees.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mica_testkit::{Scratch, needs};
use serde_json::Value;

use crate::common::Mica;
use crate::daemons::{Containerd, DOCKERS_OWN, Docker};
use crate::peers_at_work::{Listed, apart, tool};

/// A store with an image of busybox, `quay.io/ours/tiny:v1`, and one on top of it, `changed`. Gives their IDs.
fn filled() -> (Mica, [String; 2]) {
    let mica = Mica::new();
    let base = mica.busybox("quay.io/ours/tiny:v1");
    let change = "rm /etc/group; mkdir /srv; echo a > /srv/a; ln /srv/a /srv/b; ln -s a /srv/c; chmod 4750 /srv/a; mkfifo /srv/p";
    mica.run(["run", "--name", "box", "quay.io/ours/tiny:v1", "sh", "-c", change]);
    let changed = mica.run(["commit", "-q", "-c", "CMD [\"cat\", \"/srv/a\"]", "box", "changed"]).line();
    (mica, [base, changed])
}

const NAMES: [&str; 2] = ["quay.io/ours/tiny:v1", "changed"];

#[track_caller]
fn save(mica: &Mica, form: &str, to: &str, names: &[&str]) -> PathBuf {
    let path = mica.path(to);
    let args = ["save", "-q", "--format", form, "-o", path.to_str().unwrap()];
    mica.run(args.iter().chain(names));
    path
}

/// The tree of an image as our own containers have it, without what a container has of its own.
fn tree(mica: &Mica, name: &str) -> Listed {
    mica.run(["create", "--name", "look", name, "true"]);
    let listed = Listed::of(Path::new(&mica.run(["mount", "look"]).line()));
    mica.run(["umount", "look"]);
    mica.run(["rm", "look"]);
    listed
}

fn ids(mica: &Mica) -> Vec<String> {
    NAMES.iter().map(|name| mica.run(["inspect", "-f", "{{.Id}}", name]).line()).collect()
}

#[test]
fn docker_and_we_read_each_other() {
    needs!(root, overlay, program "dockerd", program "runc", program "busybox", program "gzip");
    let (mica, expected) = filled();
    let docker = Docker::start();
    let ours = save(&mica, "docker-archive", "ours.tar", &NAMES);
    docker.run(&["load", "-q", "-i", ours.to_str().unwrap()]);
    assert_eq!(NAMES.map(|name| docker.id(name)), expected);
    let wanted = tree(&mica, "changed").without(DOCKERS_OWN);
    assert!(wanted.at("/srv/a").contains("4750") && wanted.len() > 100, "{}", wanted.at("/srv/a"));
    wanted.assert_is(&docker.tree("changed"), "docker load of a docker archive");

    // And back, in the layout with both halves that it writes: from a file, and compressed through a pipe.
    let theirs = mica.path("theirs.tar");
    docker.run(&["save", "-o", theirs.to_str().unwrap(), NAMES[0], NAMES[1]]);
    let second = Mica::new();
    let mut said: Vec<String> =
        second.run(["load", "-i", theirs.to_str().unwrap()]).out.lines().map(str::to_owned).collect();
    said.sort();
    assert_eq!(said, ["Loaded image: changed:latest", "Loaded image: quay.io/ours/tiny:v1"]);
    assert_eq!(ids(&second), expected);
    wanted.assert_is(&tree(&second, "changed").without(DOCKERS_OWN), "load of docker save");
    // What goes through Docker and back is, saved again, the same to the last byte.
    let again = save(&second, "docker-archive", "again.tar", &NAMES);
    assert!(fs::read(&again).unwrap() == fs::read(&ours).unwrap(), "the layers and configs came back unchanged");
    second.assert_whole();
    let third = Mica::new();
    let mut packing =
        Command::new("gzip").arg("-c").stdin(fs::File::open(&theirs).unwrap()).stdout(Stdio::piped()).spawn().unwrap();
    let loaded =
        third.command(["load", "-q"]).stdin(packing.stdout.take().unwrap()).stdout(Stdio::null()).status().unwrap();
    assert!(loaded.success() && packing.wait().unwrap().success());
    assert_eq!(ids(&third), expected);

    // The oldest form is what is left without the files that Docker 1.10 added. It gives images other configs, and us
    // the same ones.
    let oldest = oldest_form(&theirs, mica.path("oldest"));
    docker.run(&["rmi", "-f", NAMES[0], NAMES[1]]);
    docker.run(&["load", "-q", "-i", oldest.to_str().unwrap()]);
    let legacy = Mica::new();
    legacy.run(["load", "-i", oldest.to_str().unwrap()]);
    assert_eq!(ids(&legacy), NAMES.map(|name| docker.id(name)), "the IDs that Docker gives them");
    wanted.assert_is(&tree(&legacy, "changed").without(DOCKERS_OWN), "the oldest form");
    wanted.assert_is(&docker.tree("changed"), "the oldest form in Docker");
    legacy.assert_whole();
}

fn oldest_form(archive: &Path, place: PathBuf) -> PathBuf {
    fs::create_dir(&place).unwrap();
    tool("tar", [OsStr::new("-xf"), archive.as_os_str(), OsStr::new("-C"), place.as_os_str()]);
    for entry in fs::read_dir(&place).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
        if entry.file_name() != "repositories" {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    let oldest = place.with_extension("tar");
    tool("tar", [OsStr::new("-cf"), oldest.as_os_str(), OsStr::new("-C"), place.as_os_str(), OsStr::new(".")]);
    oldest
}

#[test]
fn containerd_and_we_read_each_other() {
    needs!(root, overlay, program "ctr", program "busybox");
    let (mica, expected) = filled();
    apart(|| {
        let containerd = Containerd::start();
        let wanted = tree(&mica, "changed");
        // What our containers have of their own, and the root, whose time containerd does not put back after the last layer.
        let own = ["/", "/etc", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];
        let wanted = wanted.without(&own);
        let full = |name: &str| {
            if name == "changed" { "docker.io/library/changed:latest".to_owned() } else { name.to_owned() }
        };
        let digests =
            |mica: &Mica| NAMES.map(|name| mica.run(["images", "--digests", "--format", "{{.Digest}}", name]).line());
        let ours = save(&mica, "oci-archive", "ours.tar", &NAMES);
        containerd.import(&ours);
        assert_eq!(NAMES.map(|name| containerd.digest(&full(name))), digests(&mica), "the very manifests");
        wanted.assert_is(&containerd.tree(&full("changed")).without(&own), "ctr import of an OCI archive");

        let theirs = mica.path("theirs.tar");
        containerd.run(&["images", "export", theirs.to_str().unwrap(), &full(NAMES[0]), &full(NAMES[1])]);
        let second = Mica::new();
        second.run(["load", "-i", theirs.to_str().unwrap()]);
        assert_eq!((ids(&second), digests(&second)), (expected.to_vec(), digests(&mica)));
        wanted.assert_is(&tree(&second, "changed").without(&own), "load of ctr export");
        let again = save(&second, "oci-archive", "again.tar", &NAMES);
        assert!(fs::read(&again).unwrap() == fs::read(&ours).unwrap(), "saved again it is the same to the last byte");
        second.assert_whole();

        // The other form has no manifests, and containerd makes its own.
        let docker = save(&mica, "docker-archive", "docker.tar", &["changed"]);
        containerd.run(&["images", "rm", &full("changed")]);
        containerd.import(&docker);
        wanted.assert_is(&containerd.tree(&full("changed")).without(&own), "ctr import of a docker archive");
    });
}

#[test]
fn containerd_reads_an_index_of_which_some_platforms_are_there() {
    needs!(root, program "ctr", program "busybox");
    let (mica, archive) = many_platforms(&["amd64", "arm64", "s390x"]);
    mica.run(["load", "-q", "-i", archive.to_str().unwrap()]);
    let partial = save(&mica, "oci-archive", "partial.tar", &["many:1"]);
    let containerd = Containerd::start();
    containerd.import(&partial);
    let index = mica.path("index");
    containerd.run(&["images", "export", index.to_str().unwrap(), "docker.io/library/many:1"]);
    let second = Mica::new();
    second.run(["load", "-i", index.to_str().unwrap()]);
    assert_eq!(second.run(["images", "-q"]).out, mica.run(["images", "-q"]).out);
    let again = save(&second, "oci-archive", "again.tar", &["many:1"]);
    assert!(fs::read(again).unwrap() == fs::read(partial).unwrap(), "the index went through containerd and back");
}

/// A store, empty, and an OCI archive of one image for these architectures under `many:1`.
fn many_platforms(architectures: &[&str]) -> (Mica, PathBuf) {
    let mica = Mica::new();
    let scratch = Scratch::new();
    let archive = crate::archives::many(&mica, architectures, &scratch.path().join("layout"));
    (mica, archive)
}

#[test]
fn the_index_that_a_name_stands_for_is_what_skopeo_sees() {
    needs!(root, program "skopeo", program "busybox");
    let (mica, archive) = many_platforms(&["amd64", "arm64"]);
    mica.run(["load", "-q", "--all-platforms", "-i", archive.to_str().unwrap()]);
    let layout = save(&mica, "oci-dir", "layout", &["many:1"]);
    let place = format!("oci:{}:docker.io/library/many:1", layout.display());
    let index: Value = serde_json::from_str(&tool("skopeo", ["inspect", "--raw", &place])).unwrap();
    // The platforms, and the attestation.
    assert_eq!(index["manifests"].as_array().unwrap().len(), 3);
    let copied = mica.path("copied");
    let to = format!("oci:{}:docker.io/library/many:1", copied.display());
    tool("skopeo", ["copy", "-q", "--all", "--preserve-digests", &place, &to]);
    let second = Mica::new();
    second.run(["load", "-q", "--all-platforms", "-i", copied.to_str().unwrap()]);
    let again = save(&second, "oci-archive", "again.tar", &["many:1"]);
    assert!(fs::read(again).unwrap() == fs::read(archive).unwrap(), "through a layout, skopeo and back");
}
