//! A live directory asked as a layer.

use mica_core::{Kind, Layer, LayerEntry, Name, Node, RelPath, Stack, changes};
use mica_layer::{AnyLayer, DirLayer, Index, Marks, Unpack, unpack};
use mica_sys::Dir;
use mica_testkit::{Scratch, Tree, needs, tree};

use crate::support::{packed, path, upper};

fn layer(scratch: &Scratch, tree: &Tree) -> DirLayer {
    DirLayer::new(Dir::open(&upper(scratch, "layer", tree)).unwrap(), Marks::Trusted)
}

/// What a literal says, without what a directory on disk says in another way.
fn comparable(entry: Option<LayerEntry>) -> Option<(LayerEntry, bool)> {
    entry.map(|entry| match entry {
        LayerEntry::Node(node) => {
            let is_linked = node.link_group.is_some();
            (LayerEntry::Node(Node { link_group: None, ..node }), is_linked)
        }
        whiteout => (whiteout, false),
    })
}

#[test]
fn it_says_what_its_changeset_says() {
    needs!(root);
    let scratch = Scratch::new();
    let mut literal = tree! {
        "/" mode 0o711 mtime 1;
        "d/" mode 0o700 uid 1 gid 2 xattr "user.a" = "\0=";
        "d/file" = "content" mode 0o4755 mtime (-3);
        "d/gone" whiteout;
        "d/zero" char (0, 0);
        "opaque/" opaque mtime 4;
        "opaque/link" -> "../d" mtime 5;
        "null" char (1, 3);
        "disk" block (8, 1);
        "pipe" fifo;
        "hard" = "two names";
        "other" hard "hard" ;
        "nested" = "" xattr "trusted.overlay.opaque" = "n";
    };
    for (at, entry) in literal.clone().iter() {
        let mut entry = entry.clone();
        entry.mtime = entry.mtime.or(Some(mica_core::Timestamp { secs: 9, nanos: 1 }));
        literal.put(at.clone(), entry);
    }
    let layer = layer(&scratch, &literal);
    for (at, _) in literal.iter() {
        let Ok(said) = literal.entry(at);
        assert_eq!(comparable(layer.entry(at).unwrap()), comparable(said), "{at}");
        let sorted = |mut names: Vec<Name>| {
            names.sort();
            names
        };
        let Ok(names) = literal.names(at);
        assert_eq!(sorted(layer.names(at).unwrap()), sorted(names), "{at}");
    }
}

#[test]
fn what_is_not_there_is_none_also_below_files_and_symlinks() {
    needs!(root);
    let scratch = Scratch::new();
    let layer = layer(&scratch, &tree! { "d/f" = ""; "link" -> "d"; "w" whiteout });
    for absent in ["x", "d/x", "d/f/x", "link/f", "w/x", "x/y/z"] {
        assert_eq!(layer.entry(&path(absent)).unwrap(), None, "{absent}");
        assert_eq!(layer.names(&path(absent)).unwrap(), [], "{absent}");
    }
    for no_directory in ["d/f", "link", "w"] {
        assert_eq!(layer.names(&path(no_directory)).unwrap(), [], "{no_directory}");
        assert!(layer.entry(&path(no_directory)).unwrap().is_some());
    }
}

#[test]
fn names_of_one_file_are_one_group() {
    needs!(root);
    let scratch = Scratch::new();
    let layer = layer(&scratch, &tree! { "a" = "1"; "d/b" hard "a"; "c" = "1" });
    let group = |at: &str| match layer.entry(&path(at)).unwrap() {
        Some(LayerEntry::Node(node)) => node.link_group,
        other => panic!("{other:?}"),
    };
    assert!(group("a").is_some() && group("a") == group("d/b"));
    assert_eq!((group("c"), group("d")), (None, None));
}

