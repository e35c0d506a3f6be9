//! A disk that is full: one error that says so, a store as it was, and the same command when there is room again.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use mica_testkit::{LoopFs, busybox_rootfs, needs};

use crate::common::{Mica, Said};

const MIB: u64 = 1 << 20;

/// A store on a small disk of its own.
struct Small {
    // Before the disk, which must not be busy when it goes.
    mica: Mica,
    disk: LoopFs,
}

impl Small {
    fn new() -> Self {
        let disk = LoopFs::ext4(48 * MIB);
        let mica = Mica::at(disk.path().join("store"));
        mica.run(["images"]);
        Self { mica, disk }
    }

    fn free(&self) {
        fs::remove_file(self.disk.path().join("filler")).unwrap();
    }

    /// The command fails for want of room, in one sentence with what to do, and leaves all as it was. With room it works.
    fn needs_room(&self, args: &[&str]) {
        let mica = &self.mica;
        let before = mica.contents();
        // With almost nothing left, and with enough to begin.
        for left in [0, MIB / 4, MIB] {
            self.disk.fill(left);
            let error = mica.refuses(args);
            assert!(error.contains("No space left") && error.contains("\nhint: make room"), "{left}: {error}");
            let now = mica.contents();
            let differs: Vec<_> =
                before.keys().chain(now.keys()).filter(|path| before.get(*path) != now.get(*path)).collect();
            assert!(differs.is_empty(), "{args:?} with {left} bytes left changed {differs:?}");
            let checked = mica.run(["system", "check"]);
            assert!(checked.out.contains("are whole"), "{checked:#?}");
            self.free();
        }
        mica.run(args);
        mica.assert_whole();
    }
}

/// A directory with `size` bytes that do not compress.
fn heavy(dir: &Path, size: u64) {
    fs::create_dir_all(dir.join("data")).unwrap();
    let mut content = Vec::new();
    fs::File::open("/dev/urandom").unwrap().take(size).read_to_end(&mut content).unwrap();
    fs::write(dir.join("data/random"), content).unwrap();
}

#[test]
fn an_import_into_a_full_disk() {
    needs!(loop_devices);
    let small = Small::new();
    let root = small.mica.path("rootfs");
    heavy(&root, 4 * MIB);
    small.needs_room(&["import", "-q", root.to_str().unwrap(), "heavy"]);
}

#[test]
fn a_load_into_a_full_disk() {
    needs!(loop_devices);
    let small = Small::new();
    let source = Mica::new();
    let root = source.path("rootfs");
    heavy(&root, 4 * MIB);
    source.run(["import", "-q", root.to_str().unwrap(), "heavy"]);
    for form in ["oci-archive", "docker-archive"] {
        let archive = small.mica.path(form);
        let archive = archive.to_str().unwrap();
        source.run(["save", "--format", form, "-o", archive, "heavy"]);
        small.needs_room(&["load", "-q", "-i", archive]);
        small.mica.run(["rmi", "heavy"]);
        small.mica.run(["system", "prune", "-f"]);
    }
}

#[test]
fn a_commit_into_a_full_disk() {
    needs!(loop_devices, overlay);
    let small = Small::new();
    let mica = &small.mica;
    let root = mica.path("rootfs");
    fs::create_dir(&root).unwrap();
    mica.run(["import", "-q", root.to_str().unwrap(), "empty"]);
    mica.run(["create", "--name", "box", "empty", "true"]);
    let merged = mica.run(["mount", "box"]).line();
    heavy(Path::new(&merged), 4 * MIB);
    mica.run(["umount", "box"]);
    small.needs_room(&["commit", "-q", "box", "heavy"]);
    assert_eq!(mica.run(["layers", "-q", "heavy"]).out.lines().count(), 2);
    mica.run(["rm", "box"]);
}

