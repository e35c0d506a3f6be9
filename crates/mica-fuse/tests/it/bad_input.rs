//! What is wrong with the directories of a union, before it is mounted and while it is: a clear error or the right errno, and nothing lost.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::process::Command;

use mica_testkit::{LoopFs, Scratch, Snapshot, Tree, in_mount_namespace, needs};

use crate::stage::{Stage, is_overlay, said, stage};

fn two_files(at: &Path) {
    fs::create_dir(at.join("dir")).unwrap();
    fs::write(at.join("file"), "lower").unwrap();
    fs::write(at.join("dir/file"), "in a directory").unwrap();
}

/// Shell that must succeed.
fn sh(script: &str) {
    let output = Command::new("bash").args(["-euo", "pipefail", "-c", script]).output().unwrap();
    assert!(output.status.success(), "{script}\n{}", said(&output));
}

fn remove(path: &Path) {
    sh(&format!("rm -r {}", path.display()));
}

/// Spoils the stage before it is mounted; the refusal has to name one of the words, and the upper stays as it was.
fn refused(words: &[&str], spoil: impl FnOnce(&mut Stage) + Send) {
    in_mount_namespace(|| {
        let mut stage = Stage::in_place(Scratch::new(), &["lower"], |at, _| two_files(at));
        spoil(&mut stage);
        let upper = stage.beside("upper");
        let before = upper.is_dir().then(|| Snapshot::of(&upper));
        let said = stage.try_mount().unwrap_err();
        assert!(words.iter().all(|word| said.contains(word)), "of {words:?} nothing is said in: {said}");
        assert!(said.lines().count() <= 2, "an error and a hint are enough: {said}");
        before.iter().for_each(|before| before.assert_unchanged(&upper, "a refusal"));
    });
}

#[test]
fn a_directory_that_is_missing_is_named() {
    needs!(root, fuse);
    refused(&["lower", "is not there"], |stage| remove(&stage.beside("lower")));
    refused(&["upper", "is not there"], |stage| remove(&stage.beside("upper")));
    refused(&["work", "is not there"], |stage| remove(&stage.beside("work")));
    refused(&["mnt", "is not there"], |stage| remove(&stage.mnt()));
    refused(&["lower", "is no directory"], |stage| {
        remove(&stage.beside("lower"));
        fs::write(stage.beside("lower"), "").unwrap();
    });
}

#[test]
fn a_lower_that_the_user_may_not_read_is_named() {
    needs!(ordinary_user, fuse);
    let user = mica_testkit::OrdinaryUser::with_range();
    for dir in ["lower", "upper", "work", "mnt"] {
        let path = user.scratch().make(format!("home/{dir}"));
        user.give(&path);
    }
    let closed = user.scratch().make("home/lower");
    sh(&format!("chown 0:0 {0}; chmod 700 {0}", closed.display()));
    let script =
        "unshare --user --mount --map-root-user --map-auto \"$0\" -f -o lowerdir=lower,upperdir=upper,workdir=work mnt";
    let program = user.scratch().path().join("mica-fuse");
    fs::copy(crate::stage::program(), &program).unwrap();
    let output = user.command("timeout").args(["20", "sh", "-c", script]).arg(&program).output().unwrap();
    assert!(!output.status.success() && output.status.code() != Some(124), "{}", said(&output));
    assert!(said(&output).contains("lower") && said(&output).contains("ermission denied"), "{}", said(&output));
}

#[test]
fn an_upper_that_is_in_use_is_refused_and_the_first_goes_on() {
    needs!(root, fuse);
    stage(two_files, |first| {
        fs::write(first.mnt().join("new"), "first").unwrap();
        let (upper, work, lower) = (first.beside("upper"), first.beside("work"), first.beside("lower"));
        let other = first.path().join("other");
        fs::create_dir(&other).unwrap();
        let dirs = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
        let mut command = Command::new("timeout");
        command.arg("20").arg(crate::stage::program()).args(["-f", "-o", &dirs]).arg(&other);
        let output = command.output().unwrap();
        assert!(!output.status.success(), "two servers write to one upper");
        assert!(said(&output).contains("in use"), "{}", said(&output));
        assert_eq!(fs::read_to_string(first.mnt().join("new")).unwrap(), "first");
        fs::write(first.mnt().join("newer"), "first").unwrap();
    });
}

