//! What can only be done when the whole tar was read: links to what came later, whiteouts, directories, the index.

use std::io::Write;
use std::num::NonZeroU32;

use mica_core::{Attrs, Kind, LayerEntry, Node};

use super::extract::{Extract, Made, Outcome, escaped, refused, time};
use super::place;
use super::resolve::{Target, target};
use super::tree::{FileId, PathId, Said, StampId, Tree};
use crate::error::lossy;
use crate::index::IndexWriter;
use crate::{EntryError, LayerError, Result, make_whiteout, stand_in};

impl Extract<'_> {
    pub(super) fn finish(mut self) -> Result<Made> {
        self.settle_links()?;
        let mut paths = self.tree.under(Tree::ROOT);
        let whiteouts = self.whiteouts(&paths);
        for id in &whiteouts {
            let number = self.tree.place(*id).entry;
            self.make_whiteout(*id).map_err(|problem| problem.of_entry(number))?;
        }
        // The last of a directory's names before itself, so that a directory without search permission is not in the way.
        for id in paths.iter().rev() {
            let number = self.tree.place(*id).entry;
            self.settle_directory(*id).map_err(|problem| problem.of_entry(number))?;
        }
        // Of the others the layer says nothing.
        let mut marks = whiteouts.iter().peekable();
        paths.retain(|id| self.tree.place(*id).said != Said::Nothing || marks.next_if_eq(&id).is_some());
        self.write_index(&paths)
    }

    /// Gives the links that met no file the one that has the name now.
    fn settle_links(&mut self) -> Result<()> {
        for id in std::mem::take(&mut self.links) {
            let number = self.tree.place(id).entry;
            self.settle_link(id).map_err(|problem| problem.of_entry(number))?;
        }
        Ok(())
    }

    fn settle_link(&mut self, id: PathId) -> Outcome<()> {
        let path = self.tree.path(id);
        let mut goal = match self.tree.place(id).said {
            Said::Link(goal) => self.tree.link(goal),
            // Replaced by a later entry.
            Said::Nothing | Said::Directory(_) | Said::File(_) => return Ok(()),
        };
        let mut seen = vec![id];
        loop {
            let there = match target(&self.tree, goal.as_bytes(), &self.how.limits)? {
                Target::Here(there) => there,
                Target::Absent(absent) => {
                    return self.say_link(id, &absent, path.as_bytes());
                }
            };
            let spelled = || (lossy(path.as_bytes()), lossy(goal.as_bytes()));
            if seen.contains(&there) {
                let (path, target) = spelled();
                return Err(EntryError::LinkLoop { path, target }.into());
            }
            seen.push(there);
            match self.tree.place(there).said {
                Said::File(file) => {
                    self.make_link(there, self.tree.place(id).parent, id, path.as_bytes())?;
                    self.tree.file_mut(file).names += 1;
                    self.tree.place_mut(id).said = Said::File(file);
                    return Ok(());
                }
                Said::Link(next) => goal = self.tree.link(next),
                Said::Directory(_) | Said::Nothing => {
                    let (path, target) = spelled();
                    return Err(EntryError::LinkToDirectory { path, target }.into());
                }
            }
        }
    }

    /// The whiteouts that say something: of names that the layer itself has not, in directories through which the layers
    /// below show.
    fn whiteouts(&mut self, paths: &[PathId]) -> Vec<PathId> {
        let mut found = Vec::new();
        for id in paths {
            // That of the root is the root, which is not covered before it is come to.
            let above = self.tree.place(self.tree.place(*id).parent).is_covered;
            let place = self.tree.place_mut(*id);
            match place.said {
                Said::Nothing if place.is_hidden && !above => found.push(*id),
                Said::Directory(_) => place.is_covered = above || place.is_opaque || place.is_hidden,
                _ => {}
            }
        }
        found
    }

    fn make_whiteout(&mut self, id: PathId) -> Outcome<()> {
        let path = self.tree.path(id);
        let parent = self.directories.get(&self.tree, self.tree.place(id).parent);
        let parent = parent.map_err(refused(path.as_bytes()))?;
        make_whiteout(parent, self.tree.name(id), self.how.marks).map_err(refused(path.as_bytes()))?;
        Ok(())
    }

    fn settle_directory(&mut self, id: PathId) -> Outcome<()> {
        let place = self.tree.place(id);
        let Said::Directory(stated) = place.said else { return Ok(()) };
        let said = stated.map_or_else(Attrs::implicit_directory, |stated| self.tree.stated(stated));
        let opaque = place.is_opaque || place.is_hidden;
        let attrs = stand_in(&Kind::Directory { opaque, implicit: stated.is_none() }, &said, &self.how.ability).attrs;
        let parent = place.parent;
        let path = self.tree.path(id);
        if id == Tree::ROOT {
            let root = self.directories.root();
            let settle = || {
                root.chown_self(attrs.uid, attrs.gid)?;
                root.chmod_self(attrs.mode)?;
                for (name, value) in escaped(&attrs.xattrs, self.how) {
                    root.set_own_xattr(&name, value)?;
                }
                if opaque {
                    root.set_own_xattr(self.how.marks.opaque(), b"y")?;
                }
                root.utimens_self(time(&attrs))
            };
            return settle().map_err(|source| EntryError::Make { path: "/".to_owned(), source }.into());
        }
        let how = self.how;
        let parent = self.directories.get(&self.tree, parent).map_err(refused(path.as_bytes()))?;
        let name = self.tree.name(id);
        let settle = || {
            parent.chown(name, attrs.uid, attrs.gid)?;
            parent.chmod(name, attrs.mode)?;
            for (attribute, value) in escaped(&attrs.xattrs, how) {
                parent.set_xattr(name, &attribute, value)?;
            }
            if opaque {
                parent.set_xattr(name, how.marks.opaque(), b"y")?;
            }
            parent.utimens(name, time(&attrs))
        };
        settle().map_err(refused(path.as_bytes()))?;
        Ok(())
    }

    fn write_index(mut self, paths: &[PathId]) -> Result<Made> {
        let out = self.layer.create_file(place::INDEX, 0o644).map_err(LayerError::sys("making the layer's files"))?;
        // There are no more paths than numbers of them.
        let mut index = IndexWriter::new(out, u32::try_from(paths.len()).unwrap_or(u32::MAX))?;
        let mut groups = 0u32;
        let mut made = Made::default();
        for id in paths {
            let path = self.tree.path(*id);
            let said = self.tree.place(*id).said;
            let entry = match said {
                Said::Nothing => LayerEntry::Whiteout,
                Said::Directory(stated) => self.said_of_directory(*id, stated, &mut made),
                Said::File(file) => self.said_of_file(file, &mut groups),
                Said::Link(target) => {
                    made.needs_parent += 1;
                    let kind = Kind::LinkToParent { target: self.tree.link(target) };
                    LayerEntry::Node(Node { kind, attrs: Attrs::default(), link_group: None })
                }
            };
            let number = index.add(&path, &entry)?;
            made.entries += 1;
            if let Said::File(file) = said {
                let file = self.tree.file_mut(file);
                if file.record.is_none() {
                    index.count_content(file.size().unwrap_or(0));
                    file.record = NonZeroU32::new(number);
                }
            }
        }
        made.content_size = *self.written();
        index.finish()?;
        self.write_recon()?;
        Ok(made)
    }

    fn said_of_file(&mut self, id: FileId, groups: &mut u32) -> LayerEntry {
        let file = self.tree.file_mut(id);
        if file.names > 1 && file.group.is_none() {
            // There are fewer than files.
            *groups = groups.saturating_add(1);
            file.group = NonZeroU32::new(*groups);
        }
        let link_group = file.group.map(|group| u64::from(group.get()));
        LayerEntry::Node(Node { kind: self.tree.kind(id), attrs: self.tree.attrs(id), link_group })
    }

    fn write_recon(self) -> Result<()> {
        self.recon.finish(self.tree.bodies())?.flush().map_err(LayerError::Write)
    }

    fn said_of_directory(&self, id: PathId, stated: Option<StampId>, made: &mut Made) -> LayerEntry {
        let place = self.tree.place(id);
        let opaque = place.is_opaque || place.is_hidden;
        let implicit = stated.is_none();
        let attrs = stated.map_or_else(Attrs::implicit_directory, |stated| self.tree.stated(stated));
        made.implicit += u64::from(implicit && id != Tree::ROOT);
        LayerEntry::Node(Node { kind: Kind::Directory { opaque, implicit }, attrs, link_group: None })
    }
}
