//! Random operations on random stacks. Each is stopped at a change of the disk, by an error of it and of all that come after, as a crash would
//! stop it; what shows then is the old tree or the new, and from the old one the operation succeeds after the next mount.
//!
//! The fault door is the process's, so this runs in one of its own: the test starts the test program again.

use std::path::Path;
use std::process::{Command, Stdio};

use mica_core::plan::{Errno, Features, How, Op, Plan, Refusal, XattrChange, plan};
use mica_core::{Kind, RelPath};
use mica_layer::Marks;
use mica_sys::fault::{FaultPlan, arm, trace};
use mica_sys::mount::{MountFlags, UnmountFlags, mount, unmount};
use mica_sys::{Dir, Errno as Number};
use mica_testkit::{Scratch, Snapshot, in_mount_namespace, needs};

use super::act::{Act, ByPath};
use super::disk::{Disk, Layers, rel};
use super::seen::{Seen, Tree, difference, put, read, read_plain, without_times, write};
use crate::fuse::carry::{Carrier, CarryError};

const SEEDS: &str = "MICA_CARRY_SEEDS";

/// `xorshift64`.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound).unwrap()).unwrap()
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

fn disarm() {
    arm(FaultPlan::Fail { nth: u64::MAX, on: false, errno: Number::IO });
}

/// What this process, started again for one test, was told; in the process of all tests it starts it, and `None`. The fault door is the
/// process's.
fn alone(told: &str) -> Option<String> {
    let name = std::thread::current().name().unwrap().to_owned();
    if let Ok(told) = std::env::var(SEEDS) {
        return Some(told);
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &name, "--nocapture", "--test-threads=1"]).env(SEEDS, told);
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    None
}

#[test]
fn what_is_stopped_shows_the_old_tree_or_the_new() {
    needs!(root, overlay);
    let Some(seeds) = alone("1..12") else { return };
    let (from, to) = seeds.split_once("..").unwrap();
    for seed in from.parse::<u64>().unwrap()..to.parse().unwrap() {
        in_mount_namespace(|| story(seed));
    }
}

/// A loss of power leaves no zeros where content was: it is flushed before it has a name, and before the mark goes that leads to the lower's.
#[test]
fn content_is_on_disk_before_it_is_shown() {
    needs!(root);
    if alone("flushes").is_none() {
        return;
    }
    let scratch = Scratch::in_memory();
    let disk = Disk::new(&scratch, Marks::Trusted);
    for name in ["copied", "cut", "filled"] {
        std::fs::write(disk.lowers[0].join(name), vec![1; 100_000]).unwrap();
    }
    arm(FaultPlan::Trace);
    let mut carrier = disk.open();
    let acts = [Act::Append("copied".into()), Act::Truncate("cut".into(), 5), Act::Chmod("filled".into())];
    for (act, flushes, shows) in [
        (&acts[0], 1, "renameat2"),
        (&acts[1], 1, "renameat2"),
        (&acts[2], 0, "renameat2"),
        (&Act::Append("filled".into()), 1, "lremovexattr"),
    ] {
        let calls = calls_of(&disk, &carrier, act);
        let count = calls.iter().filter(|call| **call == "fdatasync").count();
        assert_eq!(count, flushes, "{act:?}: {calls:?}");
        let at = |wanted: &str| calls.iter().position(|call| *call == wanted);
        assert!(
            at(shows).is_some() && at("fdatasync").is_none_or(|flush| Some(flush) < at(shows)),
            "{act:?}: {calls:?}"
        );
    }
    std::fs::write(disk.lowers[0].join("lost"), "content").unwrap();
    carrier.volatile = true;
    assert!(!calls_of(&disk, &carrier, &Act::Append("lost".into())).contains(&"fdatasync"));
}

/// The changes of the disk that carrying an operation out makes.
fn calls_of(disk: &Disk, carrier: &Carrier, act: &Act) -> Vec<&'static str> {
    let layers = disk.layers();
    let steps = plan(act.op(&layers, &read(&layers)), Features::Full).unwrap();
    let before = trace().len();
    carrier.carry(&steps, &mut ByPath::new(&layers, act)).unwrap();
    trace().into_iter().skip(before).map(|(call, _)| call).collect()
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn text(path: &RelPath) -> String {
    String::from_utf8(path.as_bytes().to_vec()).unwrap()
}

