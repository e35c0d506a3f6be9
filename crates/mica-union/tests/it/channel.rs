//! What a channel carries, whichever way it goes.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mica_sys::Errno;
use mica_sys::fuse::{Device, MountOptions};
use mica_sys::mount::MountAttrFlags;
use mica_sys::process::Affinity;
use mica_testkit::{FuseRings, Scratch, in_mount_namespace, needs};
use mica_union::fuse::channel::{Channel, ChannelError, ChannelOptions, Transport};
use mica_union::fuse::wire::InitFlags;
use rustix::fs::{CWD, RenameFlags, StatxFlags, XattrFlags};

use crate::memory::{Memory, PANIC};

/// Also where another test has rings turned on meanwhile.
const DEVICE: ChannelOptions = ChannelOptions { transport: Transport::Device, threads: None };
const RING: ChannelOptions = ChannelOptions { transport: Transport::Ring, threads: None };

fn mount_options() -> MountOptions {
    MountOptions {
        source: "memory".to_owned(),
        subtype: "mica-test".to_owned(),
        uid: 0,
        gid: 0,
        default_permissions: true,
        allow_other: true,
        max_read: None,
        attrs: MountAttrFlags::empty(),
        more: Vec::new(),
    }
}

/// A mounted [`Memory`]. Dropped, its channel stops, and whoever still asks it gets an error.
struct Mounted {
    memory: Arc<Memory>,
    channel: Channel,
    place: std::path::PathBuf,
    // The last to be dropped: it unmounts.
    _scratch: Scratch,
}

impl Mounted {
    fn new(memory: Memory, options: ChannelOptions) -> Self {
        let scratch = Scratch::new();
        let device = Device::open().unwrap();
        let place = scratch.make("mnt");
        let mount = device.mount(&mount_options()).unwrap();
        let memory = Arc::new(memory);
        let channel = Channel::start(device, memory.clone(), options).unwrap();
        mount.attach(&place).unwrap();
        Self { memory, channel, place, _scratch: scratch }
    }
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap()
}

/// What every channel must carry.
fn suite(place: &Path) {
    names(place);
    attributes(place);
    content(place);
    big(place);
    many(place);
}

