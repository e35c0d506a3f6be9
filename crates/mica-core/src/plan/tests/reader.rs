//! What shows, found as overlayfs finds it: layer by layer, with the name that the marks so far lead to (`ovl_lookup`, Linux 6.18).

use std::collections::BTreeMap;

use super::disk::{Body, Disk, Ino};

/// A file as it shows. Files with one `id` are one file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) mode: u16,
    pub(super) what: What,
    pub(super) id: usize,
    /// Only while it is read: the layer in which it is joining.
    pub(super) joining: Option<usize>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum What {
    Directory,
    File(String),
    Other(String),
}

/// All that shows, sorted by path; an `id` is the number of the first path that has the file.
pub(super) type Tree = Vec<(String, Entry)>;

pub(super) fn with_first_ids(mut tree: Tree) -> Tree {
    let mut first = BTreeMap::new();
    for (number, (_, entry)) in tree.iter_mut().enumerate() {
        entry.id = *first.entry(entry.id).or_insert(number);
    }
    tree
}

/// The same directory in several layers: layer and inode, topmost first.
type Merged = Vec<(usize, Ino)>;

enum Found {
    Directory(Merged),
    Leaf(Entry),
}

pub(super) fn read(disk: &Disk) -> Tree {
    let reader = Reader { disk, root: disk.roots.iter().copied().enumerate().collect() };
    let mut tree = vec![(String::new(), reader.directory(&reader.root))];
    reader.walk("", &reader.root, &mut tree);
    reader.join(&mut tree);
    tree.sort_by(|one, other| one.0.cmp(&other.0));
    with_first_ids(tree)
}

/// One file as it shows.
pub(super) fn read_at(disk: &Disk, path: &str) -> Option<Entry> {
    read(disk).into_iter().find(|(at, _)| at == path).map(|(_, entry)| entry)
}

struct Reader<'a> {
    disk: &'a Disk,
    root: Merged,
}

