//! The main job on each kind of file system that a store may stand on, with each driver; and which driver is taken where.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mica_testkit::{LoopFs, OrdinaryUser, Scratch, busybox_rootfs, needs};

use crate::common::Mica;

const MIB: u64 = 1 << 20;

/// What the container of the main job does each time it is started.
const WRITES: &str = "echo line >> /etc/lines; rm -f /etc/group; rm -r /tmp; mkdir -m 1777 /tmp; echo in > /tmp/new; \
                      ln -f /etc/lines /etc/link; test -e /moved || { mv /var /moved; mkdir /var; }; chmod 711 /root";

const CHANGES: &str =
    "C /etc\nD /etc/group\nA /etc/lines\nA /etc/link\nA /moved\nC /root\nC /tmp\nA /tmp/new\nC /var\n";

/// All that one does with a store, from an empty one to an empty one.
fn main_job(mica: &Mica, driver: Option<&str>, expected: &str) {
    let with_driver = |args: &[&str]| -> Vec<String> {
        let named = driver.map(|name| ["--driver".to_owned(), name.to_owned()]).into_iter().flatten();
        let (verb, rest) = args.split_first().unwrap();
        [(*verb).to_owned()].into_iter().chain(named).chain(rest.iter().map(|arg| (*arg).to_owned())).collect()
    };
    let id = mica.busybox("box");
    let (archive, again) = (mica.path("box.tar"), mica.path("again.tar"));
    let (archive, again) = (archive.to_str().unwrap(), again.to_str().unwrap());
    mica.run(["save", "-q", "-o", archive, "box"]);
    mica.run(["rmi", "box"]);
    mica.run(["system", "prune", "-af"]);
    mica.run(["load", "-q", "-i", archive]);
    assert_eq!(mica.run(["images", "-q", "--no-trunc"]).line(), id);

    mica.run(with_driver(&["run", "--name", "c", "box", "sh", "-c", WRITES]));
    assert_eq!(mica.run(["inspect", "c", "--format", "{{.Driver}}"]).line(), expected);
    assert_eq!(mica.run(["diff", "c"]).out, CHANGES);
    mica.run(["start", "-a", "c"]);
    assert_eq!(mica.run(["diff", "c"]).out, CHANGES, "after a second time");
    let merged = PathBuf::from(mica.run(["mount", "c"]).line());
    assert_eq!(fs::read_to_string(merged.join("etc/link")).unwrap(), "line\nline\n");
    fs::write(merged.join("mounted"), "").unwrap();
    mica.run(["umount", "c"]);
    assert!(mica.run(["diff", "c"]).out.contains("A /mounted\n"));

    mica.run(["commit", "-q", "c", "made"]);
    let look = "cat /etc/lines; ls /tmp /moved; ls -d /mounted; stat -c %a /root; test -e /etc/group || echo gone";
    let seen = "line\nline\n/moved:\n\n/tmp:\nnew\n/mounted\n711\ngone\n";
    for looked in ["overlay", "fuse", "flat"] {
        // A layer that was written under one driver reads the same under another.
        if looked != "overlay" || expected == "overlay" {
            let said = mica.run(["run", "--rm", "--driver", looked, "made", "sh", "-c", look]);
            assert_eq!(said.out, seen, "what {expected} wrote, under {looked}");
        }
    }
    mica.run(["save", "-q", "-o", again, "made"]);
    mica.assert_whole();
    mica.run(["rm", "c"]);
    mica.run(["rmi", "made", "box"]);
    mica.run(["system", "prune", "-af"]);
    mica.run(["load", "-q", "-i", again]);
    mica.assert_whole();
    mica.run(["rmi", "made"]);
    mica.run(["system", "prune", "-af"]);
    assert_eq!(mica.run(["layers", "-q"]).out, "");
    assert_eq!(mica.run(["system", "info", "--format", "{{.Driver}}"]).line(), probed(mica));
}

/// The driver that probing finds.
fn probed(mica: &Mica) -> String {
    let made = mica.run(["create", "dir:/bin", "true"]).line();
    let driver = mica.run(["inspect", &made, "--format", "{{.GraphDriver.Name}}"]).line();
    mica.run(["rm", &made]);
    driver
}

/// The main job with the driver that is found and with each that is named.
fn all_of_it(store: &Path, found: &str) {
    let mica = Mica::at(store.join("store"));
    assert_eq!(probed(&mica), found);
    main_job(&mica, None, found);
    main_job(&mica, Some("fuse"), "fuse");
    main_job(&mica, Some("flat"), "flat");
}

#[test]
fn the_main_job_on_ext4() {
    needs!(loop_devices, overlay, fuse, program "busybox");
    all_of_it(&LoopFs::ext4(96 * MIB).path(), "overlay");
}

