use mica_testkit::{Scratch, Tree, needs, tree};

use super::*;
use crate::UpperDirs;

/// Kernels before 6.13 take layers by path alone; no such kernel runs the other tests.
#[test]
fn layers_named_by_path_show_the_same() {
    needs!(root, overlay);
    let scratch = Scratch::new();
    let make = |name: &str| scratch.make(format!("a,b:c\\d e/{name}"));
    let lowers = vec![make("l\\1"), make("l:2"), make("l,3")];
    tree! { "a" = "1"; "c" whiteout }.write_layer(&lowers[0], Marks::Trusted);
    tree! { "b" = "2"; "c" = "" }.write_layer(&lowers[1], Marks::Trusted);
    let upper = UpperDirs { upper: make("up\\per"), work: make("wo\\rk"), volatile: false };
    Tree::new().write_to(&upper.upper);
    let dirs = UnionDirs { lowers, upper: Some(upper), marks: Marks::Trusted, ..UnionDirs::default() };
    for naming in [Naming::ProcPath, Naming::Descriptor] {
        let mounted = Overlay::new().mount_named(&dirs, naming).unwrap();
        tree! { "a" = "1"; "b" = "2" }.assert_is(&Tree::read_dir(&mounted.dir().unwrap()), &format!("{naming:?}"));
    }
    // What was opened first is what the paths meant: nothing of the union hangs on descriptors that are closed by now.
    let none = UnionDirs { upper: None, ..dirs };
    let mounted = Overlay::new().mount_named(&none, Naming::ProcPath).unwrap();
    assert_eq!(Tree::read_dir(&mounted.dir().unwrap()).iter().count(), 3);
}

#[test]
fn every_cause_has_something_to_say() {
    let causes = [
        Cause::NotPermitted,
        Cause::NoOverlayfs,
        Cause::OldKernel,
        Cause::InUse,
        Cause::TooDeep,
        Cause::LowerUnsuitable,
    ];
    for cause in causes {
        assert!(cause.hint().len() > 20 && !cause.hint().ends_with('.'), "{cause:?}");
    }
}

#[test]
fn a_call_tells_its_cause() {
    use mica_sys::SysError;
    for (call, errno, expected) in [
        ("fsopen", Errno::PERM, Some(Cause::NotPermitted)),
        ("fsopen", Errno::NODEV, Some(Cause::NoOverlayfs)),
        ("fsconfig", Errno::LOOP, Some(Cause::LayersOverlap)),
        ("fsconfig", Errno::BUSY, Some(Cause::InUse)),
        ("fsconfig", Errno::INVAL, None),
    ] {
        let refused = MountError::from(SysError::new(call, "overlay", errno));
        assert_eq!(cause::of_call(&refused), expected, "{call} {errno}");
    }
}
