//! Unpacked layers as the kernel's overlayfs shows them.

use std::process::Command;

use mica_testkit::{Scratch, Tree, needs, tree};

use crate::build::{device, dir, file, hard, other, symlink};
use crate::unpacked::unpacked;

#[test]
fn the_kernel_shows_unpacked_layers_as_core_resolves_them() {
    needs!(root, overlay);
    let base = unpacked(&[
        dir("./").mode(0o755),
        dir("kept"),
        file("kept/a", "old a").owner(1, 2),
        file("kept/b", "old b"),
        dir("hidden"),
        file("hidden/old", "x"),
        dir("renewed"),
        dir("renewed/sub"),
        file("renewed/sub/old", "x"),
        file("file", "old"),
        symlink("link", "kept"),
        hard("kept/a2", "kept/a"),
    ]);
    let top = unpacked(&[
        dir("./").mode(0o750),
        dir("kept").mode(0o700),
        file("kept/a", "new a"),
        other("kept/.wh.b", b'0'),
        other("kept/.wh.a2", b'0'),
        other(".wh.hidden", b'0'),
        dir("renewed"),
        dir("renewed/sub"),
        file("renewed/sub/new", "y"),
        other(".wh.renewed", b'0'),
        dir("file"),
        file("file/inside", "z"),
        dir("opaque"),
        other("opaque/.wh..wh..opq", b'0'),
        other("opaque/.wh.nothing", b'0'),
        device("null", b'3', 1, 3),
        file("marked", "").pax(&[("SCHILY.xattr.trusted.overlay.opaque", b"y"), ("SCHILY.xattr.user.a", b"1")]),
        file("link", "no link any more"),
    ]);
    let scratch = Scratch::new();
    let merged = scratch.make("merged");
    let lowers = format!("lowerdir={}:{}", top.diff_path().display(), base.diff_path().display());
    let mut mount = Command::new("mount");
    let done = mount.args(["-t", "overlay", "mica-test", "-o", &lowers]).arg(&merged).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let shown = Tree::read(&merged);
    Tree::of_stack(&[top.diff(), base.diff()]).assert_is(&shown, "what overlayfs shows");
    tree! {
        "kept/" mode 0o700; "kept/a" = "new a"; "renewed/"; "renewed/sub/"; "renewed/sub/new" = "y";
        "file/"; "file/inside" = "z"; "opaque/"; "null" char (1, 3); "link" = "no link any more";
        "marked" = "" xattr "trusted.overlay.opaque" = "y" xattr "user.a" = "1";
        "/" mode 0o750;
    }
    .assert_is(&shown, "what overlayfs shows");
}
