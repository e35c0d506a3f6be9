//! Uppers with redirects, metacopies and joining files, said in full.

use std::path::Path;

use mica_core::{Attrs, Layer as _, RelPath, Stack};
use mica_layer::tar::EntryKind;
use mica_layer::{
    Ability, AnyLayer, DirLayer, Files as _, Ids, Index, LayerError, Marks, Over, Pack, Reach, TreeError, Unpack,
    UpperLayer, diff_upper, leads_below, pack, spell_out, unpack,
};
use mica_sys::Dir;
use mica_testkit::{Scratch, Tree, What, needs, tree};

use crate::support::{entries, names, path};

const MARKS: Marks = Marks::Trusted;

/// What is below most of the uppers here.
fn below() -> Tree {
    tree! {
        "a/" mode 0o750 uid 7 mtime 1;
        "a/file" = "of a\n" mode 0o4755 uid 3 gid 4 mtime 2 xattr "user.k" = "v";
        "a/in/" mtime 3;
        "a/in/deep" -> "../file" mtime 4;
        "a/in/gone" = "gone" mtime 5;
        "a/one" = "linked" mtime 6;
        "a/two" hard "a/one";
        "apart" hard "a/one";
        "b/" mtime 7;
        "b/big" = "0123456789" mtime 8;
        "b/null" char (1, 3) mode 0o666 mtime 9;
    }
}

struct Made {
    scratch: Scratch,
}

impl Made {
    /// An upper over [`below`], given as a changeset; its marks come after, by [`Made::mark`].
    fn new(upper: &Tree) -> Self {
        let scratch = Scratch::new();
        below().write_to(&scratch.make("lower"));
        upper.write_layer(&scratch.make("upper"), MARKS);
        Self { scratch }
    }

    fn mark(self, at: &str, mark: &[u8], value: &str) -> Self {
        let at = path(at);
        let upper = self.upper();
        match at.split() {
            None => upper.set_own_xattr(mark, value.as_bytes()).unwrap(),
            Some((parent, name)) => {
                let parent = upper.open_dir(parent.as_bytes()).unwrap();
                let time = parent.stat(name.as_bytes()).unwrap().mtime;
                parent.set_xattr(name.as_bytes(), mark, value.as_bytes()).unwrap();
                parent.utimens(name.as_bytes(), time).unwrap();
            }
        }
        self
    }

    fn redirect(self, at: &str, to: &str) -> Self {
        self.mark(at, MARKS.redirect(), to)
    }

    /// Makes a file at `at` without content, of this size.
    fn bare(self, at: &str, size: u64) -> Self {
        let file = std::fs::File::options().write(true).open(self.scratch.path().join("upper").join(at)).unwrap();
        let time = file.metadata().unwrap().modified().unwrap();
        file.set_len(0).unwrap();
        file.set_len(size).unwrap();
        file.set_modified(time).unwrap();
        self.mark(at, MARKS.metacopy(), "")
    }

    fn upper(&self) -> Dir {
        Dir::open(&self.scratch.path().join("upper")).unwrap()
    }

    fn stack(&self) -> Stack<DirLayer> {
        Stack::new(vec![DirLayer::new(Dir::open(&self.scratch.path().join("lower")).unwrap(), MARKS)])
    }

    fn tar(&self) -> Result<Vec<u8>, LayerError> {
        tar_of(&self.upper(), &self.stack())
    }

    fn changes(&self) -> Vec<String> {
        let changes = diff_upper(&self.upper(), MARKS, &self.stack(), &Ability::native()).unwrap();
        changes.iter().map(ToString::to_string).collect()
    }

