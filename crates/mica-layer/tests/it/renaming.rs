//! The same work on the kernel's overlayfs, with redirects and metacopies and without, makes the same layer.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use mica_core::{Attrs, Stack};
use mica_layer::{Ability, AnyLayer, DirLayer, Index, Marks, Over, Pack, Reach, Unpack, diff_upper, pack, unpack};
use mica_sys::Dir;
use mica_testkit::{Scratch, Snapshot, Tree, needs, tree};

/// What the kernel may write to an upper, and what it may not.
const WAYS: [&str; 2] = ["redirect_dir=on,metacopy=on,index=off", "redirect_dir=off,metacopy=off,index=off"];
/// The work of how many users is compared.
const SEEDS: u64 = 30;
/// What each of them does before the upper becomes a layer, and how often that happens.
const OPERATIONS: usize = 40;
const LAYERS: usize = 3;

fn base() -> Tree {
    tree! {
        "a/" mode 0o750 uid 7 mtime 1;
        "a/file" = "of a\n" mode 0o4755 uid 3 gid 4 mtime 2 xattr "user.k" = "v";
        "a/in/" mtime 3;
        "a/in/deep/" mtime 3;
        "a/in/deep/x" -> "../file" mtime 4;
        "a/in/deep/y" = "y" mtime 5;
        "a/one" = "linked" mtime 6;
        "a/two" hard "a/one";
        "b/" mtime 7;
        "b/big" = "0123456789" mtime 8;
        "b/c/" mtime 9;
        "b/c/fifo" fifo mtime 10;
        "top" = "top" mtime 11;
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn of<'a, T>(&mut self, some: &'a [T]) -> &'a T {
        &some[self.below(some.len())]
    }
}

/// One of the two unions.
struct Seat {
    home: PathBuf,
    merged: PathBuf,
    way: &'static str,
    layers: usize,
}

impl Seat {
    fn mount(&self, lowers: &[PathBuf]) {
        for name in ["upper", "work"] {
            fs::create_dir(self.place(name)).unwrap();
        }
        let lowers: Vec<String> = lowers.iter().map(|lower| lower.display().to_string()).collect();
        let options = format!(
            "lowerdir={},upperdir={},workdir={},{}",
            lowers.join(":"),
            self.place("upper").display(),
            self.place("work").display(),
            self.way
        );
        run(Command::new("mount").args(["-t", "overlay", "mica-test", "-o", &options]).arg(&self.merged));
    }

    fn place(&self, name: &str) -> PathBuf {
        self.home.join(format!("{name}{}", self.layers))
    }

    fn upper(&self) -> Dir {
        Dir::open(&self.place("upper")).unwrap()
    }
}