#[test]
fn a_work_directory_on_another_file_system_is_refused() {
    needs!(root, fuse);
    refused(&["work", "upper"], |stage| {
        sh(&format!("mount -t tmpfs none {}", stage.beside("work").display()));
    });
}

#[test]
fn directories_that_are_in_each_other_are_refused() {
    needs!(root, fuse);
    refused(&["work"], |stage| {
        remove(&stage.beside("work"));
        sh(&format!("ln -s upper {}", stage.beside("work").display()));
    });
}

/// A file system without extended attributes cannot say that a directory replaces another. Either that is told at the mount, or the one
/// operation that needs it is refused: what was deleted never shows again.
#[test]
fn an_upper_without_attributes_is_told_or_shows_nothing_that_was_deleted() {
    needs!(root, fuse);
    in_mount_namespace(|| {
        let mut stage = Stage::in_place(Scratch::new(), &["lower"], |at, _| two_files(at));
        let bare = stage.path().join("bare");
        sh(&format!(
            "mkdir {0}; mount -t ramfs none {0}; mkdir {0}/upper {0}/work; mount --bind {0} {1}/tmp; rmdir {1}/upper {1}/work
            ln -s tmp/upper {1}/upper; ln -s tmp/work {1}/work",
            bare.display(),
            stage.path().display()
        ));
        if let Err(said) = stage.try_mount() {
            assert!(said.contains("attribute"), "{said}");
            return;
        }
        let mnt = stage.mnt();
        fs::write(mnt.join("file"), "changed").unwrap();
        fs::write(mnt.join("new"), "new").unwrap();
        sh(&format!("rm -r {}", mnt.join("dir").display()));
        let replaced = fs::create_dir(mnt.join("dir"));
        let shown = Tree::read(&mnt);
        assert!(!mnt.join("dir/file").exists(), "what was deleted shows again");
        stage.remount();
        shown.assert_is(&Tree::read(&stage.mnt()), "the union, mounted again");
        if let Err(error) = replaced {
            assert!(!error.to_string().is_empty());
        }
        stage.end();
    });
}