    /// That it says what the plain changeset `plain` says, also when it is spelled out.
    fn is(&self, plain: &Tree) {
        let place = self.scratch.make("spelled");
        let (below, ability) = (self.stack(), Ability::native());
        let over = Over { below: &below, ability: &ability, reach: Reach::CopiedUp };
        let spelled = spell_out(&self.upper(), MARKS, over, &Dir::open(&place).unwrap()).unwrap();
        assert!(!leads_below(&spelled, MARKS).unwrap());
        let root = |upper: &Dir| upper.metadata().map(|found| (found.mode, found.uid, found.mtime)).unwrap();
        assert_eq!(root(&spelled), root(&self.upper()));
        let alone = |upper: &Dir| {
            let mut tar = Vec::new();
            pack(upper, &Pack::default(), &mut tar).unwrap();
            entries(&tar)
        };
        assert_eq!(alone(&spelled), entries(&self.tar().unwrap()));
        let wanted = Self::new(plain);
        let (tar, plain_tar) = (self.tar().unwrap(), wanted.tar().unwrap());
        assert_eq!(entries(&tar), entries(&plain_tar));
        assert!(tar == plain_tar, "the same entries in other bytes");
        assert_eq!(self.changes(), wanted.changes());
    }
}

fn tar_of(upper: &Dir, below: &Stack<DirLayer>) -> Result<Vec<u8>, LayerError> {
    let ability = Ability::native();
    let mut tar = Vec::new();
    let over = Over { below, ability: &ability, reach: Reach::CopiedUp };
    pack(upper, &Pack { marks: Some(MARKS), root: None, over: Some(over), others: None }, &mut tar)?;
    Ok(tar)
}

/// All of `a`, as it is somewhere else.
fn all_of_a(at: &str) -> Tree {
    let mut tree = Tree::new();
    for (path, entry) in below().iter().filter(|(path, _)| path.is_at_or_under(&self::path("a"))) {
        let rest = path.names().skip(1).fold(self::path(at), |path, name| path.join(&name));
        let mut entry = entry.clone();
        if let What::Hard(first) = &mut entry.what {
            *first = first.names().skip(1).fold(self::path(at), |path, name| path.join(&name));
        }
        tree.put(rest, entry);
    }
    tree
}

/// Both; directories that `tree` has stay as it says.
fn with(mut tree: Tree, more: &Tree) -> Tree {
    for (path, entry) in more.iter() {
        if !matches!((tree.get(path), &entry.what), (Some(_), What::Dir { .. })) {
            tree.put(path.clone(), entry.clone());
        }
    }
    tree
}

fn without(mut tree: Tree, at: &str) -> Tree {
    tree.remove(&path(at));
    tree
}

#[test]
fn a_renamed_directory_is_all_of_it_at_its_new_place_and_nothing_at_the_old() {
    needs!(root);
    let moved = |upper: Tree, to: &str| Made::new(&upper).redirect("new", to);
    let upper = tree! { "a" whiteout; "new/" mode 0o750 uid 7 mtime 1 };
    let plain = with(all_of_a("new"), &tree! { "a" whiteout });
    moved(upper.clone(), "/a").is(&plain);
    moved(upper.clone(), "a").is(&plain);
    assert_eq!(
        moved(upper, "/a").changes(),
        ["D /a", "A /new", "A /new/file", "A /new/in", "A /new/in/deep", "A /new/in/gone", "A /new/one", "A /new/two"]
    );
}

#[test]
fn a_directory_renamed_over_another_hides_what_was_there() {
    needs!(root);
    let made = Made::new(&tree! { "a" whiteout; "b/" mode 0o750 uid 7 mtime 1 }).redirect("b", "/a");
    made.is(&with(tree! { "a" whiteout; "b/" opaque mode 0o750 uid 7 mtime 1 }, &all_of_a("b")));
    let changes = made.changes();
    for line in ["D /a", "C /b", "D /b/big", "D /b/null", "A /b/in/deep"] {
        assert!(changes.iter().any(|change| change == line), "{line} is not in {changes:?}");
    }
}

#[test]
fn what_changed_in_a_renamed_directory_is_changed_there() {
    needs!(root);
    let upper = tree! {
        "a" whiteout;
        "new/" mode 0o750 uid 7 mtime 1;
        "new/file" = "other" mtime 20;
        "new/in/" mode 0o700 mtime 21;
        "new/in/gone" whiteout;
        "new/in/made" = "made" mtime 22;
        "new/two" whiteout;
        "new/two-more" = "x" mtime 23;
    };
    let changed = without(without(upper.clone(), "new/in/gone"), "new/two");
    let kept = without(all_of_a("new"), "new/file");
    let plain = without(without(with(changed, &kept), "new/in/gone"), "new/two");
    Made::new(&upper).redirect("new", "/a").is(&plain);
}

