//! A user over a tree in which some directories of others can be passed through and not listed: names below those are found when they are looked up, and are
//! names of one file from the first to the last, over any number of mounts.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt as _, chown};

use mica_core::plan::Op;
use mica_layer::Ids;
use mica_sys::Access;
use mica_sys::process::FsIds;

use super::random::Random;
use super::*;

const USER: u32 = 1000;
const NAMES: [&str; 9] =
    ["open/a", "open/b", "open/c", "shut/a", "shut/b", "shut/c", "shut/deep/a", "shut/deep/b", "shut/deep/c"];

/// What shows, and what must.
struct Machine {
    _scratch: Scratch,
    dirs: UnionDirs,
    union: Option<Union>,
    /// The file at each name.
    names: BTreeMap<&'static str, usize>,
    contents: Vec<Vec<u8>>,
    lower: Snapshot,
}

impl Machine {
    fn new() -> Self {
        let scratch = Scratch::in_memory();
        std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        let lower = scratch.make("lower");
        for (path, mode) in [("", 0o755), ("open", 0o755), ("shut", 0o711), ("shut/deep", 0o755)] {
            if !path.is_empty() {
                std::fs::create_dir(lower.join(path)).unwrap();
            }
            std::fs::set_permissions(lower.join(path), std::fs::Permissions::from_mode(mode)).unwrap();
        }
        // One that has few bytes, one that comes up without its content, one of a single name, and two names that nobody can list.
        let files: [(usize, &[&str]); 4] = [
            (7, &["open/a", "shut/a", "shut/deep/a"]),
            (100_000, &["open/c", "shut/deep/c"]),
            (3, &["open/b"]),
            (5, &["shut/b", "shut/c"]),
        ];
        let (mut names, mut contents) = (BTreeMap::new(), Vec::new());
        for (number, (size, links)) in files.into_iter().enumerate() {
            let content = vec![b'0' + u8::try_from(number).unwrap(); size];
            std::fs::write(lower.join(links[0]), &content).unwrap();
            for link in links {
                if link != &links[0] {
                    std::fs::hard_link(lower.join(links[0]), lower.join(link)).unwrap();
                }
                names.insert(NAMES.into_iter().find(|name| name == link).unwrap(), number);
            }
            contents.push(content);
        }
        let upper = UpperDirs { upper: scratch.make("upper"), work: scratch.make("work"), volatile: true };
        for own in [&upper.upper, &upper.work] {
            std::fs::set_permissions(own, std::fs::Permissions::from_mode(0o755)).unwrap();
            chown(own, Some(USER), Some(USER)).unwrap();
        }
        let snapshot = Snapshot::of(&lower);
        let dirs = UnionDirs { lowers: vec![lower], upper: Some(upper), marks: Marks::User, ..UnionDirs::default() };
        Self { _scratch: scratch, dirs, union: None, names, contents, lower: snapshot }
    }

    fn reopen(&mut self) {
        self.union = None;
        let own = || Ids::Mapped(vec![(USER, 1)]);
        let ability = Ability::namespaced(own(), own());
        self.union = Some(Union::open(&self.dirs, false, ability, Features::Full, false).unwrap());
    }

    fn union(&self) -> &Union {
        self.union.as_ref().unwrap()
    }

    fn find(&self, path: &str) -> Option<Arc<Node>> {
        self.union().tree.look_at(&mica_core::RelPath::parse(path.as_bytes()).unwrap()).unwrap()
    }