#[test]
fn the_main_job_on_xfs_with_and_without_shared_blocks() {
    needs!(loop_devices, overlay, fuse, program "busybox", program "mkfs.xfs");
    for reflink in [true, false] {
        all_of_it(&LoopFs::xfs(reflink).path(), "overlay");
    }
}

#[test]
fn the_main_job_on_btrfs() {
    needs!(loop_devices, overlay, fuse, program "busybox", program "mkfs.btrfs");
    all_of_it(&LoopFs::btrfs().path(), "overlay");
}

#[test]
fn the_main_job_on_a_tmpfs() {
    needs!(root, overlay, fuse, program "busybox");
    let scratch = Scratch::new();
    all_of_it(&scratch.tmpfs("memory", "size=96m"), "overlay");
}

/// An overlayfs, as the root file system of a container is one.
fn overlayfs(scratch: &Scratch) -> PathBuf {
    let at = |name: &str| scratch.make(name).display().to_string();
    let options = format!("lowerdir={},upperdir={},workdir={}", at("lower"), at("upper"), at("work"));
    let place = scratch.make("merged");
    let mounted = Command::new("mount").args(["-t", "overlay", "overlay", "-o", &options]).arg(&place).status();
    assert!(mounted.unwrap().success());
    place
}

#[test]
fn the_main_job_on_overlayfs_where_the_kernels_own_union_refuses() {
    needs!(root, overlay, fuse, program "busybox", program "mount");
    let scratch = Scratch::new();
    let place = overlayfs(&scratch);
    let mica = Mica::at(place.join("store"));
    assert_eq!(probed(&mica), "fuse");
    main_job(&mica, None, "fuse");
    main_job(&mica, Some("flat"), "flat");

    // What is asked for is not replaced, and is refused with the reason before anything is made.
    mica.busybox("box");
    let before = mica.contents();
    for verb in ["run", "create"] {
        let error = mica.refuses([verb, "--driver", "overlay", "box", "true"]);
        assert!(error.contains("driver overlay does not work here: overlay: cannot mount"), "{error}");
        assert!(error.contains("\nhint: overlayfs cannot write to a directory that is on overlayfs itself"), "{error}");
    }
    let differs = before != mica.contents();
    assert!(!differs, "a refusal left something");
    let info = mica.run(["system", "info"]).out;
    assert!(info.contains("Driver:     overlay: overlay: cannot mount"), "{info}");
    assert!(info.contains("Driver:     fuse: works, and is taken for new containers\n"), "{info}");
    assert!(info.contains("Driver:     flat: works\n"), "{info}");
}

#[test]
fn the_driver_can_be_named_by_the_environment_and_a_container_keeps_it() {
    needs!(root, overlay, program "busybox");
    let mica = Mica::new();
    mica.busybox("box");
    let created = mica.command(["create", "--name", "c", "box", "touch", "/x"]).env("MICA_DRIVER", "flat").output();
    assert!(created.unwrap().status.success());
    let started = mica.command(["start", "-a", "c"]).env("MICA_DRIVER", "overlay").output().unwrap();
    assert!(started.status.success(), "{started:?}");
    assert_eq!(mica.run(["inspect", "c", "--format", "{{.Driver}}"]).line(), "flat");
    assert_eq!(mica.run(["diff", "c"]).out, "A /x\n");
    assert!(mica.refuses(["run", "--driver", "aufs", "box", "true"]).contains("overlay, fuse, flat"));
}

