use super::*;
use crate::needs;

fn mounted_under(path: &Path) -> usize {
    mounts().unwrap().iter().filter(|mount| mount.target.starts_with(path)).count()
}

#[test]
fn a_scratch_place_takes_its_mounts_with_it_also_when_the_test_fails() {
    needs!(root);
    let kept = std::sync::Mutex::new(PathBuf::new());
    let failed = std::panic::catch_unwind(|| {
        let scratch = Scratch::new();
        *kept.lock().unwrap() = scratch.path().to_owned();
        let outer = scratch.tmpfs("a b", "size=1m");
        drop(scratch.tmpfs("a b/inner", "size=1m"));
        assert!(outer.join("inner").is_dir());
        assert_eq!(mounted_under(scratch.path()), 2);
        panic!("as a test that fails");
    });
    assert!(failed.is_err());
    let path = kept.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    assert_eq!((mounted_under(&path), path.exists()), (0, false), "{path:?}");
}

#[test]
fn a_small_file_system_is_full_and_has_room_again() {
    needs!(loop_devices);
    let disk = LoopFs::ext4(4 << 20);
    disk.fill(0);
    let refused = fs::write(disk.path().join("more"), vec![0; 1 << 16]).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::StorageFull);
    fs::remove_file(disk.path().join("filler")).unwrap();
    fs::write(disk.path().join("more"), vec![0; 1 << 16]).unwrap();
}

#[test]
fn a_mount_namespace_is_seen_by_its_thread_alone_and_hands_on_panics() {
    needs!(root);
    let scratch = Scratch::new();
    let inside = in_mount_namespace(|| {
        mount(Path::new("mica-test"), scratch.path(), "tmpfs", MountFlags::empty(), "").unwrap();
        fs::write(scratch.path().join("file"), "").unwrap();
        mounted_under(scratch.path())
    });
    assert_eq!(inside, 1);
    assert_eq!(mounted_under(scratch.path()), 0);
    assert!(!scratch.path().join("file").exists());
    assert!(std::panic::catch_unwind(|| in_mount_namespace(|| panic!("inside"))).is_err());
}

#[test]
fn a_place_is_gone_though_somebody_still_makes_files_in_it() {
    let scratch = Scratch::new();
    let path = scratch.path().to_owned();
    let busy = scratch.make("busy");
    let maker = std::thread::spawn(move || {
        let since = Instant::now();
        let mut made = 0;
        while since.elapsed() < Duration::from_millis(200) && fs::write(busy.join(made.to_string()), "").is_ok() {
            made += 1;
        }
        made
    });
    std::thread::sleep(Duration::from_millis(20));
    drop(scratch);
    assert!(maker.join().unwrap() > 0);
    assert!(!path.exists());
}
