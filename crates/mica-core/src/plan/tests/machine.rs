//! Random operations on random stacks: the upper is committed, mounted again, and crashed, and the plain tree goes along.

use std::cell::RefCell;
use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::carrier::{Act, leaves_device, run};
use super::disk::Disk;
use super::plain::Plain;
use super::reader::read;
use crate::plan::{Errno, Features, How, Step, XattrChange};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
/// The upper and three lowers.
const MOST_LAYERS: usize = 4;

/// What happens; the numbers choose among the paths that there are.
#[derive(Debug, Clone)]
enum Event {
    Act { verb: u8, old: usize, new: usize },
    Crash { verb: u8, old: usize, new: usize, after: usize },
    Commit,
}

fn event() -> impl Strategy<Value = Event> {
    let act = (0..28_u8, 0..1_000_usize, 0..1_000_usize);
    prop_oneof![
        16 => act.clone().prop_map(|(verb, old, new)| Event::Act { verb, old, new }),
        4 => (act, 0..8_usize).prop_map(|((verb, old, new), after)| Event::Crash { verb, old, new, after }),
        1 => Just(Event::Commit),
    ]
}

/// One of some paths, if there are any.
fn one_of<'a>(paths: impl Iterator<Item = &'a String>, number: usize) -> Option<String> {
    let paths: Vec<&String> = paths.filter(|path| !path.is_empty()).collect();
    paths.get(number % paths.len().max(1)).map(|path| (*path).clone())
}

/// Any name in a directory that shows, not too deep.
fn new_path(plain: &Plain, number: usize) -> String {
    let shallow = |path: &&String| path.matches('/').count() < 2;
    let directories: Vec<&String> = plain.directories().filter(shallow).collect();
    let (directory, name) = (directories[number / NAMES.len() % directories.len()], NAMES[number % NAMES.len()]);
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}

fn act(plain: &Plain, verb: u8, old: usize, new: usize) -> Act {
    let new_name = new_path(plain, new);
    let any = || one_of(plain.paths(), old).unwrap_or_else(|| new_name.clone());
    let directory = || one_of(plain.directories(), old).unwrap_or_else(|| new_name.clone());
    let leaf =
        || one_of(plain.paths().filter(|path| !plain.is_directory(path)), old).unwrap_or_else(|| new_name.clone());
    let other = || one_of(plain.paths(), new).unwrap_or_else(|| new_name.clone());
    let empty =
        || one_of(plain.directories().filter(|path| plain.is_empty(path)), new).unwrap_or_else(|| new_name.clone());
    match verb {
        0 | 1 => Act::Make(new_name),
        2 => Act::MakeOther(new_name),
        3..=5 => Act::MakeDirectory(new_name),
        6 => Act::Adopt(new_name),
        7 | 8 => Act::Link(leaf(), new_name),
        9..=11 => Act::Unlink(leaf()),
        12 => Act::RemoveDirectory(empty()),
        13 => Act::RemoveDirectory(any()),
        14 | 15 => Act::Rename(any(), new_name, How::Replace),
        16 => Act::Rename(directory(), empty(), How::Replace),
        17 => Act::Rename(directory(), new_name, How::Replace),
        18 => Act::Rename(leaf(), other(), How::Replace),
        19 => Act::Rename(any(), new_name, How::NoReplace),
        20 | 21 => Act::Rename(any(), other(), How::Exchange),
        22 => Act::Rename(any(), new_name, How::Whiteout),
        23 => Act::Write(leaf()),
        24 => Act::Truncate(leaf(), new % 3),
        25 => Act::Allocate(leaf()),
        26 => Act::Attributes(any()),
        _ => Act::Xattr(any(), if new.is_multiple_of(2) { XattrChange::Set } else { XattrChange::Remove }),
    }
}

/// An emptiness check drops whiteouts that hide nothing, as a crash may leave them; here the mount does.
fn drop_idle_whiteouts(disk: &mut Disk) {
    while let Some(path) = disk.idle_whiteout() {
        let upper = disk.upper();
        disk.name(upper, &path, None);
    }
}

#[derive(Debug, Default)]
struct Covered {
    steps: BTreeSet<String>,
    operations: usize,
    refused: usize,
    crashes_to_old: usize,
    crashes_to_new: usize,
    deepest: usize,
    redirects_in_lowers: usize,
}

struct Machine<'a> {
    disk: Disk,
    plain: Plain,
    features: Features,
    covered: &'a RefCell<Covered>,
}