#[test]
fn directories_that_were_renamed_within_each_other_are_followed() {
    needs!(root);
    // a became b/new; a/in became in; b stays.
    let upper = tree! {
        "a" whiteout;
        "b/" mtime 7;
        "b/new/" mode 0o750 uid 7 mtime 1;
        "b/new/in" whiteout;
        "in/" mtime 3;
    };
    let made = Made::new(&upper).redirect("b/new", "/a").redirect("in", "/a/in");
    let mut plain = tree! { "a" whiteout; "b/" mtime 7 };
    for (path, entry) in all_of_a("b/new").iter().filter(|(path, _)| !path.is_at_or_under(&self::path("b/new/in"))) {
        if !path.is_root() && *path != self::path("b") {
            plain.put(path.clone(), entry.clone());
        }
    }
    let inner = tree! { "in/" mtime 3; "in/deep" -> "../file" mtime 4; "in/gone" = "gone" mtime 5 };
    made.is(&with(plain, &inner));
}

#[test]
fn a_directory_that_is_back_where_it_was_is_no_change() {
    needs!(root);
    for to in ["/a", "a"] {
        let upper = tree! { "a/" mode 0o750 uid 7 mtime 1; "a/in/" mtime 3; "a/in/gone" whiteout };
        let made = Made::new(&upper).redirect("a", to);
        made.is(&upper);
        assert_eq!(made.changes(), ["D /a/in/gone"]);
    }
    // Within a directory that was made again it is all there is of it.
    let upper = tree! { "a/" opaque mtime 30; "a/in/" mtime 3 };
    let plain = with(upper.clone(), &tree! { "a/in/deep" -> "../file" mtime 4; "a/in/gone" = "gone" mtime 5 });
    Made::new(&upper).redirect("a/in", "/a/in").is(&plain);
}

#[test]
fn a_relative_redirect_goes_by_the_lower_path_of_its_directory() {
    needs!(root);
    let upper = tree! { "a" whiteout; "new/" mode 0o750 uid 7 mtime 1; "new/in" whiteout; "new/out/" mtime 3 };
    let made = Made::new(&upper).redirect("new", "a").redirect("new/out", "in");
    let mut plain = tree! { "a" whiteout; "new/out/" mtime 3; "new/out/deep" -> "../file" mtime 4; "new/out/gone" = "gone" mtime 5 };
    for (path, entry) in all_of_a("new").iter().filter(|(path, _)| !path.is_at_or_under(&self::path("new/in"))) {
        if !path.is_root() {
            plain.put(path.clone(), entry.clone());
        }
    }
    made.is(&plain);
}

#[test]
fn a_metacopy_has_its_own_attributes_and_the_content_below_up_to_its_size() {
    needs!(root);
    let file = |text: &str| tree! { "b/" mtime 7 }.also("b/big", text);
    Made::new(&file("0123456789")).bare("b/big", 10).is(&file("0123456789"));
    Made::new(&file("0123456789")).bare("b/big", 4).is(&file("0123"));
    // Renamed, and with a second name.
    let upper = tree! { "b/" mtime 7; "b/big" whiteout; "moved" = "" mode 0o600 mtime 9; "more" hard "moved" };
    let plain =
        tree! { "b/" mtime 7; "b/big" whiteout; "moved" = "0123456789" mode 0o600 mtime 9; "more" hard "moved" };
    Made::new(&upper).bare("moved", 10).redirect("moved", "/b/big").is(&plain);
    // In a renamed directory the content is where the directory was.
    let upper = tree! { "b" whiteout; "new/" mtime 7; "new/big" = "" mode 0o600 mtime 9 };
    let plain = tree! {
        "b" whiteout; "new/" mtime 7; "new/big" = "0123456789" mode 0o600 mtime 9;
        "new/null" char (1, 3) mode 0o666 mtime 9
    };
    Made::new(&upper).bare("new/big", 10).redirect("new", "/b").is(&plain);
}

