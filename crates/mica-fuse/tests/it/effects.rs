//! Options at work: what each of them does to the tree.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::process::Command;

use mica_testkit::{FuseRings, Tree, in_mount_namespace, needs, tree};

use crate::common::{Place, limited, quiet, said};

fn lower() -> Tree {
    tree! {
        "a" = "a" uid 5 gid 6;
        "d/b" = "b";
        "d/e/" ;
    }
}

/// Mounts a union with these options, looks at it, and takes it down.
fn with(options: &str, look: impl Fn(&Place)) {
    let place = Place::new(&lower());
    place.mount(options);
    look(&place);
    place.unmount();
}

fn owner(place: &Place, name: &str) -> (u32, u32) {
    let metadata = fs::symlink_metadata(place.path(name)).unwrap();
    (metadata.uid(), metadata.gid())
}

#[test]
fn owners_are_mapped_and_squashed() {
    needs!(root, fuse);
    in_mount_namespace(|| {
        with("uidmapping=0:1000:10,gidmapping=:0:2000:10", |place| {
            assert_eq!((owner(place, "mnt/a"), owner(place, "mnt/d")), ((1005, 2006), (1000, 2000)));
            // Who has a counterpart.
            chown(place.path("mnt/a"), Some(1007), Some(2008)).unwrap();
            assert_eq!(owner(place, "upper/a"), (7, 8));
            fs::set_permissions(place.path("mnt"), fs::Permissions::from_mode(0o777)).unwrap();
            let made = ["--reuid", "1003", "--regid", "2004", "--clear-groups", "touch"];
            quiet(limited("setpriv").args(made).arg(place.path("mnt/new")));
            assert_eq!((owner(place, "mnt/new"), owner(place, "upper/new")), ((1003, 2004), (3, 4)));
            // And who has none.
            fs::write(place.path("mnt/roots"), "").unwrap();
            assert_eq!((owner(place, "mnt/roots"), owner(place, "upper/roots")), ((65534, 65534), (65534, 65534)));
            let refused = chown(place.path("mnt/new"), Some(5), None).unwrap_err();
            assert_eq!(refused.raw_os_error(), Some(75), "EOVERFLOW: {refused}");
        });
        with("squash_to_root", |place| assert_eq!(owner(place, "mnt/a"), (0, 0)));
        with("squash_to_uid=33,squash_to_gid=44", |place| assert_eq!(owner(place, "mnt/d/b"), (33, 44)));
        with("squash_to_root,squash_to_uid=33", |place| assert_eq!(owner(place, "mnt/a"), (33, 0)));
    });
}

#[test]
fn what_is_not_wanted_is_not_shown() {
    needs!(root, fuse, program "setfattr", program "setfacl");
    in_mount_namespace(|| {
        let xattr =
            |place: &Place| said(limited("setfattr").args(["-n", "user.x", "-v", "y"]).arg(place.path("mnt/a"))).code;
        let acl = |place: &Place| said(limited("setfacl").args(["-m", "u:7:r"]).arg(place.path("mnt/a"))).code;
        with("", |place| assert_eq!((xattr(place), acl(place)), (Some(0), Some(0))));
        with("noacl", |place| assert_eq!((xattr(place), acl(place)), (Some(0), Some(1))));
        with("noxattrs", |place| assert_eq!((xattr(place), acl(place)), (Some(1), Some(1))));
        let links = |place: &Place| fs::metadata(place.path("mnt/d")).unwrap().nlink();
        with("static_nlink", |place| assert_eq!(links(place), 1));
    });
}

#[test]
fn an_upper_can_be_kept_so_that_anybody_reads_it() {
    needs!(root, fuse, program "setfattr");
    in_mount_namespace(|| {
        let marks = |place: &Place, name: &str| {
            let found = limited("getfattr").args(["-d", "-m", "-", "--absolute-names"]).arg(place.path(name)).output();
            String::from_utf8(found.unwrap().stdout).unwrap()
        };
        with("", |place| {
            fs::rename(place.path("mnt/d"), place.path("mnt/moved")).unwrap();
            assert!(marks(place, "upper/moved").contains("trusted.overlay.redirect"));
        });
        for options in ["redirect_dir=off", "metacopy=off", "redirect_dir=nofollow"] {
            with(options, |place| {
                let refused = fs::rename(place.path("mnt/d"), place.path("mnt/moved")).unwrap_err();
                assert_eq!(refused.kind(), ErrorKind::CrossesDevices, "{options}");
                fs::set_permissions(place.path("mnt/a"), fs::Permissions::from_mode(0o600)).unwrap();
                assert_eq!(fs::read(place.path("upper/a")).unwrap(), b"a", "{options}");
                assert!(!marks(place, "upper/a").contains("metacopy"), "{options}");
            });
        }
        for options in ["userxattr", "marks=user"] {
            with(options, |place| {
                fs::rename(place.path("mnt/d"), place.path("mnt/moved")).unwrap();
                let marks = marks(place, "upper/moved");
                assert!(marks.contains("user.overlay.redirect") && !marks.contains("trusted"), "{marks}");
            });
        }
    });
}

#[test]
fn each_way_of_serving_serves() {
    needs!(root, fuse);
    in_mount_namespace(|| {
        for options in [
            "transport=device",
            "threads=1",
            "threaded=0",
            "passthrough=off",
            "writeback=1",
            "timeout=0",
            "volatile",
            "sync",
        ] {
            with(options, |place| {
                let big = vec![7; 300_000];
                fs::write(place.path("mnt/d/big"), &big).unwrap();
                assert!(fs::read(place.path("mnt/d/big")).unwrap() == big, "{options}");
                fs::write(place.path("mnt/a"), "changed").unwrap();
                quiet(Command::new("sync").arg(place.path("mnt/a")).arg(place.path("mnt/d")));
                assert_eq!(fs::read_to_string(place.path("upper/a")).unwrap(), "changed", "{options}");
                assert_eq!(fs::read_to_string(place.path("lower/a")).unwrap(), "a", "{options}");
            });
        }
    });
}

#[test]
fn rings_are_taken_where_they_are_asked_for() {
    needs!(root, fuse, rings);
    in_mount_namespace(|| {
        let _rings = FuseRings::on();
        with("transport=ring", |place| {
            fs::write(place.path("mnt/a"), "changed").unwrap();
            assert_eq!(fs::read_to_string(place.path("mnt/a")).unwrap(), "changed");
        });
    });
}
