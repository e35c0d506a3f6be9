//! Layers in stores that cannot make all of them lose nothing: against random layers, and in real user namespaces of a real
//! ordinary user, held against what root does to the same layer.

use std::fs;
use std::path::Path;
use std::process::Command;

use mica_core::Stack;
use mica_layer::{Ability, AnyLayer, Ids, Index, Marks, Over, Pack, Reach, Unpack, diff_upper, pack, rebuild, unpack};
use mica_sys::Dir;
use mica_testkit::{OrdinaryUser, Scratch, needs};

use crate::unpacked::{index_and_directory_agree, unpacked_with};

mod random;

use random::{Random, changed, layer, touched};

fn mapped() -> Ability {
    let ids = Ids::Mapped(vec![(0, 1), (1, 65_535)]);
    Ability::namespaced(ids.clone(), ids)
}

fn single() -> Ability {
    Ability::namespaced(Ids::root_alone(), Ids::root_alone())
}

#[test]
fn what_the_index_says_and_what_comes_back_is_the_same_whoever_unpacks() {
    needs!(root);
    for seed in 0..60 {
        let tar = layer(seed).tar;
        let indexes = [Ability::native(), mapped(), single()].map(|ability| {
            let marks = if ability == Ability::native() { Marks::Trusted } else { Marks::User };
            let how = Unpack { marks, ability, ..Unpack::default() };
            let layered = unpacked_with(&tar, how).unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
            fs::read(layered.scratch.path().join("index")).unwrap()
        });
        assert!(indexes[1..].iter().all(|index| *index == indexes[0]), "seed {seed}");
    }
}

/// Unpacks `layer.tar` in `place`, runs `script` on a mount of it, and packs what it changed into `changed.tar`; its
/// changes go to `changes`.
fn change(place: &Path, how: &Unpack) {
    let tar = fs::read(place.join("layer.tar")).unwrap();
    let dir = Dir::open(place).unwrap();
    unpack(&mut &tar[..], &dir, how).unwrap_or_else(|error| panic!("{}", crate::unpacked::chain(&error)));
    let mut again = Vec::new();
    rebuild(&dir, &mut again).unwrap();
    assert!(again == tar, "the tar came back as another");
    let index = Index::open(&dir.open_file(b"index").unwrap()).unwrap();
    let [diff, upper, work, merged] = ["diff", "upper", "work", "merged"].map(|name| place.join(name));
    index_and_directory_agree(&index, &diff, how);
    for made in [&upper, &work, &merged] {
        fs::create_dir(made).unwrap();
    }
    let user = if how.marks == Marks::User { ",userxattr" } else { ",redirect_dir=off,metacopy=off,index=off" };
    let options = format!("lowerdir={},upperdir={},workdir={}{user}", diff.display(), upper.display(), work.display());
    run(Command::new("mount").args(["-t", "overlay", "mica-test", "-o", &options]).arg(&merged));
    let script = fs::read_to_string(place.join("script")).unwrap();
    let done = Command::new("sh").args(["-uc", &script]).current_dir(&merged).output().unwrap();
    run(Command::new("umount").arg(&merged));
    fs::write(place.join("said"), done.stderr).unwrap();
    let upper = Dir::open(&upper).unwrap();
    let below = Stack::new(vec![AnyLayer::Sealed { index, diff }]);
    let over = Some(Over { below: &below, ability: &how.ability, reach: Reach::CopiedUp });
    let mut packed = Vec::new();
    pack(&upper, &Pack { marks: Some(how.marks), root: None, over, others: None }, &mut packed).unwrap();
    fs::write(place.join("changed.tar"), packed).unwrap();
    let changes = diff_upper(&upper, how.marks, &below, &how.ability).unwrap();
    let changes: Vec<String> = changes.iter().map(|change| format!("{change}\n")).collect();
    fs::write(place.join("changes"), changes.concat()).unwrap();
}

