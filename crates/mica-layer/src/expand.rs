//! An upper said in full: what its marks only lead to, in its place.
//!
//! ```text
//!   in the upper                    as a changeset
//!   d, with redirect /a             d, opaque, and in it what the lowers show in /a, as the upper's d changes that
//!   f, with metacopy                f, with the content that the lowers' file has
//!   f, with joining /a              f, and a link of it at each name that shows the lowers' file /a still
//! ```
//!
//! A changeset cannot say "renamed" (OCI image specification, "Changesets"): so this is what layers, listings of changes and whoever brings an upper onto a tree
//! read. The rules of what is where are those of [`mica_core::plan`], "What shows"; nothing of the lowers is asked for but what marks lead to.

use mica_core::{Kind, LayerEntry, Name, Node, RelPath, Resolved};
use mica_sys::{Dir, File, Metadata};

use crate::any_layer::open_file;
use crate::tree::{Leads, Seen, look_at_self, look_led, reading, sorted_names};
use crate::{LayerError, Marks, Over, TreeError};

mod joins;
mod spell_out;
mod upper_layer;
mod walk;

use joins::Joins;
pub use spell_out::{leads_below, spell_out};
pub use upper_layer::UpperLayer;

/// A directory of the changeset.
#[derive(Debug, Clone)]
pub(crate) struct Spot {
    pub(crate) path: RelPath,
    /// The upper has it. Otherwise it is the lowers', and said because one above it was moved, or because a name in it joins.
    pub(crate) stands: bool,
    /// It merges with what is at its own path, as a changeset's directory does, or hides that: names that the lowers alone have need no word. Otherwise it has
    /// them from another place, and says all of them.
    pub(crate) in_place: bool,
    /// Where the lowers have what shows in it; `None` where nothing of them does.
    lower: Option<RelPath>,
}

/// By what names of one file are known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum FileId {
    /// Device and inode number of a file of the upper.
    Standing(u64, u64),
    /// A file of a layer below, by the group of its links.
    Group(usize, u64),
    /// A file of a layer below, by its path in it: another layer may link to it.
    Single(usize, RelPath),
}

/// Where the content of a file is.
#[derive(Debug, Clone)]
enum Content {
    /// In the file itself.
    Here,
    /// In the upper's file at another path.
    At(RelPath),
    /// In the lowers' file that shows at this path.
    Below(RelPath),
}

/// What the changeset says of a name.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) entry: LayerEntry,
    /// Which file it is, where it may have more names.
    pub(crate) file: Option<FileId>,
    /// What was seen of the upper's file that has the content.
    pub(crate) was: Option<Metadata>,
    /// For a directory, what is to be known of it.
    pub(crate) spot: Option<Spot>,
    content: Content,
}

/// A reader of one upper. Without anything to read it over ([`Over`]), what its marks lead to is refused.
#[derive(Debug)]
pub(crate) struct Expander<'a> {
    root: Dir,
    marks: Option<Marks>,
    over: Option<Over<'a>>,
    joins: Joins,
}

impl<'a> Expander<'a> {
    /// A reader of the upper `root`.
    pub(crate) fn new(root: &Dir, marks: Option<Marks>, over: Option<Over<'a>>) -> Result<Self, LayerError> {
        let joins = match (marks, over) {
            (Some(marks), Some(over)) => Joins::find(root, marks, &over)?,
            _ => Joins::default(),
        };
        let root = root.try_clone().map_err(reading(&RelPath::root()))?;
        Ok(Self { root, marks, over, joins })
    }

    /// The root, which is a copy of what is below.
    pub(crate) fn root(&self) -> Result<(Node, Spot), LayerError> {
        let path = RelPath::root();
        let mut node = look_at_self(&self.root, &path, self.marks)?;
        if let Some(over) = self.over {
            node = over.read_root(node)?;
        }
        let opaque = matches!(node.kind, Kind::Directory { opaque: true, .. });
        let lower = (self.over.is_some() && !opaque).then(RelPath::root);
        Ok((node, Spot { path, stands: true, in_place: true, lower }))
    }

    /// The names of which something is said in a directory, sorted; whiteouts are among them. `dir` is the directory, where it stands.
    pub(crate) fn names(&self, dir: Option<&Dir>, at: &Spot) -> Result<Vec<Name>, LayerError> {
        let mut names = match dir {
            Some(dir) => sorted_names(dir, &at.path)?,
            None => Vec::new(),
        };
        let own = names.len();
        names.extend(self.joins.names_in(&at.path));
        if !at.in_place
            && let (Some(over), Some(lower)) = (self.over, &at.lower)
        {
            names.extend(over.below.names(lower)?.unwrap_or_default());
        }
        if names.len() > own {
            names.sort_unstable();
            names.dedup();
        }
        Ok(names)
    }

    /// What is said of `name` in a directory; `None` when nothing is. `dir` is the directory, where it stands.
    pub(crate) fn look(&self, dir: Option<&Dir>, at: &Spot, name: &Name) -> Result<Option<Item>, LayerError> {
        let path = at.path.join(name);
        if let Some(dir) = dir
            && let Some(seen) = look_led(dir, name.as_bytes(), &path, self.marks)?
        {
            return self.standing(seen, path, at);
        }
        if let Some(first) = self.joins.file_at(&path) {
            return self.joined(first);
        }
        let lower = at.lower.as_ref().map(|lower| lower.join(name));
        match lower {
            Some(lower) if !at.in_place || self.joins.lead_to(&path) => self.below(path, lower, at.in_place),
            _ => Ok(None),
        }
    }