trait Also {
    fn also(self, at: &str, text: &str) -> Self;
}

impl Also for Tree {
    fn also(mut self, at: &str, text: &str) -> Self {
        let mut entry = tree! { "f" = "" mode 0o600 mtime 9 }.get(&path("f")).unwrap().clone();
        entry.what = What::File(text.as_bytes().to_vec());
        self.put(path(at), entry);
        self
    }
}

#[test]
fn a_joining_file_stands_at_all_names_of_the_lower_file() {
    needs!(root);
    let changed = || tree! { "a/" mode 0o750 uid 7 mtime 1; "a/one" = "changed" mtime 40 };
    let made = Made::new(&changed()).mark("a/one", MARKS.joining(), "/a/one");
    assert!(leads_below(&made.upper(), MARKS).unwrap());
    let unmarked = made.tar().unwrap();
    assert!(!names(&unmarked).contains(&"apart".to_owned()), "without the root's mark nobody looks");
    let made = made.mark("", MARKS.joins(), "");
    made.is(&with(changed(), &tree! { "a/two" hard "a/one"; "apart" hard "a/one" }));
    assert_eq!(made.changes(), ["C /a/one", "C /a/two", "C /apart"]);

    // One of the names is removed, and the directory of another was never brought up.
    let upper = tree! { "apart" = "changed" mtime 40; "a/" mode 0o750 uid 7 mtime 1; "a/two" whiteout };
    let made = Made::new(&upper).mark("apart", MARKS.joining(), "/a/one").mark("", MARKS.joins(), "");
    made.is(&with(
        tree! { "a/" mode 0o750 uid 7 mtime 1; "a/two" whiteout; "a/one" = "changed" mtime 40 },
        &tree! { "apart" hard "a/one" },
    ));
    let upper = tree! { "apart" = "changed" mtime 40 };
    let made = Made::new(&upper).mark("apart", MARKS.joining(), "/apart").mark("", MARKS.joins(), "");
    made.is(&tree! {
        "a/" mode 0o750 uid 7 mtime 1; "a/one" = "changed" mtime 40; "a/two" hard "a/one"; "apart" hard "a/one"
    });

    // In a renamed directory, and without content.
    let upper = tree! { "a" whiteout; "new/" mode 0o750 uid 7 mtime 1; "apart" = "" mtime 41 };
    let made = Made::new(&upper).redirect("new", "/a").bare("apart", 6).redirect("apart", "/apart");
    let made = made.mark("apart", MARKS.joining(), "/apart").mark("", MARKS.joins(), "");
    let one = tree! { "a" whiteout; "apart" = "linked" mtime 41; "new/one" hard "apart"; "new/two" hard "apart" };
    made.is(&with(all_of_a("new"), &one));
}

#[test]
fn an_upper_over_its_stack_can_be_asked_by_path() {
    needs!(root);
    let upper = tree! { "a" whiteout; "new/" mode 0o750 uid 7 mtime 1; "new/in/" mtime 3; "new/in/gone" whiteout };
    let made = Made::new(&upper).redirect("new", "/a");
    let (below, ability) = (made.stack(), Ability::native());
    let over = Over { below: &below, ability: &ability, reach: Reach::CopiedUp };
    let layer = UpperLayer::new(made.upper(), MARKS, over).unwrap();
    // Not in the order of a walk.
    let said = |at: &str| layer.entry(&path(at)).unwrap();
    assert!(said("new/in/deep").is_some_and(|entry| entry.node().is_some()));
    assert_eq!(said("new/in/gone"), None, "a directory that says all of its names has no whiteouts");
    assert_eq!(said("new/nothing/more"), None);
    assert_eq!(said("b"), None, "what did not change is not said");
    assert!(said("a").is_some_and(|entry| entry.node().is_none()));
    let listed = layer.names(&path("new")).unwrap();
    assert_eq!(listed.len(), 4, "{listed:?}");
    let mut content = layer.open(&path("new/file")).unwrap();
    assert_eq!(content.read_all(100).unwrap(), b"of a\n");
    assert!(layer.open(&path("new/none")).is_err());
    let stack = Stack::new(vec![&layer as &dyn mica_core::Layer<Error = LayerError>]);
    assert!(stack.resolve(&path("new/in/deep")).unwrap().is_some());
}

