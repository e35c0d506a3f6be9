//! A real Debian: in from a tar, changed by its own tools, out to others; everybody sees the same tree.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use mica_testkit::{Snapshot, gate, needs};

use crate::common::Mica;
use crate::peers_at_work::{Listed, Podman, apart, at, debian, tool};

/// What a user does to a Debian, with everything that a layer must carry.
pub(crate) const CHANGES: &str = r#"
set -e
dpkg --purge tzdata
groupadd --gid 1234 staff2
useradd --create-home --uid 1234 --gid 1234 --home-dir /home/someone someone
cp /bin/cat /usr/local/bin/privileged
chown 7:8 /usr/local/bin/privileged
chmod 4755 /usr/local/bin/privileged
mkdir -p /srv/deep/tree
ln -s ../../etc/hosts /srv/deep/link
ln -s /nowhere "/srv/deep/dangling link"
echo shared > /srv/deep/first
ln /srv/deep/first /srv/deep/second
ln /srv/deep/first /home/someone/third
ln /etc/debian_version /srv/version
mkfifo -m 600 /srv/deep/pipe
chmod 1777 /srv/deep
touch -d '1999-12-31 23:59:59 UTC' /srv/deep/old
dd if=/dev/zero of=/srv/sparse bs=1 count=1 seek=5000000 2>/dev/null
mv /etc/issue /etc/issue.moved
rm -rf /usr/share/doc
mkdir /usr/share/doc
echo new > /usr/share/doc/only
rm /etc/motd
mkdir /etc/motd
chown 33:33 /var/mail
chmod 700 /opt
printf 'ümläut' > '/srv/näme with spaces'
"#;

fn run_all<'a>(mica: &Mica, args: impl IntoIterator<Item = &'a str>) -> String {
    mica.run(args).out
}

/// Every sealed layer's tree, to be hashed before and after.
fn sealed(mica: &Mica) -> Vec<(PathBuf, Snapshot)> {
    let layers = mica.root().join("layers/sha256");
    let dirs = fs::read_dir(layers).unwrap().map(|layer| layer.unwrap().path().join("diff"));
    dirs.map(|dir| (dir.clone(), Snapshot::of(&dir))).collect()
}

fn add_xattrs(mounted: &Path) {
    let file = mounted.join("usr/local/bin/privileged");
    tool("setcap", [OsStr::new("cap_net_raw+ep"), file.as_os_str()]);
    let note = [OsStr::new("-n"), OsStr::new("user.note"), OsStr::new("-v"), OsStr::new("a note")];
    tool("setfattr", note.into_iter().chain([mounted.join("srv/deep").as_os_str()]));
}

#[test]
fn everybody_sees_the_debian_that_was_changed_here() {
    needs!(root, overlay, program "mmdebstrap", program "podman", program "skopeo", program "umoci");
    needs!(program "setcap", program "setfattr", program "tar");
    let base = match debian() {
        Ok(base) => base,
        Err(reason) => {
            fn here() {}
            return gate::skip(std::any::type_name_of_val(&here), &reason);
        }
    };
    apart(|| everybody_sees(&base));
}

