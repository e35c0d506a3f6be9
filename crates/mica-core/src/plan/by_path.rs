//! Facts by path: an upper over lowers, asked one path at a time.
//!
//! This is the simple way to the facts, for whoever keeps no nodes in memory. A union is itself something that lowers can be, so
//! layers that hold redirects may stand on each other.

use super::{
    Below, Data, Here, Joining, Known, LEAST_METACOPY, LeafKind, LowerLeaf, Merge, Names, Parent, Place, Redirect,
    UpperLeaf,
};
use crate::{Kind, Layer, Name, RelPath, Stack};

/// What stands at a path of an upper.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Standing {
    /// A whiteout.
    Whiteout,
    /// A file that is no directory.
    Leaf(StandingLeaf),
    /// A directory.
    Directory {
        /// It has the mark opaque.
        opaque: bool,
        /// Its redirect.
        redirect: Option<Redirect>,
    },
}

/// A file of an upper that is no directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StandingLeaf {
    /// What it is.
    pub kind: StandingKind,
    /// Its content is below.
    pub metacopy: bool,
    /// Where, if not at its lower path.
    pub redirect: Option<Redirect>,
    /// The lower path of the file that it is joining.
    pub joining: Option<RelPath>,
}

/// What kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StandingKind {
    /// A regular file.
    Regular {
        /// Its size.
        size: u64,
    },
    /// A symlink, device, pipe or socket.
    Other,
}

/// An upper that can be asked.
pub trait Upper {
    /// Why it could not be asked.
    type Error;

    /// What stands at `path`; `None` where nothing does. The root is a directory.
    ///
    /// # Errors
    /// When the upper cannot be read.
    fn standing(&self, path: &RelPath) -> Result<Option<Standing>, Self::Error>;

    /// The names that stand in the directory `path`, whiteouts included.
    ///
    /// # Errors
    /// When the upper cannot be read.
    fn names(&self, path: &RelPath) -> Result<Vec<Name>, Self::Error>;

    /// The paths of the file at `path`, itself included.
    ///
    /// # Errors
    /// When the upper cannot be read.
    fn links(&self, path: &RelPath) -> Result<Links, Self::Error>;

    /// The files that [`Step::Keep`](super::Step::Keep) keeps. An upper that is only read has none: no name shows them.
    ///
    /// # Errors
    /// When the work directory cannot be read.
    fn kept(&self) -> Result<Vec<StandingLeaf>, Self::Error> {
        Ok(Vec::new())
    }
}

/// What shows at a path of lowers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shows {
    /// A directory.
    Directory,
    /// Another file.
    Leaf(StandingKind),
}

/// Paths that show one file of lowers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Links {
    /// The paths that were found, in any order.
    pub paths: Vec<RelPath>,
    /// Whether there may be more.
    pub known: Known,
}

impl Links {
    /// These paths, which are all.
    #[must_use]
    pub const fn all(paths: Vec<RelPath>) -> Self {
        Self { paths, known: Known::All }
    }
}

/// Lowers that can be asked.
pub trait Lowers {
    /// Why they could not be asked.
    type Error;

    /// What shows at `path`.
    ///
    /// # Errors
    /// When a lower cannot be read.
    fn shows(&self, path: &RelPath) -> Result<Option<Shows>, Self::Error>;

    /// The paths that show the file at `path`, itself included.
    ///
    /// # Errors
    /// When a lower cannot be read.
    fn links(&self, path: &RelPath) -> Result<Links, Self::Error>;
}

impl<T: Lowers + ?Sized> Lowers for &T {
    type Error = T::Error;

    fn shows(&self, path: &RelPath) -> Result<Option<Shows>, Self::Error> {
        (**self).shows(path)
    }

    fn links(&self, path: &RelPath) -> Result<Links, Self::Error> {
        (**self).links(path)
    }
}

impl<T: Lowers + ?Sized> Lowers for Box<T> {
    type Error = T::Error;

    fn shows(&self, path: &RelPath) -> Result<Option<Shows>, Self::Error> {
        (**self).shows(path)
    }

    fn links(&self, path: &RelPath) -> Result<Links, Self::Error> {
        (**self).links(path)
    }
}

/// Sealed layers hold no redirects, so what they show is what [`Stack::resolve`] says.
impl<L: Layer> Lowers for Stack<L> {
    type Error = L::Error;

    fn shows(&self, path: &RelPath) -> Result<Option<Shows>, L::Error> {
        Ok(self.resolve(path)?.map(|found| match found.node.kind {
            Kind::Directory { .. } => Shows::Directory,
            Kind::File { size, .. } => Shows::Leaf(StandingKind::Regular { size }),
            _ => Shows::Leaf(StandingKind::Other),
        }))
    }

