//! Words, and what is said of them: nothing here mounts.

use mica_testkit::tree;

use crate::common::{Place, quiet, said};

fn place() -> Place {
    let place = Place::new(&tree! { "a" = "a"; });
    std::fs::write(place.path("file"), "").unwrap();
    place
}

#[test]
fn what_is_wrong_is_one_line_and_what_would_help_another() {
    let place = place();
    for (options, mountpoint, line, hint) in [
        ("lowerdr=lower", "mnt", "unknown option `lowerdr`", "did you mean `lowerdir`?"),
        (
            "lowerdir=lower,upperdir=upper",
            "mnt",
            "the upper directory \"upper\" has no work directory",
            "say -o workdir=DIR, an empty directory on the file system of upper",
        ),
        ("ro", "mnt", "no lower directory is given", "say -o lowerdir=DIR[:DIR...]"),
        ("lowerdir=none", "mnt", "the lower directory \"none\" is not there", ""),
        ("lowerdir=lower", "none", "the mountpoint \"none\" is not there", ""),
        ("lowerdir=lower", "file", "the mountpoint \"file\" is no directory", ""),
        (
            "lowerdir=lower,upperdir=lower,workdir=work",
            "mnt",
            "the lower directory \"lower\" is the upper directory, too",
            "",
        ),
        (
            "lowerdir=lower,plugins=a",
            "mnt",
            "option `plugins`: there are no plugins; layers that a plugin would fetch have to be there as directories",
            "",
        ),
        ("lowerdir=lower,remount", "mnt", "no union of ours is mounted at \"mnt\"", ""),
    ] {
        let said = said(&mut place.command(&["-o", options, mountpoint]));
        let hint = if hint.is_empty() { String::new() } else { format!("hint: {hint}\n") };
        assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{options}");
        assert_eq!(said.err, format!("mica-fuse: {line}\n{hint}"), "{options}");
    }
}

#[test]
fn words_that_nobody_knows_are_refused() {
    let place = place();
    let wrong = said(&mut place.command(&["--frob", "mnt"]));
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.err.starts_with("mica-fuse: unexpected argument '--frob' found\n"), "{}", wrong.err);
    let wrong = said(&mut place.command(&[]));
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.err.contains("MOUNTPOINT"), "{}", wrong.err);
}

#[test]
fn the_version_is_a_line_that_podman_can_show() {
    let line = quiet(&mut place().command(&["--version"]));
    assert_eq!(line, format!("mica-fuse {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn help_teaches() {
    let help = quiet(&mut place().command(&["--help"]));
    for said in [
        "lowerdir=DIR[:DIR...]",
        "upperdir=DIR",
        "uidmapping=DISK:VIEW:COUNT[:...]",
        "mount -t fuse.mica",
        "fusermount3 -u",
    ] {
        assert!(help.contains(said), "{said}: {help}");
    }
}