impl Machine<'_> {
    fn happen(&mut self, event: &Event) {
        match event {
            Event::Commit if self.disk.roots.len() < MOST_LAYERS => self.disk.commit(),
            Event::Commit => {}
            Event::Act { verb, old, new } => self.act(&act(&self.plain, *verb, *old, *new)),
            Event::Crash { verb, old, new, after } => self.crash(&act(&self.plain, *verb, *old, *new), *after),
        }
        let mut covered = self.covered.borrow_mut();
        covered.deepest = covered.deepest.max(self.disk.roots.len());
        assert_eq!(read(&self.disk), self.plain.tree(), "after {event:?}");
        assert_eq!(self.disk.idle_whiteout(), None, "after {event:?}");
    }

    fn act(&mut self, act: &Act) {
        let lowers = self.disk.lower_inodes();
        let mut after = self.plain.clone();
        let wanted = after.act(act);
        let carried = run(&mut self.disk, act, self.features, |_| {});
        let mut covered = self.covered.borrow_mut();
        covered.operations += 1;
        match (&carried, wanted) {
            (Ok(steps), Ok(())) => {
                self.plain = after;
                for step in steps.iter() {
                    covered.steps.insert(format!("{step:?}").chars().take_while(|letter| *letter != '(').collect());
                    if matches!(step, Step::Mark(..) | Step::Unmark(..) | Step::Dress(_)) {
                        covered.steps.insert(format!("{step:?}"));
                    }
                }
            }
            (Err(Errno::EXDEV), Ok(())) if self.features == Features::Basic => covered.refused += 1,
            (Err(errno), Err(wanted)) if *errno == wanted => covered.refused += 1,
            (carried, wanted) => panic!("{act:?}: {carried:?}, and should be {wanted:?}"),
        }
        assert_eq!(self.disk.lower_inodes(), lowers, "{act:?} changed a lower: {carried:?}");
        if lowers.values().any(|inode| inode.redirect.is_some()) {
            covered.redirects_in_lowers += 1;
        }
    }

    /// The operation stops after so many steps; what is in `work` is gone, and whatever shows must be the old tree or the new.
    fn crash(&mut self, act: &Act, after: usize) {
        let mut stops = vec![self.disk.clone()];
        let mut gone = self.disk.clone();
        if run(&mut gone, act, self.features, |disk| stops.push(disk.clone())).is_err() {
            return;
        }
        let mut new = self.plain.clone();
        new.act(act).unwrap();
        let mut mounted = stops[after.min(stops.len() - 1)].mounted();
        drop_idle_whiteouts(&mut mounted);
        let now = read(&mounted);
        let mut covered = self.covered.borrow_mut();
        if now == new.tree() {
            covered.crashes_to_new += 1;
            self.plain = new;
        } else if now == self.plain.tree() {
            covered.crashes_to_old += 1;
        } else {
            assert!(leaves_device(act), "{act:?} stopped after {after} steps shows {now:?}");
            self.plain = Plain::of(&now);
        }
        self.disk = mounted;
    }
}

#[test]
fn random_operations_on_random_stacks_show_what_a_plain_tree_shows() {
    let covered = RefCell::new(Covered::default());
    let config = Config { cases: 1_500, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    // One seed, so that what is covered is the same each time; the differential test has the random ones.
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let events =
        (prop_oneof![4 => Just(Features::Full), 1 => Just(Features::Basic)], prop::collection::vec(event(), 1..90));
    let result = TestRunner::new_with_rng(config, random).run(&events, |(features, events)| {
        let disk = Disk::new();
        let plain = Plain::of(&read(&disk));
        let mut machine = Machine { disk, plain, features, covered: &covered };
        events.iter().for_each(|event| machine.happen(event));
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    let covered = covered.into_inner();
    println!("{covered:?}");
    assert_eq!(covered.deepest, MOST_LAYERS);
    for least in [covered.refused, covered.crashes_to_old, covered.crashes_to_new, covered.redirects_in_lowers] {
        assert!(least > 100, "{covered:?}");
    }
    for step in [
        "Parents",
        "Stage",
        "Replace",
        "Swap",
        "TakeOut",
        "Whiteout",
        "Remove",
        "Link",
        "Move",
        "Exchange",
        "Join",
        "Fill",
        "Mark(Old, Opaque)",
        "Mark(Old, Redirect(Absolute))",
        "Mark(Old, Redirect(Relative))",
        "Unmark(Old, Metacopy)",
        "Unmark(Old, Joining)",
        "Dress(New { opaque: true })",
        "Dress(File { like: Old, content: Later, joining: true })",
        "Dress(File { like: Old, content: Cut, joining: false })",
        "Dress(Empty { like: New })",
    ] {
        assert!(covered.steps.contains(step), "{step} never happened: {covered:?}");
    }
}
