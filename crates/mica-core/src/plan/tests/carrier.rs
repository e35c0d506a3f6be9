//! Carries plans out on a disk in memory, and is as strict as the system calls that it stands for.

use super::disk::{Body, Disk, Ino, Inode, rel, text};
use super::reader::{What, read_at};
use crate::plan::{
    At, Content, Dress, Errno, Features, How, Leaving, Mark, Op, Place, Plan, RedirectKind, Refusal, Relation, Rename,
    Step, Up, XattrChange, plan,
};

/// An operation by path.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Act {
    Make(String),
    MakeOther(String),
    MakeDirectory(String),
    Adopt(String),
    Link(String, String),
    Unlink(String),
    RemoveDirectory(String),
    Rename(String, String, How),
    Write(String),
    Truncate(String, usize),
    Allocate(String),
    Attributes(String),
    Xattr(String, XattrChange),
}

impl Act {
    /// The metadata of what is made.
    pub(super) fn mode(&self) -> u16 {
        if matches!(self, Self::MakeDirectory(_)) { 5 } else { 6 }
    }

    /// The content of what is made.
    pub(super) fn content(&self) -> String {
        if matches!(self, Self::MakeOther(_)) { "made".to_owned() } else { String::new() }
    }

    /// What happens to content.
    pub(super) fn edit(&self, content: &mut String) {
        match self {
            Self::Truncate(_, size) => {
                *content = content.chars().chain(std::iter::repeat('0')).take(*size).collect();
            }
            Self::Allocate(_) => content.push_str("00"),
            _ => content.push_str("www"),
        }
    }

    /// What happens to metadata.
    pub(super) fn change(&self, mode: u16) -> u16 {
        match self {
            Self::Xattr(_, XattrChange::Remove) => mode & !16,
            Self::Xattr(..) => mode | 16,
            _ => (mode & 16) | ((mode + 1) & 7),
        }
    }