    fn links(&self, path: &RelPath) -> Result<Links, L::Error> {
        self.links_but(path, |_| false)
    }
}

impl<L: Layer> Stack<L> {
    /// All paths that show the file at `path`, itself included: walks all that shows. Who has an index keeps the answer. A directory whose names an error keeps
    /// that `is_closed` knows is passed over, and there may be more names then.
    ///
    /// # Errors
    /// The first other error of a layer.
    pub fn links_but(&self, path: &RelPath, is_closed: impl Fn(&L::Error) -> bool) -> Result<Links, L::Error> {
        let mut known = Known::All;
        let Some(file) = self.resolve(path)? else { return Ok(Links::all(Vec::new())) };
        let mut same = Vec::new();
        let mut unread = vec![RelPath::root()];
        while let Some(directory) = unread.pop() {
            let names = match self.names(&directory) {
                Err(error) if is_closed(&error) => {
                    known = Known::Some;
                    continue;
                }
                names => names?.unwrap_or_default(),
            };
            for name in names {
                let at = directory.join(&name);
                let Some(found) = self.resolve(&at)? else { continue };
                if found.node.kind.is_directory() {
                    unread.push(at);
                } else if at == *path
                    || found.content == file.content
                    || (found.node.link_group.is_some()
                        && found.node.link_group == file.node.link_group
                        && found.content.0 == file.content.0)
                {
                    same.push(at);
                }
            }
        }
        if known == Known::Some && !same.contains(path) {
            same.push(path.clone());
        }
        // What has one link has one name.
        Ok(Links { paths: same, known: if file.node.link_group.is_some() { known } else { Known::All } })
    }
}

/// Where a file is that has been brought up and is joining.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Up {
    /// It stands at this name.
    At(RelPath),
    /// It has no name, and is this one of those that are kept ([`Upper::kept`]).
    Kept(usize),
}

/// The names of a lower file, as a union over it shows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The file that has been brought up and is joining.
    pub up: Option<Up>,
    /// The names that show the lower file still.
    pub lower: Vec<RelPath>,
    /// Whether there may be more.
    pub known: Known,
}

impl Group {
    const NONE: Self = Self { up: None, lower: Vec::new(), known: Known::All };
}

/// An upper over lowers.
#[derive(Debug, Clone, Copy)]
pub struct Union<U, L> {
    upper: U,
    lowers: L,
}

/// What is known of a path before it is put into [`Place`]'s words.
struct Spot {
    parent: Parent,
    /// The name's lower path, where its directory has one.
    lower: Option<RelPath>,
    standing: Option<Standing>,
    below: Option<Shows>,
}

