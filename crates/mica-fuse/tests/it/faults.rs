//! Disks that fail, limits that are met: each caller is told what it may do something about, nothing that was acknowledged is lost, and when the fault has
//! gone the mount shows what is there.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;

use mica_sys::{Dir, Errno};
use mica_testkit::{LoopFs, Scratch, Tree, in_mount_namespace, needs};

use crate::common::wait_until;
use crate::death::{comparable, operations, small, wanted};
use crate::stage::{Stage, is_long, said};

/// Looks at everything, whatever of it can be seen.
fn walk(at: &Path) {
    let Ok(entries) = fs::read_dir(at) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => walk(&path),
            Ok(found) if found.is_file() => drop(fs::read(&path)),
            _ => {}
        }
    }
}

/// The tree, when the one look that is to fail has failed: nothing of it is remembered.
fn truth(stage: &Stage) -> Tree {
    walk(&stage.mnt());
    // It may be among those of this reading, which are others; no second one fails.
    catch_unwind(AssertUnwindSafe(|| comparable(&stage.mnt()))).unwrap_or_else(|_| comparable(&stage.mnt()))
}

/// Lets each call that opens or reads something of a layer fail once, in each operation and in looking at what it left. Gives how often somebody was told.
fn every_look_fails_once(errno: &str, refusals: &[Errno], options: &str) -> u64 {
    let trees = wanted();
    let (first, step) = if is_long() { (1, 1) } else { (3, 41) };
    let mut told = 0;
    for nth in (first..LOOKS).step_by(step) {
        in_mount_namespace(|| {
            let mut stage = Stage::in_place(Scratch::new(), &["lower"], |at, _| small(at));
            stage.ask_for(options);
            stage.arm(&format!("look@{nth}:{errno}"));
            if let Err(said) = stage.try_mount() {
                assert!(said.starts_with("mica-fuse: "), "look {nth}: {said}");
                told += 1;
                return;
            }
            let root = Dir::open(&stage.mnt()).unwrap();
            for (number, op) in operations().iter().enumerate() {
                let mut outcome = op.attempt(&root);
                if let Err(refused) = outcome {
                    assert!(refusals.contains(&refused), "look {nth} failed in {op:?}: {refused}");
                    told += 1;
                    let left = truth(&stage);
                    let lines = trees[number].differences(&left);
                    // What was made may be there, though nobody could say what it is.
                    let is_done = trees[number + 1].differences(&left).is_empty();
                    assert!(
                        lines.is_empty() || is_done,
                        "look {nth} failed in {op:?}, which left\n{}",
                        lines.join("\n")
                    );
                    if is_done {
                        continue;
                    }
                    outcome = op.attempt(&root);
                    // As above, where the kernel was told to ask again only after it was asked.
                    if outcome == Err(Errno::EXIST) {
                        continue;
                    }
                }
                assert!(outcome.is_ok(), "look {nth} failed: {op:?}, done again: {outcome:?}");
                let lines = trees[number + 1].differences(&truth(&stage));
                assert!(lines.is_empty(), "look {nth} failed, then {op:?}:\n{}", lines.join("\n"));
            }
            drop(root);
            stage.end();
        });
    }
    told
}

/// So many times something is opened or read in all of it, and more.
const LOOKS: usize = 2500;

#[test]
fn a_look_that_fails_is_told_and_the_truth_shows_again() {
    needs!(root, fuse);
    let told = every_look_fails_once("EIO", &[Errno::IO], "");
    assert!(told > 2, "only {told} failures were ever told");
    every_look_fails_once("EIO", &[Errno::IO], ",passthrough=off");
}

#[test]
fn descriptors_that_run_out_for_a_moment_are_waited_for() {
    needs!(root, fuse);
    every_look_fails_once("EMFILE", &[], "");
}

/// Files in directories of their own, each with its path in it.
fn scattered(at: &Path) {
    for number in 0..60 {
        let dir = at.join(format!("d{number}/e/f"));
        fs::create_dir_all(&dir).unwrap();
        for name in ["a", "b", "c", "d"] {
            fs::write(dir.join(name), format!("{number} {name}")).unwrap();
        }
    }
}

