//! The table of options, as data and at work.

use std::collections::BTreeSet;
use std::path::PathBuf;

use mica_sys::mount::{MountAttrFlags, Propagation};
use mica_union::fuse::{Passthrough, Transport};
use mica_union::{Marks, Records};
use proptest::prelude::*;

use super::*;
use crate::asked::{OpenTo, Whiteouts};

fn asked(options: &str) -> Asked {
    let mut asked = Asked::default();
    read(options.as_bytes(), false, &mut asked).unwrap_or_else(|error| panic!("{options}: {error}"));
    asked
}

fn wrong(options: &str) -> String {
    let error = read(options.as_bytes(), false, &mut Asked::default()).expect_err(options);
    match error.hint() {
        Some(hint) => format!("{error}; {hint}"),
        None => error.to_string(),
    }
}

#[test]
fn each_name_stands_once_and_is_explained() {
    let mut seen = BTreeSet::new();
    for known in all() {
        for name in known.names {
            assert!(seen.insert(name), "{name} stands twice");
            assert!(!name.contains(['=', ',', '\\', '"']), "{name} could not be written");
        }
        let takes_value = matches!(known.take, Take::Value(_));
        assert_eq!(known.value.starts_with('='), takes_value, "{:?}", known.names);
        assert!(
            known.help.is_empty()
                || known.help.ends_with('.')
                || matches!(known.take, Take::Refused(_))
                || known.names == ["verity"],
            "{:?}",
            known.names
        );
    }
}

#[test]
fn what_containers_storage_and_buildah_write_is_understood() {
    let asked = asked(
        "lowerdir=/s/l/A:/s/l/B,upperdir=/s/x/diff,workdir=/s/x/work,nodev,fsync=0,volatile,\
         context=\"system_u:object_r:container_file_t:s0:c1,c2\",\
         uidmapping=:0:100000:65536,gidmapping=:0:100000:65536,private",
    );
    assert_eq!(asked.lowers, [PathBuf::from("/s/l/A"), "/s/l/B".into()]);
    assert_eq!((asked.upper, asked.work), (Some("/s/x/diff".into()), Some("/s/x/work".into())));
    let row = IdRow { stored: 0, shown: 100_000, count: 65536 };
    assert_eq!((asked.owners.ids.uids, asked.owners.ids.gids), (vec![row], vec![row]));
    assert_eq!(asked.mount.contexts, [("context", b"system_u:object_r:container_file_t:s0:c1,c2".to_vec())]);
    assert!(asked.view.is_volatile);
    assert_eq!(asked.mount.propagation, Some((Propagation::Private, false)));
}

#[test]
fn what_mount_writes_is_understood() {
    let asked = asked(
        "rw,nosuid,noexec,noatime,x-systemd.automount,X-mount.mkdir,_netdev,nofail,user=joe,defaults,comment=mine,\
         lowerdir+=/a:b,lowerdir=/c,lowerdir=/d,fsname=tree,subtype=mine,index=on,nfs_export=on,xino=on,uuid=null",
    );
    assert_eq!(asked.lowers, [PathBuf::from("/a:b"), "/c".into(), "/d".into()]);
    assert_eq!((asked.mount.name.as_deref(), asked.mount.subtype.as_slice()), (Some(&b"tree"[..]), &b"mine"[..]));
    let attrs = [
        MountAttrFlags::MOUNT_ATTR_NOSUID,
        MountAttrFlags::MOUNT_ATTR_NOEXEC,
        MountAttrFlags::MOUNT_ATTR_NODEV,
        MountAttrFlags::MOUNT_ATTR_NOATIME,
    ];
    assert_eq!(asked.mount.attrs, attrs.into_iter().collect());
}