impl<U, L> Union<U, L>
where
    U: Upper,
    L: Lowers<Error = U::Error>,
{
    /// A union of the two.
    #[must_use]
    pub const fn new(upper: U, lowers: L) -> Self {
        Self { upper, lowers }
    }

    /// The facts of `path`; `None` where no directory shows above it.
    ///
    /// # Errors
    /// The first error of the upper or a lower.
    pub fn place(&self, path: &RelPath) -> Result<Option<Place>, U::Error> {
        let Some(spot) = self.spot(path)? else { return Ok(None) };
        let below = match spot.below {
            None => Below::Nothing,
            Some(Shows::Directory) => Below::Directory,
            Some(Shows::Leaf(_)) => Below::Leaf,
        };
        let here = match (&spot.standing, spot.below) {
            (None, None) => Here::Nothing,
            (None, Some(Shows::Directory)) => Here::LowerDirectory,
            (None, Some(Shows::Leaf(kind))) => {
                Here::LowerLeaf(LowerLeaf { kind: leaf_kind(kind), names: self.lower_names(path, &spot)? })
            }
            (Some(Standing::Whiteout), _) => Here::Whiteout,
            (Some(Standing::Leaf(leaf)), _) => Here::Leaf(UpperLeaf {
                regular: matches!(leaf.kind, StandingKind::Regular { .. }),
                data: data(leaf),
                joining: self.joining(leaf)?,
            }),
            (Some(Standing::Directory { opaque, redirect }), _) => {
                let merges = self.merges_at(&spot)?.is_some();
                Here::Directory(match redirect {
                    _ if !merges => Merge::Alone { opaque: *opaque },
                    None => Merge::ByName,
                    Some(redirect) => Merge::Redirected { absolute: matches!(redirect, Redirect::Absolute(_)) },
                })
            }
        };
        Ok(Some(Place { parent: spot.parent, here, below }))
    }

    /// Where the lowers have what shows at `path`, or would have it: what an absolute redirect there says. `None` where nothing of the lowers can show.
    ///
    /// # Errors
    /// The first error of the upper or a lower.
    pub fn lower_path(&self, path: &RelPath) -> Result<Option<RelPath>, U::Error> {
        let Some(spot) = self.spot(path)? else { return Ok(None) };
        Ok(match &spot.standing {
            Some(Standing::Directory { .. }) => self.merges_at(&spot)?,
            Some(Standing::Leaf(StandingLeaf { redirect: Some(redirect), .. })) => redirect.lead(spot.lower.as_ref()),
            _ => spot.lower,
        })
    }

    /// Where the lower file at `lower` shows in the union; `None` where something in the upper hides it.
    ///
    /// # Errors
    /// The first error of the upper or a lower.
    pub fn appears(&self, lower: &RelPath) -> Result<Option<RelPath>, U::Error> {
        let Some((at, rest)) = self.nearest(lower)? else { return Ok(None) };
        let first = rest.names().next().map(|name| at.join(&name));
        Ok(match first {
            Some(first) if self.upper.standing(&first)?.is_some() => None,
            _ => Some(at.join_path(&rest)),
        })
    }

    /// The names of the lower file that shows at `path`, or of which the file that stands there is joining: what
    /// [`Step::Join`](super::Step::Join) links. Empty for any other file.
    ///
    /// # Errors
    /// The first error of the upper or a lower.
    pub fn group(&self, path: &RelPath) -> Result<Group, U::Error> {
        match self.spot(path)? {
            Some(Spot { standing: None, lower: Some(lower), below: Some(Shows::Leaf(_)), .. }) => {
                let group = self.group_of(&lower)?;
                Ok(Group { up: self.up_of(&lower)?.map(|(up, _)| up), ..group })
            }
            Some(Spot { standing: Some(Standing::Leaf(StandingLeaf { joining: Some(lower), .. })), .. }) => {
                let group = self.group_of(&lower)?;
                Ok(Group { up: Some(Up::At(path.clone())), ..group })
            }
            _ => Ok(Group::NONE),
        }
    }

    /// Without where it is up.
    fn group_of(&self, lower: &RelPath) -> Result<Group, U::Error> {
        let Links { paths, known } = self.lowers.links(lower)?;
        let mut group = Group { known, ..Group::NONE };
        for one in paths {
            let Some((at, rest)) = self.nearest(&one)? else { continue };
            let first = rest.names().next().map_or_else(|| at.clone(), |name| at.join(&name));
            if self.upper.standing(&first)?.is_none() {
                group.lower.push(at.join_path(&rest));
            }
        }
        Ok(group)
    }

    /// The file of the upper that the one at `lower` is, where it is joining: at whatever name, and also without any.
    fn up_of(&self, lower: &RelPath) -> Result<Option<(Up, StandingLeaf)>, U::Error> {
        let same = self.lowers.links(lower)?.paths;
        let is_it = |leaf: &StandingLeaf| match &leaf.joining {
            None => Ok(false),
            Some(from) if from == lower || same.contains(from) => Ok(true),
            // It came up by a name that is found only from itself.
            Some(from) => Ok(self.lowers.links(from)?.paths.contains(lower)),
        };
        let mut unread = vec![RelPath::root()];
        while let Some(directory) = unread.pop() {
            for name in self.upper.names(&directory)? {
                let at = directory.join(&name);
                match self.upper.standing(&at)? {
                    Some(Standing::Directory { .. }) => unread.push(at),
                    Some(Standing::Leaf(leaf)) if is_it(&leaf)? => return Ok(Some((Up::At(at), leaf))),
                    _ => {}
                }
            }
        }
        for (number, leaf) in self.upper.kept()?.into_iter().enumerate() {
            if is_it(&leaf)? {
                return Ok(Some((Up::Kept(number), leaf)));
            }
        }
        Ok(None)
    }

    fn joining(&self, leaf: &StandingLeaf) -> Result<Joining, U::Error> {
        let Some(lower) = &leaf.joining else { return Ok(Joining::No) };
        let group = self.group_of(lower)?;
        Ok(if group.lower.is_empty() && group.known == Known::Some {
            Joining::Settled
        } else {
            Joining::Names(group.known)
        })
    }

    fn lower_names(&self, path: &RelPath, spot: &Spot) -> Result<Names, U::Error> {
        let Some(lower) = &spot.lower else { return Ok(Names::One) };
        let group = self.group_of(lower)?;
        if let Some((_, leaf)) = self.up_of(lower)? {
            return Ok(Names::Joining(data(&leaf), group.known));
        }
        let has_more = group.known == Known::Some || group.lower.iter().any(|name| name != path);
        Ok(if has_more { Names::Several(group.known) } else { Names::One })
    }

    /// The directory of the upper that merges with the deepest directory above `lower`, and what of `lower` is under that.
    fn nearest(&self, lower: &RelPath) -> Result<Option<(RelPath, RelPath)>, U::Error> {
        let mut best: Option<(RelPath, RelPath)> = None;
        let mut unread = vec![RelPath::root()];
        while let Some(directory) = unread.pop() {
            for name in self.upper.names(&directory)? {
                let at = directory.join(&name);
                if matches!(self.upper.standing(&at)?, Some(Standing::Directory { .. })) {
                    unread.push(at);
                }
            }
            let Some(from) = self.lower_path(&directory)? else { continue };
            let deeper = best.as_ref().is_none_or(|(_, known)| known.depth() < from.depth());
            if deeper && lower != &from && lower.is_at_or_under(&from) {
                best = Some((directory, from));
            }
        }
        Ok(best.map(|(at, from)| {
            let rest = lower.names().skip(from.depth()).fold(RelPath::root(), |path, name| path.join(&name));
            (at, rest)
        }))
    }

    fn spot(&self, path: &RelPath) -> Result<Option<Spot>, U::Error> {
        let root = RelPath::root();
        let mut spot = Spot {
            parent: Parent::Merged,
            lower: Some(root.clone()),
            standing: self.upper.standing(&root)?,
            below: Some(Shows::Directory),
        };
        let mut at = root;
        for name in path.names() {
            at = at.join(&name);
            let (in_upper, merges) = match &spot.standing {
                Some(Standing::Directory { .. }) => (true, self.merges_at(&spot)?),
                None if spot.below == Some(Shows::Directory) => (false, spot.lower),
                _ => return Ok(None),
            };
            let lower = merges.map(|directory| directory.join(&name));
            spot = Spot {
                parent: match (in_upper, &lower) {
                    (false, _) => Parent::Lower,
                    (true, Some(_)) => Parent::Merged,
                    (true, None) => Parent::Alone,
                },
                standing: if in_upper { self.upper.standing(&at)? } else { None },
                below: match &lower {
                    Some(lower) => self.lowers.shows(lower)?,
                    None => None,
                },
                lower,
            };
        }
        Ok(Some(spot))
    }

    /// The lower path of a directory of the upper, where lowers show one.
    fn merges_at(&self, spot: &Spot) -> Result<Option<RelPath>, U::Error> {
        let lower = match &spot.standing {
            Some(Standing::Directory { opaque: false, redirect: None }) => spot.lower.clone(),
            Some(Standing::Directory { opaque: false, redirect: Some(redirect) }) => redirect.lead(spot.lower.as_ref()),
            _ => None,
        };
        match lower {
            Some(lower) if self.lowers.shows(&lower)? == Some(Shows::Directory) => Ok(Some(lower)),
            _ => Ok(None),
        }
    }
}

