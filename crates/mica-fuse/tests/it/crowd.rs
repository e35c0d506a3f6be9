//! Many threads at few names: no file is lost, links are counted right, and what is listed is what is found.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mica_sys::Dir;
use mica_testkit::{FuseRings, Tree, needs};

use crate::stage::{Stage, is_long, stage, stage_with};

const DIRS: [&str; 4] = ["a", "b", "a/c", "lower"];
const NAMES: [&str; 5] = ["v", "w", "x", "y", "z"];
const THREADS: u64 = 6;

/// Errors that a name may have, which others change at the same time: EPERM (a link to a directory), ENOENT, EEXIST, ENOTDIR, EISDIR,
/// EINVAL (a directory into itself), ENOTEMPTY, ELOOP. Whatever is not here nobody may be told, ESTALE and EXDEV among it.
const ALLOWED: [i32; 8] = [1, 2, 17, 20, 21, 22, 39, 40];

/// Numbers that are as good as random.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn path(&mut self, root: &Path) -> PathBuf {
        root.join(DIRS[self.below(DIRS.len())]).join(NAMES[self.below(NAMES.len())])
    }
}

/// A third of the names are in the lower, and of some of its files there are two.
fn lower(at: &Path) {
    for dir in DIRS {
        fs::create_dir_all(at.join(dir)).unwrap();
        fs::write(at.join(dir).join("v"), "below").unwrap();
        fs::hard_link(at.join(dir).join("v"), at.join(dir).join("w")).unwrap();
        fs::create_dir_all(at.join(dir).join("z/in")).unwrap();
    }
    for thread in 0..THREADS {
        fs::write(at.join(format!("token{thread}")), vec![b'0'; 3000]).unwrap();
    }
}

fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    let dir = |path: &Path| Dir::open(path.parent().unwrap());
    let name = |path: &Path| path.file_name().unwrap().as_encoded_bytes().to_vec();
    let exchanged = dir(one).and_then(|from| from.exchange(&name(one), &dir(other)?, &name(other)));
    exchanged.map_err(|error| io::Error::from_raw_os_error(error.errno().raw_os_error()))
}

/// One thing that a program may do to a name.
fn disturb(root: &Path, chance: &mut Chance) -> (usize, io::Result<()>) {
    let (one, other) = (chance.path(root), chance.path(root));
    let which = chance.below(16);
    (which, do_it(which, root, &one, &other))
}

fn do_it(which: usize, root: &Path, one: &Path, other: &Path) -> io::Result<()> {
    match which {
        0 | 1 => File::create(one)?.write_all(b"made"),
        2 => OpenOptions::new().append(true).open(one)?.write_all(b"more"),
        3 => fs::remove_file(one),
        4 => fs::create_dir(one),
        5 => fs::remove_dir(one),
        6 => fs::hard_link(one, other),
        7 => fs::rename(one, other),
        8 => exchange(one, other),
        9 => symlink("v", one),
        10 => fs::set_permissions(one, std::os::unix::fs::PermissionsExt::from_mode(0o640)),
        11 => fs::write(one.join("in"), "deep"),
        12 => fs::rename(one, other.join("in")),
        13 => fs::read_dir(one.parent().unwrap_or(root))?.try_for_each(|entry| entry.map(drop)),
        14 => fs::read(one).map(drop),
        _ => OpenOptions::new().write(true).truncate(true).open(one).map(drop),
    }
}

/// A file of its own goes from name to name, and is the same file with all that was written to it, whatever the others do.
fn carry_token(root: &Path, number: u64, over: &AtomicBool) -> PathBuf {
    let mut chance = Chance(number.wrapping_mul(7_777) + 1);
    let mut at = root.join(format!("token{number}"));
    let held = OpenOptions::new().read(true).write(true).open(&at).unwrap();
    let ino = held.metadata().unwrap().ino();
    let mut written = 0_u64;
    while !over.load(Ordering::Relaxed) {
        let name = format!("token{number}.{}", chance.below(3));
        let to = root.join(DIRS[chance.below(DIRS.len())]).join(name);
        match chance.below(4) {
            // Where the directory has gone, or been renamed, the file stays where it is.
            0 | 1 => match fs::rename(&at, &to) {
                Ok(()) => at = to,
                Err(error) => {
                    assert!(ALLOWED.contains(&error.raw_os_error().unwrap_or(0)), "{at:?} to {to:?}: {error}")
                }
            },
            2 => {
                held.write_at(&written.to_le_bytes(), written % 300 * 8).unwrap();
                written += 1;
            }
            _ => {
                let mut found = Vec::new();
                let mut file = File::open(&at).unwrap_or_else(|error| panic!("{at:?} is lost: {error}"));
                file.read_to_end(&mut found).unwrap();
                assert_eq!(file.metadata().unwrap().ino(), ino, "{at:?} is another file");
                assert_eq!(found.len(), 3000);
                if written > 0 {
                    let last = usize::try_from((written - 1) % 300 * 8).unwrap();
                    assert_eq!(
                        found[last..last + 8],
                        (written - 1).to_le_bytes(),
                        "{at:?} lacks what was written last"
                    );
                }
                assert_eq!(held.metadata().unwrap().nlink(), 1, "{at:?}");
            }
        }
    }
    at
}