fn path(random: &mut Random, tree: &Tree) -> String {
    let directories: Vec<&RelPath> =
        tree.iter().filter(|(_, seen)| seen.kind.is_directory()).map(|(path, _)| path).collect();
    let directory = *random.of(&directories);
    if random.below(3) > 0 {
        // One that shows, if there is one.
        let files: Vec<&RelPath> = tree.keys().filter(|path| path.parent().as_ref() == Some(directory)).collect();
        if !files.is_empty() {
            return text(random.of::<&RelPath>(&files));
        }
    }
    let name = random.of(&NAMES);
    if directory.is_root() { (*name).to_owned() } else { format!("{}/{name}", text(directory)) }
}

fn act(random: &mut Random, tree: &Tree) -> Act {
    let one = path(random, tree);
    let other = path(random, tree);
    match random.below(24) {
        0 => Act::Make(one),
        1 => Act::MakeLink(one),
        2 => Act::MakeFifo(one),
        3 => Act::MakeDirectory(one),
        4 => Act::Adopt(one),
        5 | 6 => Act::Link(one, other),
        7 | 8 => Act::Unlink(one),
        9 => Act::RemoveDirectory(one),
        10..=13 => Act::Rename(one, other, How::Replace),
        14 => Act::Rename(one, other, How::NoReplace),
        15 => Act::Rename(one, other, How::Exchange),
        16 => Act::Rename(one, other, How::Whiteout),
        17 => Act::Append(one),
        18 => Act::Truncate(one, *random.of(&[0, 5, 70_000])),
        19 => Act::Chmod(one),
        20 => Act::Chown(one),
        21 => Act::Touch(one),
        22 => Act::Xattr(one, XattrChange::Set),
        _ => Act::Xattr(
            one,
            *random.of(&[XattrChange::Create, XattrChange::Replace, XattrChange::Remove, XattrChange::Remove]),
        ),
    }
}

/// A lower with some of everything.
fn fill(random: &mut Random, root: &Path) {
    let dir = Dir::open(root).unwrap();
    let mut directories = vec![RelPath::root()];
    let mut files: Vec<RelPath> = Vec::new();
    for number in 0..6 + random.below(8) {
        let parent = random.of(&directories).clone();
        let at = parent.join(&mica_core::Name::new(random.of(&NAMES).as_bytes()).unwrap());
        let into = dir.open_dir(parent.as_bytes()).unwrap();
        let name = super::seen::name(&at);
        if into.stat_if_there(name.as_bytes()).unwrap().is_some() {
            continue;
        }
        let kind = match random.below(8) {
            0..=2 => {
                directories.push(at.clone());
                Kind::Directory { opaque: false, implicit: false }
            }
            3 => Kind::Symlink { target: b"gone".to_vec() },
            4 if !files.is_empty() => {
                let first = random.of(&files).clone();
                let (from, first) = first.split().unwrap();
                dir.open_dir(from.as_bytes()).unwrap().link(first.as_bytes(), &into, name.as_bytes()).unwrap();
                continue;
            }
            _ => {
                files.push(at.clone());
                Kind::File { size: 0, content: None }
            }
        };
        let size = *random.of(&[0, 10, 70_000, 100_000]);
        let mut xattrs = std::collections::BTreeMap::new();
        if random.below(2) == 0 {
            xattrs.insert(super::act::ATTRIBUTE.to_vec(), b"below".to_vec());
        }
        let letter = b'a' + u8::try_from(number).unwrap();
        let seen = Seen {
            kind,
            content: vec![letter; size],
            mode: *random.of(&[0o755, 0o4711, 0o600]),
            owner: *random.of(&[(0, 0), (3, 4)]),
            xattrs,
            mtime: None,
            id: at,
        };
        put(&seen, &into, name.as_bytes());
    }
    let mut number = 0;
    for path in read_plain(root).keys().rev() {
        number += 1;
        let time = mica_sys::SetTime::To(mica_sys::Time { secs: 1_000_000_000 + number, nanos: 0 });
        match path.split() {
            Some((parent, name)) => dir.open_dir(parent.as_bytes()).unwrap().set_times(name.as_bytes(), time, time),
            None => dir.set_own_times(time, time),
        }
        .unwrap();
    }
}

