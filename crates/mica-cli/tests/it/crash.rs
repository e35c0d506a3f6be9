//! `load` and `commit` stopped or failed at every change of the disk: the old state or the new one, never a half.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use mica_testkit::{needs, tree};

use crate::common::{Mica, Said};

/// No command of these comes to this many changes.
const ENOUGH: u64 = 2_000;

/// Runs the command with a fault.
fn with_fault(mica: &Mica, fault: &str, args: &[&str]) -> Said {
    let output = mica.command(args).env("MICA_FAULT", fault).output().unwrap();
    Said::of(output)
}

/// A store with one image of two layers, `two`, and a container `box` on it that has changes.
fn furnished() -> Mica {
    let mica = Mica::in_memory();
    let root = mica.path("rootfs");
    fs::create_dir(&root).unwrap();
    tree! {
        "etc/hosts" = "127.0.0.1 localhost\n" mtime 1;
        "bin/prog" = "program" mode 0o755 mtime 1;
        "var/log/" mode 0o700 mtime 1;
    }
    .write_to(&root);
    mica.run(["import", "-q", root.to_str().unwrap(), "one"]);
    change(&mica, "one", "first", "etc/new");
    mica.run(["commit", "-q", "first", "two"]);
    change(&mica, "two", "box", "etc/newer");
    mica.run(["rm", "first"]);
    mica
}

/// Makes container `name` on `image` with a file of its own.
fn change(mica: &Mica, image: &str, name: &str, file: &str) {
    mica.run(["create", "--name", name, image, "true"]);
    let merged = mica.run(["mount", name]).line();
    fs::write(Path::new(&merged).join(file), format!("{file} of {name}\n")).unwrap();
    mica.run(["umount", name]);
}

/// What image `name` shows at `file`: through a union, to the last layer.
fn shows(mica: &Mica, name: &str, file: &str) -> String {
    mica.run(["create", "--name", "look", name, "true"]);
    let merged = mica.run(["mount", "look"]).line();
    let text = fs::read_to_string(Path::new(&merged).join(file)).unwrap();
    mica.run(["rm", "-f", "look"]);
    text
}

/// The store has no damage; what a killed command left is swept by the next that collects.
#[track_caller]
fn assert_sound(mica: &Mica, when: &str) {
    let said = mica.try_run(["system", "check", "-q"]);
    assert_eq!((said.status, said.out.as_str()), (0, ""), "{when}: {said:#?}");
}

/// A copy of a store's files, to begin from again: layers keep their attributes and marks.
fn copy(from: &Mica) -> Mica {
    let to = Mica::in_memory();
    let copied = std::process::Command::new("cp").arg("-a").arg(from.root()).arg(to.root()).status().unwrap();
    assert!(copied.success());
    to
}

fn names(mica: &Mica) -> String {
    mica.run(["images", "--format", "{{.Repository}}:{{.Tag}}"]).out
}

fn entries(mica: &Mica, place: &str) -> usize {
    fs::read_dir(mica.root().join(place)).unwrap().count()
}

/// Kills the command at each change in turn, in a copy of `begin`; after each kill the image that it makes is there whole
/// or not there at all, and the same command goes through.
fn killed_everywhere(begin: &Mica, args: &[&str], file: &str) {
    let (mut before, mut after) = (0, 0);
    for nth in 1..ENOUGH {
        let mica = copy(begin);
        let said = with_fault(&mica, &format!("kill@{nth}"), args);
        if said.status == 0 {
            assert!(nth > 10, "only {} changes were met", nth - 1);
            assert!(before > 0 && after > 0, "{before} kills were before the image was there, {after} after");
            return;
        }
        assert_eq!(said.status, 128 + 9, "{said:#?}");
        let when = format!("{args:?} was killed at {nth}");
        assert_sound(&mica, &when);
        if names(&mica).contains("new:latest") {
            after += 1;
            if after == 1 {
                assert!(!shows(&mica, "new", file).is_empty());
            }
        } else {
            before += 1;
            assert_eq!(entries(&mica, "names"), entries(begin, "names"), "a name without an image: {when}");
        }
        mica.run(args);
        assert!(names(&mica).contains("new:latest"), "{when}");
        // What is left over is collected; and looking at the image costs as much as all the rest.
        if nth % 8 == 0 {
            assert!(!shows(&mica, "new", file).is_empty());
            mica.run(["system", "prune", "-f"]);
            mica.assert_whole();
        } else {
            assert_sound(&mica, &when);
        }
    }
    panic!("{args:?} does not end");
}