/// Every name found by listing is found by looking and the reverse, and a file has as many links as names.
fn assert_sound(root: &Path) {
    let mut names: BTreeMap<u64, (u64, BTreeSet<PathBuf>)> = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(dir) = todo.pop() {
        let listed: BTreeSet<PathBuf> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(listed.len(), fs::read_dir(&dir).unwrap().count(), "{dir:?} lists a name twice");
        let all = NAMES.iter().chain(&["in"]).map(|name| dir.join(name));
        let found: BTreeSet<PathBuf> = all.filter(|path| path.symlink_metadata().is_ok()).collect();
        let known: BTreeSet<PathBuf> = listed
            .iter()
            .filter(|path| {
                path.file_name().is_some_and(|name| name == "in" || NAMES.iter().any(|known| name == *known))
            })
            .cloned()
            .collect();
        assert_eq!(listed.intersection(&known).cloned().collect::<BTreeSet<_>>(), found, "in {dir:?}");
        let mut below = 0;
        for entry in fs::read_dir(&dir).unwrap() {
            let entry = entry.unwrap();
            let found = entry.metadata().unwrap_or_else(|error| panic!("{entry:?} is listed, and {error}"));
            assert_eq!(entry.file_type().unwrap(), found.file_type(), "{entry:?}");
            if found.is_dir() {
                below += 1;
                todo.push(entry.path());
            } else {
                let (_, names) = names.entry(found.ino()).or_insert((found.nlink(), BTreeSet::new()));
                names.insert(entry.path());
            }
        }
        let links = dir.metadata().unwrap().nlink();
        assert!(links == 1 || links == 2 + below, "{dir:?} has {links} links and {below} directories");
    }
    for (nlink, names) in names.values() {
        assert_eq!(*nlink, names.len() as u64, "links of {names:?}");
    }
}

fn play(stage: &mut Stage, time: Duration) {
    let root = stage.mnt();
    let over = AtomicBool::new(false);
    let refused = Mutex::new(BTreeSet::new());
    let tokens: Vec<PathBuf> = std::thread::scope(|scope| {
        for number in 0..THREADS {
            let (root, over, refused) = (&root, &over, &refused);
            scope.spawn(move || {
                let mut chance = Chance(number + 99);
                while !over.load(Ordering::Relaxed) {
                    if let (which, Err(error)) = disturb(root, &mut chance) {
                        let errno = error.raw_os_error().unwrap_or(0);
                        if !ALLOWED.contains(&errno) {
                            refused.lock().unwrap().insert(format!("{error}, of operation {which}"));
                        }
                    }
                }
            });
        }
        let carriers: Vec<_> = (0..THREADS)
            .map(|number| {
                let (root, over) = (&root, &over);
                scope.spawn(move || carry_token(root, number, over))
            })
            .collect();
        let since = Instant::now();
        while since.elapsed() < time && !carriers.iter().any(std::thread::ScopedJoinHandle::is_finished) {
            std::thread::sleep(Duration::from_millis(20));
        }
        over.store(true, Ordering::Relaxed);
        carriers.into_iter().map(|carrier| carrier.join().unwrap()).collect()
    });
    assert_eq!(refused.into_inner().unwrap(), BTreeSet::new(), "errors that no program expects");
    for token in &tokens {
        assert_eq!(token.metadata().unwrap().len(), 3000, "{token:?}");
    }
    assert_sound(&root);
    stage.assert_lowers_whole("the crowd");
    let before = Tree::read(&root);
    stage.remount();
    before.assert_is(&Tree::read(&root), "the union, mounted again");
    assert_sound(&root);
}

#[test]
fn many_threads_at_few_names_lose_nothing() {
    needs!(root, fuse);
    let (rounds, seconds) = if is_long() { (30, 10) } else { (2, 3) };
    for _ in 0..rounds {
        stage(lower, |stage| play(stage, Duration::from_secs(seconds)));
    }
}

#[test]
fn nor_do_they_by_rings() {
    needs!(root, rings);
    let _on = FuseRings::on();
    stage_with(",transport=ring", lower, |stage| play(stage, Duration::from_secs(if is_long() { 100 } else { 3 })));
}
