use std::ffi::OsStr;

use super::*;

const TABLE: &[u8] = br"22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 master:7 new:x - ext4 /dev/vda rw,discard
36 35 98:0 /mnt1 /mnt\0402\134x\011 ro,noatime unbindable - overlay over\040lay rw,lowerdir+=/a\134\134b
";

#[test]
fn the_table_of_mounts_is_read_as_the_manual_page_has_it() {
    let table = parse_mounts(TABLE).unwrap();
    assert_eq!(table.len(), 3);
    assert_eq!((table[0].id, table[0].parent, table[0].device), (22, 27, (0, 21)));
    assert_eq!(table[1].peers, PeerGroup { shared: Some(1), master: Some(7), unbindable: false });
    assert!(table[2].peers.unbindable && table[2].is_read_only() && !table[1].is_read_only());
    assert_eq!(table[2].target, Path::new("/mnt 2\\x\t"));
    assert_eq!(table[2].root, Path::new("/mnt1"));
    assert_eq!((table[2].fstype.as_str(), table[2].source.as_os_str()), ("overlay", OsStr::new("over lay")));
}

#[test]
fn a_line_that_is_cut_short_is_named() {
    for cut in [&TABLE[..20], b"x 1 0:1 / / rw - proc proc rw", b"1 1 0 / / rw - proc proc rw", b"1 1 0:1 / / rw"] {
        assert!(matches!(parse_mounts(cut), Err(MountInfoError::Line { line: 1, .. })), "{:?}", parse_mounts(cut));
    }
}

#[test]
fn this_process_has_a_root_mount() {
    assert!(mounts().unwrap().iter().any(|mount| mount.target == Path::new("/")));
}

#[test]
fn the_kernels_words_reach_the_error() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: not root");
        return;
    }
    let overlay = FsContext::open("overlay").unwrap();
    let refused = overlay.string("xino", b"perhaps").unwrap_err();
    assert_eq!(refused.error().errno(), Errno::INVAL);
    assert!(refused.said().iter().any(|line| line.contains("xino")), "{refused}");
    assert!(refused.to_string().starts_with("fsconfig \"overlay xino\": "), "{refused}");
    assert_eq!(FsContext::open("no-such-fs").unwrap_err().error().errno(), Errno::NODEV);
}

#[test]
fn a_detached_file_system_is_used_through_its_descriptor_and_set_read_only() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: not root");
        return;
    }
    let tmpfs = FsContext::open("tmpfs").unwrap();
    tmpfs.string("mode", b"0700").unwrap();
    let mount = tmpfs.create(MountAttrFlags::MOUNT_ATTR_NODEV).unwrap();
    rustix::fs::mkdirat(&mount, "a", 0o755.into()).unwrap();
    mount.set_attrs(&SetAttrs::read_only(), Reach::Tree).unwrap();
    assert_eq!(rustix::fs::mkdirat(&mount, "b", 0o755.into()), Err(Errno::ROFS));
    let writable = SetAttrs { clear: MountAttrFlags::MOUNT_ATTR_RDONLY, ..SetAttrs::default() };
    mount.set_attrs(&writable, Reach::One).unwrap();
    rustix::fs::mkdirat(&mount, "b", 0o755.into()).unwrap();
    // A second look at the same directory through a copy of the mount.
    let copy = Mount::clone_at(&mount, Path::new("b"), Reach::One);
    assert!(copy.is_ok() || copy.unwrap_err().errno() == Errno::INVAL, "cloning from a detached mount needs 6.15");
}

#[test]
fn errors_name_the_call_and_the_path() {
    let missing = Path::new("/nonexistent/place");
    let refused = unmount(missing, UnmountFlags::empty()).unwrap_err().to_string();
    assert!(refused.starts_with("umount2 \"/nonexistent/place\": "), "{refused}");
    let refused = set_attrs(missing, &SetAttrs::read_only(), Reach::One).unwrap_err();
    assert_eq!((refused.call(), refused.subject()), ("mount_setattr", &b"/nonexistent/place"[..]));
}