#[test]
fn a_full_upper_refuses_and_keeps_what_there_was() {
    needs!(root, fuse, loop_devices);
    in_mount_namespace(|| {
        let disk = LoopFs::ext4(12 << 20);
        let mut stage = Stage::in_place(Scratch::new(), &["lower"], |at, _| {
            two_files(at);
            fs::write(at.join("big"), vec![b'b'; 3 << 20]).unwrap();
            for number in 0..200 {
                fs::write(at.join(format!("dir/f{number}")), "x").unwrap();
            }
        });
        sh(&format!(
            "mkdir {0}/upper {0}/work; rmdir {1}/upper {1}/work; ln -s {0}/upper {1}/upper; ln -s {0}/work {1}/work",
            disk.path().display(),
            stage.path().display()
        ));
        stage.mount();
        let mnt = stage.mnt();
        fs::write(mnt.join("kept"), vec![b'k'; 100_000]).unwrap();
        File::open(mnt.join("kept")).unwrap().sync_all().unwrap();
        disk.fill(500_000);
        let is_full = |error: &io::Error| assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
        // A copy-up that has no room changes nothing, though it was begun.
        is_full(
            &OpenOptions::new()
                .append(true)
                .open(mnt.join("big"))
                .and_then(|mut file| file.write_all(b"more"))
                .unwrap_err(),
        );
        assert_eq!(fs::read(mnt.join("big")).unwrap(), vec![b'b'; 3 << 20]);
        assert!(!stage.beside("upper").join("big").exists(), "half a copy has a name");
        // A write that has no room is told, at the latest by fsync.
        let file = File::create(mnt.join("filling")).unwrap();
        let all = (0..40).try_for_each(|n| file.write_all_at(&[b'f'; 65536], n * 65536)).and_then(|()| file.sync_all());
        is_full(&all.unwrap_err());
        drop(file);
        fs::remove_file(mnt.join("filling")).unwrap();
        disk.fill(0);
        // Names and whiteouts: each either works or is refused, and what was refused is as it was.
        let mut refused = 0;
        for number in 0..200 {
            let path = mnt.join(format!("dir/f{number}"));
            match fs::remove_file(&path) {
                Ok(()) => assert!(!path.exists()),
                Err(error) => {
                    is_full(&error);
                    assert_eq!(fs::read_to_string(&path).unwrap(), "x");
                    refused += 1;
                }
            }
        }
        let shown = Tree::read(&mnt);
        stage.remount();
        shown.assert_is(&Tree::read(&stage.mnt()), "the full union, mounted again");
        fs::remove_file(disk.path().join("filler")).unwrap();
        for number in 0..200 {
            let path = mnt.join(format!("dir/f{number}"));
            if path.exists() {
                fs::remove_file(&path).unwrap();
                refused -= 1;
            }
        }
        assert_eq!(refused, 0);
        fs::write(mnt.join("big"), "there is room").unwrap();
        assert_eq!(fs::read(mnt.join("kept")).unwrap(), vec![b'k'; 100_000]);
        stage.end();
        drop(stage);
    });
}

#[test]
fn a_lower_that_changes_underneath_is_an_error_of_its_own_files() {
    needs!(root, fuse);
    in_mount_namespace(|| {
        let mut stage = Stage::in_place(Scratch::new(), &["lower"], |at, _| {
            two_files(at);
            fs::create_dir(at.join("other")).unwrap();
            fs::write(at.join("other/file"), "other").unwrap();
        });
        stage.mount();
        let (mnt, lower) = (stage.mnt(), stage.beside("lower"));
        for path in ["file", "dir/file", "other/file"] {
            assert!(mnt.join(path).metadata().unwrap().len() > 0);
        }
        let held = File::open(mnt.join("file")).unwrap();
        fs::remove_file(lower.join("file")).unwrap();
        remove(&lower.join("dir"));
        fs::write(lower.join("other/file"), "something else that is longer").unwrap();
        // Each of these may work or not; none may hang, or take the server down.
        for path in ["file", "dir/file", "other/file", "dir", "dir/none"] {
            let outcomes = [
                fs::read(mnt.join(path)).map(drop),
                OpenOptions::new().append(true).open(mnt.join(path)).and_then(|mut file| file.write_all(b"more")),
                fs::read_dir(mnt.join(path)).map(|names| names.count()).map(drop),
                fs::rename(mnt.join(path), mnt.join("moved"))
                    .and_then(|()| fs::rename(mnt.join("moved"), mnt.join(path))),
            ];
            for error in outcomes.into_iter().filter_map(Result::err) {
                let errno = error.raw_os_error().unwrap();
                // ENOENT, EIO, ENOTDIR, EISDIR, EINVAL, ESTALE
                assert!([2, 5, 20, 21, 22, 116].contains(&errno), "{path}: {error}");
            }
        }
        let mut start = [0; 5];
        assert_eq!((held.read_at(&mut start, 0).unwrap(), &start), (5, b"lower"), "what is open stays");
        fs::write(mnt.join("new"), "new").unwrap();
        assert_eq!(fs::read_to_string(mnt.join("new")).unwrap(), "new");
        drop(held);
        stage.unmount();
    });
}