#[test]
fn what_a_probe_found_is_kept_and_a_broken_record_is_no_matter() {
    needs!(root, overlay, fuse);
    let mica = Mica::new();
    assert_eq!(probed(&mica), "overlay");
    let records = || fs::read_dir(mica.run_root().join("drivers")).unwrap().map(|entry| entry.unwrap().path());
    let record = records().next().unwrap();
    assert_eq!(records().count(), 1);
    let read = || fs::read_to_string(&record).unwrap();
    assert!(!read().contains("flat"), "what is not needed is not tried: {}", read());
    mica.run(["system", "info"]);
    let good = read();
    assert!(good.contains("flat"), "{good}");
    // It is believed.
    let works = r#""name":"overlay","why":null"#;
    let bad = good.replace(works, r#""name":"overlay","why":"it was so""#);
    assert_ne!(good, bad);
    fs::write(&record, &bad).unwrap();
    assert_eq!(probed(&mica), "fuse");
    // Before a driver that is asked for is refused, it is looked at again.
    mica.run(["create", "--driver", "overlay", "dir:/bin", "true"]);
    assert!(read().contains(works), "{}", read());
    // And by `system info`, always.
    fs::write(&record, &bad).unwrap();
    mica.run(["system", "info"]);
    assert_eq!(read(), good);
    // What is not understood, or of another boot, is found out again.
    for odd in ["", "{}", &bad.replace("\"boot\":\"", "\"boot\":\"x"), &bad.replace("flat", "flut")] {
        fs::write(&record, odd).unwrap();
        assert_eq!(probed(&mica), "overlay", "{odd:?}");
        assert!(read().contains(works), "{}", read());
    }
}

#[test]
fn a_copy_into_a_full_disk_leaves_nothing() {
    needs!(loop_devices, program "busybox");
    let disk = LoopFs::ext4(48 * MIB);
    let mica = Mica::at(disk.path().join("store"));
    mica.busybox("box");
    // The scaffold of all containers, and the place of those that do not stay, are made with the first.
    mica.run(["run", "--rm", "box", "true"]);
    let before = mica.contents();
    disk.fill(MIB);
    let error = mica.refuses(["run", "--rm", "--driver", "flat", "box", "true"]);
    assert!(error.contains("flat: cannot copy /bin/busybox") && error.contains("No space left"), "{error}");
    assert!(error.contains("\nhint: make room") && error.contains("; this driver copies the whole image"), "{error}");
    let now = mica.contents();
    let differs: Vec<_> = before.keys().chain(now.keys()).filter(|path| before.get(*path) != now.get(*path)).collect();
    assert!(differs.is_empty(), "the store is as it was: {differs:?}");
    fs::remove_file(disk.path().join("filler")).unwrap();
    mica.run(["run", "--rm", "--driver", "flat", "box", "true"]);
    mica.assert_whole();
}

#[test]
fn a_disk_that_a_container_filled_loses_nothing_that_it_wrote() {
    needs!(loop_devices, program "busybox");
    let disk = LoopFs::ext4(48 * MIB);
    let mica = Mica::at(disk.path().join("store"));
    mica.busybox("box");
    mica.run(["create", "--name", "c", "--driver", "flat", "box", "sh", "-c", "dd if=/dev/zero of=/big bs=1M count=8"]);
    disk.fill(14 * MIB);
    let error = mica.refuses(["start", "-a", "c"]);
    assert!(error.contains("gather what container c wrote: flat: cannot bring /big into the upper"), "{error}");
    assert!(error.contains("\nhint: make room") && error.contains("; nothing that was written is lost"), "{error}");
    assert!(mica.run(["ps", "-a", "--format", "{{.Status}}"]).line().starts_with("Exited (0)"));
    fs::remove_file(disk.path().join("filler")).unwrap();
    assert_eq!(mica.run(["diff", "c"]).out, "A /big\n");
    mica.run(["commit", "-q", "c", "made"]);
    assert_eq!(mica.run(["run", "--rm", "made", "stat", "-c", "%s", "/big"]).line(), (8 * MIB).to_string());
    mica.assert_whole();
}

#[test]
fn a_container_that_runs_is_told_of_as_it_is() {
    needs!(root, program "busybox");
    let mica = Mica::new();
    mica.busybox("box");
    mica.run(["create", "--name", "c", "--driver", "flat", "box", "sh", "-c", "echo 1 > /one; sleep 60"]);
    let mut running = mica.command(["start", "-a", "c"]).spawn().unwrap();
    let told = || mica.run(["diff", "c"]).out;
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while told() != "A /one\n" {
        assert!(std::time::Instant::now() < until, "{}", told());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    mica.run(["rm", "-f", "c"]);
    running.wait().unwrap();
    mica.assert_whole();
}

#[test]
fn what_a_copy_takes_is_counted() {
    needs!(root, overlay, program "du");
    let mica = Mica::new();
    let tree = mica.path("tree");
    fs::create_dir_all(tree.join("in")).unwrap();
    for name in ["one", "in/other"] {
        fs::write(tree.join(name), vec![b'x'; 1 << 20]).unwrap();
        fs::hard_link(tree.join(name), tree.join(format!("{name}-too"))).unwrap();
    }
    mica.run(["import", "-q", tree.to_str().unwrap(), "box"]);
    mica.run(["create", "--name", "c", "--driver", "flat", "box", "true"]);
    let id = mica.run(["ps", "-aq", "--no-trunc"]).line();
    let home = mica.root().join("containers").join(id);
    let counted =
        || mica.run(["system", "df", "--format", "{{.Type}} {{.Size}}"]).out.lines().nth(1).unwrap().to_owned();
    assert_eq!(counted(), "Containers 0B", "not mounted yet");
    // What df says, to the tenth of a megabyte, is what is on disk.
    let holds = |least: u64| {
        let du = Command::new("du").args(["-s", "-B1"]).arg(&home).output().unwrap();
        let du: u64 = String::from_utf8(du.stdout).unwrap().split('\t').next().unwrap().parse().unwrap();
        assert!(du >= least, "{du} bytes on disk");
        let size = counted();
        let said: f64 = size.strip_prefix("Containers ").unwrap().strip_suffix("MB").unwrap().parse().unwrap();
        assert!((said - du as f64 / 1e6).abs() < 0.1, "{size} where du has {du}");
    };
    let merged = PathBuf::from(mica.run(["mount", "c"]).line());
    holds(2 << 20);
    // Written to the copy, and with settling to the upper as well; a name that goes frees nothing, the last one does.
    fs::write(merged.join("new"), vec![b'y'; 3 << 20]).unwrap();
    fs::remove_file(merged.join("one")).unwrap();
    mica.run(["umount", "c"]);
    holds(8 << 20);
    let merged = PathBuf::from(mica.run(["mount", "c"]).line());
    fs::remove_file(merged.join("one-too")).unwrap();
    mica.run(["umount", "c"]);
    holds(7 << 20);
    mica.run(["rm", "c"]);
    assert_eq!(counted(), "Containers 0B");
}

#[test]
fn a_device_zero_is_a_device_in_a_tree_and_no_whiteout() {
    needs!(root, overlay, program "mknod", program "tar");
    let mica = Mica::new();
    let (tree, exported) = (mica.path("tree"), mica.path("exported.tar"));
    fs::create_dir(&tree).unwrap();
    let mknod = |place: PathBuf| {
        assert!(Command::new("mknod").arg(place).args(["c", "0", "0"]).status().unwrap().success());
    };
    for name in ["kept", "replaced"] {
        mknod(tree.join(name));
    }
    mica.run(["import", "-q", tree.to_str().unwrap(), "box"]);
    // Each member's kind and name.
    let export = |name: &str| -> Vec<String> {
        mica.run(["export", "-o", exported.to_str().unwrap(), name]);
        let listed = Command::new("tar").args(["-tvf"]).arg(&exported).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        let line = |line: &str| format!("{} {}", &line[..1], line.rsplit(' ').next().unwrap());
        let ours = ["kept", "replaced", "new"];
        listed.lines().map(line).filter(|line| ours.contains(&&line[2..])).collect()
    };
    for driver in ["overlay", "fuse", "flat"] {
        mica.run(["create", "--name", driver, "--driver", driver, "box", "true"]);
        assert_eq!(export(driver), ["c kept", "c replaced"], "{driver}");
        let merged = PathBuf::from(mica.run(["mount", driver]).line());
        fs::remove_file(merged.join("replaced")).unwrap();
        fs::write(merged.join("replaced"), "").unwrap();
        let mut expected = vec!["c kept", "- replaced"];
        if driver != "overlay" {
            // overlayfs lets nobody make one.
            mknod(merged.join("new"));
            expected.insert(1, "c new");
        }
        assert_eq!(export(driver), expected, "{driver}, while it is mounted");
        mica.run(["umount", driver]);
        assert_eq!(export(driver), expected, "{driver}");
    }
    mica.assert_whole();
}

#[test]
fn an_ordinary_user_has_unions_and_copies_too() {
    needs!(ordinary_user, fuse, program "busybox");
    mica_testkit::in_mount_namespace(|| {
        for user in [OrdinaryUser::with_range(), OrdinaryUser::without_range()] {
            let mica = Mica::of(user);
            let root = mica.path("busybox");
            fs::create_dir(&root).unwrap();
            busybox_rootfs(&root);
            ["", "root", "etc", "etc/passwd", "etc/group", "bin", "bin/busybox", "tmp", "var"]
                .iter()
                .for_each(|name| mica.user().give(&root.join(name)));
            mica.busybox("box");
            for driver in ["flat", "fuse"] {
                mica.run(["run", "--name", "c", "--driver", driver, "box", "sh", "-c", WRITES]);
                assert_eq!(mica.run(["diff", "c"]).out, CHANGES);
                mica.run(["start", "-a", "c"]);
                assert_eq!(mica.run(["diff", "c"]).out, CHANGES, "after a second time");
                mica.run(["commit", "-q", "c", "made"]);
                let look = "cat /etc/link; ls -d /etc/group /moved 2>/dev/null";
                for driver in ["flat", "fuse", "overlay"] {
                    let said = mica.try_run(["run", "--rm", "--driver", driver, "made", "sh", "-c", look]);
                    assert_eq!((said.out.as_str(), said.status), ("line\nline\n/moved\n", 1), "{said:?}");
                }
                mica.run(["rm", "c"]);
            }
            mica.assert_whole();
        }
    });
}