#[test]
fn marks_that_lead_nowhere_are_refused_by_name() {
    needs!(root);
    let astray = |error: &LayerError| matches!(error, LayerError::Tree(TreeError::Astray { .. }));
    let bare = || Made::new(&tree! { "lost" = "" mtime 1 }).bare("lost", 3);
    let error = bare().tar().unwrap_err();
    assert!(astray(&error), "{error:?}");
    // A directory is no content.
    let error = bare().redirect("lost", "/b").tar().unwrap_err();
    assert!(astray(&error), "{error:?}");
    // One that is shorter than the metacopy was changed below.
    let error = bare().bare("lost", 11).redirect("lost", "/b/big").tar().unwrap_err();
    assert!(error.to_string().contains("changed"), "{error}");
    for value in ["", "/", "/a//b", "/../a", "a/b"] {
        let error = Made::new(&tree! { "d/" }).redirect("d", value).tar().unwrap_err();
        assert!(matches!(&error, LayerError::Tree(TreeError::Mark { mark: "redirect", .. })), "{value}: {error:?}");
    }
    // To a directory that is not there any more: what the upper has is all.
    let upper = tree! { "d/" mtime 1; "d/f" = "f" mtime 2 };
    Made::new(&upper).redirect("d", "/nowhere").is(&upper);
}

#[test]
fn a_reader_that_does_not_know_what_is_below_refuses_a_joining_file() {
    needs!(root);
    let made = Made::new(&tree! { "apart" = "changed" }).mark("apart", MARKS.joining(), "/apart");
    let error = pack(&made.upper(), &Pack::default(), &mut Vec::new()).unwrap_err();
    assert!(matches!(&error, LayerError::Tree(TreeError::Joining { path: at }) if *at == path("apart")), "{error:?}");
}

/// Layers of a store without privilege: what is said of the lowers' files is what their index says, and not what stands for it.
#[test]
fn what_could_not_be_made_below_is_said_as_the_layers_say_it() {
    needs!(root);
    let ability = Ability::namespaced(Ids::root_alone(), Ids::root_alone());
    let scratch = Scratch::new();
    let sealed = |name: &str, tar: &[u8]| {
        let place = scratch.make(name);
        let how = Unpack { marks: Marks::User, ability: ability.clone(), ..Unpack::default() };
        unpack(&mut &tar[..], &Dir::open(&place).unwrap(), &how).unwrap();
        let index = Index::open(&Dir::open(&place).unwrap().open_file(b"index").unwrap()).unwrap();
        AnyLayer::Sealed { index, diff: place.join("diff") }
    };
    let base = sealed("base", &below().to_layer_tar());
    let stack = Stack::new(vec![base]);
    let diff = scratch.path().join("base/diff");
    assert!(std::fs::metadata(diff.join("b/null")).unwrap().is_file(), "a device has a stand-in");
    let upper = scratch.make("upper");
    tree! { "b" whiteout; "new/" mtime 7; "a/" mode 0o750 mtime 1; "kept" = "" mode 0o755 mtime 2 }
        .write_layer(&upper, Marks::User);
    let dir = Dir::open(&upper).unwrap();
    let set = |name: &[u8], mark: &[u8], value: &[u8]| {
        let time = dir.stat(name).unwrap().mtime;
        dir.set_xattr(name, mark, value).unwrap();
        dir.utimens(name, time).unwrap();
    };
    set(b"new", Marks::User.redirect(), b"/b");
    set(b"a", Marks::User.origin(), b"");
    std::fs::File::options().write(true).open(upper.join("kept")).unwrap().set_len(5).unwrap();
    dir.utimens(b"kept", mica_sys::Time { secs: 2, nanos: 0 }).unwrap();
    for (mark, value) in
        [(Marks::User.metacopy(), &b""[..]), (Marks::User.redirect(), b"/a/file"), (Marks::User.origin(), b"")]
    {
        set(b"kept", mark, value);
    }
    set(b"kept", b"user.k", b"v");
    let mut tar = Vec::new();
    let over = Over { below: &stack, ability: &ability, reach: Reach::CopiedUp };
    pack(&dir, &Pack { marks: Some(Marks::User), root: None, over: Some(over), others: None }, &mut tar).unwrap();
    let found = entries(&tar);
    let at = |name: &str| found.iter().find(|(entry, _)| entry.path == name.as_bytes()).unwrap();
    assert_eq!(at("new/null").0.kind, EntryKind::CharDevice);
    assert_eq!(at("new/big").1, b"0123456789");
    assert_eq!(at("a/").0.uid, 7, "a copy of a stand-in is what it stands for");
    let kept = at("kept");
    assert_eq!((kept.0.uid, kept.0.gid, kept.0.mode, &kept.1[..]), (3, 4, 0o4755, &b"of a\n"[..]));
}