/// A disk that is cut off, so that reading some of its files is EIO.
#[test]
fn an_error_of_the_lowers_disk_is_told_and_nothing_of_it_is_copied() {
    needs!(root, fuse, loop_devices);
    in_mount_namespace(|| {
        let mut stage = Stage::in_place(Scratch::new(), &["lower"], |_, _| ());
        let lower = stage.beside("lower");
        sh(&format!(
            "truncate -s 16M {0}; mkfs.ext4 -q -F -m 0 -O ^has_journal {0}; mount -o loop {0} {1}
            for i in $(seq 8); do head -c 1500000 /dev/urandom >{1}/$i; done; umount {1}
            mount -o loop,ro {0} {1}; truncate -s 11M {0}",
            stage.path().join("image").display(),
            lower.display()
        ));
        let names: Vec<String> = (1..=8).map(|number| number.to_string()).collect();
        let (good, bad): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| fs::read(lower.join(name)).is_ok());
        assert!(!good.is_empty() && !bad.is_empty(), "{good:?} can be read and {bad:?} cannot");
        stage.mount();
        let mnt = stage.mnt();
        let append = |name: &str| OpenOptions::new().append(true).open(mnt.join(name))?.write_all(b"x");
        for name in &bad {
            for error in [fs::read(mnt.join(name)).unwrap_err(), append(name).unwrap_err()] {
                assert_eq!(error.raw_os_error(), Some(5), "{error}");
            }
            assert!(!stage.beside("upper").join(name).exists(), "half a copy has a name");
            assert_eq!(mnt.join(name).metadata().unwrap().len(), 1_500_000);
        }
        for name in &good {
            append(name).unwrap();
        }
        fs::remove_file(mnt.join(&bad[0])).unwrap();
        stage.remount();
        assert!(!mnt.join(&bad[0]).exists());
        for name in &good {
            let (ours, theirs) = (fs::read(mnt.join(name)).unwrap(), fs::read(lower.join(name)).unwrap());
            assert!(ours.strip_prefix(&theirs[..]) == Some(b"x"), "{name}");
        }
        stage.unmount();
    });
}

/// Makes, reads, changes and removes a chain of directories by names relative to each.
const DEEP: &str = r#"
import os, sys
def down(make, depth=2000):
    fd = os.open(".", os.O_RDONLY)
    for number in range(depth):
        if make: os.mkdir("d%d" % number, dir_fd=fd)
        new = os.open("d%d" % number, os.O_RDONLY, dir_fd=fd); os.close(fd); fd = new
    return fd
def write(fd, name, data):
    file = os.open(name, os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=fd); os.write(file, data); os.close(file)
def read(fd, name):
    file = os.open(name, os.O_RDONLY, dir_fd=fd); data = os.read(file, 100); os.close(file); return data
if sys.argv[1] == "make":
    write(down(True), "bottom", b"lower")
elif sys.argv[1] == "change":
    fd = down(False); assert read(fd, "bottom") == b"lower"
    write(fd, "bottom", b"upper"); write(fd, "new", b"new"); assert read(fd, "bottom") == b"upper"
    os.rename("d0", "top"); os.rename("top", "d0")
elif sys.argv[1] == "look":
    fd = down(False); assert (read(fd, "bottom"), read(fd, "new")) == (b"upper", b"new"); assert sorted(os.listdir(fd)) == ["bottom", "new"]
"#;

#[test]
fn two_thousand_directories_in_each_other_are_one_tree() {
    needs!(root, fuse, program "python3");
    in_mount_namespace(|| {
        let mut stage = Stage::in_place(Scratch::new(), &["lower"], |_, _| ());
        fs::write(stage.beside("tmp/deep.py"), DEEP).unwrap();
        sh(&format!("cd {}; python3 ../tmp/deep.py make", stage.beside("lower").display()));
        stage.mount();
        stage.sh(100, "python3 $S/tmp/deep.py change; python3 $S/tmp/deep.py look");
        stage.remount();
        stage.sh(100, "python3 $S/tmp/deep.py look; find . | wc -l | grep -qx 2003; mv d0/d1 e; mv e d0/d1; python3 $S/tmp/deep.py look");
        stage.remount();
        stage.sh(100, "python3 $S/tmp/deep.py look; rm -r d0; test -z \"$(ls -A)\"; mkdir d0; test -z \"$(ls -A d0)\"");
        stage.remount();
        stage.sh(10, "test -z \"$(ls -A d0)\"");
        stage.unmount();
        sh(&format!("cd {}; test \"$(find . | wc -l)\" = 2002; rm -r d0", stage.beside("lower").display()));
    });
}