impl Reader<'_> {
    /// A name of a lower file that has been brought up and is joining shows what was brought up, also when that has no name any more.
    fn join(&self, tree: &mut Tree) {
        let mut up: BTreeMap<usize, Entry> = BTreeMap::new();
        for (_, entry) in tree.iter().filter(|(_, entry)| entry.joining.is_some()) {
            let topmost = up.entry(entry.id).or_insert_with(|| entry.clone());
            if entry.joining < topmost.joining {
                *topmost = entry.clone();
            }
        }
        for ino in &self.disk.kept {
            let inode = &self.disk.inodes[*ino];
            let mut found = None;
            self.leaf(0, *ino, &inode.body, &mut found);
            if let (true, Some(redirect)) = (inode.metacopy, &inode.redirect) {
                let below = self.found_below(0, redirect.trim_start_matches('/'));
                let What::File(content) = below.what else { panic!("the content of a metacopy is no file") };
                if let Some(Entry { what: What::File(size), .. }) = &mut found {
                    *size = content.chars().chain(std::iter::repeat('0')).take(size.len()).collect();
                }
            }
            let found = found.expect("what is kept is a file");
            up.entry(found.id).or_insert(found);
        }
        for (_, entry) in tree {
            if let Some(up) = up.get(&entry.id) {
                (entry.mode, entry.what) = (up.mode, up.what.clone());
            }
            entry.joining = None;
        }
    }

    fn directory(&self, merged: &Merged) -> Entry {
        let (_, top) = merged[0];
        Entry { mode: self.disk.inodes[top].mode, what: What::Directory, id: top, joining: None }
    }

    fn walk(&self, at: &str, merged: &Merged, tree: &mut Tree) {
        let mut names: Vec<&String> =
            merged.iter().flat_map(|(_, ino)| self.disk.inodes[*ino].names().keys()).collect();
        names.sort();
        names.dedup();
        for name in names {
            let path = if at.is_empty() { name.clone() } else { format!("{at}/{name}") };
            match self.look_up(merged, name) {
                None => {}
                Some(Found::Leaf(entry)) => tree.push((path, entry)),
                Some(Found::Directory(below)) => {
                    tree.push((path.clone(), self.directory(&below)));
                    self.walk(&path, &below, tree);
                }
            }
        }
    }

    fn look_up(&self, merged: &Merged, name: &str) -> Option<Found> {
        let mut list = merged.clone();
        let mut want = name.to_owned();
        let mut directories = Merged::new();
        let mut leaf: Option<Entry> = None;
        let mut next = 0;
        while let Some((layer, base)) = list.get(next).copied() {
            next += 1;
            let mut stop = false;
            let mut absolute = false;
            let mut rest: Vec<String> = want.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect();
            rest.reverse();
            let mut at = Some(base);
            while let Some(step) = rest.pop() {
                let Some(ino) = at.and_then(|at| self.disk.inodes[at].names().get(&step).copied()) else {
                    at = None;
                    break;
                };
                let inode = &self.disk.inodes[ino];
                let last = rest.is_empty();
                if !inode.is_directory() && (!last || !directories.is_empty() || inode.body == Body::Whiteout) {
                    stop = true;
                    at = None;
                    break;
                }
                stop |= inode.opaque;
                let post: String = rest.iter().rev().map(|name| format!("/{name}")).collect();
                match &inode.redirect {
                    Some(redirect) if redirect.starts_with('/') => {
                        want = format!("{redirect}{post}");
                        absolute = true;
                        stop = false;
                    }
                    Some(redirect) => {
                        let head = want[..want.len() - step.len() - post.len()].to_owned();
                        want = format!("{head}{redirect}{post}");
                    }
                    None => {}
                }
                at = Some(ino);
            }
            if let Some(ino) = at {
                let inode = &self.disk.inodes[ino];
                match (&inode.body, &mut leaf) {
                    (Body::Directory(_), Some(leaf)) => panic!("the content of {leaf:?} is a directory"),
                    (Body::Directory(_), None) => directories.push((layer, ino)),
                    (body, found) => {
                        self.leaf(layer, ino, body, found);
                        stop = !inode.metacopy;
                    }
                }
            }
            if stop {
                break;
            }
            if absolute {
                list = self.root.clone();
                next = layer + 1;
            }
        }
        match leaf {
            Some(leaf) => Some(Found::Leaf(leaf)),
            None if directories.is_empty() => None,
            None => Some(Found::Directory(directories)),
        }
    }

    /// A file, or the content of one that was found higher up.
    fn leaf(&self, layer: usize, ino: Ino, body: &Body, found: &mut Option<Entry>) {
        let what = match body {
            Body::File(content) => What::File(content.clone()),
            Body::Other(content) => What::Other(content.clone()),
            Body::Whiteout | Body::Directory(_) => panic!("no file: {body:?}"),
        };
        let inode = &self.disk.inodes[ino];
        match found {
            None => {
                // A joining file is the lower one.
                let id = inode.joining.as_ref().map_or(ino, |path| self.found_below(layer, path).id);
                let joining = inode.joining.as_ref().map(|_| layer);
                *found = Some(Entry { mode: inode.mode, what, id, joining });
            }
            Some(Entry { what: What::File(size), .. }) => {
                let What::File(content) = what else { panic!("the content of a metacopy is no file") };
                *size = content.chars().chain(std::iter::repeat('0')).take(size.len()).collect();
            }
            Some(other) => panic!("a metacopy of {other:?}"),
        }
    }

    /// The file that the layers under `layer` show at `path`.
    fn found_below(&self, layer: usize, path: &str) -> Entry {
        let mut merged: Merged = self.root.iter().copied().filter(|(number, _)| *number > layer).collect();
        for name in path.split('/') {
            match self.look_up(&merged, name) {
                Some(Found::Directory(next)) => merged = next,
                Some(Found::Leaf(entry)) => return entry,
                None => panic!("{path} does not show below layer {layer}"),
            }
        }
        panic!("{path} is a directory")
    }
}
