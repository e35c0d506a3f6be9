//! The end of the server, asked for or not: what was fsynced is there at the next mount, and the upper is one that the kernel's overlayfs
//! reads the same.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use mica_core::RelPath;
use mica_sys::{Dir, Errno};
use mica_testkit::differential::{Fill, How, Node, Op};
use mica_testkit::{Scratch, Tree, in_mount_namespace, needs};

use crate::stage::{Stage, is_long, said, stage};

/// Works until it cannot, and notes down what it has been told is on disk. A name that is noted down is not touched again.
const WORKER: &str = r#"
import hashlib, os, random, re, shutil, sys, time
me, FILES = sys.argv[1], int(sys.argv[2])
path = os.environ["S"] + "/tmp/notes." + me
# What was begun and not noted down is left alone, too.
start = max([int(n) for n in re.findall("-([0-9]+)", open(path).read())] + [0]) + 2 if os.path.exists(path) else 0
chance = random.Random(me + str(start))
notes = os.open(os.environ["S"] + "/tmp/notes." + me, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
root = os.open(".", os.O_RDONLY)
# The last end may have come in the midst of it.
shutil.rmtree("noise" + me, ignore_errors=True)

def note(*words): os.write(notes, (" ".join(words) + "\n").encode())
def digest(data): return hashlib.sha256(data).hexdigest()
def data(): return os.urandom(chance.choice([10, 5000, 100000]))
def write(name, flags, data):
    fd = os.open(name, flags, 0o644); os.write(fd, data); os.fsync(fd); os.close(fd)

def new(name):
    bytes = data(); write(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, bytes); os.fsync(root); note("is", name, digest(bytes))
def replaced(name):
    # As editors and package managers do.
    bytes = data(); write(name + ".new", os.O_WRONLY | os.O_CREAT, bytes); os.rename(name + ".new", lower); os.fsync(root)
    note("is", lower, digest(bytes))
def changed(name):
    with open(lower, "rb") as file: old = file.read()
    fd = os.open(lower, os.O_WRONLY); os.pwrite(fd, b"changed", 100); os.fsync(fd); os.close(fd)
    note("is", lower, digest(old[:100] + b"changed" + old[107:]))
def linked(name):
    os.link(lower, name); fd = os.open(name, os.O_WRONLY | os.O_TRUNC); os.write(fd, b"one"); os.fsync(fd); os.fsync(root); os.close(fd)
    note("is", name, digest(b"one")); note("is", lower, digest(b"one")); note("same", name, lower)
def removed(name): os.unlink(lower); os.fsync(root); note("gone", lower)
def moved(name):
    os.rename(lower + "d", name); os.fsync(root); note("gone", lower + "d"); note("is", name + "/in/file", digest(b"in a directory\n"))
def mode(name): fd = os.open(lower, os.O_RDONLY); os.fchmod(fd, 0o640); os.fsync(fd); os.close(fd); note("mode", lower, "640")
def noise(name):
    os.mkdir(name); os.rename(name, "noise" + me)
    open("noise" + me + "/x", "w").close(); os.symlink("x", "noise" + me + "/y"); os.rename("noise" + me + "/x", "noise" + me + "/y")
    os.unlink("noise" + me + "/y"); os.rmdir("noise" + me)

number = start
try:
    while True:
        number += 1; time.sleep(0.001)
        lower = "l%s-%d" % (me, number)
        # One that is through with the lower makes new files.
        kinds = [new, replaced, changed, linked, removed, moved, mode, noise] if number < FILES else [new, noise]
        chance.choice(kinds)("w%s-%d" % (me, number))
except OSError as error:
    # What a server that is gone answers, and a mount that is gone; 125 of a ring whose thread has died.
    sys.exit(0 if error.errno in (107, 103, 5, 2, 19, 116, 125) else str(error))
"#;

const CHECK: &str = r#"
import glob, hashlib, os, sys
wrong = count = 0
for line in (line.split() for path in glob.glob(os.environ["S"] + "/tmp/notes.*") for line in open(path)):
    what, name = line[:2]; count += 1
    try:
        if what == "is": good = hashlib.sha256(open(name, "rb").read()).hexdigest() == line[2]
        elif what == "same": good = os.stat(name).st_ino == os.stat(line[2]).st_ino and os.stat(name).st_nlink == 2
        elif what == "mode": good = "%o" % (os.stat(name).st_mode & 0o7777) == line[2]
        else: good = not os.path.lexists(name)
    except OSError as error: good, what = False, what + ": " + str(error)
    if not good: wrong += 1; print("lost:", what, *line[1:])
    if what == "is" and good and open(name, "rb").read() != open(name, "rb").read(): print("changes as it is read")
print(count > 0, wrong)
"#;

/// How many files each worker has.
const FILES: u32 = 3000;

/// Files and directories that each worker goes through, from the first on.
fn lower(at: &Path) {
    for me in 0..2 {
        for number in 0..FILES {
            let path = at.join(format!("l{me}-{number}"));
            fs::write(&path, vec![b'l'; 200]).unwrap();
            let dir = at.join(format!("l{me}-{number}d/in"));
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("file"), "in a directory\n").unwrap();
        }
    }
}