fn run(command: &mut Command) {
    let done = command.output().unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// All paths of a tree, relative to it, the root left out; directories apart from the rest.
fn paths(root: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let (mut directories, mut others) = (Vec::new(), Vec::new());
    let mut unread = vec![PathBuf::new()];
    while let Some(at) = unread.pop() {
        let mut names: Vec<_> = fs::read_dir(root.join(&at)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        for name in names {
            let path = at.join(name);
            match fs::symlink_metadata(root.join(&path)).unwrap().is_dir() {
                true => {
                    directories.push(path.clone());
                    unread.push(path);
                }
                false => others.push(path),
            }
        }
    }
    (directories, others)
}

#[derive(Debug)]
enum Operation {
    Move(PathBuf, PathBuf),
    Make(PathBuf, String),
    MakeDirectory(PathBuf),
    Remove(PathBuf),
    Mode(PathBuf, u32),
    Owner(PathBuf, u32),
    Append(PathBuf),
    Cut(PathBuf, u64),
    Link(PathBuf, PathBuf),
}

impl Operation {
    fn choose(random: &mut Random, root: &Path) -> Option<Self> {
        let (mut directories, others) = paths(root);
        let all: Vec<PathBuf> = directories.iter().chain(&others).cloned().collect();
        directories.push(PathBuf::new());
        let new = |random: &mut Random| random.of(&directories).join(random.of(&["n", "m", "a", "in", "file", "c"]));
        if all.is_empty() {
            return Some(Self::MakeDirectory(new(random)));
        }
        let old = random.of(&all).clone();
        let found = fs::symlink_metadata(root.join(&old)).unwrap();
        let is_regular = found.is_file();
        // A copy of a directory parts names of a file that are in it from those that are not; and the kernel parts a lower file's where it
        // brings one up, which a copy has brought up already.
        let has_names = !found.is_dir() && found.nlink() > 1;
        Some(match random.below(13) {
            _ if has_names => Self::Remove(old),
            0..4 => {
                let to = new(random);
                if to.starts_with(&old) || old.starts_with(&to) {
                    return None;
                }
                Self::Move(old, to)
            }
            4 => Self::Make(new(random), format!("made {}\n", random.below(100))),
            5 => Self::MakeDirectory(new(random)),
            6 => Self::Remove(old),
            7 => Self::Mode(old, *random.of(&[0o600, 0o755, 0o711, 0o770])),
            8 => Self::Owner(old, u32::try_from(random.below(3)).unwrap()),
            9 if is_regular => Self::Append(old),
            10 if is_regular => Self::Cut(old, u64::try_from(random.below(8)).unwrap()),
            11 if !found.is_dir() => {
                let to = old.with_file_name(random.of(&["n", "m", "link"]));
                Self::Link(old, to)
            }
            _ => return None,
        })
    }

    /// Does it in one union; says whether it was done.
    fn apply(&self, root: &Path) -> bool {
        let at = |path: &Path| root.join(path);
        match self {
            Self::Move(from, to) => rename(&at(from), &at(to)),
            Self::Make(path, text) => !at(path).exists() && fs::write(at(path), text).is_ok(),
            Self::MakeDirectory(path) => fs::create_dir(at(path)).is_ok(),
            Self::Remove(path) => remove(&at(path)),
            Self::Mode(path, mode) => {
                !at(path).is_symlink() && fs::set_permissions(at(path), fs::Permissions::from_mode(*mode)).is_ok()
            }
            Self::Owner(path, owner) => std::os::unix::fs::lchown(at(path), Some(*owner), None).is_ok(),
            Self::Append(path) => {
                let file = fs::File::options().append(true).open(at(path));
                file.and_then(|mut file| std::io::Write::write_all(&mut file, b"more")).is_ok()
            }
            Self::Cut(path, size) => {
                fs::File::options().write(true).open(at(path)).and_then(|file| file.set_len(*size)).is_ok()
            }
            Self::Link(from, to) => fs::hard_link(at(from), at(to)).is_ok(),
        }
    }
}

/// A rename, or where the union cannot rename a copy and a removal, as `mv` does (which loses links where it has met the inode number before).
fn rename(from: &Path, to: &Path) -> bool {
    match fs::rename(from, to) {
        Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => {
            if to.symlink_metadata().is_ok() && fs::remove_dir(to).is_err() {
                return false;
            }
            run(Command::new("cp").arg("-aT").arg(from).arg(to));
            remove(from)
        }
        renamed => renamed.is_ok(),
    }
}

fn remove(path: &Path) -> bool {
    match fs::symlink_metadata(path).unwrap().is_dir() {
        true => Command::new("rm").arg("-r").arg(path).output().unwrap().status.success(),
        false => fs::remove_file(path).is_ok(),
    }
}

/// Gives all that has the time of the work one that says the same in both unions, the deepest first.
fn settle_times(root: &Path, from: i64) {
    let (directories, others) = paths(root);
    let mut all: Vec<PathBuf> = directories.into_iter().chain(others).collect();
    all.sort();
    for (number, path) in all.iter().enumerate().rev() {
        let at = root.join(path);
        if fs::symlink_metadata(&at).unwrap().mtime() < 1_000_000_000 {
            continue;
        }
        let time = mica_sys::Time { secs: from + i64::try_from(number).unwrap(), nanos: 5 };
        let parent = Dir::open(at.parent().unwrap()).unwrap();
        parent.utimens(at.file_name().unwrap().as_encoded_bytes(), time).unwrap();
    }
}

#[test]
fn what_is_renamed_and_brought_up_without_content_is_the_same_layer() {
    needs!(overlay);
    for seed in 0..SEEDS {
        one_round(seed);
    }
}

fn one_round(seed: u64) {
    let scratch = Scratch::new();
    let mut random = Random(seed);
    let bottom = scratch.make("bottom");
    base().write_to(&bottom);
    let mut lowers = vec![bottom];
    let mut seats = WAYS.map(|way| {
        let home = scratch.make(if way == WAYS[0] { "with" } else { "without" });
        let merged = home.join("merged");
        fs::create_dir(&merged).unwrap();
        Seat { home, merged, way, layers: 0 }
    });
    for layer in 0..LAYERS {
        seats.iter().for_each(|seat| seat.mount(&lowers));
        let before: Vec<Snapshot> = lowers.iter().map(|lower| Snapshot::of(lower)).collect();
        let (mut done, mut left) = (Vec::new(), BTreeSet::new());
        for _ in 0..OPERATIONS {
            let Some(operation) = Operation::choose(&mut random, &seats[1].merged) else { continue };
            if let Operation::Move(from, to) = &operation {
                // Moved back it is the directory that it was, and a copy that is moved back is another.
                if left.contains(to) {
                    continue;
                }
                left.insert(from.clone());
            }
            let [one, other] = [0, 1].map(|number| operation.apply(&seats[number].merged));
            assert_eq!(one, other, "seed {seed}: {operation:?} after {done:#?}");
            done.push(operation);
        }
        for seat in &seats {
            settle_times(&seat.merged, 1000 * (i64::try_from(layer).unwrap() + 1));
        }
        let trees = [0, 1].map(|number| {
            let mut tree = Tree::read(&seats[number].merged);
            // The root's time is nobody's.
            let root = mica_core::RelPath::root();
            let mut entry = tree.get(&root).unwrap().clone();
            entry.mtime = None;
            tree.put(root, entry);
            tree
        });
        trees[0].assert_is(&trees[1], &format!("seed {seed}: the unions differ after {done:#?}"));
        let below = stack(&lowers);
        let [one, other] = [0, 1].map(|number| said(&seats[number].upper(), &below));
        assert_eq!(one.0, other.0, "seed {seed}: other changes after {done:#?}");
        if one.1 != other.1 {
            let [one, other] = [&one.1, &other.1].map(|tar| crate::support::entries(tar));
            assert_eq!(one, other, "seed {seed}: another layer after {done:#?}");
            panic!("seed {seed}: the same entries in other bytes after {done:#?}");
        }
        for (lower, before) in lowers.iter().zip(&before) {
            before.assert_unchanged(lower, "the work");
        }
        for seat in &mut seats {
            run(Command::new("umount").arg(&seat.merged));
            seat.layers += 1;
        }
        let place = scratch.make(format!("layer{layer}"));
        unpack(&mut &one.1[..], &Dir::open(&place).unwrap(), &Unpack::default()).unwrap();
        lowers.insert(0, place.join("diff"));
    }
}

/// Sealed layers by their index, as a store has them, over a live directory.
fn stack(lowers: &[PathBuf]) -> Stack<AnyLayer> {
    let layer = |diff: &PathBuf| match diff.parent().unwrap().join("index") {
        index if index.exists() => {
            let index = Dir::open(diff.parent().unwrap()).unwrap().open_file(b"index").unwrap();
            AnyLayer::Sealed { index: Index::open(&index).unwrap(), diff: diff.clone() }
        }
        _ => DirLayer::new(Dir::open(diff).unwrap(), Marks::Trusted).into(),
    };
    Stack::new(lowers.iter().map(layer).collect())
}

fn said(upper: &Dir, below: &Stack<AnyLayer>) -> (Vec<String>, Vec<u8>) {
    let ability = Ability::native();
    let changes = diff_upper(upper, Marks::Trusted, below, &ability).unwrap();
    let over = Over { below, ability: &ability, reach: Reach::CopiedUp };
    let how = Pack {
        marks: Some(Marks::Trusted),
        root: Some(Attrs { mode: 0o755, ..Attrs::default() }),
        over: Some(over),
        others: None,
    };
    let mut tar = Vec::new();
    pack(upper, &how, &mut tar).unwrap();
    (changes.iter().map(ToString::to_string).collect(), tar)
}