#[test]
fn a_name_has_255_bytes_at_most_wherever_it_goes() {
    needs!(root, fuse);
    let (long, longer) = ("n".repeat(255), "n".repeat(256));
    let (file, dir) = (format!("f{}", &long[1..]), format!("d{}", &long[1..]));
    let lower = |at: &Path| {
        fs::write(at.join(&file), "lower").unwrap();
        fs::create_dir_all(at.join(&dir).join(&dir)).unwrap();
        fs::write(at.join(&dir).join(&dir).join(&file), "deep").unwrap();
    };
    stage(lower, |stage| {
        let mnt = stage.mnt();
        fs::write(mnt.join(&file), "upper").unwrap();
        fs::write(mnt.join(&dir).join(&dir).join(&file), "up").unwrap();
        fs::rename(mnt.join(&dir).join(&dir), mnt.join(&long)).unwrap();
        fs::rename(mnt.join(&file), mnt.join(&dir).join(&file)).unwrap();
        fs::write(mnt.join(&file), "again").unwrap();
        fs::remove_file(mnt.join(&dir).join(&file)).unwrap();
        let too_long = |outcome: io::Result<()>| assert_eq!(outcome.unwrap_err().raw_os_error(), Some(36));
        too_long(fs::write(mnt.join(&longer), ""));
        too_long(fs::metadata(mnt.join(&longer)).map(drop));
        too_long(fs::rename(mnt.join(&file), mnt.join(&longer)));
        too_long(fs::create_dir(mnt.join(&longer)));
        too_long(std::os::unix::fs::symlink("x", mnt.join(&longer)));
        too_long(fs::hard_link(mnt.join(&file), mnt.join(&longer)));
        too_long(fs::remove_file(mnt.join(&longer)));
        let shown = Tree::read(&mnt);
        stage.remount();
        shown.assert_is(&Tree::read(&mnt), "the union, mounted again");
        assert_eq!(fs::read_to_string(mnt.join(&long).join(&file)).unwrap(), "up");
        assert_eq!(mnt.join(&file).metadata().unwrap().size(), 5);
    });
}

/// overlayfs has 500 layers at most; so many must be no wall for us, or a clear one.
#[test]
fn five_hundred_and_one_layers_are_shown_or_refused_by_their_number() {
    needs!(root, fuse);
    in_mount_namespace(|| {
        let names: Vec<String> = (0..501).map(|number| format!("l{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut stage = Stage::in_place(Scratch::new(), &names, |at, name| {
            fs::write(at.join(name), name).unwrap();
            fs::write(at.join("same"), name).unwrap();
            fs::create_dir(at.join("dir")).unwrap();
            fs::write(at.join("dir").join(name), name).unwrap();
        });
        match stage.try_mount() {
            Err(said) => assert!(said.contains("501") || is_overlay(), "{said}"),
            Ok(()) => {
                let mnt = stage.mnt();
                assert_eq!(fs::read_dir(&mnt).unwrap().count(), 503);
                assert_eq!(fs::read_dir(mnt.join("dir")).unwrap().count(), 501);
                assert_eq!(fs::read_to_string(mnt.join("same")).unwrap(), "l0");
                assert_eq!(fs::read_to_string(mnt.join("dir/l500")).unwrap(), "l500");
                fs::write(mnt.join("l500"), "changed").unwrap();
                stage.end();
            }
        }
    });
}