    /// Opens a file of the changeset for reading. It may be longer than the changeset says; what is beyond is not its content.
    pub(crate) fn open(&self, dir: Option<&Dir>, path: &RelPath, item: &Item) -> Result<File, LayerError> {
        match (&item.content, dir, path.name()) {
            (Content::Here, Some(dir), Some(name)) => Ok(dir.open_file(name.as_bytes()).map_err(reading(path))?),
            (Content::Here, ..) => open_file(&self.root, path),
            (Content::At(other), ..) => open_file(&self.root, other),
            (Content::Below(lower), ..) => {
                let file = match self.over {
                    Some(over) => over.below.open(lower)?,
                    None => None,
                };
                Ok(file.ok_or_else(|| TreeError::Astray { path: path.clone() })?)
            }
        }
    }

    /// What stands in the upper.
    fn standing(&self, seen: Seen, path: RelPath, at: &Spot) -> Result<Option<Item>, LayerError> {
        let Seen { entry, metadata, has_origin, has_number, leads } = seen;
        let LayerEntry::Node(mut node) = entry else {
            // A directory that says all of its names needs no word for one that it lacks.
            let said = |entry| Item { entry, file: None, was: None, spot: None, content: Content::Here };
            return Ok(at.in_place.then(|| said(LayerEntry::Whiteout)));
        };
        let Some(over) = self.over else {
            leads.refuse(metadata.kind, &path)?;
            let spot = node.kind.is_directory().then(|| directory(&mut node, &leads, None, path, at));
            return Ok(Some(item(node, metadata, spot, Content::Here)));
        };
        let by_name = path.name().and_then(|name| Some(at.lower.as_ref()?.join(&name)));
        let lower = match &leads.redirect {
            Some(redirect) => redirect.lead(by_name.as_ref()),
            None => by_name.clone(),
        };
        // In a directory that hides what is below, a copy of that may stand nonetheless: it was made before.
        let copied = lower.clone().or_else(|| at.in_place.then(|| path.clone()));
        if let Some(copied) = &copied {
            node = over.read(node, (has_origin, has_number), copied, self.marks)?;
        }
        let mut content = Content::Here;
        if node.kind.is_directory() {
            let spot = directory(&mut node, &leads, lower, path, at);
            return Ok(Some(item(node, metadata, Some(spot), content)));
        }
        if leads.metacopy && matches!(node.kind, Kind::File { .. }) {
            let lower = lower.ok_or_else(|| TreeError::Astray { path: path.clone() })?;
            content = Content::Below(lower);
        }
        if self.joins.has(&path) {
            node.link_group = Some(metadata.ino);
        }
        Ok(Some(item(node, metadata, None, content)))
    }

    /// A further name of the file that stands at `first`.
    fn joined(&self, first: &RelPath) -> Result<Option<Item>, LayerError> {
        let mut at = self.root()?.1;
        let mut names = first.names().peekable();
        while let Some(name) = names.next() {
            let dir = crate::ladder::open_path(&self.root, &at.path, Dir::open_dir).map_err(reading(&at.path))?;
            let path = at.path.join(&name);
            let Some(seen) = look_led(&dir, name.as_bytes(), &path, self.marks)? else { return Ok(None) };
            let Some(item) = self.standing(seen, path, &at)? else { return Ok(None) };
            match (item.spot, names.peek()) {
                (Some(spot), Some(_)) => at = spot,
                (None, None) => {
                    let content = match item.content {
                        Content::Here => Content::At(first.clone()),
                        content => content,
                    };
                    return Ok(Some(Item { content, spot: None, ..item }));
                }
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    /// What the lowers alone have at `lower`.
    fn below(&self, path: RelPath, lower: RelPath, in_place: bool) -> Result<Option<Item>, LayerError> {
        let Some(over) = self.over else { return Ok(None) };
        let Some(found) = over.below.shown(&lower)? else { return Ok(None) };
        let (file, mut node) = (file_id(&found), found.node);
        let mut spot = None;
        if let Kind::Directory { implicit, .. } = &mut node.kind {
            *implicit = false;
            spot = Some(Spot { path, stands: false, in_place, lower: Some(lower.clone()) });
        }
        let content = Content::Below(lower);
        Ok(Some(Item { entry: LayerEntry::Node(node), file, was: None, spot, content }))
    }
}

/// What is to be known of a directory that stands, whose names the lowers have at `lower`; it is opaque where it has them from elsewhere than from below its own
/// path.
fn directory(node: &mut Node, leads: &Leads, lower: Option<RelPath>, path: RelPath, at: &Spot) -> Spot {
    let Kind::Directory { opaque, .. } = &mut node.kind else {
        return Spot { path, stands: true, in_place: at.in_place, lower: None };
    };
    let lower = lower.filter(|_| !*opaque);
    let in_place = match &leads.redirect {
        // It was renamed, and renamed back.
        Some(_) => at.in_place && at.lower.as_ref() == Some(&at.path) && lower.as_ref() == Some(&path),
        None => at.in_place,
    };
    *opaque |= at.in_place && !in_place;
    Spot { path, stands: true, in_place, lower }
}

fn item(node: Node, metadata: Metadata, spot: Option<Spot>, content: Content) -> Item {
    let file = node.link_group.map(|_| FileId::Standing(metadata.dev, metadata.ino));
    let was = matches!(content, Content::Here).then_some(metadata);
    Item { entry: LayerEntry::Node(node), file, was, spot, content }
}

/// Which file of the lowers it is; `None` for a directory.
fn file_id(found: &Resolved) -> Option<FileId> {
    let (layer, path) = &found.content;
    match (found.node.kind.is_directory(), found.node.link_group) {
        (true, _) => None,
        (false, Some(group)) => Some(FileId::Group(*layer, group)),
        (false, None) => Some(FileId::Single(*layer, path.clone())),
    }
}