/// What overlayfs shows of an upper and its lowers, and what we do.
fn assert_the_kernel_agrees(stage: &mut Stage) {
    stage.mount();
    let ours = Tree::read(&stage.mnt());
    stage.unmount();
    let view = stage.path().join("view");
    fs::create_dir_all(&view).unwrap();
    let layers = format!("{}:{}", stage.beside("upper").display(), stage.beside("lower").display());
    let options = format!("ro,redirect_dir=follow,metacopy=on,index=off,lowerdir={layers}");
    let output = Command::new("mount").args(["-t", "overlay", "overlay", "-o", &options]).arg(&view).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let theirs = Tree::read(&view);
    assert!(Command::new("umount").arg(&view).status().unwrap().success());
    ours.assert_is(&theirs, "the kernel's view of our upper");
}

fn said_by_workers(stage: &Stage) -> String {
    fs::read_to_string(stage.beside("tmp/said")).unwrap_or_default()
}

/// Lets two workers work, ends the server, and looks, as often as there is time for.
fn play(signal: &str, rounds: u64, is_asked: bool) {
    stage(lower, |stage| {
        for (name, text) in [("worker.py", WORKER), ("check.py", CHECK)] {
            fs::write(stage.beside("tmp").join(name), text).unwrap();
        }
        let mut seed = 12_345_u64;
        for round in 0..rounds {
            let work = |me| format!("exec python3 $S/tmp/worker.py {me} {FILES} 2>>$S/tmp/said");
            let mut workers: Vec<_> =
                (0..2).map(|me| stage.script(60, &work(me)).stderr(Stdio::null()).spawn().unwrap()).collect();
            let notes =
                |me| fs::metadata(stage.beside("tmp").join(format!("notes.{me}"))).map_or(0, |notes| notes.len());
            let before = [0, 1].map(notes);
            while [0, 1].map(notes).iter().zip(before).any(|(now, before)| *now == before) {
                assert!(
                    workers.iter_mut().all(|worker| worker.try_wait().unwrap().is_none()),
                    "{}",
                    said_by_workers(stage)
                );
                std::thread::sleep(Duration::from_millis(5));
            }
            // Not round numbers, so that each end is at another place of what the workers do.
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            std::thread::sleep(Duration::from_millis(20 + (seed >> 33) % 250));
            stage.signal(signal);
            let status = stage.outlive_server().unwrap();
            assert_eq!(status.success(), is_asked, "{status}: {}", stage.log());
            for worker in &mut workers {
                assert!(worker.wait().unwrap().success(), "a worker met with {}", said_by_workers(stage));
            }
            stage.mount();
            let checked = stage.sh(60, "python3 $S/tmp/check.py");
            assert_eq!(checked, "True 0", "round {round}");
        }
        stage.unmount();
        assert_the_kernel_agrees(stage);
    });
}