/// What an operation was to do, for messages.
struct Case<'a> {
    seed: u64,
    act: &'a Act,
    facts: Op,
    steps: Plan,
    old: &'a Tree,
    new: Tree,
}

impl Case<'_> {
    fn differs(&self, what: &str, now: &Tree, wanted: &Tree) -> ! {
        let (facts, steps) = (&self.facts, &self.steps);
        panic!(
            "seed {}: {what} of {:?}\n{facts:?}\n{steps:?}\nwanted and found:\n{}\nbefore and wanted:\n{}",
            self.seed,
            self.act,
            difference(wanted, now),
            difference(self.old, wanted),
        )
    }
}

fn story(seed: u64) {
    disarm();
    let random = &mut Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let scratch = Scratch::in_memory();
    let mut disk = Disk::new(&scratch, Marks::Trusted);
    fill(random, &disk.lowers[0]);
    let mut carrier = disk.open();
    for number in 0..60 {
        if number % 13 == 12 && disk.lowers.len() < 3 {
            carrier = commit(&scratch, &mut disk, carrier, number);
        }
        carrier = turn(seed, random, &scratch, &disk, carrier, number);
    }
}

/// The upper becomes the topmost lower.
fn commit(scratch: &Scratch, disk: &mut Disk, carrier: Carrier, number: usize) -> Carrier {
    drop(carrier);
    let upper = scratch.make(format!("upper{number}"));
    let old = std::mem::replace(&mut disk.upper, upper);
    Dir::open(&disk.upper).unwrap().chmod_self(Dir::open(&old).unwrap().metadata().unwrap().mode).unwrap();
    disk.lowers.insert(0, old);
    disk.open()
}

fn turn(seed: u64, random: &mut Random, scratch: &Scratch, disk: &Disk, carrier: Carrier, number: usize) -> Carrier {
    let layers = disk.layers();
    let old = read(&layers);
    let act = act(random, &old);
    let plain = scratch.make(format!("plain{number}"));
    let plain_root = Dir::open(&plain).unwrap();
    write(&old, &plain_root);
    let done = act.on(&plain_root);
    let facts = act.op(&layers, &old);
    let steps = match plan(facts, Features::Full) {
        Ok(steps) => steps,
        Err(refusal) => {
            refused(&act, refusal, done.map_err(|error| error.errno()));
            return carrier;
        }
    };
    match done {
        Ok(()) => {}
        // Opening a FIFO for writing, and chmod of a symlink, are not for here to refuse.
        Err(error) if steps.is_empty() || error.errno() == Number::OPNOTSUPP => return carrier,
        Err(error) => panic!("seed {seed}: {act:?} on {facts:?}: {error}"),
    }
    let mut case = Case { seed, act: &act, facts, steps, old: &old, new: read_plain(&plain) };
    scratch.dir().remove_tree(format!("plain{number}").as_bytes()).unwrap();
    let lowers: Vec<Snapshot> = disk.lowers.iter().map(|lower| Snapshot::of(lower)).collect();
    let stop = match random.below(3) {
        0 => u64::MAX,
        _ => u64::try_from(1 + random.below(12)).unwrap(),
    };
    let carried = carry(&carrier, &layers, &act, &case.steps, stop);
    let carrier = again(disk, carrier);
    let layers = disk.layers();
    let now = read(&layers);
    match &carried {
        Ok(()) if now == case.new => {}
        Ok(()) => case.differs("the end", &now, &case.new),
        Err(error) => {
            assert_eq!(error.errno(), Number::IO, "seed {seed}: {act:?}: {error:?}");
            stopped(&mut case, disk, &carrier, &now);
        }
    }
    for (lower, before) in disk.lowers.iter().zip(&lowers) {
        before.assert_unchanged(lower, &format!("{act:?}"));
    }
    judge(seed, &act, scratch, disk);
    carrier
}

