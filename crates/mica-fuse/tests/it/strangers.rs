//! Users against each other on one mount of root's: what one may do to another's files, and what is left of rights afterwards, is what a plain directory
//! makes of the same.

use std::fs;
use std::process::Command;

use mica_testkit::needs;

use crate::stage::stage;

/// The same files of two users, in the lower and in a plain directory; then each attempt of the first user, in both.
const PLAY: &str = r#"
import ctypes, errno, fcntl, os, stat, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
A, B = 790011, 790012
CAP = bytes.fromhex("0000000200040000000000000000000000000000")

def fill(root):
    os.chmod(root, 0o777)
    def dir(name, uid, mode): os.mkdir(root + "/" + name); os.chown(root + "/" + name, uid, uid); os.chmod(root + "/" + name, mode)
    def file(name, uid, gid, mode, cap=None):
        path = root + "/" + name
        with open(path, "w") as file: file.write("of " + name)
        os.chown(path, uid, gid); os.chmod(path, mode)
        if cap: os.setxattr(path, "security.capability", cap)
    for name, uid, mode in [("sticky", 0, 0o1777), ("closed", B, 0o700), ("blind", B, 0o711), ("seen", B, 0o744), ("shared", B, 0o2777), ("own", A, 0o755), ("own/b", B, 0o755)]: dir(name, uid, mode)
    for name, uid, gid, mode in [("sticky/a", A, A, 0o644), ("sticky/b", B, B, 0o666), ("closed/f", B, B, 0o644), ("blind/f", B, B, 0o644), ("seen/f", B, B, 0o666), ("own/f", A, A, 0o644),
        ("own/b/f", B, B, 0o644), ("suid", B, B, 0o6777), ("suid2", B, B, 0o6777), ("suid3", 0, 0, 0o4777), ("mine", A, A, 0o6755), ("mine2", A, B, 0o2755), ("theirs", B, B, 0o644), ("open", B, B, 0o666), ("roots", 0, 0, 0o600), ("group", B, A, 0o664)]: file(name, uid, gid, mode)
    file("able", B, B, 0o777, CAP); file("able2", A, A, 0o755, CAP)
    # The first user may write by a list, and only by that.
    list = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in [(1, 6, 0xffffffff), (2, 6, A), (4, 4, 0xffffffff), (16, 6, 0xffffffff), (32, 0, 0xffffffff)])
    file("listed", B, B, 0o640); os.setxattr(root + "/listed", "system.posix_acl_access", list)
    for name in ("theirs", "own/f"): os.setxattr(root + "/" + name, "trusted.t", b"1"); os.setxattr(root + "/" + name, "user.u", b"1")

if sys.argv[1] == "fill": fill(sys.argv[2]); sys.exit()

def shown(path):
    found = os.lstat(path); return oct(found.st_mode), found.st_uid, found.st_gid, found.st_size if stat.S_ISREG(found.st_mode) else 0
def opened(path, flags, then=lambda fd: None):
    fd = os.open(path, flags, 0o6777)
    try: return then(fd)
    finally: os.close(fd)
def checked(result):
    if result < 0: raise OSError(ctypes.get_errno(), "")
    return result
def flip(path, bit):
    def flags(fd):
        word = bytearray(8); fcntl.ioctl(fd, 0x80086601, word)
        fcntl.ioctl(fd, 0x40086602, struct.pack("q", struct.unpack("q", word)[0] ^ bit))
    return opened(path, os.O_RDONLY, flags)
def handle(path):
    word = ctypes.create_string_buffer(136); struct.pack_into("Ii", word, 0, 128, 0); mount = ctypes.c_int()
    checked(libc.name_to_handle_at(-100, path.encode(), word, ctypes.byref(mount), 0))
    return opened(".", os.O_RDONLY, lambda fd: checked(libc.open_by_handle_at(fd, word, 0)) and 0)
def copied(path): return opened("own/f", os.O_RDONLY, lambda source: opened(path, os.O_RDWR, lambda fd: os.copy_file_range(source, fd, 2)))