#[test]
fn a_killed_server_loses_nothing_that_was_fsynced() {
    needs!(root, fuse, program "python3");
    play("KILL", if is_long() { 60 } else { 5 }, false);
}

#[test]
fn a_server_that_is_asked_to_end_does_so_and_unmounts() {
    needs!(root, fuse, program "python3");
    play("TERM", if is_long() { 30 } else { 3 }, true);
}

fn at(path: &str) -> RelPath {
    RelPath::parse(path.as_bytes()).unwrap()
}

/// Operations of every kind, each of which is one change that can be seen, and several of the disk.
pub(crate) fn operations() -> Vec<Op> {
    let (fill, none) = (Fill { seed: 3, length: 700 }, Fill { seed: 0, length: 0 });
    let rename = |from, to, how| Op::Rename { from: at(from), to: at(to), how };
    vec![
        Op::Create { path: at("d/new"), mode: 0o640, fill: none },
        Op::WriteAt { path: at("d/e/deep"), eighths: 2, fill },
        Op::Chmod { path: at("d/file"), mode: 0o600 },
        Op::Append { path: at("d/file"), fill },
        Op::Chown { path: at("alone"), uid: 7, gid: 8 },
        Op::WriteAt { path: at("one"), eighths: 0, fill },
        Op::Link { from: at("d/file"), to: at("linked") },
        Op::Unlink { path: at("gone") },
        Op::Create { path: at("gone"), mode: 0o600, fill: none },
        rename("d", "moved", How::Replace),
        Op::MakeDir { path: at("d"), mode: 0o755 },
        Op::Create { path: at("d/in"), mode: 0o600, fill: none },
        rename("moved/e", "d/e", How::NoReplace),
        rename("two", "d", How::Exchange),
        rename("alone", "replaced", How::Replace),
        Op::Overwrite { path: at("other"), fill: none },
        Op::Symlink { path: at("sym"), target: b"moved".to_vec() },
        Op::MakeNode { path: at("pipe"), node: Node::Fifo },
        Op::MakeNode { path: at("zero"), node: Node::DeviceZero },
        Op::LinkUnnamed { path: at("unnamed"), fill },
        Op::SetXattr { path: at("moved/file"), key: b"user.x".to_vec(), value: b"v".to_vec() },
        Op::Unlink { path: at("emptied/x/y") },
        Op::RemoveDir { path: at("emptied/x") },
        Op::Unlink { path: at("emptied/z") },
        Op::RemoveDir { path: at("emptied") },
        Op::MakeDir { path: at("emptied"), mode: 0o700 },
        Op::Shrink { path: at("big"), eighths: 1 },
        Op::RemoveDir { path: at("empty") },
    ]
}