/// Clients have more files open than the server may have, and change, list and move what is around them.
#[test]
fn few_descriptors_make_no_file_unreadable_and_no_directory_empty() {
    needs!(root, fuse, program "prlimit");
    for (limit, options) in [(64, ""), (64, ",passthrough=off"), (256, "")] {
        in_mount_namespace(|| {
            let mut stage = Stage::in_place(Scratch::new(), &["lower"], |at, _| scattered(at));
            stage.limit(&format!("--nofile={limit}:{limit}"));
            stage.ask_for(options);
            stage.mount();
            let path = |number: usize, name: &str| stage.mnt().join(format!("d{number}/e/f/{name}"));
            let files = || (0..60).flat_map(|number| ["a", "b", "c", "d"].map(|name| (number, name)));
            let read: Vec<(String, File)> = files()
                .map(|(number, name)| (format!("{number} {name}"), File::open(path(number, name)).unwrap()))
                .collect();
            let written: Vec<File> = (0..60)
                .map(|number| OpenOptions::new().read(true).write(true).open(path(number, "a")).unwrap())
                .collect();
            std::thread::scope(|threads| {
                for thread in 0..3 {
                    let path = &path;
                    threads.spawn(move || {
                        for number in 0..60 {
                            let dir = path(number, &format!("dir{thread}"));
                            fs::create_dir(&dir).unwrap();
                            fs::write(dir.join("file"), "new").unwrap();
                            fs::rename(&dir, path(number, &format!("moved{thread}"))).unwrap();
                            assert!(fs::read_dir(path(number, ".")).unwrap().count() >= 5);
                        }
                    });
                }
            });
            for (number, file) in written.iter().enumerate() {
                file.write_all_at(b"written", 0).unwrap();
                fs::remove_file(path(number, "b")).unwrap();
            }
            let mut buffer = [0; 16];
            for (content, file) in &read {
                let length = file.read_at(&mut buffer, 0).unwrap();
                let wanted = if content.ends_with('a') { "written" } else { content };
                assert_eq!(std::str::from_utf8(&buffer[..length]).unwrap(), wanted, "{content}");
            }
            drop((read, written));
            assert_eq!(stage.sh(60, "find . -type f | wc -l"), "360");
            assert_eq!(
                stage.sh(60, "cat d*/e/f/moved*/file | tr -d new | wc -c; cat d*/e/f/a"),
                format!("0\n{}", "written".repeat(60))
            );
            stage.end();
        });
    }
}

/// The signal that a file gets too long would end the server, and the limit is one of who writes.
#[test]
fn a_limit_of_files_sizes_ends_no_server() {
    needs!(root, fuse, program "prlimit");
    for options in ["", ",passthrough=off"] {
        in_mount_namespace(|| {
            let mut stage = Stage::in_place(Scratch::new(), &["lower"], |at, _| {
                fs::write(at.join("big"), vec![b'b'; 300_000]).unwrap();
            });
            stage.ask_for(options);
            // What may be lifted is.
            stage.limit("--fsize=1000:unlimited");
            stage.mount();
            fs::write(stage.mnt().join("new"), vec![b'n'; 5000]).unwrap();
            stage.unmount();
            stage.limit("--fsize=100000:100000");
            stage.mount();
            let mnt = stage.mnt();
            let too_large = |done: io::Result<()>| assert_eq!(done.unwrap_err().kind(), io::ErrorKind::FileTooLarge);
            too_large(
                OpenOptions::new().append(true).open(mnt.join("big")).and_then(|file| file.write_all_at(b"x", 0)),
            );
            too_large(OpenOptions::new().write(true).open(mnt.join("new")).and_then(|file| file.set_len(200_000)));
            assert_eq!(fs::read(mnt.join("big")).unwrap(), vec![b'b'; 300_000]);
            assert_eq!(fs::read(mnt.join("new")).unwrap(), vec![b'n'; 5000]);
            stage.end();
        });
    }
}

/// A file system may have given some of the room before it has no more, and the file is longer then (ext4).
#[test]
fn a_size_that_grew_before_there_was_no_room_is_shown() {
    needs!(root, fuse, loop_devices, program "fallocate");
    for options in ["", ",passthrough=off"] {
        in_mount_namespace(|| {
            let disk = LoopFs::ext4(12 << 20);
            let mut stage = Stage::in_place(Scratch::new(), &["lower"], |_, _| ());
            stage.ask_for(options);
            stage.upper_on(&disk.path());
            stage.mount();
            let file = stage.mnt().join("file");
            fs::write(&file, "short").unwrap();
            disk.fill(2_000_000);
            assert_eq!(file.metadata().unwrap().len(), 5);
            let output = stage.script(20, "fallocate -l 20M file").output().unwrap();
            assert!(said(&output).contains("No space left"), "{}", said(&output));
            let there = fs::read(stage.beside("upper").join("file")).unwrap();
            assert!(there.len() > 5, "nothing was given");
            assert!(fs::read(&file).unwrap() == there, "{} bytes are there", there.len());
            stage.end();
            drop(stage);
        });
    }
}

/// The file system below becomes one that nobody may write to, and comes back.
#[test]
fn an_upper_that_becomes_read_only_says_so_and_goes_on_when_it_may() {
    needs!(root, fuse, loop_devices);
    in_mount_namespace(|| {
        let disk = LoopFs::ext4(12 << 20);
        let mut stage = Stage::in_place(Scratch::new(), &["lower"], |at, _| small(at));
        stage.upper_on(&disk.path());
        stage.mount();
        let trees = wanted();
        let root = Dir::open(&stage.mnt()).unwrap();
        let remount = |how: &str| {
            // What was written is given back soon after it was closed.
            wait_until(how, || {
                let done = Command::new("mount").args(["-o", how]).arg(disk.path()).output();
                done.unwrap().status.success()
            });
        };
        for (number, op) in operations().iter().enumerate() {
            remount("remount,ro");
            assert_eq!(op.attempt(&root).err(), Some(Errno::ROFS), "{op:?}");
            let lines = trees[number].differences(&comparable(&stage.mnt()));
            assert!(lines.is_empty(), "{op:?} was refused:\n{}", lines.join("\n"));
            remount("remount,rw");
            op.attempt(&root).unwrap_or_else(|errno| panic!("{op:?}: {errno}"));
            let lines = trees[number + 1].differences(&comparable(&stage.mnt()));
            assert!(lines.is_empty(), "{op:?}:\n{}", lines.join("\n"));
        }
        drop(root);
        stage.end();
        drop(stage);
    });
}
