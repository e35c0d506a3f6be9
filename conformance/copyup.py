"""What POSIX promises and a copy-up can break: descriptors, mappings, identity, locks, watches.

Run by conf-copyup in the directory `t` of a union whose lower has what that script made. Prints `ok NAME` or `FAIL NAME - why`
for each promise, and `end` when all were looked at.
"""

import ctypes
import errno
import fcntl
import mmap
import os
import select
import socket
import stat
import struct
import subprocess
import sys
import threading
import time

AT_FDCWD = -100
AT_SYMLINK_FOLLOW = 0x400
RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4
FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE = 1, 2
FS_IOC_SETFLAGS, FS_APPEND_FL = 0x40086602, 0x20
IN_MODIFY = 0x2
STATX_BTIME = 0x800

os.chdir(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
promises = []


def promise(check):
    promises.append(check)
    return check


def last_error():
    return errno.errorcode[ctypes.get_errno()]


def write_at(path, offset, data):
    fd = os.open(path, os.O_RDWR)
    os.pwrite(fd, data, offset)
    os.close(fd)


@promise
def ro_fd_sees_later_write():
    r = os.open("f1", os.O_RDONLY)
    os.pread(r, 10, 0)
    write_at("f1", 0, b"NEW")
    assert os.pread(r, 3, 0) == b"NEW", "the old lower file still read through the fd"


@promise
def ro_mmap_sees_later_write():
    r = os.open("f2", os.O_RDONLY)
    m = mmap.mmap(r, 0, mmap.MAP_SHARED, mmap.PROT_READ)
    m[0]
    write_at("f2", 0, b"NEW")
    assert m[:3] == b"NEW", "stale mapping"


@promise
def mmap_write_seen_by_read():
    w = os.open("f3", os.O_RDWR)
    m = mmap.mmap(w, 0)
    r = os.open("f3", os.O_RDONLY)
    m[0:3] = b"MAP"
    assert os.pread(r, 3, 0) == b"MAP"
    os.pwrite(w, b"PWR", 8192)
    assert m[8192:8195] == b"PWR"


@promise
def two_mmaps_coherent():
    a = os.open("f4", os.O_RDWR)
    b = os.open("f4", os.O_RDWR)
    x = mmap.mmap(a, 0)
    y = mmap.mmap(b, 0)
    x[5] = 90
    assert y[5] == 90
    y[70] = 91
    assert x[70] == 91


@promise
def mmap_survives_truncate_and_extend():
    w = os.open("f5", os.O_RDWR)
    os.ftruncate(w, 4096)
    os.ftruncate(w, 12288)
    m = mmap.mmap(w, 0)
    assert m[4096:12288] == b"\x00" * 8192


@promise
def private_mmap_after_unlink():
    r = os.open("f6", os.O_RDONLY)
    m = mmap.mmap(r, 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
    os.unlink("f6")
    m[0] = 1
    assert m[1:5] == b"ower" and os.fstat(r).st_nlink == 0, "nlink %d" % os.fstat(r).st_nlink


@promise
def st_ino_dev_kept_by_copyup():
    a = os.stat("f7")
    write_at("f7", 0, b"x")
    b = os.stat("f7")
    assert (a.st_ino, a.st_dev) == (b.st_ino, b.st_dev), "%r -> %r" % ((a.st_ino, a.st_dev), (b.st_ino, b.st_dev))


@promise
def fstat_of_old_ro_fd_follows():
    r = os.open("f8", os.O_RDONLY)
    fd = os.open("f8", os.O_RDWR)
    os.ftruncate(fd, 7)
    assert os.fstat(r).st_size == 7, "size %d" % os.fstat(r).st_size


@promise
def read_old_fd_after_truncate():
    r = os.open("f38", os.O_RDONLY)
    os.truncate("f38", 0)
    assert os.pread(r, 5, 0) == b"", "old data still there"


@promise
def hard_links_survive_copyup():
    write_at("h1", 0, b"Z")
    assert (
        open("h2").read()[0] == "Z" and os.stat("h1").st_ino == os.stat("h3").st_ino and (os.stat("h2").st_nlink == 3)
    ), ("link broken, nlink %d" % os.stat("h2").st_nlink)


@promise
def fchmod_on_ro_fd():
    r = os.open("f9", os.O_RDONLY)
    os.fchmod(r, 0o600)
    assert os.stat("f9").st_mode & 0o777 == 0o600


@promise
def futimens_on_ro_fd():
    r = os.open("f10", os.O_RDONLY)
    os.utime(r, (5, 7))
    assert os.stat("f10").st_mtime == 7


@promise
def fsetxattr_on_ro_fd():
    r = os.open("f11", os.O_RDONLY)
    os.setxattr(r, "user.z", b"1")
    assert os.getxattr("f11", "user.z") == b"1" and os.getxattr(r, "user.z") == b"1"


@promise
def flock_across_copyup():
    a = os.open("f12", os.O_RDONLY)
    fcntl.flock(a, fcntl.LOCK_EX)
    b = os.open("f12", os.O_RDWR)
    os.pwrite(b, b"x", 0)
    try:
        fcntl.flock(b, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return
    raise AssertionError("second LOCK_EX granted")


@promise
def posix_lock_across_copyup():
    a = os.open("f13", os.O_RDONLY)
    fcntl.lockf(a, fcntl.LOCK_SH)
    c = """import os, fcntl
b = os.open('f13', os.O_RDWR)
os.pwrite(b, b'x', 0)
try:
    fcntl.lockf(b, fcntl.LOCK_EX | fcntl.LOCK_NB)
    print('granted')
except OSError:
    print('no')
"""
    assert subprocess.check_output([sys.executable, "-c", c]).strip() == b"no", "second process got LOCK_EX"


@promise
def inotify_sees_write_after_copyup():
    n = libc.inotify_init()
    r = libc.inotify_add_watch(n, b"f14", IN_MODIFY)
    assert r >= 0
    write_at("f14", 0, b"x")
    assert select.select([n], [], [], 1)[0], "no IN_MODIFY"


@promise
def rename_lower_dir():
    os.rename("dir", "dir2")
    assert open("dir2/sub/x").read() == "x\n" and (not os.path.exists("dir"))


@promise
def readdir_d_ino_is_st_ino():
    for e in os.scandir("."):
        assert e.inode() == os.lstat(e.name).st_ino, "%s %d %d" % (e.name, e.inode(), os.lstat(e.name).st_ino)


@promise
def readdir_while_unlinking():
    os.mkdir("many")
    for i in range(3000):
        os.close(os.open("many/%d" % i, os.O_CREAT | os.O_WRONLY))
    for e in os.scandir("many"):
        os.unlink(e.path)
    os.rmdir("many")


@promise
def rmdir_dir_with_whiteouts():
    d = "dir2" if os.path.isdir("dir2") else "dir"
    for e in list(os.scandir(d)):
        if not e.is_dir():
            os.unlink(e.path)
    os.unlink(d + "/sub/x")
    os.rmdir(d + "/sub")
    os.rmdir(d)
    os.mkdir(d)
    assert os.listdir(d) == []


@promise
def mknod_char_0_0():
    os.mknod("c00", stat.S_IFCHR | 0o600, os.makedev(0, 0))
    s = os.lstat("c00")
    assert stat.S_ISCHR(s.st_mode)
    os.unlink("c00")


@promise
def names_with_wh_prefix():
    for n in (".wh.x", ".wh..opq", ".wh..wh..opq", ".wh..wh.plnk"):
        os.close(os.open(n, os.O_CREAT))
        assert n in os.listdir("."), n + " hidden"
        os.unlink(n)


@promise
def trusted_overlay_xattr_passes():
    os.setxattr("f15", "trusted.overlay.foo", b"1")
    assert os.getxattr("f15", "trusted.overlay.foo") == b"1"
    assert "trusted.overlay.foo" in os.listxattr("f15")
    os.removexattr("f15", "trusted.overlay.foo")


@promise
def user_overlay_xattr_passes():
    os.setxattr("f16", "user.overlay.opaque", b"y")
    assert os.getxattr("f16", "user.overlay.opaque") == b"y"


@promise
def xattr_acl_suid_kept_by_copyup():
    write_at("f20", 0, b"x")
    assert os.getxattr("f20", "user.a") == b"1"
    os.chown("f21", 1, 1)
    assert os.getxattr("f21", "system.posix_acl_access")
    os.utime("f22")
    assert os.stat("f22").st_mode & 0o7777 == 0o4755


@promise
def mtime_kept_by_metadata_copyup():
    m = os.stat("f23").st_mtime_ns
    os.chmod("f23", 0o640)
    assert os.stat("f23").st_mtime_ns == m


@promise
def atime_update_on_lower_read():
    a = os.stat("f24").st_atime_ns
    open("f24").read()
    time.sleep(0.05)
    assert os.stat("f24").st_atime_ns > a, "atime not moved (relatime, atime <= mtime)"


@promise
def o_tmpfile_linkat():
    try:
        fd = os.open(".", os.O_TMPFILE | os.O_RDWR)
    except OSError as e:
        raise AssertionError("O_TMPFILE " + errno.errorcode[e.errno])
    os.write(fd, b"q")
    r = libc.linkat(AT_FDCWD, b"/proc/self/fd/%d" % fd, AT_FDCWD, b"tmpf", AT_SYMLINK_FOLLOW)
    assert r == 0, last_error()
    assert open("tmpf").read() == "q"


def rename(old, new, flags):
    if libc.renameat2(AT_FDCWD, old.encode(), AT_FDCWD, new.encode(), flags):
        raise AssertionError("renameat2 " + last_error())


@promise
def rename_exchange_lower():
    rename("f17", "f18", RENAME_EXCHANGE)
    assert open("f17").read(16) == "lower content 18" and open("f18").read(16) == "lower content 17"


@promise
def rename_noreplace():
    try:
        rename("f17", "f18", RENAME_NOREPLACE)
    except AssertionError as e:
        assert "EEXIST" in str(e), e
        return
    raise AssertionError("replaced")


@promise
def rename_whiteout():
    rename("f19", "f19b", RENAME_WHITEOUT)
    assert not os.path.lexists("f19") or not stat.S_ISREG(os.lstat("f19").st_mode)


@promise
def file_handle_survives_copyup():
    fh = ctypes.create_string_buffer(struct.pack("Ii", 128, 0) + b"\x00" * 128)
    mid = ctypes.c_int()
    if libc.name_to_handle_at(AT_FDCWD, b"f25", fh, ctypes.byref(mid), 0):
        raise AssertionError("name_to_handle_at " + last_error())
    write_at("f25", 0, b"NEW")
    d = os.open(".", os.O_RDONLY)
    fd = libc.open_by_handle_at(d, fh, os.O_RDONLY)
    if fd < 0:
        raise AssertionError("open_by_handle_at " + last_error())
    assert os.pread(fd, 3, 0) == b"NEW"


@promise
def fallocate_punch_keepsize():
    fd = os.open("f26", os.O_RDWR)
    if libc.fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, ctypes.c_long(4096), ctypes.c_long(8192)):
        raise AssertionError(last_error())
    assert os.pread(fd, 8192, 4096) == b"\x00" * 8192 and os.fstat(fd).st_size == 65553


@promise
def seek_hole_data():
    fd = os.open("sp", os.O_CREAT | os.O_RDWR)
    os.ftruncate(fd, 1 << 20)
    os.pwrite(fd, b"x" * 4096, 1 << 19)
    os.fsync(fd)
    assert os.lseek(fd, 0, os.SEEK_DATA) == 1 << 19, "no holes"


@promise
def copy_file_range_lower_to_new():
    a = os.open("f27", os.O_RDONLY)
    b = os.open("cfr", os.O_CREAT | os.O_RDWR)
    assert os.copy_file_range(a, b, 65553) > 0 and os.pread(b, 5, 0) == b"lower"


@promise
def o_direct_rw():
    fd = os.open("dio", os.O_CREAT | os.O_RDWR | os.O_DIRECT)
    m = mmap.mmap(-1, 4096)
    m[:3] = b"dio"
    assert os.pwritev(fd, [m], 0) == 4096
    n = mmap.mmap(-1, 4096)
    assert os.preadv(fd, [n], 0) == 4096 and n[:3] == b"dio"


@promise
def fifo_in_lower():
    t = threading.Thread(target=lambda: open("ff", "w").write("hi"))
    t.start()
    fd = os.open("ff", os.O_RDONLY | os.O_NONBLOCK)
    time.sleep(0.3)
    assert os.read(fd, 2) == b"hi"
    t.join()


@promise
def etxtbsy_lower_exec():
    p = subprocess.Popen(["./exe", "2"])
    time.sleep(0.2)
    try:
        fd = os.open("exe", os.O_WRONLY)
    except OSError as e:
        assert e.errno == errno.ETXTBSY
        return
    finally:
        p.kill()
        p.wait()
    raise AssertionError("opened a running program for writing")


@promise
def o_append_two_writers():
    a = os.open("f28", os.O_WRONLY | os.O_APPEND)
    b = os.open("f28", os.O_WRONLY | os.O_APPEND)
    s = os.fstat(a).st_size
    os.write(a, b"aa")
    os.write(b, b"bb")
    fd = os.open("f28", os.O_RDONLY)
    assert os.pread(fd, 4, s) == b"aabb"


@promise
def unlinked_open_lower_writable():
    fd = os.open("f29", os.O_RDWR)
    os.unlink("f29")
    os.pwrite(fd, b"gone", 0)
    assert os.pread(fd, 4, 0) == b"gone" and os.fstat(fd).st_nlink == 0, "nlink %d" % os.fstat(fd).st_nlink


@promise
def o_path_reopen_proc():
    p = os.open("f30", os.O_PATH)
    write_at("f30", 0, b"NEW")
    r = os.open("/proc/self/fd/%d" % p, os.O_RDONLY)
    assert os.pread(r, 3, 0) == b"NEW"


@promise
def fsync_dir_and_syncfs():
    d = os.open(".", os.O_RDONLY)
    os.fsync(d)
    assert libc.syncfs(d) == 0


@promise
def statx_btime():
    b = ctypes.create_string_buffer(256)
    assert libc.statx(AT_FDCWD, b"f31", 0, STATX_BTIME, b) == 0
    assert struct.unpack_from("I", b, 0)[0] & STATX_BTIME, "no STATX_BTIME"


@promise
def chattr_flags_on_upper():
    fd = os.open("fl", os.O_CREAT | os.O_RDWR)
    v = ctypes.c_long(FS_APPEND_FL)
    if libc.ioctl(fd, FS_IOC_SETFLAGS, ctypes.byref(v)):
        raise AssertionError("FS_IOC_SETFLAGS " + last_error())
    try:
        try:
            os.pwrite(fd, b"x", 0)
            os.open("fl", os.O_RDWR)
            raise AssertionError("append-only not enforced")
        except PermissionError:
            pass
    finally:
        v = ctypes.c_long(0)
        libc.ioctl(fd, FS_IOC_SETFLAGS, ctypes.byref(v))


@promise
def unix_socket_bind_connect():
    s = socket.socket(socket.AF_UNIX)
    s.bind("so2")
    s.listen()
    c = socket.socket(socket.AF_UNIX)
    c.connect("so2")


for check in promises:
    try:
        check()
        print("ok  ", check.__name__, flush=True)
    except Exception as error:
        kind = "" if isinstance(error, AssertionError) else type(error).__name__ + " "
        print("FAIL", check.__name__, "-", kind + str(error)[:140], flush=True)
print("end")