pub(crate) fn small(root: &Path) {
    for dir in ["d/e", "emptied/x", "empty"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    for name in ["d/e/deep", "d/file", "alone", "one", "gone", "replaced", "other", "emptied/x/y", "emptied/z", "big"] {
        fs::write(root.join(name), name.repeat(200)).unwrap();
    }
    fs::hard_link(root.join("one"), root.join("two")).unwrap();
    fs::hard_link(root.join("one"), root.join("d/three")).unwrap();
}

/// The trees that a plain directory is after each operation, the first before any.
pub(crate) fn wanted() -> Vec<Tree> {
    let plain = Scratch::new();
    small(plain.path());
    let root = plain.dir();
    let mut trees = vec![comparable(plain.path())];
    for op in operations() {
        op.attempt(&root).unwrap_or_else(|errno| panic!("{op:?}: {errno}"));
        trees.push(comparable(plain.path()));
    }
    trees
}

/// A tree without its times, and without the mode of its root, which is the stage's.
pub(crate) fn comparable(path: &Path) -> Tree {
    let mut tree = Tree::read(path).without_times();
    let root = tree.get(&RelPath::root()).cloned().unwrap();
    tree.put(RelPath::root(), mica_testkit::Entry { mode: 0o700, ..root });
    tree
}

fn shown(stage: &Stage) -> Tree {
    comparable(&stage.mnt())
}

/// Stops the server before each of its changes of the disk, one after the other: the union is what it was before the operation, or what it
/// is after it, and the operation can be done again.
#[test]
fn a_server_that_stops_between_any_two_changes_leaves_the_old_tree_or_the_new() {
    needs!(root, fuse);
    let trees = wanted();
    let step = if is_long() { 1 } else { 7 };
    let mut nth = 1;
    let mut done = 0;
    while done < operations().len() {
        in_mount_namespace(|| {
            let mut stage = Stage::in_place(Scratch::new(), &["lower"], |at, _| small(at));
            stage.arm(&format!("kill@{nth}"));
            if stage.try_mount().is_err() {
                return;
            }
            let root = Dir::open(&stage.mnt()).unwrap();
            done = operations().iter().position(|op| op.attempt(&root).is_err()).unwrap_or(operations().len());
            drop(root);
            stage.signal("KILL");
            stage.outlive_server();
            stage.disarm();
            stage.mount();
            let found = shown(&stage);
            let is = |tree: Option<&Tree>| tree.is_some_and(|tree| tree.differences(&found).is_empty());
            if !is(trees.get(done)) && !is(trees.get(done + 1)) {
                let op = operations().into_iter().nth(done);
                panic!(
                    "stopped at change {nth}, in {op:?}: neither old nor new:\n{}",
                    trees[done].differences(&found).join("\n")
                );
            }
            if is(trees.get(done)) && done < operations().len() {
                let op = &operations()[done];
                let again = op.attempt(&Dir::open(&stage.mnt()).unwrap());
                assert!(again.is_ok(), "stopped at change {nth}: {op:?} cannot be done again: {again:?}");
                assert!(
                    trees[done + 1].differences(&shown(&stage)).is_empty(),
                    "stopped at change {nth}: {op:?}, done again"
                );
            }
            stage.unmount();
            stage.assert_lowers_whole("a crash");
        });
        nth += step;
    }
    assert!(nth > 60, "{nth} changes of the disk are fewer than the operations need");
}

/// Lets each change of the disk fail: the operation is refused with just that, and the union shows the old tree, or it did what it promised.
#[test]
fn a_change_that_fails_is_told_and_nothing_is_lost() {
    needs!(root, fuse);
    let trees = wanted();
    let step = if is_long() { 1 } else { 5 };
    let (mut nth, mut refused) = (1, 1);
    let mut told = 0;
    while refused > 0 || nth < 60 {
        in_mount_namespace(|| {
            let mut stage = Stage::in_place(Scratch::new(), &["lower"], |at, _| small(at));
            stage.arm(&format!("fail@{nth}:ENOSPC"));
            refused = 0;
            if stage.try_mount().is_err() {
                (refused, nth) = (1, nth);
                return;
            }
            let root = Dir::open(&stage.mnt()).unwrap();
            for (number, op) in operations().iter().enumerate() {
                let mut outcome = op.attempt(&root);
                if outcome == Err(Errno::NOSPC) {
                    refused += 1;
                    let lines = trees[number].differences(&shown(&stage));
                    assert!(lines.is_empty(), "change {nth} failed in {op:?}, which left\n{}", lines.join("\n"));
                    outcome = op.attempt(&root);
                    assert!(outcome.is_ok(), "change {nth} failed in {op:?}, which cannot be done again: {outcome:?}");
                }
                assert!(outcome.is_ok(), "change {nth} failed: {op:?}: {outcome:?}");
                let lines = trees[number + 1].differences(&shown(&stage));
                assert!(lines.is_empty(), "change {nth} failed, then {op:?}:\n{}", lines.join("\n"));
            }
            drop(root);
            stage.end();
        });
        told += refused;
        nth += step;
        assert!(nth < 2000, "each run is refused something");
    }
    assert!(told > 5, "only {told} failures were ever told");
}