/// A hard link to a file of another layer has that file's content.
#[test]
fn a_link_to_a_parents_file_in_a_renamed_directory_has_its_content() {
    needs!(root);
    let scratch = Scratch::new();
    let mut layers = Vec::new();
    let mut link = Vec::new();
    let attrs = Attrs { mode: 0o755, ..Attrs::default() };
    let mut writer = mica_layer::tar::Writer::new(&mut link);
    let directory = mica_layer::tar::Member { path: b"d", kind: mica_layer::tar::MemberKind::Directory, attrs: &attrs };
    writer.append(&directory, &mut std::io::empty()).unwrap();
    for name in [&b"d/x"[..], b"d/y"] {
        let kind = mica_layer::tar::MemberKind::HardLink(b"b/big");
        writer.append(&mica_layer::tar::Member { path: name, kind, attrs: &attrs }, &mut std::io::empty()).unwrap();
    }
    writer.finish().unwrap();
    for (name, tar) in [("top", link), ("base", below().to_layer_tar())] {
        let place = scratch.make(name);
        unpack(&mut &tar[..], &Dir::open(&place).unwrap(), &Unpack::default()).unwrap();
        let index = Index::open(&Dir::open(&place).unwrap().open_file(b"index").unwrap()).unwrap();
        layers.push(AnyLayer::Sealed { index, diff: place.join("diff") });
    }
    let upper = scratch.make("upper");
    tree! { "d" whiteout; "moved/" mtime 1 }.write_layer(&upper, MARKS);
    let dir = Dir::open(&upper).unwrap();
    dir.set_xattr(b"moved", MARKS.redirect(), b"d").unwrap();
    let (stack, ability) = (Stack::new(layers), Ability::native());
    let over = Over { below: &stack, ability: &ability, reach: Reach::CopiedUp };
    let mut tar = Vec::new();
    pack(&dir, &Pack { marks: Some(MARKS), root: None, over: Some(over), others: None }, &mut tar).unwrap();
    assert_eq!(names(&tar), [".wh.d", "moved/", "moved/x", "moved/y"]);
    let found = entries(&tar);
    assert_eq!(found[2].1, b"0123456789");
    assert_eq!((found[3].0.kind, &found[3].0.link[..]), (EntryKind::Link, &b"moved/x"[..]));
}

/// A name that no layer can say is refused wherever it comes from.
#[test]
fn a_name_that_is_no_name_in_a_layer_is_refused_in_a_renamed_directory() {
    needs!(root);
    let scratch = Scratch::new();
    let [lower, upper] = ["lower", "upper"].map(|name| scratch.make(name));
    tree! { "d/"; "d/.wh.x" = "x" }.write_to(&lower);
    tree! { "d" whiteout; "e/" }.write_layer(&upper, MARKS);
    let dir = Dir::open(&upper).unwrap();
    dir.set_xattr(b"e", MARKS.redirect(), b"/d").unwrap();
    let below = Stack::new(vec![DirLayer::new(Dir::open(Path::new(&lower)).unwrap(), MARKS)]);
    let error = tar_of(&dir, &below).unwrap_err();
    let at = RelPath::parse(b"e/.wh.x").unwrap();
    assert!(
        matches!(&error, LayerError::Pack(mica_layer::PackError::WhiteoutName { path }) if *path == at),
        "{error:?}"
    );
}