/// Fails each change in turn: one clear error or success, and nothing half.
fn failed_everywhere(begin: &Mica, args: &[&str], errno: &str) {
    for nth in 1..ENOUGH {
        let mica = copy(begin);
        let said = with_fault(&mica, &format!("fail@{nth}:{errno}"), args);
        let when = format!("{args:?} failed with {errno} at {nth}: {said:#?}");
        let left = ["staging", "leases"].map(|place| entries(&mica, place));
        // A command that went through met the fault, if any, as it cleaned up; the next sweeps that.
        assert!(left == [0, 0] || said.status == 0, "{left:?} are left: {when}");
        let errors = said.err.lines().filter(|line| line.starts_with("mica: ")).count();
        match said.status {
            0 => assert_eq!(errors, 0, "{when}"),
            125 => assert_eq!(errors, 1, "{when}"),
            _ => panic!("{when}"),
        }
        if said.status == 125 && errno == "ENOSPC" {
            assert!(said.err.contains("No space left") && said.err.contains("\nhint: make room"), "{when}");
        }
        let is_new = names(&mica).contains("new:latest");
        assert!(is_new || said.status == 125, "{when}");
        assert_eq!(["staging", "leases"].map(|place| entries(&mica, place)), [0, 0], "not swept: {when}");
        assert_sound(&mica, &when);
        mica.run(args);
        if nth % 8 == 0 {
            mica.run(["system", "prune", "-f"]);
        }
        mica.assert_whole();
        if said.status == 0 && passed_untouched(begin, args, nth) {
            assert_eq!(left, [0, 0], "left by a command that nothing disturbed");
            assert!(nth > 10, "only {} changes were met", nth - 1);
            return;
        }
    }
    panic!("{args:?} does not end");
}

/// Whether the command has fewer than `nth` changes.
fn passed_untouched(begin: &Mica, args: &[&str], nth: u64) -> bool {
    with_fault(&copy(begin), &format!("kill@{nth}"), args).status == 0
}

/// The archive of image `two` under another name, and an empty store for it.
fn archive_and_store() -> (Mica, Mica, String) {
    let source = furnished();
    source.run(["tag", "two", "new"]);
    let path = source.path("new.tar");
    let archive = path.to_str().unwrap().to_owned();
    source.run(["save", "--format", "oci-archive", "-o", &archive, "new"]);
    let empty = Mica::in_memory();
    empty.run(["images"]);
    (source, empty, archive)
}

#[test]
fn a_load_that_is_killed_leaves_the_old_state_or_the_new() {
    needs!(root, overlay);
    let (_source, empty, archive) = archive_and_store();
    killed_everywhere(&empty, &["load", "-q", "-i", &archive], "etc/new");
}

#[test]
fn a_commit_that_is_killed_leaves_the_old_state_or_the_new() {
    needs!(root, overlay);
    killed_everywhere(&furnished(), &["commit", "-q", "-m", "m", "box", "new"], "etc/newer");
}

#[test]
fn a_load_that_cannot_write_says_so_and_leaves_nothing_half() {
    needs!(root, overlay);
    let (_source, empty, archive) = archive_and_store();
    let args = ["load", "-q", "-i", &archive];
    failed_everywhere(&empty, &args, "ENOSPC");
    failed_everywhere(&empty, &args, "EIO");
}