#[test]
fn an_option_does_what_its_help_says() {
    type Check = fn(&Asked) -> bool;
    let plain = Asked::default();
    assert!(!plain.view.is_read_only && plain.view.has_acls && plain.view.has_xattrs && plain.view.writes_redirects);
    let cases: &[(&str, Check)] = &[
        ("ro", |asked| asked.view.is_read_only),
        ("ro,rw", |asked| !asked.view.is_read_only),
        ("noacl", |asked| !asked.view.has_acls),
        ("noacl,acl", |asked| asked.view.has_acls),
        ("noxattrs", |asked| !asked.view.has_xattrs),
        ("noxattrs=1", |asked| !asked.view.has_xattrs),
        ("noxattrs=0", |asked| asked.view.has_xattrs),
        ("static_nlink", |asked| asked.view.has_static_links),
        ("volatile", |asked| asked.view.is_volatile),
        ("fsync=0", |asked| asked.view.is_volatile),
        ("fsync=0,fsync=1", |asked| !asked.view.is_volatile),
        ("redirect_dir=off", |asked| !asked.view.writes_redirects),
        ("redirect_dir=nofollow", |asked| !asked.view.writes_redirects),
        ("redirect_dir=off,redirect_dir=on", |asked| asked.view.writes_redirects),
        ("metacopy=off", |asked| !asked.view.writes_metacopies),
        ("metacopy=on", |asked| asked.view.writes_metacopies),
        ("userxattr", |asked| asked.view.marks == Some(Marks::User)),
        ("marks=trusted", |asked| asked.view.marks == Some(Marks::Trusted)),
        ("userxattr,marks=auto", |asked| asked.view.marks.is_none()),
        ("xattr_permissions=1", |asked| asked.view.records == Records::Security),
        ("xattr_permissions=2", |asked| asked.view.records == Records::User),
        ("whiteouts=kernel", |asked| asked.view.whiteouts == Whiteouts::Kernel),
        ("squash_to_root", |asked| asked.owners.squash_to_root),
        ("squash_to_uid=7,squash_to_gid=8", |asked| {
            (asked.owners.ids.squash.uid, asked.owners.ids.squash.gid) == (Some(7), Some(8))
        }),
        ("allow_other", |asked| asked.mount.open_to == OpenTo::Everyone),
        ("allow_root", |asked| asked.mount.open_to == OpenTo::Root),
        ("dev", |asked| asked.mount.attrs.is_empty()),
        ("dev,nodiratime,noatime,strictatime", |asked| {
            asked.mount.attrs == MountAttrFlags::MOUNT_ATTR_NODIRATIME | MountAttrFlags::MOUNT_ATTR_STRICTATIME
        }),
        ("dev,nosuid,suid,noexec,exec,nosymfollow,symfollow,noatime,relatime,nodiratime,diratime", |asked| {
            asked.mount.attrs.is_empty()
        }),
        ("sync,dirsync", |asked| asked.mount.is_sync && asked.mount.is_dirsync),
        ("sync,async", |asked| !asked.mount.is_sync),
        ("rslave", |asked| asked.mount.propagation == Some((Propagation::Downstream, true))),
        ("context=a,context=b", |asked| asked.mount.contexts == [("context", b"b".to_vec())]),
        ("remount", |asked| asked.mount.is_remount),
        ("transport=ring", |asked| asked.server.transport == Transport::Ring),
        ("passthrough=off", |asked| asked.server.passthrough == Passthrough::Off),
        ("writeback=1", |asked| asked.server.writeback == Some(true)),
        ("writeback=1,writeback=auto", |asked| asked.server.writeback.is_none()),
        ("timeout=1.5", |asked| asked.server.timeout == Some(Duration::from_millis(1500))),
        ("timeout=0", |asked| asked.server.timeout == Some(Duration::ZERO)),
        ("max_threads=3", |asked| asked.server.threads == Some(3)),
        ("threaded=0", |asked| asked.server.threads == Some(1)),
        ("threads=4,threaded", |asked| asked.server.threads.is_none()),
        ("debug", |asked| asked.server.is_debug),
        ("verity=off,xattr_permissions=0", |asked| *asked == Asked::default()),
    ];
    for (options, check) in cases {
        assert!(check(&asked(options)), "{options}");
        // Nothing that does something may be passed over: without it, the check fails or it is what there is already.
        assert!(!check(&plain) || options.contains([',', '=']), "{options} changes nothing");
    }
}

#[test]
fn what_is_wrong_is_said_in_one_line() {
    for (options, line) in [
        ("lowerdr=/a", "unknown option `lowerdr`; did you mean `lowerdir`?"),
        ("bogus", "unknown option `bogus`; `mica-fuse --help` lists all options"),
        ("upperdir", "option `upperdir` needs a value: upperdir=DIR"),
        ("upperdir=", "option `upperdir=`: a path is missing"),
        (
            "lowerdir=/a::/b",
            "option `lowerdir=/a::/b`: an empty path in the list, and layers of data alone (`::`) are not there",
        ),
        ("noacl=1", "option `noacl` takes no value"),
        ("xattr_permissions=3", "option `xattr_permissions=3`: not one of 0, 1, 2"),
        ("squash_to_uid=-1", "option `squash_to_uid=-1`: no id"),
        ("squash_to_uid=4294967296", "option `squash_to_uid=4294967296`: no id"),
        ("squash_to_gid=4294967295", "option `squash_to_gid=4294967295`: no id"),
        ("timeout=soon", "option `timeout=soon`: no number of seconds"),
        ("timeout=-1", "option `timeout=-1`: no number of seconds"),
        ("timeout=inf", "option `timeout=inf`: no number of seconds"),
        ("threads=0", "option `threads=0`: a server has one thread at least"),
        ("metacopy=maybe", "option `metacopy=maybe`: neither `on` nor `off`"),
        ("uidmapping=0:1", "option `uidmapping=0:1`: not groups of three numbers, DISK:VIEW:COUNT"),
        (
            "plugins=x",
            "option `plugins`: there are no plugins; layers that a plugin would fetch have to be there as directories",
        ),
        ("verity=on", "option `verity=on`: digests of fs-verity are not checked"),
        ("context=\"a,b", "the quote in `context=\"a,b` does not end"),
        ("=x", "unknown option ``; `mica-fuse --help` lists all options"),
    ] {
        assert_eq!(wrong(options), line);
    }
}

#[test]
fn a_sloppy_mount_passes_over_what_nobody_knows_and_nothing_else() {
    let mut asked = Asked::default();
    read(b"bogus,also=this,ro", true, &mut asked).unwrap();
    assert!(asked.view.is_read_only);
    read(b"timeout=soon", true, &mut asked).unwrap_err();
    read(b"plugins=x", true, &mut asked).unwrap_err();
}

proptest! {
    /// Whatever is written, it is understood or refused, and never both.
    #[test]
    fn no_string_of_options_is_too_odd(
        words in prop::collection::vec((0..400_usize, prop::option::of("[ -~]{0,12}")), 0..6),
        is_sloppy: bool,
    ) {
        let names: Vec<&str> = all().flat_map(|known| known.names).copied().collect();
        let word = |(at, value): &(usize, Option<String>)| {
            let name = names.get(*at).copied().unwrap_or("unheard");
            value.as_ref().map_or_else(|| name.to_owned(), |value| format!("{name}={value}"))
        };
        let options = words.iter().map(word).collect::<Vec<_>>().join(",");
        let mut asked = Asked::default();
        if let Err(error) = read(options.as_bytes(), is_sloppy, &mut asked) {
            prop_assert!(!error.to_string().contains('\n'));
        } else {
            prop_assert!(asked.lowers.iter().all(|path| !path.as_os_str().is_empty()));
            prop_assert!(asked.server.threads != Some(0));
        }
    }
}
