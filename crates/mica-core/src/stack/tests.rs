//! Every small stack against an oracle that works the other way round: it applies the layers bottom-up to a plain tree, as
//! extraction would, and knows nothing of looking up.

use std::collections::BTreeMap;

use super::*;
use crate::map_layer::MapLayer;
use crate::{Attrs, Timestamp};

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}

/// Attributes that tell the layer they come from by their mtime.
fn attrs(layer: i64) -> Attrs {
    Attrs { mode: 0o755, mtime: Timestamp { secs: layer, nanos: 0 }, ..Attrs::default() }
}

fn file(layer: i64) -> LayerEntry {
    LayerEntry::Node(Node { kind: Kind::File { size: 1, content: None }, attrs: attrs(layer), link_group: None })
}

fn directory(layer: i64, opaque: bool, implicit: bool) -> LayerEntry {
    let attrs = if implicit { Attrs::implicit_directory() } else { attrs(layer) };
    LayerEntry::Node(Node { kind: Kind::Directory { opaque, implicit }, attrs, link_group: None })
}

/// All that one layer can say of a chain of names `below`, one inside the other.
fn statements(layer: i64, below: &[&str], inside_opaque: bool) -> Vec<MapLayer> {
    let Some((first, rest)) = below.split_first() else { return vec![MapLayer::default()] };
    let here = path(first);
    let with = |entry: LayerEntry, inner: MapLayer| {
        let mut map = inner.0;
        map.insert(here.clone(), entry);
        MapLayer(map)
    };
    let mut all = vec![MapLayer::default(), with(file(layer), MapLayer::default())];
    if !inside_opaque {
        all.push(with(LayerEntry::Whiteout, MapLayer::default()));
    }
    for (opaque, implicit) in [(false, false), (true, false), (false, true)] {
        for inner in statements(layer, rest, opaque || inside_opaque) {
            // A layer implies a directory only by naming something inside.
            if !implicit || !inner.0.is_empty() {
                all.push(with(directory(layer, opaque, implicit), inner));
            }
        }
    }
    all
}

/// A rule that the oracle can be made to forget: the walk must notice each.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Forget {
    Nothing,
    Whiteouts,
    Opaque,
    FileHidesDirectory,
    DirectoryHidesFile,
    TopAttributesWin,
    ImpliedKeepsAttributes,
}

type Tree = BTreeMap<RelPath, Node>;

fn remove_under(tree: &mut Tree, at: &RelPath, itself: bool) {
    tree.retain(|path, _| !path.is_at_or_under(at) || (!itself && path == at));
}

/// Base first.
fn oracle(layers: &[MapLayer], forget: Forget) -> Tree {
    let mut tree = Tree::new();
    for layer in layers {
        for (path, entry) in &layer.0 {
            match entry {
                LayerEntry::Whiteout if forget == Forget::Whiteouts => {}
                LayerEntry::Whiteout => remove_under(&mut tree, path, true),
                LayerEntry::Node(node) => apply(&mut tree, path, node, forget),
            }
        }
    }
    tree
}

fn apply(tree: &mut Tree, path: &RelPath, node: &Node, forget: Forget) {
    let old = tree.get(path).cloned();
    let Kind::Directory { opaque, implicit } = node.kind else {
        if forget != Forget::FileHidesDirectory {
            remove_under(tree, path, true);
        }
        tree.insert(path.clone(), node.clone());
        return;
    };
    if opaque && forget != Forget::Opaque {
        remove_under(tree, path, false);
    }
    let old = old.filter(|old| old.kind.is_directory() || forget == Forget::DirectoryHidesFile);
    let keeps = match &old {
        Some(_) if forget == Forget::TopAttributesWin => true,
        Some(_) => (implicit && forget != Forget::ImpliedKeepsAttributes) && !opaque,
        None => false,
    };
    if !keeps {
        tree.insert(path.clone(), Node { kind: Kind::Directory { opaque: false, implicit }, ..node.clone() });
    }
}

fn shown(stack: &Stack<MapLayer>, at: &RelPath, into: &mut Tree) {
    for name in stack.names(at).unwrap().unwrap() {
        let path = at.join(&name);
        let found = stack.resolve(&path).unwrap().expect("a listed name resolves");
        let is_directory = found.node.kind.is_directory();
        into.insert(path.clone(), found.node);
        if is_directory {
            shown(stack, &path, into);
        }
    }
}