fn names(place: &Path) {
    let at = |name: &str| place.join(name);
    fs::create_dir(at("dir")).unwrap();
    fs::write(at("dir/file"), b"content").unwrap();
    symlink("dir/file", at("link")).unwrap();
    assert_eq!(fs::read_link(at("link")).unwrap(), Path::new("dir/file"));
    assert_eq!(fs::read(at("link")).unwrap(), b"content");
    fs::hard_link(at("dir/file"), at("hard")).unwrap();
    assert_eq!((fs::metadata(at("hard")).unwrap().nlink(), fs::metadata(at("dir/file")).unwrap().ino()), (2, 3));
    rustix::fs::mknodat(CWD, at("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert!(fs::metadata(at("fifo")).unwrap().file_type().is_fifo());
    assert_eq!(errno(&fs::metadata(at("nothing")).unwrap_err()), Errno::NOENT);
    assert_eq!(errno(&fs::create_dir(at("dir")).unwrap_err()), Errno::EXIST);
    assert_eq!(errno(&fs::remove_dir(at("dir")).unwrap_err()), Errno::NOTEMPTY);
    fs::rename(at("dir/file"), at("moved")).unwrap();
    let exchanged = rustix::fs::renameat_with(CWD, at("moved"), CWD, at("link"), RenameFlags::EXCHANGE);
    exchanged.unwrap();
    assert!(fs::symlink_metadata(at("moved")).unwrap().is_symlink());
    let taken = rustix::fs::renameat_with(CWD, at("hard"), CWD, at("link"), RenameFlags::NOREPLACE);
    assert_eq!(taken, Err(Errno::EXIST));
    let long = at(&"n".repeat(255));
    fs::write(&long, b"").unwrap();
    fs::remove_file(&long).unwrap();
    assert_eq!(errno(&fs::write(at(&"n".repeat(256)), b"").unwrap_err()), Errno::NAMETOOLONG);
    for gone in ["fifo", "hard", "moved", "link"] {
        fs::remove_file(at(gone)).unwrap();
    }
    fs::remove_dir(at("dir")).unwrap();
    assert_eq!(fs::read_dir(place).unwrap().count(), 0);
}

fn attributes(place: &Path) {
    let path = place.join("attributes");
    let file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o604).open(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode(), 0o100_604);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::chown(&path, Some(12), Some(34)).unwrap();
    let before_1970 = std::time::UNIX_EPOCH - Duration::from_nanos(1_500_000_000);
    file.set_modified(before_1970).unwrap();
    let seen = fs::metadata(&path).unwrap();
    assert_eq!((seen.mode(), seen.uid(), seen.gid()), (0o100_640, 12, 34));
    assert_eq!((seen.mtime(), seen.mtime_nsec()), (-2, 500_000_000));
    let statx = rustix::fs::statx(CWD, &path, rustix::fs::AtFlags::empty(), StatxFlags::BTIME).unwrap();
    // Asked for by name since Linux 6.6.
    assert!([0, 12345].contains(&statx.stx_btime.tv_sec));
    let set = |value: &[u8], flags| rustix::fs::setxattr(&path, "user.a", value, flags);
    set(b"value", XattrFlags::empty()).unwrap();
    assert_eq!(set(b"value", XattrFlags::CREATE), Err(Errno::EXIST));
    let mut room = [0_u8; 5];
    assert_eq!(rustix::fs::getxattr(&path, "user.a", &mut room[..]), Ok(5));
    assert_eq!(&room, b"value");
    assert_eq!(rustix::fs::getxattr(&path, "user.a", &mut room[..4]), Err(Errno::RANGE));
    let big = vec![b'x'; 65536];
    set(&big, XattrFlags::REPLACE).unwrap();
    let mut room = vec![0; 65536];
    assert_eq!(rustix::fs::getxattr(&path, "user.a", &mut room[..]), Ok(65536));
    assert_eq!(room, big);
    assert_eq!(rustix::fs::listxattr(&path, &mut room[..]), Ok(7));
    rustix::fs::removexattr(&path, "user.a").unwrap();
    assert_eq!(rustix::fs::getxattr(&path, "user.a", &mut room[..]), Err(Errno::NODATA));
    assert_eq!(rustix::fs::statfs(&path).unwrap().f_blocks, 1000);
    assert_eq!(rustix::fs::ioctl_getflags(&file), Ok(rustix::fs::IFlags::IMMUTABLE));
    fs::remove_file(&path).unwrap();
}

fn content(place: &Path) {
    let path = place.join("content");
    let mut file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(&path).unwrap();
    file.write_all(b"0123456789").unwrap();
    file.write_all_at(b"ab", 4).unwrap();
    file.sync_all().unwrap();
    file.set_len(8).unwrap();
    file.rewind().unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "0123ab67");
    assert_eq!(rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(2)), Ok(8));
    assert_eq!(rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(9)), Err(Errno::NXIO));
    let copy = File::create(place.join("copy")).unwrap();
    let copied = rustix::fs::copy_file_range(&file, Some(&mut 2), &copy, Some(&mut 1), 4);
    assert_eq!(copied, Ok(4));
    assert_eq!(fs::read(place.join("copy")).unwrap(), b"\x0023ab");
    let appended = OpenOptions::new().append(true).open(&path).unwrap();
    rustix::io::write(&appended, b"end").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"0123ab67end");
    let tmpfile = OpenOptions::new().write(true).read(true).custom_flags(0o20_200_000).open(place);
    let mut unnamed = tmpfile.unwrap();
    unnamed.write_all(b"unnamed").unwrap();
    unnamed.seek(SeekFrom::Start(2)).unwrap();
    let mut text = String::new();
    unnamed.read_to_string(&mut text).unwrap();
    assert_eq!(text, "named");
    fs::remove_file(&path).unwrap();
    fs::remove_file(place.join("copy")).unwrap();
}

/// Requests as long as they get, both ways, with and without the page cache.
fn big(place: &Path) {
    let path = place.join("big");
    let bytes: Vec<u8> = (0..5 << 20).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(&path, &bytes).unwrap();
    let mut direct = OpenOptions::new();
    let direct = direct.read(true).write(true).custom_flags(0o40000).open(&path).unwrap();
    let mut back = vec![0; bytes.len()];
    direct.read_exact_at(&mut back, 0).unwrap();
    assert!(back == bytes, "what is read is what was written");
    direct.write_all_at(&bytes[4096..], 0).unwrap();
    assert!(fs::read(&path).unwrap()[..bytes.len() - 4096] == bytes[4096..], "direct writes are read");
    fs::remove_file(&path).unwrap();
}

/// More names than fit into one answer, and more requests at a time than there are threads.
fn many(place: &Path) {
    let dir = place.join("many");
    fs::create_dir(&dir).unwrap();
    let dir = &dir;
    let make = |from: u32| (from..from + 400).map(move |at| format!("{at:060}"));
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let write = move || make(thread * 400).for_each(|name| fs::write(dir.join(&name), &name).unwrap());
            scope.spawn(write);
        }
    });
    for _ in 0..2 {
        let seen: BTreeSet<String> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert!(seen == make(0).chain((1..8).flat_map(|thread| make(thread * 400))).collect(), "{} names", seen.len());
        // Attributes for names: with them the next listing comes.
        assert!(seen.iter().all(|name| fs::metadata(dir.join(name)).unwrap().len() == 60));
    }
    for entry in fs::read_dir(dir).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    fs::remove_dir(dir).unwrap();
}

