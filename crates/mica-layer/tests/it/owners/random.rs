//! Random layers with owners, devices and attributes that not everyone can make, and random changes to them.

use std::fmt::Write as _;

use mica_core::{Attrs, Rdev, Timestamp, Xattrs};
use mica_layer::tar::{Member, MemberKind, Writer};

/// Numbers that are the same for the same seed (xorshift).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % end
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn of<T: Clone>(&mut self, choice: &[T]) -> T {
        choice[self.below(choice.len())].clone()
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum What {
    Directory,
    File,
    /// A name of a file with several.
    Linked,
    Symlink,
    /// A device or a FIFO.
    Special,
}

/// A layer's tar and what is in it, each after its directory.
pub(crate) struct RandomLayer {
    pub(crate) tar: Vec<u8>,
    pub(crate) entries: Vec<(String, What, i64)>,
}

const IDS: [u32; 7] = [0, 0, 33, 1000, 65_535, 65_536, 3_000_000];

/// A capability of version 2: `cap_net_raw=ep`.
const CAPABILITY: &[u8] = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

fn acl(mode: u32, id: u32) -> Vec<u8> {
    let perm = |shift: u32| ((mode >> shift) & 7) as u16;
    let entries =
        [(1u16, perm(6), u32::MAX), (2, 5, id), (4, 4, u32::MAX), (16, perm(3), u32::MAX), (32, perm(0), u32::MAX)];
    let entries =
        entries.map(|(tag, perm, id)| [&tag.to_le_bytes()[..], &perm.to_le_bytes(), &id.to_le_bytes()].concat());
    [&[2, 0, 0, 0], &entries.concat()[..]].concat()
}

fn xattrs(random: &mut Random, what: What, mode: u32) -> Xattrs {
    let mut xattrs = Xattrs::new();
    let mut put = |name: &str, value: Vec<u8>| drop(xattrs.insert(name.as_bytes().to_vec(), value));
    if random.one_in(4) {
        put("user.a", b"1".to_vec());
    }
    if random.one_in(8) {
        put("user.overlay.opaque", b"y".to_vec());
    }
    if random.one_in(4) {
        put("trusted.a", b"2".to_vec());
    }
    if random.one_in(8) {
        put("security.mica", b"3".to_vec());
    }
    if random.one_in(6) && what == What::File {
        let root = random.of(&IDS).to_le_bytes();
        let version_3 = [b"\x01\0\0\x03", &CAPABILITY[4..], &root].concat();
        let value = random.of(&[CAPABILITY.to_vec(), CAPABILITY.to_vec(), version_3]);
        put("security.capability", value);
    }
    if random.one_in(5) && matches!(what, What::File | What::Directory) {
        put("system.posix_acl_access", acl(mode, random.of(&IDS)));
    }
    xattrs
}

/// A layer with some tens of entries.
pub(crate) fn layer(seed: u64) -> RandomLayer {
    let random = &mut Random::new(seed);
    let mut tar = Writer::new(Vec::new());
    let mut entries: Vec<(String, What, i64)> = Vec::new();
    let mut directories = vec![String::new()];
    for number in 0..8 + random.below(24) {
        let parent = random.of(&directories);
        let path = if parent.is_empty() { format!("n{number}") } else { format!("{parent}/n{number}") };
        let files: Vec<usize> =
            (0..entries.len()).filter(|at| matches!(entries[*at].1, What::File | What::Linked)).collect();
        let what = match random.below(10) {
            0..3 => What::Directory,
            3..6 => What::File,
            6 if !files.is_empty() => What::Linked,
            7 => What::Symlink,
            _ => What::Special,
        };
        let mode = random.of(&[0o755, 0o644, 0o600, 0o4755, 0o2750, 0o1777, 0, 0o111, 0o6711]);
        let mut mtime = Timestamp { secs: 1_000_000 + random.below(1000) as i64, nanos: 5 };
        let attrs =
            Attrs { mode, uid: random.of(&IDS), gid: random.of(&IDS), mtime, xattrs: xattrs(random, what, mode) };
        let content = vec![b'x'; random.of(&[0, 1, 5000])];
        let rdev = random.of(&[Rdev { major: 1, minor: 3 }, Rdev::default(), Rdev { major: 240, minor: 300 }]);
        let target;
        let kind = match what {
            What::Directory => MemberKind::Directory,
            What::File => MemberKind::File(content.len() as u64),
            What::Linked => {
                let first = random.of(&files);
                entries[first].1 = What::Linked;
                (target, mtime.secs) = (entries[first].0.clone(), entries[first].2);
                MemberKind::HardLink(target.as_bytes())
            }
            What::Symlink => MemberKind::Symlink(b"somewhere/else"),
            What::Special => random.of(&[
                MemberKind::CharDevice(rdev),
                MemberKind::BlockDevice(Rdev { major: 7, minor: 240 }),
                MemberKind::Fifo,
            ]),
        };
        tar.append(&Member { path: path.as_bytes(), kind, attrs: &attrs }, &mut &content[..]).unwrap();
        if what == What::Directory {
            directories.push(path.clone());
        }
        entries.push((path, what, mtime.secs));
    }
    RandomLayer { tar: tar.finish().unwrap(), entries }
}

/// A script that only has everything copied up, or nearly everything.
pub(crate) fn touched(layer: &RandomLayer, random: &mut Random) -> String {
    let mut script = String::new();
    for (path, _, mtime) in layer.entries.iter().rev().filter(|_| !random.one_in(5)) {
        writeln!(script, "touch -c -h -d @{mtime}.000000005 {path}").unwrap();
    }
    script
}

/// A script that changes some of the layer. Whoever says which `owners` can be given away says which IDs are mapped.
pub(crate) fn changed(layer: &RandomLayer, random: &mut Random, owners: &[u32]) -> String {
    let mut script = String::new();
    let mut say = |line: String| writeln!(script, "{line}").unwrap();
    for (path, what, mtime) in layer.entries.iter().rev() {
        // What is linked has no mark that tells its copy from a new file but its size and its time.
        let may_write = *what == What::File;
        // A write takes set-uid bits away from whoever is not root of the machine (`should_remove_suid`): modes are set after. A new file in
        // a set-gid directory has the group that the directory has on disk.
        match random.below(12) {
            0 if *what != What::Symlink => {
                say(format!("chmod {:o} {path}", random.of(&[0o640, 0o1711, 0o4755, 0o777])))
            }
            1 if !matches!(what, What::File | What::Linked) => say(format!("touch -c -h -d @77 {path}")),
            2 if may_write => say(format!("printf more >> {path}; chmod 640 {path}; touch -d @78 {path}")),
            3 if may_write => say(format!(": > {path}; chmod 604 {path}; touch -d @79 {path}")),
            4 if *what != What::Directory => say(format!("rm -f {path}")),
            5 if *what != What::Directory => {
                say(format!("rm -f {path}; echo new > {path}; chown 0:0 {path}; touch -d @80 {path}; chmod 604 {path}"))
            }
            6 if *what == What::Directory => {
                say(format!(
                    "echo new > {path}/0new; chown 0:0 {path}/0new; chmod 640 {path}/0new; touch -d @81 {path}/0new"
                ));
                say(format!("touch -d @{mtime}.000000005 {path}"));
            }
            7 if *what == What::Directory => {
                say(format!("rm -rf {path}; mkdir {path}; chown 0:0 {path}; chmod 00755 {path}; touch -d @82 {path}"));
            }
            8 if may_write => say(format!("ln {path} {path}~")),
            9 => {
                let (uid, gid) = (random.of(owners), random.of(owners));
                if uid != 0 && gid != 0 {
                    say(format!("chown -h {uid}:{gid} {path}"));
                }
            }
            10 => say(format!("touch -c -h -d @{mtime}.000000005 {path}")),
            _ => {}
        }
        if let Some((parent, _)) = path.rsplit_once('/') {
            say(format!("touch -d @83 {parent}"));
        }
    }
    script
}