/// How many stacks of three layers differ from the oracle, of how many. Stops at the first where one is looked for.
fn walk(forget: Forget) -> (usize, usize) {
    let names = ["a", "a/b", "a/b/c"];
    let [base, middle, top] = [1, 2, 3].map(|layer| statements(layer, &names, false));
    let (mut wrong, mut all) = (0, 0);
    for first in &base {
        for second in &middle {
            for third in &top {
                let layers = [first.clone(), second.clone(), third.clone()];
                let expected = oracle(&layers, forget);
                let stack = Stack::new(layers.into_iter().rev().collect());
                let mut found = Tree::new();
                shown(&stack, &RelPath::root(), &mut found);
                let absent = names.iter().all(|name| {
                    stack.resolve(&path(name)).unwrap().map(|found| found.node) == expected.get(&path(name)).cloned()
                });
                all += 1;
                wrong += usize::from(found != expected || !absent);
                if wrong > 0 && forget != Forget::Nothing {
                    return (wrong, all);
                }
            }
        }
    }
    (wrong, all)
}

#[test]
fn every_stack_of_three_shows_what_extraction_bottom_up_would() {
    let (wrong, all) = walk(Forget::Nothing);
    assert_eq!(wrong, 0, "of {all} stacks");
    assert!(all > 20_000, "only {all} stacks were walked");
}

#[test]
fn the_walk_notices_every_forgotten_rule() {
    use Forget::{DirectoryHidesFile, FileHidesDirectory, ImpliedKeepsAttributes, Opaque, TopAttributesWin, Whiteouts};
    for forget in [Whiteouts, Opaque, FileHidesDirectory, DirectoryHidesFile, TopAttributesWin, ImpliedKeepsAttributes]
    {
        let (wrong, all) = walk(forget);
        assert!(wrong > 0, "{forget:?} went unnoticed in {all} stacks");
    }
}

#[test]
fn contributors_are_named() {
    let layer = |entries: &[(&str, LayerEntry)]| {
        MapLayer(entries.iter().map(|(text, entry)| (path(text), entry.clone())).collect())
    };
    let top = layer(&[("d", directory(3, false, true)), ("d/new", file(3))]);
    let middle = layer(&[("d", directory(2, true, false)), ("d/kept", file(2))]);
    let base = layer(&[("d", directory(1, false, false)), ("d/old", file(1))]);
    let stack = Stack::new(vec![top, middle, base]);
    let d = stack.resolve(&path("d")).unwrap().unwrap();
    assert_eq!((d.layer, d.attrs_layer, &d.merged[..]), (0, 1, &[0, 1][..]));
    assert_eq!(d.node.attrs, attrs(2));
    assert_eq!(stack.resolve(&path("d/old")).unwrap(), None);
    assert_eq!(stack.resolve(&path("d/kept")).unwrap().unwrap().content, (1, path("d/kept")));
    assert_eq!(stack.names(&path("d")).unwrap().unwrap().len(), 2);
    assert_eq!(stack.names(&path("d/kept")).unwrap(), None);
}

#[test]
fn an_empty_stack_shows_an_empty_root() {
    let stack: Stack<MapLayer> = Stack::new(Vec::new());
    assert!(stack.resolve(&RelPath::root()).unwrap().unwrap().node.kind.is_directory());
    assert_eq!(stack.names(&RelPath::root()).unwrap(), Some(Vec::new()));
    assert_eq!(stack.resolve(&path("a")).unwrap(), None);
}

#[test]
fn a_link_to_a_parent_shows_the_file_below_it() {
    let link = |target: &str| {
        LayerEntry::Node(Node {
            kind: Kind::LinkToParent { target: path(target) },
            attrs: Attrs::default(),
            link_group: None,
        })
    };
    let base = MapLayer([(path("f"), file(1))].into());
    let middle = MapLayer([(path("g"), link("f")), (path("broken"), link("none"))].into());
    // The target is gone from the view, its content is not.
    let top = MapLayer([(path("f"), LayerEntry::Whiteout), (path("h"), link("g"))].into());
    let stack = Stack::new(vec![top, middle, base]);
    for (name, layer) in [("g", 1), ("h", 0)] {
        let found = stack.resolve(&path(name)).unwrap().unwrap();
        assert_eq!(found.content, (2, path("f")), "{name}");
        assert_eq!((found.layer, found.node.attrs), (layer, attrs(1)));
    }
    assert_eq!(stack.resolve(&path("f")).unwrap(), None);
    assert_eq!(stack.resolve(&path("broken")).unwrap(), None);
    assert_eq!(stack.names(&RelPath::root()).unwrap().unwrap().len(), 2);
}