    fn place<'a>(&self, path: &'a str) -> (Arc<Node>, &'a [u8]) {
        let (dir, name) = path.rsplit_once('/').unwrap();
        (self.find(dir).unwrap(), name.as_bytes())
    }

    fn read(&self, node: &Node) -> Vec<u8> {
        let mut backing = self.union().tree.open_content(node, Access::Read).unwrap();
        let size = usize::try_from(self.union().tree.attributes(node).unwrap().size).unwrap();
        let mut content = backing.file.read_all(u64::MAX).unwrap();
        content.truncate(size);
        content
    }

    fn assert_shows(&self, path: &'static str, after: &str) {
        let found = self.find(path);
        let Some(number) = self.names.get(path) else {
            assert!(found.is_none(), "{path} after {after}");
            return;
        };
        let node = found.unwrap_or_else(|| panic!("{path} is missing after {after}"));
        assert!(self.read(&node) == self.contents[*number], "{path} after {after}");
        let names = self.names.values().filter(|other| *other == number).count();
        let links = self.union().tree.attributes(&node).unwrap().nlink;
        // Of names that were removed and never found before, nobody knows.
        assert!(links >= u64::try_from(names).unwrap(), "{path} has {names} names and shows {links} after {after}");
    }

    fn assert_all(&self, after: &str) {
        for path in NAMES {
            self.assert_shows(path, after);
        }
        for (path, number) in &self.names {
            for (other, other_number) in &self.names {
                let is_one = self.find(path).unwrap().id == self.find(other).unwrap().id;
                assert_eq!(is_one, number == other_number, "{path} and {other} after {after}");
            }
        }
    }

    fn append(&mut self, path: &'static str, text: &str) {
        let Some(number) = self.names.get(path) else { return };
        self.contents[*number].extend_from_slice(text.as_bytes());
        let (union, node) = (self.union(), self.find(path).unwrap());
        union.bring_up(&node, Need::Content).unwrap();
        let file = union.tree.open_content(&node, Access::ReadWrite).unwrap().file;
        file.write_part_at(text.as_bytes(), file.metadata().unwrap().size).unwrap();
        union.tree.stale(&node);
    }

    fn touch(&self, path: &str) {
        let Some(node) = self.find(path) else { return };
        let act = &mut |target: &Target<'_>| match target {
            Target::Named(stand) => stand.dir.chmod(stand.name.as_bytes(), 0o640),
            _ => panic!("it has a name"),
        };
        self.union().change(&node, &Op::Attributes, None, act).unwrap();
    }

    fn unlink(&mut self, path: &'static str) {
        let (dir, name) = self.place(path);
        let done = self.union().unlink(&dir, name);
        assert_eq!(done.is_ok(), self.names.remove(path).is_some(), "{path}: {done:?}");
    }

    fn rename(&mut self, old: &'static str, new: &'static str) {
        let Some(number) = self.names.get(old).copied() else { return };
        let ((from, name), (to, new_name)) = (self.place(old), self.place(new));
        let how = Move { from: &from, name, to: &to, new_name, how: How::Replace, owner: (USER, USER) };
        self.union().rename(&how).unwrap();
        if self.names.insert(new, number) != Some(number) {
            self.names.remove(old);
        }
    }

    fn link(&mut self, old: &'static str, new: &'static str) {
        if self.names.contains_key(new) || !self.names.contains_key(old) {
            return;
        }
        let (node, (dir, name)) = (self.find(old).unwrap(), self.place(new));
        self.union().link(&node, &dir, name).unwrap();
        self.names.insert(new, self.names[old]);
    }

    /// As the kernel gives back what it knows of a file.
    fn forget(&self, path: &str) {
        let Some(node) = self.find(path) else { return };
        assert!(node.remember());
        self.union().tree.forget(node.id, 1);
    }

    fn step(&mut self, random: &mut Random) -> String {
        let (one, other) = (NAMES[random.below(9)], NAMES[random.below(9)]);
        match random.below(14) {
            0..=3 => {
                self.append(one, "more");
                format!("append {one}")
            }
            4 => {
                self.touch(one);
                format!("touch {one}")
            }
            5 | 6 => {
                self.unlink(one);
                format!("unlink {one}")
            }
            7 | 8 => {
                self.rename(one, other);
                format!("rename {one} {other}")
            }
            9 => {
                self.link(one, other);
                format!("link {one} {other}")
            }
            10 | 11 => {
                self.forget(one);
                format!("forget {one}")
            }
            12 => {
                self.assert_shows(one, "a look");
                format!("look {one}")
            }
            _ => {
                self.reopen();
                "mount".to_owned()
            }
        }
    }
}

/// Does something in a thread that may become another user.
fn apart(work: impl FnOnce() + Send) {
    mica_testkit::in_mount_namespace(|| {
        std::thread::scope(|scope| {
            if let Err(panic) = scope.spawn(work).join() {
                std::panic::resume_unwind(panic);
            }
        });
    });
}

#[test]
fn a_name_that_nobody_could_list_is_one_of_its_file_whenever_it_is_found() {
    needs!(root);
    apart(|| {
        for seed in 1..60 {
            let mut machine = Machine::new();
            let ids = FsIds::take(USER, USER).unwrap();
            machine.reopen();
            assert_eq!(machine.find("shut").map(|_| ()), Some(()));
            let mut random = Random(seed);
            let mut story = format!("seed {seed}");
            for _ in 0..14 {
                let step = machine.step(&mut random);
                story = format!("{story}\n{step}");
            }
            machine.reopen();
            machine.assert_all(&story);
            machine.reopen();
            machine.assert_all(&story);
            drop((machine.union.take(), ids));
            machine.lower.assert_unchanged(&machine.dirs.lowers[0], &story);
        }
    });
}
