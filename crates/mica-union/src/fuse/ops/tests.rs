//! What no program can bring about at will, since it is a matter of moments: asked of the server without a mount.

use std::time::Duration;

use mica_core::plan::Features;
use mica_layer::Ability;
use mica_sys::FileKind;
use mica_testkit::{Scratch, needs, tree};

use super::names::Masked;
use super::*;
use crate::{UnionDirs, UpperDirs};

/// Requests by their numbers (`enum fuse_opcode`).
const FSYNC: u32 = 20;
const CREATE: u32 = 35;

/// `O_RDWR`, and with `O_EXCL`.
const OPEN: u32 = 0o2;
const OPEN_NEW: u32 = 0o202;
const ROOT: u64 = 1;

fn server(scratch: &Scratch) -> Server {
    let lower = scratch.make("lower");
    tree! { "dir/" ; "file" = "lower"; "link" symlink "file" }.write_to(&lower);
    let upper = UpperDirs { upper: scratch.make("upper"), work: scratch.make("work"), volatile: false };
    let options = Options::new(UnionDirs { lowers: vec![lower], upper: Some(upper), ..UnionDirs::default() });
    let union = Union::open(&options.dirs, false, Ability::native(), Features::Full, false).unwrap();
    Server::new(&options, union)
}

/// The kernel creates what it did not find. Where somebody else was faster, it opens a file; of what is none it has to look again, by a way that knows what to do.
#[test]
fn a_create_that_comes_second_opens_the_file_or_has_the_kernel_look_again() {
    needs!(root);
    let scratch = Scratch::new();
    let server = server(&scratch);
    let caller = Caller { unique: 1, uid: 0, gid: 0, pid: std::process::id(), supplementary: None };
    let create = |name: &[u8], flags| {
        let mut buffer = [0; 256];
        let mut out = Out::new(&mut buffer, CREATE);
        server.create(&caller, (ROOT, name), Masked { mode: 0o100_644, umask: 0 }, (flags, false), &mut out)
    };
    assert_eq!(create(b"file", OPEN), Ok(()));
    assert_eq!(create(b"new", OPEN), Ok(()));
    assert_eq!(create(b"new", OPEN), Ok(()));
    for name in [&b"dir"[..], b"link"] {
        assert_eq!(create(name, OPEN), Err(Errno::STALE), "{}", name.escape_ascii());
    }
    for name in [&b"dir"[..], b"link", b"file", b"new"] {
        assert_eq!(create(name, OPEN_NEW), Err(Errno::EXIST), "{}", name.escape_ascii());
    }
}

/// Of two at a time the second finds no name left to flush, and may not say so before it is flushed.
#[test]
fn an_fsync_beside_another_waits_for_the_flush_that_it_does_not_do() {
    needs!(root);
    let scratch = Scratch::new();
    let server = server(&scratch);
    let root = server.node(ROOT).unwrap();
    let node = server.tree.lookup(&root, b"file").unwrap().unwrap();
    assert_eq!(node.kind, FileKind::File);
    let caller = Caller { unique: 1, uid: 0, gid: 0, pid: std::process::id(), supplementary: None };
    let mut buffer = [0; 256];
    let mut out = Out::new(&mut buffer, CREATE);
    server.create(&caller, (ROOT, b"file"), Masked { mode: 0o100_644, umask: 0 }, (OPEN, false), &mut out).unwrap();
    assert!(node.unset(Flag::NewName), "the file has come up");
    let flushing = server.flushing.lock().unwrap();
    std::thread::scope(|scope| {
        let second = scope.spawn(|| {
            let mut buffer = [0; 256];
            server.fsync(node.id, false, &mut Out::new(&mut buffer, FSYNC))
        });
        std::thread::sleep(Duration::from_millis(200));
        assert!(!second.is_finished(), "the second says what the first has not done");
        drop(flushing);
        assert_eq!(second.join().unwrap(), Ok(()));
    });
}