#[test]
fn a_run_on_a_full_disk() {
    needs!(loop_devices, overlay, program "busybox");
    let small = Small::new();
    let mica = &small.mica;
    let root = mica.path("rootfs");
    fs::create_dir(&root).unwrap();
    busybox_rootfs(&root);
    mica.run(["import", "-q", root.to_str().unwrap(), "tiny"]);
    mica.run(["run", "--rm", "tiny", "true"]);
    mica.run(["system", "prune", "-f"]);

    // The command itself meets the end of the disk, and says so; what it wrote before is there.
    let script = "dd if=/dev/zero of=/big bs=64k; echo ended with $?";
    let said = mica.try_run(["run", "--name", "box", "tiny", "sh", "-c", script]);
    assert!(said.out.contains("ended with 1") && said.err.contains("No space left"), "{said:#?}");
    assert!(!said.err.contains("mica: ") || said.status == 125, "{said:#?}");
    assert_eq!(mica.run(["diff", "box"]).out, "A /big\n");
    let checked = mica.run(["system", "check"]);
    assert!(checked.out.contains("are whole"), "{checked:#?}");
    assert!(mica.run(["ps", "-a"]).out.contains("Exited"), "its end is known");
    // Removing needs no room.
    mica.run(["rm", "box"]);
    mica.run(["run", "--rm", "tiny", "true"]);

    // No room for a container at all.
    let before = mica.contents();
    small.disk.fill(0);
    let said = mica.try_run(["run", "--rm", "tiny", "true"]);
    if said.status != 0 {
        assert_eq!((said.status, said.err.matches("mica: ").count()), (125, 1), "{said:#?}");
        assert!(said.err.contains("No space left") && said.err.contains("\nhint: make room"), "{said:#?}");
    }
    assert_eq!(mica.contents(), before, "a container that could not run left something");
    small.free();
    mica.run(["run", "--rm", "tiny", "true"]);
    mica.assert_whole();
}

#[test]
fn a_moment_without_room_gives_no_container_another_driver() {
    needs!(root, overlay, program "busybox");
    let mica = Mica::new();
    mica.busybox("tiny");
    let (mut made, mut refused) = (0, 0);
    for change in 1..=60 {
        mica_sys::Dir::open(&mica.run_root()).unwrap().remove_tree(b"drivers").unwrap();
        let mut command = mica.command(["create", "tiny", "true"]);
        let said = Said::of(command.env("MICA_FAULT", format!("fail@{change}:ENOSPC")).output().unwrap());
        if said.status == 0 {
            assert_eq!(
                mica.run(["inspect", "--format", "{{.Driver}}", &said.line()]).line(),
                "overlay",
                "change {change}"
            );
            made += 1;
        } else {
            assert_eq!(said.status, 125, "change {change}: {said:#?}");
            refused += 1;
        }
    }
    assert!(made > 0 && refused > 10, "{made} made, {refused} refused");
    mica.assert_whole();
}

#[test]
fn an_archive_to_a_full_disk() {
    needs!(loop_devices, overlay);
    let mica = Mica::new();
    let root = mica.path("rootfs");
    heavy(&root, 2 * MIB);
    mica.run(["import", "-q", root.to_str().unwrap(), "heavy"]);
    mica.run(["create", "--name", "box", "heavy", "true"]);
    let disk = LoopFs::ext4(48 * MIB);
    let file = disk.path().join("out.tar");
    let out = file.to_str().unwrap();
    // The kernel makes a directory in `work` as the tree is first mounted.
    mica.run(["export", "-o", "/dev/null", "box"]);
    let before = mica.contents();
    for args in [
        &["save", "-q", "-o", out, "heavy"][..],
        &["save", "-q", "--format", "oci-archive", "-o", out, "heavy"],
        &["export", "-o", out, "box"],
    ] {
        for left in [0, MIB] {
            disk.fill(left);
            let error = mica.refuses(args);
            // Not the store's disk is full.
            assert!(error.contains("No space left") && !error.contains("system prune"), "{args:?}: {error}");
            assert!(error.contains(&format!("\nhint: make room where {file:?} is")), "{args:?}: {error}");
            assert!(!file.exists(), "{args:?} left half a file");
            assert_eq!(fs::read_dir(disk.path()).unwrap().filter(is_part).count(), 0, "{args:?}");
            fs::remove_file(disk.path().join("filler")).unwrap();
        }
        mica.run(args);
        fs::remove_file(&file).unwrap();
    }
    assert!(mica.contents() == before, "the store changed");
    let error = mica.command(["save", "-q", "heavy"]).stdout(fs::File::create("/dev/full").unwrap()).output().unwrap();
    assert_eq!(error.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&error.stderr).contains("\nhint: make room where standard output is"), "{error:?}");
    mica.run(["rm", "box"]);
}

fn is_part(entry: &std::io::Result<fs::DirEntry>) -> bool {
    entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(".part")
}