fn everybody_sees(base: &Path) {
    let mica = Mica::new();
    let id = mica.run([OsStr::new("import"), OsStr::new("-q"), base.as_os_str(), OsStr::new("debian")]).line();
    let lowers = sealed(&mica);
    run_all(&mica, ["create", "--name", "plain", "debian", "true"]);
    let plain = PathBuf::from(mica.run(["mount", "plain"]).line());
    let scaffold = ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];
    Listed::of_tar(base).without(&scaffold).assert_is(&Listed::of(&plain).without(&scaffold), "the import of a tar");
    run_all(&mica, ["umount", "plain"]);

    run_all(&mica, ["run", "--name", "work", "debian", "bash", "-c", CHANGES]);
    add_xattrs(Path::new(&mica.run(["mount", "work"]).line()));
    let mounted = PathBuf::from(mica.run(["mount", "work"]).line());
    let diff = mica.run(["diff", "work"]).out;
    let lines: BTreeSet<&str> = diff.lines().collect();
    for line in [
        "A /srv/deep/first",
        "A /home/someone/third",
        "A /srv/version",
        "D /etc/issue",
        "A /etc/issue.moved",
        "D /usr/share/zoneinfo",
        "C /opt",
        "C /etc/passwd",
        "A /usr/share/doc/only",
        "C /etc/motd",
    ] {
        assert!(lines.contains(line), "{line} is not in\n{diff}");
    }
    assert!(!diff.contains("/proc") && !diff.contains("/dev"), "{diff}");

    // The places for what a container has mounted over it are in no image (this Debian has the others).
    let seen = Listed::of(&mounted).without(&["/etc/hosts"]);
    assert!(seen.len() > 3000, "{} paths", seen.len());
    assert!(seen.at("/srv/deep").contains("user.note"), "{}", seen.at("/srv/deep"));
    assert!(seen.at("/usr/local/bin/privileged").contains("security.capability"));
    let exported = mica.path("exported.tar");
    mica.run([OsStr::new("export"), OsStr::new("-o"), exported.as_os_str(), OsStr::new("work")]);
    seen.assert_is(&Listed::of_tar(&exported).without(&["/etc/hosts"]), "the export");

    let image = mica.run(["commit", "-q", "-m", "changed", "work", "debian:changed"]).line();
    assert_ne!(image, id);
    let before = run_all(&mica, ["layers", "-q", "--no-trunc", "debian"]);
    assert!(run_all(&mica, ["layers", "-q", "--no-trunc", "debian:changed"]).ends_with(&before));
    let again = Mica::new();
    for (form, transport) in [("docker-archive", "docker-archive"), ("oci-archive", "oci-archive")] {
        let archive = mica.path(form);
        let out = [OsStr::new("save"), OsStr::new("-q"), OsStr::new("--format"), OsStr::new(form), OsStr::new("-o")];
        mica.run(out.into_iter().chain([archive.as_os_str(), OsStr::new("debian:changed")]));
        read_by_all(&archive, transport, &image, &seen);
        let load = [OsStr::new("load"), OsStr::new("-q"), OsStr::new("-i"), archive.as_os_str()];
        assert_eq!(again.run(load).line(), image, "{form}");
    }
    again.run(["create", "--name", "back", "debian:changed", "true"]);
    let back = Listed::of(Path::new(&again.run(["mount", "back"]).line()));
    seen.assert_is(&back.without(&["/etc/hosts"]), "another store of ours");
    run_all(&mica, ["umount", "work"]);
    lowers.iter().for_each(|(dir, lower)| lower.assert_unchanged(dir, "all of it"));
    mica.assert_whole();
}

/// skopeo, umoci and podman read an archive: same image, same tree.
fn read_by_all(archive: &Path, transport: &str, image: &str, seen: &Listed) {
    let name = "docker.io/library/debian:changed";
    let here = mica_testkit::Scratch::new();
    let from = at(transport, archive, name);
    let inspected: serde_json::Value =
        serde_json::from_str(&tool("skopeo", ["inspect", "--config", "--raw", &from])).unwrap();
    assert_eq!(inspected["rootfs"]["diff_ids"].as_array().unwrap().len(), 2);
    let layout = here.path().join("layout");
    tool("skopeo", ["copy", "-q", &from, &at("oci", &layout, "changed")]);
    let bundle = here.path().join("bundle");
    let image_of_umoci = format!("{}:changed", layout.display());
    tool("umoci", [OsStr::new("unpack"), OsStr::new("--image"), OsStr::new(&image_of_umoci), bundle.as_os_str()]);
    seen.assert_is(&Listed::of(&bundle.join("rootfs")), &format!("umoci, from {transport}"));

    let podman = Podman::overlay();
    podman.run(&["load", "-q", "-i", archive.to_str().unwrap()]);
    assert_eq!(podman.id("debian:changed"), image, "{transport}");
    seen.assert_is(&podman.tree("debian:changed"), &format!("podman, from {transport}"));
}
