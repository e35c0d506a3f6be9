//! Images that go from root's store to an ordinary user's and back: nothing of what a layer says is lost on the way.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mica_testkit::{LoopFs, OrdinaryUser, Scratch, busybox_rootfs, gate, needs};

use super::as_both;
use crate::common::Mica;
use crate::debian::CHANGES;
use crate::peers_at_work::{Listed, apart, debian, tool};

/// A tree with what an ordinary user cannot make: other owners, some beyond any range, device nodes, capabilities.
fn full(root: &Path) {
    busybox_rootfs(root);
    let data = root.join("data");
    fs::create_dir(&data).unwrap();
    for (name, owner, mode) in [
        ("owned", 1000, 0o640),
        ("written", 1000, 0o640),
        ("far", 70_000, 0o644),
        ("root", 0, 0o600),
        ("setuid", 7, 0o4755),
    ] {
        let path = data.join(name);
        fs::write(&path, format!("{name}\n")).unwrap();
        chown(&path, Some(owner), Some(owner + 1)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::hard_link(data.join("owned"), data.join("linked")).unwrap();
    symlink("owned", data.join("link")).unwrap();
    lchown(data.join("link"), Some(1000), Some(70_000)).unwrap();
    fs::create_dir(data.join("dir")).unwrap();
    chown(data.join("dir"), Some(1000), Some(50)).unwrap();
    fs::write(data.join("dir/inner"), "inner\n").unwrap();
    fs::copy(root.join("bin/busybox"), data.join("capable")).unwrap();
    tool("setcap", [OsStr::new("cap_net_raw+ep"), data.join("capable").as_os_str()]);
    for (name, rest) in [("null", ["c", "1", "3"]), ("disk", ["b", "7", "0"])] {
        tool("mknod", [data.join(name).as_os_str()].into_iter().chain(rest.map(OsStr::new)));
    }
}

fn save(mica: &Mica, form: &str, name: &str, to: &Path) -> Vec<u8> {
    mica.run([
        OsStr::new("save"),
        "-q".as_ref(),
        "--format".as_ref(),
        form.as_ref(),
        "-o".as_ref(),
        to.as_os_str(),
        name.as_ref(),
    ]);
    fs::read(to).unwrap()
}

fn load(mica: &Mica, from: &Path) -> String {
    mica.run([OsStr::new("load"), "-q".as_ref(), "-i".as_ref(), from.as_os_str()]).line()
}

/// The tree of an image in root's store.
fn tree(mica: &Mica, image: &str) -> Listed {
    mica.run(["create", "--name", "look", image, "true"]);
    let listed = Listed::of(Path::new(&mica.run(["mount", "look"]).line()));
    mica.run(["rm", "-f", "look"]);
    listed
}

const SCAFFOLD: [&str; 3] = ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];

#[test]
fn bytes_come_back_from_a_user_and_owners_with_them() {
    needs!(root, overlay, ordinary_user, userxattr, program "busybox", program "setcap");
    let outside = Mica::new();
    let root = outside.path("full");
    fs::create_dir(&root).unwrap();
    full(&root);
    let id = outside.run(["import", "-q", root.to_str().unwrap(), "full"]).line();
    let forms = ["oci-archive", "docker-archive"];
    let archives: Vec<(PathBuf, Vec<u8>)> = forms
        .iter()
        .map(|form| {
            let path = outside.path(form);
            (path.clone(), save(&outside, form, "full", &path))
        })
        .collect();
    let before = tree(&outside, "full").without(&SCAFFOLD);
    assert!(before.at("/data/capable").contains("security.capability"), "{}", before.at("/data/capable"));
    as_both(|mica| {
        for (form, (path, bytes)) in forms.iter().zip(&archives) {
            let here = mica.path(form);
            fs::copy(path, &here).unwrap();
            fs::set_permissions(&here, fs::Permissions::from_mode(0o644)).unwrap();
            assert_eq!(load(&mica, &here), id, "{form}");
            let again = mica.user().home().join(form);
            assert!(save(&mica, form, "full", &again) == *bytes, "{form} is another");
        }
        mica.assert_whole();
        // Written over, changed in its mode alone, looked at, and removed.
        let script = "cd /data; echo more >>written; chmod 600 far owned; cat root; chmod 700 dir; rm disk; echo new >dir/new; ls -l >/dev/null";
        assert_eq!(mica.run(["run", "--name", "work", "full", "sh", "-c", script]).out, "root\n");
        // A hard link that a copy-up broke is a file of its own: the other name stays as it was.
        let expected = "C /data/dir A /data/dir/new D /data/disk C /data/far C /data/owned C /data/written";
        let diff = mica.run(["diff", "work"]).out.replace("C /data\n", "");
        assert_eq!(diff.lines().collect::<Vec<_>>().join(" "), expected, "{diff}");
        let image = mica.run(["commit", "-q", "work", "changed"]).line();
        let out = mica.user().home().join("changed.tar");
        save(&mica, "oci-archive", "changed", &out);
        let back = Mica::new();
        assert_eq!(load(&back, &out), image);
        let tree = tree(&back, "changed").without(&SCAFFOLD);
        for (path, words) in [
            ("/data/written", &["0640", "1000:1001", "13 bytes"][..]),
            ("/data/owned", &["0600", "1000:1001"]),
            ("/data/linked", &["0640", "1000:1001"]),
            ("/data/far", &["0600", "70000:70001"]),
            ("/data/dir", &["0700", "1000:50"]),
            ("/data/dir/inner", &["0:0"]),
            ("/data/link", &["1000:70000"]),
        ] {
            assert!(words.iter().all(|word| tree.at(path).contains(word)), "{path}: {}", tree.at(path));
        }
        for same in ["/data/setuid", "/data/capable", "/data/null", "/data/root", "/bin/sh", "/data/link"] {
            assert_eq!(tree.at(same), before.at(same));
        }
        assert_eq!((tree.at("/data/disk"), tree.at("/data/dir/new").is_empty()), ("", false));
        mica.assert_whole();
    });
}

#[test]
fn a_debian_is_changed_by_a_user_and_root_sees_the_same() {
    needs!(root, overlay, ordinary_user, userxattr, program "mmdebstrap", program "tar");
    let base = match debian() {
        Ok(base) => base,
        Err(reason) => {
            fn here() {}
            return gate::skip(std::any::type_name_of_val(&here), &reason);
        }
    };
    apart(|| {
        let mica = Mica::of(OrdinaryUser::with_range());
        let mut import = mica.command(["import", "-q", "-", "debian"]);
        let said = crate::common::Said::of(import.stdin(File::open(&base).unwrap()).output().unwrap());
        assert_eq!(said.status, 0, "{said:#?}");
        mica.run(["run", "--name", "work", "debian", "bash", "-c", CHANGES]);
        let diff = mica.run(["diff", "work"]).out;
        for line in
            ["A /srv/deep/first", "A /home/someone/third", "D /etc/issue", "D /usr/share/zoneinfo", "C /etc/passwd"]
        {
            assert!(diff.lines().any(|changed| changed == line), "{line} is not in\n{diff}");
        }
        assert!(!diff.contains("/proc") && !diff.contains("/dev"), "{diff}");
        let home = mica.user().home();
        let exported = home.join("exported.tar");
        mica.run([OsStr::new("export"), "-o".as_ref(), exported.as_os_str(), "work".as_ref()]);
        let image = mica.run(["commit", "-q", "work", "debian:changed"]).line();
        mica.assert_whole();

        let back = Mica::new();
        let archive = home.join("archive");
        let bytes = save(&mica, "docker-archive", "debian:changed", &archive);
        assert_eq!(load(&back, &archive), image);
        let places = ["/etc/hosts"];
        let seen = tree(&back, "debian:changed").without(&places);
        seen.assert_is(&Listed::of_tar(&exported).without(&places), "the user's export");
        for (path, words) in [
            ("/home/someone", &["1234:1234"][..]),
            ("/usr/local/bin/privileged", &["4755", "7:8"]),
            ("/srv/deep", &["1777", "0:0"]),
            ("/var/mail", &["33:33"]),
        ] {
            assert!(words.iter().all(|word| seen.at(path).contains(word)), "{path}: {}", seen.at(path));
        }
        assert!(save(&back, "docker-archive", "debian:changed", &back.path("again")) == bytes, "root saves another");
    });
}

#[test]
fn a_full_disk_of_a_user() {
    needs!(loop_devices, ordinary_user);
    apart(|| {
        let disk = LoopFs::ext4(48 << 20);
        let user = OrdinaryUser::with_range();
        let place = user.home().join("disk");
        fs::create_dir(&place).unwrap();
        let bound = Command::new("mount").arg("--bind").arg(disk.path()).arg(&place).status().unwrap();
        assert!(bound.success());
        user.give(&place);
        let heavy = Scratch::new();
        fs::set_permissions(heavy.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let random =
            Command::new("head").args(["-c", "4194304", "/dev/urandom"]).stderr(Stdio::null()).output().unwrap();
        fs::write(heavy.path().join("random"), random.stdout).unwrap();
        let import = ["import", "-q", heavy.path().to_str().unwrap(), "heavy"];
        let mica = Mica::of_at(user, place.join("store"));
        mica.run(["images"]);
        let before = mica.contents();
        disk.fill(1 << 20);
        let error = mica.refuses(import);
        assert!(error.contains("No space left") && error.contains("\nhint: make room"), "{error}");
        assert_eq!(mica.contents(), before);
        fs::remove_file(disk.path().join("filler")).unwrap();
        mica.run(import);
        mica.assert_whole();
        drop(mica);
        drop(disk);
    });
}