#[test]
fn a_commit_that_cannot_write_says_so_and_leaves_nothing_half() {
    needs!(root, overlay);
    let begin = furnished();
    let args = ["commit", "-q", "-m", "m", "box", "new"];
    failed_everywhere(&begin, &args, "ENOSPC");
    failed_everywhere(&begin, &args, "EIO");
}

#[test]
fn a_load_that_is_killed_at_any_time_is_begun_again() {
    needs!(root, overlay);
    let source = Mica::new();
    let root = source.path("rootfs");
    fs::create_dir_all(root.join("many")).unwrap();
    let mut random = fs::File::open("/dev/urandom").unwrap();
    let mut big = fs::File::create(root.join("big")).unwrap();
    std::io::copy(&mut std::io::Read::by_ref(&mut std::io::Read::take(&mut random, 32 << 20)), &mut big).unwrap();
    big.flush().unwrap();
    for number in 0..300 {
        fs::write(root.join(format!("many/{number}")), number.to_string()).unwrap();
    }
    source.run(["import", "-q", root.to_str().unwrap(), "new"]);
    let archive = source.path("new.tar");
    source.run(["save", "-o", archive.to_str().unwrap(), "new"]);
    let args = ["load", "-q", "-i", archive.to_str().unwrap()];

    let mica = Mica::new();
    let begun = Instant::now();
    mica.run(args);
    let whole = begun.elapsed();
    mica.run(["rmi", "new"]);
    mica.run(["system", "prune", "-f"]);
    let mut killed = 0;
    for step in 1..=10 {
        let mut loading = mica.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // A little uneven, so that the moments differ from run to run.
        std::thread::sleep(whole * step / 11 + Duration::from_micros(u64::from(std::process::id() % 997)));
        loading.kill().unwrap();
        killed += u32::from(!loading.wait().unwrap().success());
        assert_sound(&mica, &format!("killed after {step} of 11 parts"));
        if names(&mica).contains("new:latest") {
            mica.run(["rmi", "new"]);
        }
    }
    assert!(killed >= 3, "only {killed} loads of 10 were still at work when they were killed");
    mica.run(args);
    assert_eq!(shows(&mica, "new", "many/299"), "299");
    mica.run(["system", "prune", "-f"]);
    mica.assert_whole();
}

#[test]
fn an_archive_that_is_killed_leaves_no_file_or_a_whole_one() {
    needs!(root, overlay);
    let mica = furnished();
    let place = mica.path("out");
    fs::create_dir(&place).unwrap();
    let file = place.join("x.tar");
    let out = file.to_str().unwrap();
    for args in [&["save", "-q", "-o", out, "two"][..], &["save", "-q", "--format", "oci-archive", "-o", out, "two"]] {
        mica.run(args);
        let whole = fs::read(&file).unwrap();
        fs::remove_file(&file).unwrap();
        let mut without = 0;
        for nth in 1..ENOUGH {
            let said = with_fault(&mica, &format!("kill@{nth}"), args);
            let left: Vec<_> = fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().path()).collect();
            match left.as_slice() {
                [] => without += 1,
                [one] if *one == file => assert!(fs::read(one).unwrap() == whole, "half an archive at {nth}"),
                _ => panic!("{left:?} at {nth}"),
            }
            if said.status == 0 {
                break;
            }
            assert_eq!(said.status, 128 + 9, "{said:#?}");
            left.iter().for_each(|path| fs::remove_file(path).unwrap());
        }
        assert!(without > 3, "{without} kills came before the file was there");
        // What had the name stays until there is another.
        fs::write(&file, "old").unwrap();
        assert_eq!(with_fault(&mica, &format!("kill@{without}"), args).status, 128 + 9);
        assert_eq!(fs::read(&file).unwrap(), b"old");
        mica.run(args);
        assert!(fs::read(&file).unwrap() == whole && fs::read_dir(&place).unwrap().count() == 1);
        fs::remove_file(&file).unwrap();
    }
}