#[test]
fn the_device_carries_every_kind_of_request() {
    needs!(root, fuse);
    in_mount_namespace(|| {
        let mounted = Mounted::new(Memory::new(), DEVICE);
        suite(&mounted.place);
        let agreed = mounted.channel.init();
        assert!(agreed.flags.contains(InitFlags::BIG_WRITES | InitFlags::MAX_PAGES | InitFlags::EXPORT_SUPPORT));
        let asked = mounted.memory.asked.load(Ordering::Relaxed);
        assert!(asked > 10_000, "{asked}: the kernel has asked nobody else");
        assert_eq!(mounted.memory.by_ring.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn rings_carry_every_kind_of_request() {
    needs!(root, fuse, rings);
    let rings = FuseRings::on();
    in_mount_namespace(|| {
        let mounted = Mounted::new(Memory::new(), RING);
        drop(rings);
        suite(&mounted.place);
        assert!(mounted.channel.init().flags.contains(InitFlags::OVER_IO_URING));
        assert!(mounted.channel.seats() > 1);
        let [asked, by_ring] =
            [&mounted.memory.asked, &mounted.memory.by_ring].map(|count| count.load(Ordering::Relaxed));
        assert!(by_ring > 10_000 && asked - by_ring < 100, "{by_ring} of {asked}");
        let panic = mounted.place.join(std::str::from_utf8(PANIC).unwrap());
        assert_eq!(errno(&fs::metadata(&panic).unwrap_err()), Errno::IO);
        fs::write(mounted.place.join("after"), b"").unwrap();
    });
}

#[test]
fn rings_end_with_the_mount_and_when_they_are_stopped() {
    needs!(root, fuse, rings);
    let rings = FuseRings::on();
    in_mount_namespace(|| {
        let mounted = Mounted::new(Memory::new(), RING);
        fs::write(mounted.place.join("file"), b"content").unwrap();
        mica_sys::mount::unmount(&mounted.place, mica_sys::mount::UnmountFlags::empty()).unwrap();
        mounted.channel.wait();
        assert_eq!((mounted.channel.seats(), mounted.memory.ended.load(Ordering::SeqCst)), (0, 1));
        let Mounted { memory, channel, place, _scratch } = Mounted::new(Memory::new(), RING);
        fs::write(place.join("file"), b"").unwrap();
        let waits = std::thread::spawn(move || fs::metadata(place.join("other")));
        channel.stop();
        assert_eq!((channel.seats(), memory.ended.load(Ordering::SeqCst)), (0, 1));
        drop(channel);
        // Whether it was asked before or after.
        let refused = errno(&waits.join().unwrap().unwrap_err());
        assert!([Errno::NOENT, Errno::CONNABORTED, Errno::NOTCONN].contains(&refused), "{refused:?}");
    });
    drop(rings);
}

#[test]
fn where_rings_are_off_they_are_an_error_or_left_alone() {
    needs!(root, fuse);
    let switch = File::open("/sys/module/fuse/parameters/enable_uring");
    // Held, so that no other test turns them on meanwhile.
    let held = switch.inspect(|switch| switch.lock().unwrap());
    if held.as_ref().is_ok_and(|switch| std::io::read_to_string(switch).unwrap() == "Y\n") {
        return eprintln!("a machine with rings on");
    }
    in_mount_namespace(|| {
        let device = Device::open().unwrap();
        let _mount = device.mount(&mount_options()).unwrap();
        match Channel::start(device, Arc::new(Memory::new()), RING) {
            Err(ChannelError::NoRings) => {}
            other => panic!("{other:?}"),
        }
        let auto = Mounted::new(Memory::new(), ChannelOptions::default());
        assert_eq!(auto.channel.seats(), 0);
        fs::write(auto.place.join("file"), b"").unwrap();
    });
}

#[test]
fn every_look_up_is_forgotten_and_the_end_is_told_once() {
    needs!(root, fuse);
    in_mount_namespace(|| {
        let mounted = Mounted::new(Memory::new(), DEVICE);
        many(&mounted.place);
        fs::create_dir_all(mounted.place.join("a/b/c")).unwrap();
        assert!(mounted.memory.lookups() > 0);
        for gone in ["a/b/c", "a/b", "a"] {
            fs::remove_dir(mounted.place.join(gone)).unwrap();
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while mounted.memory.lookups() > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(mounted.memory.lookups(), 0);
        fs::create_dir(mounted.place.join("stays")).unwrap();
        mica_sys::mount::unmount(&mounted.place, mica_sys::mount::UnmountFlags::empty()).unwrap();
        mounted.channel.wait();
        mounted.channel.stop();
        assert_eq!(mounted.memory.ended.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_stopped_channel_leaves_nobody_waiting() {
    needs!(root, fuse);
    in_mount_namespace(|| {
        let Mounted { memory, channel, place, _scratch } = Mounted::new(Memory::new(), DEVICE);
        fs::write(place.join("file"), b"").unwrap();
        channel.stop();
        assert_eq!(memory.ended.load(Ordering::SeqCst), 1);
        let waits = std::thread::spawn(move || fs::metadata(place.join("other")));
        std::thread::sleep(Duration::from_millis(50));
        assert!(!waits.is_finished(), "the device is still open");
        drop(channel);
        assert_eq!(errno(&waits.join().unwrap().unwrap_err()), Errno::CONNABORTED);
        assert_eq!(memory.ended.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn threads_come_for_those_who_wait_and_go_again() {
    needs!(root, fuse);
    in_mount_namespace(|| {
        let mut slow = Memory::new();
        slow.slow = Duration::from_millis(300);
        let one = ChannelOptions { threads: std::num::NonZeroUsize::new(1), ..DEVICE };
        let mounted = Mounted::new(slow, one);
        let since = Instant::now();
        std::thread::scope(|scope| {
            for at in 0..8 {
                let path = mounted.place.join(format!("nothing-{at}"));
                scope.spawn(move || fs::metadata(path).unwrap_err());
            }
        });
        assert!(since.elapsed() < Duration::from_millis(1500), "{:?} for eight waits at a time", since.elapsed());
        assert!(mounted.channel.threads() > 4, "{} threads", mounted.channel.threads());
        let deadline = Instant::now() + Duration::from_secs(60);
        while mounted.channel.threads() > 1 && Instant::now() < deadline {
            // Who is not needed for a while goes; this is asked anew each time.
            rustix::fs::statvfs(&mounted.place).unwrap();
        }
        assert_eq!(mounted.channel.threads(), 1, "{} threads", mounted.channel.threads());
    });
}

#[test]
fn threads_follow_a_client_that_is_alone() {
    needs!(root, fuse);
    in_mount_namespace(|| {
        let mounted = Mounted::new(Memory::new(), DEVICE);
        let ask = |often: u32| {
            for _ in 0..often {
                rustix::fs::statvfs(&mounted.place).unwrap();
            }
        };
        let client = Affinity::here().unwrap();
        let mine: Vec<u16> = (0..1024).filter(|processor| client.stay_on(*processor).is_ok()).collect();
        // As often as it takes to believe that a home was wrong, and to find another.
        for processor in mine.iter().chain(&mine) {
            client.stay_on(*processor).unwrap();
            ask(1000);
            assert_eq!(mounted.channel.home(), Some(*processor).filter(|_| mine.len() > 1));
        }
        client.roam().unwrap();
        suite(&mounted.place);
    });
}

#[test]
fn what_the_kernel_is_told_it_heeds() {
    needs!(root, fuse);
    in_mount_namespace(|| {
        let mounted = Mounted::new(Memory::new(), DEVICE);
        let path = mounted.place.join("file");
        fs::write(&path, b"before").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"before");
        let node = mounted.memory.overwrite(b"file", b"behind");
        assert_eq!(fs::read(&path).unwrap(), b"before", "the kernel keeps pages");
        let notifier = mounted.channel.notifier();
        notifier.inval_inode(node, 0, 0).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"behind");
        notifier.store(node, 2, b"HI").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"beHInd");
        let asked = || mounted.memory.asked.load(Ordering::Relaxed);
        let before = asked();
        fs::metadata(&path).unwrap();
        assert_eq!(asked(), before, "the kernel keeps names and attributes");
        notifier.inval_entry(1, b"file").unwrap();
        fs::metadata(&path).unwrap();
        assert!(asked() > before);
        assert_eq!(notifier.inval_entry(1, b"nothing"), Err(Errno::NOENT));
        drop(mounted);
        assert_eq!(notifier.inval_inode(1, 0, 0), Err(Errno::NOTCONN));
    });
}

#[test]
fn a_panic_in_a_build_for_tests_is_an_error_of_one_request() {
    needs!(root, fuse);
    in_mount_namespace(|| {
        let mounted = Mounted::new(Memory::new(), DEVICE);
        let panic = mounted.place.join(std::str::from_utf8(PANIC).unwrap());
        assert_eq!(errno(&fs::metadata(&panic).unwrap_err()), Errno::IO);
        assert_eq!(errno(&fs::metadata(&panic).unwrap_err()), Errno::IO);
        fs::write(mounted.place.join("file"), b"").unwrap();
    });
}

#[test]
fn a_device_that_is_mounted_nowhere_is_not_served() {
    needs!(fuse);
    let refused = Channel::start(Device::open().unwrap(), Arc::new(Memory::new()), DEVICE);
    assert_eq!(refused.unwrap_err().to_string(), "cannot read the first request");
}