    pub(super) fn paths(&self) -> (Option<&str>, Option<&str>) {
        match self {
            Self::Make(new) | Self::MakeOther(new) | Self::MakeDirectory(new) | Self::Adopt(new) => (None, Some(new)),
            Self::Link(old, new) | Self::Rename(old, new, _) => (Some(old), Some(new)),
            Self::Unlink(old)
            | Self::RemoveDirectory(old)
            | Self::Write(old)
            | Self::Truncate(old, _)
            | Self::Allocate(old)
            | Self::Attributes(old)
            | Self::Xattr(old, _) => (Some(old), None),
        }
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn is_in(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

pub(super) fn place(disk: &Disk, path: &str) -> Place {
    let Ok(place) = disk.union().place(&rel(path));
    place.unwrap_or_else(|| panic!("no directory above {path}"))
}

/// The facts of an operation. `tree` is what shows.
pub(super) fn op(disk: &Disk, tree: &super::reader::Tree, act: &Act) -> Op {
    let at = |path: &str| place(disk, path);
    let entry = |path: &str| tree.iter().find(|(known, _)| known == path).map(|(_, entry)| entry);
    let is_empty = |path: &str| !tree.iter().any(|(known, _)| is_in(known, path));
    match act {
        Act::Make(new) | Act::MakeOther(new) => Op::Make(at(new)),
        Act::MakeDirectory(new) => Op::MakeDirectory(at(new)),
        Act::Adopt(new) => Op::Adopt(at(new)),
        Act::Link(old, new) => Op::Link { old: at(old), new: at(new) },
        Act::Unlink(old) => Op::Unlink(at(old)),
        Act::RemoveDirectory(old) => Op::RemoveDirectory { old: at(old), is_empty: is_empty(old) },
        Act::Rename(old, new, how) => Op::Rename(Rename {
            old: at(old),
            new: at(new),
            how: *how,
            relation: match () {
                () if is_in(new, old) => Relation::NewInOld,
                () if is_in(old, new) => Relation::OldInNew,
                () => Relation::Apart,
            },
            same_parent: parent(old) == parent(new),
            same_file: entry(old).is_some_and(|old| entry(new).is_some_and(|new| new.id == old.id)),
            new_is_empty: is_empty(new),
        }),
        Act::Write(old) => Op::Write(at(old)),
        Act::Truncate(old, size) => Op::Truncate { old: at(old), to_nothing: *size == 0 },
        Act::Allocate(old) => Op::Allocate(at(old)),
        Act::Attributes(old) => Op::Attributes(at(old)),
        Act::Xattr(old, change) => {
            Op::Xattr { old: at(old), change: *change, present: entry(old).is_some_and(|entry| entry.mode & 16 != 0) }
        }
    }
}

/// Plans and carries out; `each` sees the disk after every step.
pub(super) fn run(disk: &mut Disk, act: &Act, features: Features, each: impl FnMut(&Disk)) -> Result<Plan, Errno> {
    let op = op(disk, &super::reader::read(disk), act);
    let plan = plan(op, features).map_err(Refusal::errno)?;
    carry_out(disk, act, &plan, each);
    Ok(plan)
}

pub(super) fn carry_out(disk: &mut Disk, act: &Act, plan: &Plan, each: impl FnMut(&Disk)) {
    let mut carrier = Carrier { disk, act, each };
    for step in plan.iter() {
        carrier.step(*step);
        (carrier.each)(carrier.disk);
    }
    assert_eq!(carrier.disk.temp, None, "something is left in work");
}

struct Carrier<'a, F> {
    disk: &'a mut Disk,
    act: &'a Act,
    each: F,
}

impl<F: FnMut(&Disk)> Carrier<'_, F> {
    fn path(&self, at: At) -> String {
        let (old, new) = self.act.paths();
        match at {
            At::Old => old,
            At::New => new,
        }
        .unwrap_or_else(|| panic!("{:?} has no such name: {at}", self.act))
        .to_owned()
    }

    fn stands(&self, path: &str) -> Option<Ino> {
        self.disk.at(self.disk.upper(), path)
    }

    fn file(&mut self, at: At) -> &mut Inode {
        let path = self.path(at);
        let ino = self.stands(&path).unwrap_or_else(|| panic!("nothing stands at {path}"));
        &mut self.disk.inodes[ino]
    }

    fn set(&mut self, path: &str, ino: Option<Ino>) {
        let upper = self.disk.upper();
        self.disk.name(upper, path, ino);
    }

    fn give_temp(&mut self, ino: Ino) {
        assert_eq!(self.disk.temp.replace(ino), None, "the temp is there already");
    }

    fn temp(&mut self) -> Ino {
        self.disk.temp.take().expect("there is no temp")
    }

    fn new_temp(&mut self, inode: Inode) {
        let ino = self.disk.add(inode);
        self.give_temp(ino);
    }

    /// `RENAME_NOREPLACE`.
    fn fill_place(&mut self, path: &str, ino: Ino) {
        assert_eq!(self.stands(path), None, "{path} is taken");
        self.set(path, Some(ino));
    }

    fn parents(&mut self, path: &str) {
        let above: Vec<&str> = path.match_indices('/').map(|(end, _)| &path[..end]).collect();
        for directory in above {
            if self.stands(directory).is_none() {
                let mode = read_at(self.disk, directory).unwrap().mode;
                self.new_temp(Inode::new(mode, Body::default()));
                (self.each)(self.disk);
                let temp = self.temp();
                self.fill_place(directory, temp);
                (self.each)(self.disk);
            }
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Parents(at) => self.parents(&self.path(at)),
            Step::Keep(at) => {
                let path = self.path(at);
                let ino = self.stands(&path).expect("nothing to keep");
                if !self.disk.kept.contains(&ino) {
                    self.disk.kept.push(ino);
                }
            }
            Step::Dress(dress) => {
                let inode = self.dress(dress);
                self.new_temp(inode);
            }
            Step::Stage => match self.act {
                Act::Adopt(_) => self.new_temp(Inode::new(self.act.mode(), Body::File(self.act.content()))),
                _ => {
                    let ino = self.stands(&self.path(At::Old)).unwrap();
                    assert!(!self.disk.inodes[ino].is_directory(), "a directory is linked");
                    self.give_temp(ino);
                }
            },
            Step::Place(at) => {
                let (path, temp) = (self.path(at), self.temp());
                self.fill_place(&path, temp);
            }
            Step::Replace(at) => {
                let (path, temp) = (self.path(at), self.temp());
                let there = self.stands(&path).expect("nothing to replace");
                assert!(!self.disk.inodes[there].is_directory() && !self.disk.inodes[temp].is_directory());
                assert_ne!(there, temp, "a rename of one name of a file over another does nothing");
                self.set(&path, Some(temp));
            }
            Step::Swap(at) => {
                let (path, temp) = (self.path(at), self.temp());
                let there = self.stands(&path).expect("nothing to exchange");
                self.set(&path, Some(temp));
                self.give_temp(there);
            }
            Step::TakeOut(at) => {
                let path = self.path(at);
                let there = self.stands(&path).expect("nothing to take out");
                self.set(&path, None);
                self.give_temp(there);
            }
            Step::Discard => {
                let temp = self.temp();
                if let Body::Directory(names) = &self.disk.inodes[temp].body {
                    let all_white = names.values().all(|ino| self.disk.inodes[*ino].body == Body::Whiteout);
                    assert!(all_white, "more than whiteouts is thrown away");
                }
            }
            Step::Whiteout(at) => {
                let path = self.path(at);
                let ino = self.disk.add(Inode::new(0, Body::Whiteout));
                self.fill_place(&path, ino);
            }
            Step::Remove(at) => {
                let path = self.path(at);
                self.assert_gone(self.stands(&path).expect("nothing to remove"));
                self.set(&path, None);
            }
            Step::Link => {
                let (old, new) = (self.path(At::Old), self.path(At::New));
                let ino = self.stands(&old).expect("nothing to link");
                assert!(!self.disk.inodes[ino].is_directory(), "a directory is linked");
                self.fill_place(&new, ino);
            }
            Step::Move(leaving) => self.shift(leaving),
            Step::Exchange => {
                let (old, new) = (self.path(At::Old), self.path(At::New));
                let pair = (self.stands(&old).unwrap(), self.stands(&new).unwrap());
                self.set(&new, Some(pair.0));
                self.set(&old, Some(pair.1));
            }
            Step::Join(at) => {
                let Ok(group) = self.disk.union().group(&rel(&self.path(at)));
                let up = match group.up.expect("nothing has been brought up") {
                    Up::At(path) => self.stands(&text(&path)).unwrap(),
                    Up::Kept(number) => self.disk.kept[number],
                };
                for name in group.lower {
                    self.parents(&text(&name));
                    self.fill_place(&text(&name), up);
                    (self.each)(self.disk);
                }
            }
            Step::Mark(at, mark) => self.mark(at, mark),
            Step::Unmark(at, Mark::Metacopy) => {
                let file = self.file(at);
                file.metacopy = false;
                file.redirect = None;
            }
            Step::Unmark(at, Mark::Joining) => self.file(at).joining = None,
            Step::Unmark(..) => panic!("{step:?}"),
            Step::Fill(at) => {
                let Some(What::File(content)) = read_at(self.disk, &self.path(at)).map(|entry| entry.what) else {
                    panic!("no content")
                };
                self.file(at).body = Body::File(content);
            }
            Step::Change(at) => {
                let act = self.act;
                let file = self.file(at);
                match (act, &mut file.body) {
                    (Act::Attributes(_) | Act::Xattr(..), _) => file.mode = act.change(file.mode),
                    (_, Body::File(content)) => act.edit(content),
                    (_, body) => panic!("{act:?} of {body:?}"),
                }
            }
        }
    }

    /// An `rmdir`, or a rename over a directory.
    fn assert_gone(&self, ino: Ino) {
        if let Body::Directory(names) = &self.disk.inodes[ino].body {
            assert!(names.is_empty(), "a directory that holds names is removed");
        }
    }

    fn shift(&mut self, leaving: Leaving) {
        let (old, new) = (self.path(At::Old), self.path(At::New));
        let ino = self.stands(&old).expect("nothing to move");
        if let Some(there) = self.stands(&new) {
            assert_ne!(there, ino);
            let kinds = (self.disk.inodes[ino].is_directory(), self.disk.inodes[there].is_directory());
            assert_eq!(kinds.0, kinds.1, "{old} over {new}");
            self.assert_gone(there);
        }
        let left = (leaving == Leaving::Whiteout).then(|| self.disk.add(Inode::new(0, Body::Whiteout)));
        self.set(&old, left);
        self.set(&new, Some(ino));
    }

    fn mark(&mut self, at: At, mark: Mark) {
        let path = self.path(at);
        let Ok(lower) = self.disk.union().lower_path(&rel(&path));
        let file = self.file(at);
        match mark {
            Mark::Opaque => file.opaque = true,
            Mark::Redirect(kind) => {
                let lower = text(&lower.expect("nothing is below"));
                file.redirect = Some(match kind {
                    RedirectKind::Absolute => format!("/{lower}"),
                    RedirectKind::Relative => lower.rsplit('/').next().unwrap().to_owned(),
                });
            }
            Mark::Settled => assert!(file.joining.is_some(), "{path} is not joining"),
            Mark::Metacopy | Mark::Joining => panic!("{mark:?}"),
        }
    }

    fn dress(&self, dress: Dress) -> Inode {
        let body = |what| match what {
            What::Directory => Body::default(),
            What::File(content) => Body::File(content),
            What::Other(content) => Body::Other(content),
        };
        match dress {
            Dress::New { opaque } => {
                let made = match self.act {
                    Act::MakeDirectory(_) => Body::default(),
                    Act::MakeOther(_) => Body::Other(self.act.content()),
                    _ => Body::File(self.act.content()),
                };
                Inode { opaque, ..Inode::new(self.act.mode(), made) }
            }
            Dress::File { like, content, joining } => {
                let path = self.path(like);
                let lower = || {
                    let Ok(lower) = self.disk.union().lower_path(&rel(&path));
                    text(&lower.expect("no lower file"))
                };
                let entry = read_at(self.disk, &path).expect("nothing shows");
                let mut inode = Inode::new(entry.mode, body(entry.what));
                match (content, &mut inode.body) {
                    (Content::Whole, _) => {}
                    (Content::Cut, Body::File(content)) => self.act.edit(content),
                    (Content::Later, Body::File(content)) => {
                        *content = "0".repeat(content.len());
                        inode.metacopy = true;
                        inode.redirect = Some(format!("/{}", lower()));
                    }
                    (content, body) => panic!("{content:?} of {body:?}"),
                }
                inode.joining = joining.then(lower);
                inode
            }
            Dress::Directory { like } => {
                Inode::new(read_at(self.disk, &self.path(like)).unwrap().mode, Body::default())
            }
            Dress::Empty { like } => {
                let mode = read_at(self.disk, &self.path(like)).unwrap().mode;
                Inode { opaque: true, ..Inode::new(mode, Body::default()) }
            }
            Dress::Whiteout => Inode::new(0, Body::Whiteout),
            Dress::DeviceZero => Inode::new(0, Body::Other("0:0".to_owned())),
        }
    }
}

/// Whether an operation leaves a device 0:0.
pub(super) fn leaves_device(act: &Act) -> bool {
    matches!(act, Act::Rename(_, _, How::Whiteout | How::WhiteoutNoReplace))
}