/// Walks jump between directories; the one that is remembered must not answer for another.
#[test]
fn every_order_of_questions_has_the_same_answers() {
    needs!(root);
    let scratch = Scratch::new();
    let layer = layer(&scratch, &tree! { "a/f" = "1"; "a/a/f" = "22"; "b/f" = "333"; "b/a/f" = "4444"; "f" = "55555" });
    let paths = [("a/f", 1), ("a/a/f", 2), ("b/f", 3), ("b/a/f", 4), ("f", 5)];
    for first in paths {
        for second in paths {
            for (at, length) in [first, second] {
                match layer.entry(&path(at)).unwrap() {
                    Some(LayerEntry::Node(Node { kind: Kind::File { size, .. }, .. })) => {
                        assert_eq!(size, length, "{at} after {first:?}");
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }
}

#[test]
fn a_path_may_be_longer_than_the_kernel_takes() {
    let scratch = Scratch::new();
    let name = Name::new(&[b'n'; 200]).unwrap();
    let mut at = scratch.dir();
    let mut deep = RelPath::root();
    for _ in 0..50 {
        at.mkdir(name.as_bytes(), 0o755).unwrap();
        at = at.open_dir(name.as_bytes()).unwrap();
        deep = deep.join(&name);
    }
    at.create_file(b"f", 0o644).unwrap();
    let layer = DirLayer::new(scratch.dir(), Marks::User);
    let file = deep.join(&Name::new(b"f").unwrap());
    assert!(matches!(layer.entry(&file).unwrap(), Some(LayerEntry::Node(_))));
    assert_eq!(layer.names(&deep).unwrap(), [Name::new(b"f").unwrap()]);
}

/// A lower may be a directory that others write to.
#[test]
fn what_comes_and_goes_meanwhile_is_there_or_not_and_no_error() {
    let scratch = Scratch::new();
    scratch.dir().mkdir(b"d", 0o755).unwrap();
    let layer = DirLayer::new(scratch.dir(), Marks::User);
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let dir = scratch.dir();
            for _ in 0..3000 {
                let inner = dir.open_dir(b"d").unwrap();
                inner.symlink(b"target", b"x").unwrap();
                inner.unlink(b"x").unwrap();
                inner.mkdir(b"x", 0o755).unwrap();
                inner.rmdir(b"x").unwrap();
                dir.rmdir(b"d").unwrap();
                dir.mkdir(b"d", 0o755).unwrap();
            }
            is_over.store(true, std::sync::atomic::Ordering::SeqCst);
        });
        while !is_over.load(std::sync::atomic::Ordering::SeqCst) {
            layer.entry(&path("d/x")).unwrap();
            layer.names(&path("d")).unwrap();
            layer.names(&path("d/x")).unwrap();
        }
    });
    scratch.dir().open_dir(b"d").unwrap().create_file(b"new", 0o644).unwrap();
    assert!(layer.entry(&path("d/new")).unwrap().is_some(), "a directory that is gone was remembered");
    assert_eq!(layer.names(&path("d")).unwrap(), [Name::new(b"new").unwrap()]);
}

/// The two forms of one layer: what was unpacked, by its index and by its directory.
#[test]
fn a_sealed_layer_says_the_same_by_its_index_and_by_its_directory() {
    needs!(root);
    let scratch = Scratch::new();
    let (_, tar) = packed(&upper(
        &scratch,
        "upper",
        &tree! {
            "d/" mode 0o700 uid 1 mtime 1 xattr "trusted.overlay.opaque" = "n";
            "d/file" = "content" mode 0o4755 mtime (-3);
            "d/gone" whiteout;
            "zero" char (0, 0) mtime 2;
            "opaque/" opaque mtime 3;
            "opaque/link" -> "../d" mtime 4;
            "hard" = "two" mtime 5;
            "other" hard "hard";
        },
    ));
    let sealed = Dir::open(&scratch.make("sealed")).unwrap();
    unpack(&mut &tar[..], &sealed, &Unpack::default()).unwrap();
    let index = Index::open(&sealed.open_file(b"index").unwrap()).unwrap();
    let by_index = AnyLayer::Sealed { index, diff: "nowhere".into() };
    let by_directory: AnyLayer = DirLayer::new(sealed.open_dir(b"diff").unwrap(), Marks::Trusted).into();
    let paths = ["d", "d/file", "d/gone", "zero", "opaque", "opaque/link", "hard", "other", "absent", "d/absent"];
    for at in paths.map(path) {
        let without_hash = |entry: Option<LayerEntry>| {
            let (mut entry, is_linked) = comparable(entry)?;
            if let LayerEntry::Node(Node { kind: Kind::File { content, .. }, .. }) = &mut entry {
                *content = None;
            }
            Some((entry, is_linked))
        };
        let (one, other) = (by_index.entry(&at).unwrap(), by_directory.entry(&at).unwrap());
        assert_eq!(without_hash(one), without_hash(other), "{at}");
        let sorted = |mut names: Vec<Name>| {
            names.sort();
            names
        };
        assert_eq!(sorted(by_index.names(&at).unwrap()), sorted(by_directory.names(&at).unwrap()), "{at}");
    }
    // A merged directory with the same attributes is no change; what stands in it always is one.
    let found = changes(&by_directory, &Stack::new(vec![by_index])).unwrap();
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(found, ["C /d/file", "C /hard", "C /opaque", "C /opaque/link", "C /other", "C /zero"]);
}