attempts = [(str(number), attempt) for number, attempt in enumerate([
    lambda: os.unlink("sticky/b"), lambda: os.rename("sticky/b", "sticky/c"), lambda: os.rename("sticky/a", "sticky/b"), lambda: os.link("sticky/b", "sticky/l"),
    lambda: opened("sticky/b", os.O_WRONLY | os.O_CREAT), lambda: checked(libc.renameat2(-100, b"sticky/a", -100, b"sticky/b", 2)), lambda: sorted(os.listdir("sticky")),
    lambda: os.listdir("closed"), lambda: open("closed/f").read(), lambda: os.listdir("blind"), lambda: open("blind/f").read(), lambda: os.listdir("seen"), lambda: shown("seen/f"),
    # Rights go with content that somebody else changes, however it is changed.
    lambda: opened("suid", os.O_WRONLY, lambda fd: os.write(fd, b"x")), lambda: shown("suid"), lambda: copied("suid2"), lambda: shown("suid2"),
    lambda: opened("suid3", os.O_RDWR, lambda fd: os.posix_fallocate(fd, 0, 4)), lambda: shown("suid3"), lambda: opened("mine", os.O_WRONLY, lambda fd: os.write(fd, b"x")), lambda: shown("mine"),
    lambda: os.chown("mine2", -1, A), lambda: shown("mine2"), lambda: os.chmod("own/f", 0o6755), lambda: shown("own/f"),
    lambda: opened("able", os.O_WRONLY, lambda fd: os.write(fd, b"x")), lambda: os.getxattr("able", "security.capability"), lambda: os.chown("able2", -1, A), lambda: os.getxattr("able2", "security.capability"),
    lambda: os.setxattr("own/f", "security.capability", CAP), lambda: os.setxattr("own/f", "security.x", b"1"),
    lambda: os.getxattr("own/f", "trusted.t"), lambda: os.setxattr("own/f", "trusted.t", b"2"), lambda: sorted(os.listxattr("own/f")), lambda: os.setxattr("theirs", "user.u", b"2"),
    *[lambda name=name, at=at: (os.setxattr(at, name, b"y"), os.getxattr(at, name), sorted(os.listxattr(at))) for at in ("own/f", "own") for name in
        ("trusted.overlay.opaque", "user.overlay.opaque", "user.overlay.whiteout", "user.overlay.redirect", "user.overlay.mica.ino", "user.fuseoverlayfs.opaque", "overlay.x")], lambda: sorted(os.listdir("own")),
    lambda: open("roots").read(), lambda: os.truncate("roots", 0), lambda: os.chmod("theirs", 0o777), lambda: os.chown("theirs", A, A), lambda: os.chown("own/f", B, -1), lambda: os.chown("own/f", -1, B),
    lambda: os.utime("theirs"), lambda: os.utime("open", (1, 1)), lambda: os.utime("open"), lambda: opened("theirs", os.O_RDONLY | os.O_NOATIME), lambda: opened("own/f", os.O_RDONLY | os.O_NOATIME),
    lambda: opened("theirs", os.O_RDONLY | os.O_TRUNC), lambda: open("theirs").read(), lambda: flip("open", 0x40), lambda: flip("own/f", 0x10), lambda: flip("own/f", 0x40), lambda: handle("theirs"),
    lambda: os.mknod("zero", stat.S_IFCHR | 0o666, 0), lambda: os.mknod("null", stat.S_IFCHR | 0o666, os.makedev(1, 3)), lambda: os.mknod("disk", stat.S_IFBLK | 0o666, os.makedev(8, 0)), lambda: os.mknod("pipe", stat.S_IFIFO | 0o666),
    lambda: open("listed").read(), lambda: opened("listed", os.O_WRONLY, lambda fd: os.write(fd, b"x")), lambda: os.chmod("listed", 0o777), lambda: opened("group", os.O_WRONLY),
    lambda: opened("shared/f", os.O_WRONLY | os.O_CREAT), lambda: shown("shared/f"), lambda: os.mkdir("shared/d", 0o7777), lambda: shown("shared/d"), lambda: os.chmod("shared/f", 0o2755), lambda: shown("shared/f"),
    lambda: os.link("suid3", "l"), lambda: os.link("theirs", "l2"), lambda: os.link("roots", "l3"), lambda: os.rename("own", "own2"), lambda: os.rename("own2/b", "own2/c"), lambda: os.rename("own2/c", "shared/c"),
    lambda: os.rmdir("own2/c"), lambda: sorted(os.listdir("own2")), lambda: opened(".wh.x", os.O_WRONLY | os.O_CREAT), lambda: sorted(os.listdir(".")),
])]

def attempted(attempt, where, is_root_of_own):
    reader, writer = os.pipe(); pid = os.fork()
    if pid == 0:
        try:
            os.chdir(where); os.setgroups([]); os.setresgid(A, A, A); os.setresuid(A, A, A); os.umask(0o022)
            if is_root_of_own:
                # What changed its user may not write its map unless it may be looked at.
                checked(libc.prctl(4, 1)); checked(libc.unshare(0x10000000))
                for name, text in [("setgroups", "deny"), ("uid_map", "0 %d 1" % A), ("gid_map", "0 %d 1" % A)]: open("/proc/self/" + name, "w").write(text)
            try: said = repr(attempt())
            except OSError as error: said = errno.errorcode.get(error.errno, str(error))
            os.write(writer, said.encode())
        finally: os._exit(0)
    os.close(writer)
    with open(reader, "rb") as said: text = said.read().decode()
    os.waitpid(pid, 0); return text

os.chmod(".", 0o777)
done = differ = 0
for number, attempt in attempts:
    plain, union = (attempted(attempt, where, sys.argv[1] == "namespace") for where in (sys.argv[2], "."))
    done += plain not in ("", "None"); differ += plain != union
    if plain != union: print("attempt", number, "at a plain directory:", plain, "here:", union)
print(done > 60, differ)
"#;

/// Lets the first user try everything, as what `who` says.
fn play(who: &str) {
    let fill = |at: &std::path::Path| {
        let filled = Command::new("python3").args(["-c", PLAY, "fill"]).arg(at).status();
        assert!(filled.unwrap().success());
    };
    stage(fill, |stage| {
        let plain = stage.beside("plain");
        fs::create_dir(&plain).unwrap();
        fill(&plain);
        fs::write(stage.beside("tmp/play.py"), PLAY).unwrap();
        assert_eq!(stage.sh(120, &format!("python3 $S/tmp/play.py {who} $S/plain")), "True 0");
    });
}

#[test]
fn one_user_may_do_to_another_what_a_plain_directory_lets_him() {
    needs!(root, fuse, program "python3");
    play("user");
}

/// Whoever is root of a user namespace of his own is nobody to files that it does not map.
#[test]
fn nor_may_the_root_of_a_users_own_namespace_do_more() {
    needs!(root, fuse, ordinary_user, program "python3");
    play("namespace");
}
