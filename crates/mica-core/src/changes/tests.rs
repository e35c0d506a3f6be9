use std::collections::BTreeMap;

use super::*;
use crate::map_layer::MapLayer;
use crate::{Attrs, Timestamp};

/// `d/`, `f=1` (mtime), `d/=2`, `d!` opaque, `f-` whiteout; parents must be named.
fn layer(spec: &str) -> MapLayer {
    let mut map = BTreeMap::new();
    for word in spec.split_whitespace() {
        let (what, secs) = word.split_once('=').map_or((word, 0), |(what, time)| (what, time.parse().unwrap()));
        let attrs = Attrs { mode: 0o755, mtime: Timestamp { secs, nanos: 0 }, ..Attrs::default() };
        let node = |kind| LayerEntry::Node(Node { kind, attrs, link_group: None });
        let directory = |opaque| Kind::Directory { opaque, implicit: false };
        let (name, entry) = match what.as_bytes().last() {
            Some(b'-') => (what.trim_end_matches('-'), LayerEntry::Whiteout),
            Some(b'/') => (what.trim_end_matches('/'), node(directory(false))),
            Some(b'!') => (what.trim_end_matches('!'), node(directory(true))),
            _ => (what, node(Kind::File { size: 0, content: None })),
        };
        map.insert(RelPath::parse(name.as_bytes()).unwrap(), entry);
    }
    MapLayer(map)
}

fn diff(upper: &str, below: &[&str]) -> String {
    let below = Stack::new(below.iter().map(|spec| layer(spec)).collect());
    let all = changes(&layer(upper), &below).unwrap();
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

#[test]
fn an_upper_says_what_it_added_changed_and_deleted() {
    let below = ["etc/ etc/hosts etc/motd usr/ usr/lib/ usr/lib/a usr/lib/b"];
    for (upper, expected) in [
        ("", ""),
        ("new", "A /new"),
        ("etc/ etc/hosts", "C /etc/hosts"),
        ("etc/=5 etc/new", "C /etc A /etc/new"),
        ("etc/ etc/motd-", "D /etc/motd"),
        ("etc-", "D /etc"),
        // A whiteout of what is not there, as an interrupted rename may leave it.
        ("nothing-", ""),
        // A directory replaced by another: what it no longer names is gone.
        ("usr/ usr/lib! usr/lib/b usr/lib/c", "C /usr/lib D /usr/lib/a C /usr/lib/b A /usr/lib/c"),
        ("usr! usr/lib/ usr/lib/a", "C /usr C /usr/lib C /usr/lib/a D /usr/lib/b"),
        ("usr!", "C /usr D /usr/lib"),
        // A directory becomes a file, and a file a directory.
        ("usr", "C /usr"),
        ("etc/ etc/motd/ etc/motd/x", "C /etc/motd A /etc/motd/x"),
        ("a/ a/b/ a/b/c", "A /a A /a/b A /a/b/c"),
    ] {
        assert_eq!(diff(upper, &below), expected, "{upper:?}");
    }
}

#[test]
fn what_is_below_is_what_the_whole_stack_shows() {
    let below = ["d/ d/x-", "d/ d/x d/y"];
    assert_eq!(diff("d/ d/x", &below), "A /d/x");
    assert_eq!(diff("d/ d/x-", &below), "");
    assert_eq!(diff("d!", &below), "C /d D /d/y");
}

#[test]
fn changes_are_sorted_with_a_directory_before_what_is_in_it() {
    assert_eq!(diff("a/ a/z a-b a.c", &[""]), "A /a A /a/z A /a-b A /a.c");
}