impl<U, L> Lowers for Union<U, L>
where
    U: Upper,
    L: Lowers<Error = U::Error>,
{
    type Error = U::Error;

    fn shows(&self, path: &RelPath) -> Result<Option<Shows>, U::Error> {
        Ok(self.spot(path)?.and_then(|spot| match spot.standing {
            None => spot.below,
            Some(Standing::Whiteout) => None,
            Some(Standing::Directory { .. }) => Some(Shows::Directory),
            Some(Standing::Leaf(leaf)) => Some(Shows::Leaf(leaf.kind)),
        }))
    }

    fn links(&self, path: &RelPath) -> Result<Links, U::Error> {
        let Group { up, lower: mut paths, mut known } = self.group(path)?;
        let stands = match (up, self.upper.standing(path)?) {
            (Some(Up::At(up)), _) => Some(up),
            (None, Some(Standing::Leaf(_))) => Some(path.clone()),
            _ => None,
        };
        if let Some(stands) = stands {
            let links = self.upper.links(&stands)?;
            paths.extend(links.paths);
            if links.known == Known::Some {
                known = Known::Some;
            }
        }
        Ok(Links { paths, known })
    }
}

const fn data(leaf: &StandingLeaf) -> Data {
    if leaf.metacopy {
        Data::Below { redirect: matches!(leaf.redirect, Some(Redirect::Absolute(_))) }
    } else {
        Data::Whole
    }
}

const fn leaf_kind(kind: StandingKind) -> LeafKind {
    match kind {
        StandingKind::Regular { size } => LeafKind::Regular { large: size >= LEAST_METACOPY },
        StandingKind::Other => LeafKind::Other,
    }
}
