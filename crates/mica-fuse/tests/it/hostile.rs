//! A client that opens the files of a lower in every way and in every order, and keeps all of it open: what one writes all others read, and the
//! lower is what it was.

use std::fs;
use std::path::Path;

use mica_testkit::{FuseRings, needs};

use crate::stage::{is_long, stage_with};

/// What is done to one file, as a program: it takes the size of the files and how many steps a sequence has.
///
/// After each step, whatever is open for reading, mapped or reached by name has the same bytes as an array in memory that the same
/// was done to. A private mapping has them until somebody writes to the file, after which nobody promises anything.
const CLIENT: &str = r#"
import ctypes, itertools, mmap, os, sys
size, length = int(sys.argv[1]), int(sys.argv[2])
libc = ctypes.CDLL(None, use_errno=True)

class Case:
    def __init__(self, number):
        self.name, self.fds, self.maps, self.step = "f%d" % number, [], [], 0
        self.bytes = bytearray(b"%06d" % number + b"lower" * size)[:size]

    def open(self, flags):
        fd = os.open(self.name, flags)
        if flags & 3 != os.O_WRONLY and not flags & (os.O_PATH | os.O_DIRECT):
            self.fds.append(fd)
        else:
            self.others.append(fd)
        return fd

    def put(self, at, data):
        self.bytes[at:at + len(data)] = data

    def new(self):
        self.step += 1
        return b"step%d" % self.step

    # What may be done; each may find the file empty.
    def read_only(self): self.open(os.O_RDONLY)
    def read_write(self):
        new = self.new(); os.pwrite(self.open(os.O_RDWR), new, 3); self.grow(3); self.put(3, new)
    def write_only(self):
        new = self.new(); os.pwrite(self.open(os.O_WRONLY), new, 0); self.put(0, new)
    def append(self):
        new = self.new(); os.write(self.open(os.O_WRONLY | os.O_APPEND), new); self.put(len(self.bytes), new)
    def cut(self): self.open(os.O_RDWR | os.O_TRUNC); self.bytes.clear(); self.maps.clear()
    def cut_by_reader(self):
        # Whoever may write to the file truncates it so, though the descriptor only reads.
        self.open(os.O_RDONLY | os.O_TRUNC); self.bytes.clear(); self.maps.clear()
    def truncate(self):
        # No mapping reaches behind the end: that is SIGBUS everywhere.
        self.maps.clear(); keep = min(len(self.bytes), 10); os.truncate(self.name, keep); del self.bytes[keep:]
        # By the path: of this copy-up no open file is told.
        os.truncate(self.name, keep + 20); self.grow(keep + 20)
    def map_reading(self):
        if self.bytes: self.maps.append(mmap.mmap(self.open(os.O_RDONLY), 0, mmap.MAP_SHARED, mmap.PROT_READ))
    def map_writing(self):
        if self.bytes:
            memory = mmap.mmap(self.open(os.O_RDWR), 0)
            new = self.new()[:len(self.bytes)]; memory[0:len(new)] = new; self.put(0, new); self.maps.append(memory)
    def map_private(self):
        if self.bytes:
            memory = mmap.mmap(self.open(os.O_RDONLY), 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
            memory[0:1] = b"!"; memory.close()
    def by_proc(self):
        # A descriptor that was opened for reading is opened anew for writing, which follows the inode and not the name.
        path = self.open(os.O_PATH); fd = os.open("/proc/self/fd/%d" % path, os.O_RDWR); self.others.append(fd)
        new = self.new(); os.pwrite(fd, new, 1); self.grow(1); self.put(1, new)
    def by_reader(self):
        fd = self.open(os.O_RDONLY); again = os.open("/proc/self/fd/%d" % fd, os.O_WRONLY); self.others.append(again)
        new = self.new(); os.pwrite(again, new, 2); self.grow(2); self.put(2, new)
    def by_link(self):
        link = self.name + ".link%d" % self.step; os.link(self.name, link); new = self.new()
        fd = os.open(link, os.O_WRONLY); os.pwrite(fd, new, 4); os.close(fd); os.unlink(link); self.grow(4); self.put(4, new)
    def renamed(self):
        os.rename(self.name, self.name + "r"); self.name += "r"
        new = self.new(); fd = os.open(self.name, os.O_WRONLY); os.pwrite(fd, new, 5); os.close(fd); self.grow(5); self.put(5, new)
    def attributes(self):
        os.chmod(self.name, 0o600 + self.step); os.utime(self.name, (1, 1)); os.setxattr(self.name, "user.h", b"x")
    def by_fd(self):
        fd = self.open(os.O_RDONLY); os.fchmod(fd, 0o644); os.fchown(fd, 5, 6)
    def allocate(self):
        fd = self.open(os.O_RDWR); end = len(self.bytes); os.posix_fallocate(fd, end, 7); self.grow(end + 7)
    def copied_into(self):
        one, other = os.open("source", os.O_RDONLY), self.open(os.O_RDWR)
        os.copy_file_range(one, other, 8, 0, 0); os.close(one); self.put(0, b"sourcesr"[:8])
    def sent_into(self):
        one, other = os.open("source", os.O_RDONLY), self.open(os.O_RDWR)
        os.sendfile(other, one, 0, 8); os.close(one); self.put(0, b"sourcesr"[:8])
    def direct(self):
        fd = self.open(os.O_RDWR | os.O_DIRECT); page = mmap.mmap(-1, 4096)
        page[:] = b"D" * 4096; os.pwritev(fd, [page], 0); self.put(0, bytes(page)); page.close()
    def unlinked(self):
        if not self.gone:
            os.unlink(self.name); self.gone = True
            new = self.new()
            for fd in self.fds[:1]:
                again = os.open("/proc/self/fd/%d" % fd, os.O_WRONLY); os.pwrite(again, new, 0); os.close(again); self.put(0, new)

    def grow(self, to):
        if len(self.bytes) < to: self.bytes.extend(b"\0" * (to - len(self.bytes)))

    def look(self):
        wanted = bytes(self.bytes)
        for fd in self.fds:
            for who in ["the page cache", "the server"]:
                found = os.pread(fd, size * 2 + 9000, 0)
                assert found == wanted, "descriptor %d of %s, from %s: %s" % (fd, self.fds, who, differ(wanted, found))
                # What is clean is forgotten, and asked for again.
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            assert os.fstat(fd).st_size == len(wanted), "size %d, not %d" % (os.fstat(fd).st_size, len(wanted))
        for memory in self.maps:
            found = memory[:]
            assert found == wanted[:len(found)].ljust(len(found), b"\0"), "mapping: " + differ(wanted, found)
        if not self.gone:
            with open(self.name, "rb") as file: found = file.read()
            assert found == wanted, "by name: " + differ(wanted, found)

    def play(self, steps):
        self.others, self.gone = [], False
        for step in steps:
            if self.gone and step not in (Case.read_only, Case.read_write): continue
            if self.gone: break
            step(self); self.look()
        for fd in self.fds + self.others: os.close(fd)
        for memory in self.maps: memory.close()
        if not self.gone:
            with open(self.name, "rb") as file: assert file.read() == bytes(self.bytes), "after all was closed"

def differ(wanted, found):
    at = next((n for n, (a, b) in enumerate(zip(wanted, found)) if a != b), min(len(wanted), len(found)))
    return "at %d: %r, not %r (%d bytes of %d)" % (at, found[at:at + 12], wanted[at:at + 12], len(found), len(wanted))

ways = [Case.read_only, Case.read_write, Case.write_only, Case.append, Case.cut, Case.cut_by_reader, Case.truncate, Case.map_reading,
    Case.map_writing, Case.map_private, Case.by_proc, Case.by_reader, Case.by_link, Case.renamed, Case.attributes, Case.by_fd,
    Case.allocate, Case.copied_into, Case.sent_into, Case.direct, Case.unlinked]
broken = 0
for number, steps in enumerate(itertools.product(ways, repeat=length)):
    if not os.path.exists("f%d" % number): break
    try: Case(number).play(steps)
    except (AssertionError, OSError) as error:
        broken += 1
        if broken < 12: print(" ".join(step.__name__ for step in steps), "-", type(error).__name__, error)
print(number + 1, "sequences,", broken, "broken")
"#;

/// How many ways there are.
const WAYS: usize = 21;

/// A lower with a file for each sequence.
fn lower(at: &Path, size: usize, files: usize) {
    fs::write(at.join("source"), "sourcesrc".repeat(100)).unwrap();
    for number in 0..files {
        let mut bytes = format!("{number:06}").into_bytes();
        bytes.extend(b"lower".iter().cycle().take(size));
        bytes.truncate(size);
        fs::write(at.join(format!("f{number}")), bytes).unwrap();
    }
}

fn play(options: &str, size: usize, length: u32) {
    let files = WAYS.pow(length);
    stage_with(
        options,
        |at| lower(at, size, files),
        |stage| {
            fs::write(stage.beside("tmp/client.py"), CLIENT).unwrap();
            let said = stage.sh(600, &format!("python3 $S/tmp/client.py {size} {length}"));
            assert_eq!(said, format!("{files} sequences, 0 broken"));
            stage.assert_lowers_whole("the client, while it is mounted");
        },
    );
}

#[test]
fn whatever_opens_a_small_file_sees_the_same_and_leaves_the_lower_alone() {
    needs!(root, fuse, program "python3");
    play("", 5_000, if is_long() { 3 } else { 2 });
}

/// Big enough for the kernel to be handed the file itself (passthrough), which must be a view of it that nobody can write by.
#[test]
fn whatever_opens_a_big_file_sees_the_same_and_leaves_the_lower_alone() {
    needs!(root, fuse, program "python3");
    play("", 600_000, 2);
}

#[test]
fn so_it_is_without_passthrough() {
    needs!(root, fuse, program "python3");
    play(",passthrough=off", 600_000, if is_long() { 2 } else { 1 });
}

#[test]
fn so_it_is_by_rings() {
    needs!(root, rings, program "python3");
    let _on = FuseRings::on();
    play(",transport=ring", 5_000, 2);
}
