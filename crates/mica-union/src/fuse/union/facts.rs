//! Facts: what is known of a name, in the words of the plan.

use std::sync::Arc;

use mica_core::plan::{
    Below, Data, Here, How, Joining, LEAST_METACOPY, LeafKind, LowerLeaf, Merge, Names as Several, Parent, Place, Plan,
    Step, UpperLeaf,
};
use mica_sys::{Errno, FileKind};

use super::Union;
use crate::fuse::tree::{Leads, Names, Node, Shown, Standing, State, What};

/// What is known of a name.
pub(super) enum Facts {
    /// All that a plan needs.
    Known(Place, Option<Arc<Node>>),
    /// It is to be looked up again, with no names locked.
    Unknown,
    /// The other names of the file are to be found, with no names locked.
    Others,
}

/// What of a name matters to an operation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// The other names of a lower file.
    pub(super) others: bool,
    /// What is below.
    pub(super) below: bool,
}

/// The directory of a place.
pub(super) fn parent(dir: &Node) -> Parent {
    match &dir.directory {
        _ if !dir.is_up() => Parent::Lower,
        Some(directory) if !directory.parts.is_empty() => Parent::Merged,
        _ => Parent::Alone,
    }
}

const fn data(standing: &Standing) -> Data {
    if standing.metacopy { Data::Below { redirect: matches!(standing.redirect, Leads::Absolute) } } else { Data::Whole }
}

fn leaf_kind(node: &Node, state: &State) -> LeafKind {
    match node.kind {
        FileKind::File => LeafKind::Regular { large: state.kept.size() >= LEAST_METACOPY },
        _ => LeafKind::Other,
    }
}

/// What a node is at its name with this cookie; `None` where its other names have to be found first.
fn here(dir: &Node, node: &Node, cookie: u64, others_matter: bool) -> Option<Here> {
    let state = node.state();
    if let Some(directory) = &node.directory {
        return Some(match state.upper() {
            None => Here::LowerDirectory,
            Some(standing) if directory.parts.is_empty() => Here::Directory(Merge::Alone { opaque: standing.opaque }),
            Some(standing) => Here::Directory(match standing.redirect {
                Leads::ByName => Merge::ByName,
                Leads::Relative => Merge::Redirected { absolute: false },
                Leads::Absolute => Merge::Redirected { absolute: true },
            }),
        });
    }
    // Without its names nobody knows what it lacks.
    if state.is_joining() && state.at.shown().is_none() {
        return None;
    }
    let is_up = state.at.iter().any(|at| at.is(dir, cookie) && at.up);
    Some(match state.upper() {
        Some(standing) if is_up => Here::Leaf(UpperLeaf {
            regular: node.kind == FileKind::File,
            data: data(standing),
            joining: match state.is_joining() {
                false => Joining::No,
                true if state.lacks_names() => Joining::Names(state.known()),
                true => Joining::Settled,
            },
        }),
        Some(standing) => Here::LowerLeaf(LowerLeaf {
            kind: leaf_kind(node, &state),
            names: Several::Joining(data(standing), state.known()),
        }),
        None => {
            let names = match state.at.shown() {
                Some(names) if names > 1 => Several::Several(state.known()),
                None if state.kept.nlink() > 1 && others_matter => return None,
                _ => Several::One,
            };
            Here::LowerLeaf(LowerLeaf { kind: leaf_kind(node, &state), names })
        }
    })
}

impl Union {
    /// The facts of a name in a directory whose names are locked. What does not matter is not looked for.
    pub(super) fn facts(&self, dir: &Node, names: &Names, name: &[u8], wanted: Wanted) -> Result<Facts, Errno> {
        if names.gone {
            return Err(Errno::NOENT);
        }
        let parent = parent(dir);
        let (here, node) = match names.find(name) {
            None => (Here::Nothing, None),
            Some(entry) => match entry.what() {
                What::Whiteout => (Here::Whiteout, None),
                What::Unseen { .. } => return Ok(Facts::Unknown),
                What::Node(id) => {
                    let Some(node) = self.tree.node(id).filter(|node| !node.has_left()) else {
                        return Ok(Facts::Unknown);
                    };
                    match here(dir, &node, entry.cookie(), wanted.others) {
                        Some(here) => (here, Some(node)),
                        None => return Ok(Facts::Others),
                    }
                }
            },
        };
        let below = match here {
            _ if parent == Parent::Alone || !wanted.below => Below::Nothing,
            Here::LowerLeaf(_) => Below::Leaf,
            Here::LowerDirectory | Here::Directory(Merge::ByName) => Below::Directory,
            Here::Nothing if names.complete => Below::Nothing,
            _ => match self.tree.look_below(dir, name)? {
                Shown::Nothing => Below::Nothing,
                Shown::Leaf(..) => Below::Leaf,
                Shown::Directory(_) => Below::Directory,
            },
        };
        Ok(Facts::Known(Place { parent, here, below }, node))
    }
}

/// Whether a plan brings something up, which is done before names are locked.
pub(super) fn brings_up(plan: &Plan) -> bool {
    plan.iter().any(|step| {
        matches!(step, Step::Parents(_) | Step::Join(_) | Step::Fill(_) | Step::Unmark(..))
            || matches!(
                step,
                Step::Dress(mica_core::plan::Dress::File { .. } | mica_core::plan::Dress::Directory { .. })
            )
    })
}

/// Whether a rename leaves a device 0:0.
pub(super) const fn leaves_device(how: How) -> bool {
    matches!(how, How::Whiteout | How::WhiteoutNoReplace)
}