fn refused(act: &Act, refusal: Refusal, plain: Result<(), Number>) {
    let number = match refusal.errno() {
        Errno::EEXIST => Number::EXIST,
        Errno::ENOENT => Number::NOENT,
        Errno::ENOTDIR => Number::NOTDIR,
        Errno::EISDIR => Number::ISDIR,
        Errno::ENOTEMPTY => Number::NOTEMPTY,
        Errno::EINVAL => Number::INVAL,
        Errno::EPERM => Number::PERM,
        Errno::ENODATA => Number::NODATA,
        other => panic!("{act:?}: {other:?}"),
    };
    assert_eq!(plain, Err(number), "{act:?}: {refusal:?}");
}

fn carry(carrier: &Carrier, layers: &Layers, act: &Act, steps: &Plan, stop: u64) -> Result<(), CarryError> {
    let mut context = ByPath::new(layers, act);
    arm(FaultPlan::Fail { nth: stop, on: true, errno: Number::IO });
    let done = carrier.carry(steps, &mut context).map(drop);
    disarm();
    done
}

/// The next mount.
fn again(disk: &Disk, carrier: Carrier) -> Carrier {
    drop(carrier);
    let carrier = disk.open();
    let left = Dir::open(&disk.work.join("fuse")).unwrap().read_dir().unwrap();
    assert_eq!(left, [], "something is left in work");
    carrier
}

fn stopped(case: &mut Case<'_>, disk: &Disk, carrier: &Carrier, now: &Tree) {
    // Between a rename and the setting of times a crash shows.
    let (old, new) = (without_times(case.old), without_times(&case.new));
    let now = without_times(now);
    if now == new && now != old {
        return;
    }
    if let Act::Rename(from, _, How::Whiteout) = case.act {
        // The device comes after the move.
        let mut bare = new.clone();
        bare.remove(&rel(from));
        if now == bare {
            return;
        }
    }
    if now != old {
        case.differs("a stop", &now, &old);
    }
    let layers = disk.layers();
    let tree = read(&layers);
    let steps = plan(case.act.op(&layers, &tree), Features::Full).unwrap();
    if let Err(error) = carry(carrier, &layers, case.act, &steps, u64::MAX) {
        panic!("seed {}: {:?} a second time: {error}", case.seed, case.act);
    }
    let now = without_times(&read(&disk.layers()));
    if now != new {
        case.differs("a second time", &now, &new);
    }
}

/// What overlayfs shows of the same layers. They are mounted read-only, the upper as a lower, so it writes nothing.
fn judge(seed: u64, act: &Act, scratch: &Scratch, disk: &Disk) {
    let layers = disk.layers();
    if layers.0.iter().any(has_joining) {
        return;
    }
    let at = scratch.make("merged");
    let mut all: Vec<String> = vec![disk.upper.display().to_string()];
    all.extend(disk.lowers.iter().map(|lower| lower.display().to_string()));
    let options = format!("lowerdir={},redirect_dir=on,metacopy=on,xino=on", all.join(":"));
    mount(Path::new("overlay"), &at, "overlay", MountFlags::empty(), &options).unwrap();
    let kernel = read_plain(&at);
    unmount(&at, UnmountFlags::empty()).unwrap();
    let ours = shown_to_the_kernel(read(&layers));
    let kernel = shown_to_the_kernel(kernel);
    assert!(ours == kernel, "seed {seed}: after {act:?} overlayfs shows otherwise:\n{}", difference(&ours, &kernel));
}

/// A stand-in is an empty file to it.
fn shown_to_the_kernel(mut tree: Tree) -> Tree {
    for seen in tree.values_mut() {
        if matches!(seen.kind, Kind::CharDevice(_)) {
            seen.kind = Kind::File { size: 0, content: None };
        }
        // A directory that is in one layer alone has the time that this one has; of links each layer counts its own.
        if let Kind::File { size, .. } = &mut seen.kind {
            *size = u64::try_from(seen.content.len()).unwrap();
        }
    }
    tree
}

fn has_joining(raw: &super::disk::Raw) -> bool {
    read_plain_paths(raw).iter().any(|path| {
        let (dir, name) = raw.at(path).unwrap();
        dir.get_xattr(name.as_bytes(), Marks::Trusted.joining()).unwrap().is_some()
    })
}

fn read_plain_paths(raw: &super::disk::Raw) -> Vec<RelPath> {
    let mut paths = Vec::new();
    raw.walk(&mut |path, _| paths.push(path.clone()));
    paths
}