fn run(command: &mut Command) {
    let done = command.output().unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// How many layers are changed by each user.
const SEEDS: u64 = 24;

const PLACE: &str = "MICA_LAYER_OWNERS";
const INSIDE: &str = "MICA_LAYER_OWNERS_INSIDE";

/// Not a test by itself: what the ordinary user runs, outside of its namespace and in it.
#[test]
fn inside() {
    let Some(place) = std::env::var_os(PLACE) else { return };
    if std::env::var_os(INSIDE).is_none() {
        let map: &[&str] = match std::env::var("MICA_LAYER_OWNERS_MAP").as_deref() {
            Ok("range") => &["--map-root-user", "--map-auto"],
            _ => &["--map-root-user"],
        };
        let mut command = Command::new("unshare");
        command.args(["--user", "--mount"]).args(map).arg(std::env::current_exe().unwrap());
        run(command.args(["--exact", "owners::inside", "--nocapture"]).env(INSIDE, "1"));
        return;
    }
    let ids = |rows: &[mica_sys::process::IdRow]| Ids::Mapped(rows.iter().map(|row| (row.inside, row.count)).collect());
    let maps = mica_sys::process::id_maps().unwrap();
    let ability = Ability::namespaced(ids(&maps.uids), ids(&maps.gids));
    for entry in fs::read_dir(place).unwrap() {
        let how = Unpack { marks: Marks::User, ability: ability.clone(), ..Unpack::default() };
        change(&entry.unwrap().path(), &how);
    }
}

/// Lets an ordinary user and root change the same layers by the same scripts, and holds what comes of it side by side.
fn held_against_root(user: &OrdinaryUser, map: &str, scripts: impl Fn(u64) -> (Vec<u8>, String)) {
    let root = Scratch::new();
    let theirs = user.home().join("layers");
    fs::create_dir(&theirs).unwrap();
    user.give(&theirs);
    let seeds = 0..SEEDS;
    for seed in seeds.clone() {
        let (tar, script) = scripts(seed);
        for place in [root.make(seed.to_string()), theirs.join(seed.to_string())] {
            fs::create_dir_all(&place).unwrap();
            fs::write(place.join("layer.tar"), &tar).unwrap();
            fs::write(place.join("script"), &script).unwrap();
            if place.starts_with(&theirs) {
                user.give(&place);
            }
        }
        change(&root.path().join(seed.to_string()), &Unpack::default());
    }
    let mut command = user.command(std::env::current_exe().unwrap());
    command.args(["--exact", "owners::inside", "--nocapture"]).env(PLACE, &theirs).env("MICA_LAYER_OWNERS_MAP", map);
    run(&mut command);
    for seed in seeds {
        let (ours, theirs) = (root.path().join(seed.to_string()), theirs.join(seed.to_string()));
        let both = |name: &str| (fs::read(ours.join(name)).unwrap(), fs::read(theirs.join(name)).unwrap());
        for name in ["said", "changes", "index", "recon"] {
            let (one, other) = both(name);
            let text = String::from_utf8_lossy;
            assert!(one == other, "seed {seed}: {name}\n{}\n--- and as a user\n{}", text(&one), text(&other));
        }
        let (one, other) = both("changed.tar");
        if one != other {
            let [one, other] = [one, other].map(|tar| crate::support::entries(&tar));
            for (one, other) in one.iter().zip(&other) {
                let script = fs::read_to_string(ours.join("script")).unwrap();
                assert_eq!(one, other, "seed {seed}\n{script}");
            }
            assert_eq!(one.len(), other.len(), "seed {seed}");
        }
    }
}

#[test]
fn what_is_only_copied_up_is_packed_as_the_layer_has_it_and_no_directory_is_a_change() {
    needs!(ordinary_user, overlay);
    for (user, map) in [(OrdinaryUser::with_range(), "range"), (OrdinaryUser::without_range(), "one")] {
        held_against_root(&user, map, |seed| {
            let layer = layer(seed);
            let script = touched(&layer, &mut Random::new(seed + 1000));
            (layer.tar, script)
        });
        for seed in 0..SEEDS {
            let place = user.home().join(format!("layers/{seed}"));
            let layer = layer(seed);
            let changes = fs::read_to_string(place.join("changes")).unwrap();
            for (path, what, _) in &layer.entries {
                let line = format!("C /{path}\n");
                assert!(*what != random::What::Directory || !changes.contains(&line), "seed {seed}: {line}");
            }
            assert!(!changes.contains("A /") && !changes.contains("D /"), "seed {seed}: {changes}");
            let index = Index::open(&Dir::open(&place).unwrap().open_file(b"index").unwrap()).unwrap();
            assert_same(&index, &fs::read(place.join("changed.tar")).unwrap(), seed);
        }
    }
}

/// What a changeset says of its paths is what the layer says.
fn assert_same(layer: &Index, changes: &[u8], seed: u64) {
    use mica_core::{Kind, Layer as _, LayerEntry};
    let packed = unpacked_with(changes, Unpack::default()).unwrap();
    let mut count = 0;
    for entry in packed.index.entries() {
        let (path, entry) = entry.unwrap();
        let said = layer.entry(&path).unwrap();
        let (LayerEntry::Node(mut now), Some(LayerEntry::Node(mut then))) = (entry, said) else {
            panic!("seed {seed}: {path}")
        };
        if matches!(now.kind, Kind::Directory { implicit: true, .. }) {
            continue;
        }
        // The copies of one file's names are files of their own.
        (now.link_group, then.link_group) = (None, None);
        assert_eq!(now, then, "seed {seed}: {path}");
        count += 1;
    }
    assert!(count > 2, "seed {seed}: nothing was copied up");
}

#[test]
fn what_a_user_changes_is_packed_as_what_root_changes() {
    needs!(ordinary_user, overlay);
    for (user, map, owners) in
        [(OrdinaryUser::with_range(), "range", &[33, 1000, 0][..]), (OrdinaryUser::without_range(), "one", &[0])]
    {
        held_against_root(&user, map, |seed| {
            let layer = layer(seed);
            let script = changed(&layer, &mut Random::new(seed + 2000), owners);
            (layer.tar, script)
        });
    }
}
