//! Programs that people run, on the union: what they wrote is there, they find nothing wrong, and no lower changes.
//!
//! `MICA_FUSE_LONG=1` gives each many times the work.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use mica_testkit::{debian_tar, needs};

use crate::stage::{Stage, is_long, said, stage};

/// The user `nobody`, for what refuses to run as root and looks its user up.
const SOMEBODY: u32 = 65_534;

/// Runs a script in a directory that is no union, to make a lower.
fn make(at: &Path, script: &str) {
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", script]).current_dir(at).env("HOME", at).env("LC_ALL", "C");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{script}\n{}", said(&output));
}

/// Identity for commits, and no settings of the machine.
const GIT: &str = "export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
    export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null";

#[test]
fn git_clones_commits_moves_directories_and_finds_its_objects_whole() {
    needs!(root, fuse, program "git");
    let lower = |at: &Path| {
        let script = "git init -q -b main repo; cd repo
            for dir in src src/deep/deeper docs; do
                mkdir -p $dir; for i in $(seq 30); do seq $i $((i * 40)) >$dir/file$i; done
            done
            ln -s ../docs src/link; chmod +x src/file1
            git add -A; git commit -qm one
            for i in $(seq 5); do echo $i >>src/file$i; git commit -qam \"change $i\"; done
            git tag -a -m tagged v1";
        make(at, &format!("{GIT}\n{script}"));
    };
    stage(lower, |stage| {
        let work = "test -z \"$(git -C repo status --porcelain)\"
            git clone -q --no-hardlinks repo copy
            git clone -q --local repo linked
            cd repo
            git mv src/deep elsewhere; git mv docs src/papers; git mv src source
            git commit -qm moved
            git checkout -q -b side v1; echo side >>docs/file1; git commit -qam side
            git checkout -q main; git merge -q -m merged side
            echo dirty >source/file9; git stash -q; git stash pop -q; git checkout -q .
            git gc -q --prune=now --aggressive; git repack -qadf; git fsck --full --strict
            git -C ../copy pull -q --no-rebase ../repo main; git -C ../copy fsck --full; git -C ../linked fsck --full
            git worktree add -q ../tree v1; test -z \"$(git -C ../tree status --porcelain)\"";
        stage.sh(120, &format!("{GIT}\n{work}"));
        let state = "git -C repo status --porcelain; git -C repo rev-parse HEAD; ls -1R repo/source | sha256sum";
        let before = stage.sh(20, state);
        assert_eq!(before.lines().count(), 2, "nothing is dirty: {before}");
        stage.remount();
        assert_eq!(stage.sh(20, state), before);
        let there = "test -x repo/source/file1; test -e repo/source/papers/file1; test ! -e repo/src";
        stage.sh(30, &format!("git -C repo fsck --full; {there}"));
    });
}

/// Waits for its lock like any program, and commits one row at a time.
const WRITER: &str = r#"
import sqlite3, sys
database = sqlite3.connect("data/base.db", timeout=60, isolation_level=None)
for number in range(int(sys.argv[2])):
    database.execute("BEGIN IMMEDIATE")
    database.execute("INSERT INTO rows VALUES (?, ?, randomblob(300))", (sys.argv[1], number))
    database.execute("UPDATE sum SET n = n + 1")
    database.execute("COMMIT")
"#;

const DATABASE: &str = r#"
import os, sqlite3
os.mkdir("data")
database = sqlite3.connect("data/base.db", isolation_level=None)
database.execute("PRAGMA journal_mode=WAL")
database.execute("CREATE TABLE rows (who, n, filler)")
database.execute("CREATE TABLE sum (n)")
database.execute("INSERT INTO sum VALUES (0)")
database.execute("BEGIN")
for n in range(500):
    database.execute("INSERT INTO rows VALUES (0, ?, randomblob(500))", (n,))
database.execute("COMMIT")
"#;

const LOOK: &str = r#"
import sqlite3
database = sqlite3.connect("data/base.db")
for ask in ["PRAGMA integrity_check", "PRAGMA journal_mode", "SELECT n FROM sum", "SELECT count(*) FROM rows"]:
    print(database.execute(ask).fetchone()[0])
"#;

#[test]
fn sqlite_keeps_what_three_writers_commit() {
    needs!(root, fuse, program "python3");
    let lower = |at: &Path| {
        for (name, text) in [("writer.py", WRITER), ("database.py", DATABASE), ("look.py", LOOK)] {
            fs::write(at.join(name), text).unwrap();
        }
        make(at, "python3 database.py");
    };
    stage(lower, |stage| {
        let rows = if is_long() { 5_000 } else { 150 };
        let all = "all=; for who in 1 2 3; do python3 writer.py $who $ROWS & all=\"$all $!\"; done";
        stage.sh(300, &format!("ROWS={rows}; {all}; for one in $all; do wait $one; done"));
        let wanted = format!("ok\nwal\n{}\n{}", 3 * rows, 500 + 3 * rows);
        assert_eq!(stage.sh(30, "python3 look.py"), wanted);
        stage.remount();
        assert_eq!(stage.sh(30, "python3 look.py"), wanted);
    });
}

/// Where PostgreSQL's own programs are, of which Debian puts none on the path.
fn postgres_programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").unwrap().flatten();
    versions.map(|version| version.path().join("bin")).find(|bin| bin.join("initdb").exists()).unwrap()
}

/// A script of an ordinary user, with PostgreSQL's programs.
fn as_somebody(script: &str) -> String {
    let path = postgres_programs();
    let quoted = script.replace('\'', r"'\''");
    format!(
        "exec setpriv --reuid {SOMEBODY} --regid {SOMEBODY} --clear-groups env PATH={}:$PATH bash -euo pipefail -c '{quoted}'",
        path.display()
    )
}

const START: &str = "export PGHOST=$S/tmp PGUSER=somebody PGDATABASE=postgres
    settings=\"-c listen_addresses= -c unix_socket_directories=$S/tmp\"
    pg_ctl -D db -l db/log -w -t 60 -o \"$settings\" start >/dev/null || { tail -20 db/log; exit 1; }";

/// What pgbench adds to accounts, tellers and branches is the same sum, and what was committed beside it is there.
const SUMS: &str = "psql -At -c \"SELECT
    (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(bbalance) FROM pgbench_branches),
    (SELECT sum(tbalance) FROM pgbench_tellers) = (SELECT sum(delta) FROM pgbench_history),
    (SELECT count(*) FROM kept), (SELECT count(*) > 0 FROM pgbench_history)\"";

#[test]
fn postgres_loses_nothing_in_a_crash() {
    needs!(root, fuse, program "pgbench");
    let lower = |at: &Path| {
        chown(at, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
        let init = "initdb -D db -A trust -U somebody --no-sync -E UTF8 --locale=C --data-checksums >/dev/null";
        make(at, &as_somebody(init));
    };
    stage(lower, |stage| {
        chown(stage.beside("tmp"), Some(SOMEBODY), Some(SOMEBODY)).unwrap();
        let (scale, seconds) = if is_long() { (10, 60) } else { (1, 3) };
        let work = format!(
            "{START}
            pgbench -q -i -s {scale} 2>/dev/null
            psql -qc 'CREATE TABLE kept (n int)'
            (pgbench -n -c 4 -j 2 -T {seconds} >$S/tmp/bench 2>&1 || true) &
            for n in $(seq 20); do psql -qc \"INSERT INTO kept VALUES ($n)\"; sleep 0.0$((n % 9)); done
            first=$(head -1 db/postmaster.pid); kill -STOP $first; kill -KILL $(pgrep -P $first); kill -KILL $first; wait
            rm db/postmaster.pid $S/tmp/.s.PGSQL.5432.lock # Nobody may have waited for it yet: then it looks alive."
        );
        stage.sh(200, &as_somebody(&work));
        stage.remount();
        let after = format!(
            "{START}; {SUMS}; vacuumdb -q -a --full; psql -qc 'REINDEX DATABASE postgres'; {SUMS}
            pg_ctl -D db -w -m fast stop >/dev/null; pg_checksums -D db -c | grep Bad"
        );
        let found = stage.sh(100, &as_somebody(&after));
        let lines: Vec<_> = found.lines().collect();
        assert_eq!(lines[..2], ["t|t|20|t", "t|t|20|t"], "{found}");
        assert!(lines[2].ends_with(" 0"), "{found}");
    });
}

const MAKEFILE: &str = "OBJECTS = $(patsubst %.cc,%.o,$(wildcard *.cc))
all: program
program: $(OBJECTS)
\tc++ -o $@ $^
%.o: %.cc
\tc++ -c -o $@ $<
clean:
\trm -f program *.o
";

#[test]
fn make_builds_once_and_then_finds_nothing_to_do() {
    needs!(root, fuse, program "make", program "c++");
    let lower = |at: &Path| {
        fs::write(at.join("Makefile"), MAKEFILE).unwrap();
        let sources = "for i in $(seq 12); do echo \"int f$i() { return $i; }\" >f$i.cc; done
            echo 'int f3(); int main() { return f3() == 3 ? 0 : 1; }' >main.cc";
        make(at, &format!("{sources}\nmake -s f1.o f2.o"));
    };
    stage(lower, |stage| {
        let built = stage.sh(120, "make -j2 all | grep -c -- '-c -o'; ./program; make -q all && echo nothing");
        assert_eq!(built, "11\nnothing", "two of thirteen were built in the lower");
        stage.remount();
        assert_eq!(stage.sh(60, "make -q all && echo nothing; ./program"), "nothing");
        let again = "sleep 0.01; touch f5.cc; make all | grep -c -- '-c -o'; make -s clean; find . -name '*.o' | wc -l";
        assert_eq!(stage.sh(60, again), "1\n0");
    });
}

#[test]
fn cargo_builds_and_tests_a_crate() {
    needs!(root, fuse);
    let lower = |at: &Path| {
        let script = r#"mkdir src
            printf '[package]\nname = "small"\nversion = "0.1.0"\nedition = "2021"\n[workspace]\n' >Cargo.toml
            echo 'pub fn twice(n: u32) -> u32 { 2 * n } #[test] fn doubles() { assert_eq!(twice(2), 4); }' >src/lib.rs
            echo 'fn main() { println!("{}", small::twice(21)); }' >src/main.rs"#;
        make(at, script);
    };
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let home = std::env::var("HOME").unwrap_or_default();
    stage(lower, |stage| {
        let set = format!("unset CARGO_TARGET_DIR RUSTFLAGS CARGO_MANIFEST_DIR; export HOME={home}; cargo={cargo}");
        let run = "$cargo run -q --offline; $cargo test -q --offline >/dev/null; echo tested";
        assert_eq!(stage.sh(200, &format!("{set}; {run}")), "42\ntested");
        stage.remount();
        let again = "$cargo build --offline 2>&1 | grep -c Compiling || true; $cargo clean -q --offline; ls";
        assert_eq!(stage.sh(100, &format!("{set}; {again}")), "0\nCargo.lock\nCargo.toml\nsrc");
    });
}

/// Two versions of a package, in the root of a Debian.
const PACKAGES: &str = r"mkdir -p made/DEBIAN made/usr/share/small made/etc
    printf 'Package: small\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b>\nDescription: small\n' >made/DEBIAN/control
    printf '/etc/small.conf\n' >made/DEBIAN/conffiles; echo one >made/etc/small.conf
    printf '#!/bin/sh\nset -e\necho configured >/usr/share/small/state\n' >made/DEBIAN/postinst
    chmod 755 made/DEBIAN/postinst
    for i in $(seq 50); do echo $i >made/usr/share/small/$i; done
    dpkg-deb -b --root-owner-group made small.deb >/dev/null
    sed -i 's/Version: 1/Version: 2/' made/DEBIAN/control; rm made/usr/share/small/7; echo new >made/usr/share/small/8
    dpkg-deb -b --root-owner-group made small2.deb >/dev/null; rm -r made";

#[test]
fn dpkg_installs_and_removes_in_a_debian() {
    needs!(root, fuse, program "mmdebstrap");
    let tar = debian_tar(Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap();
    let lower = |at: &Path| {
        let less = "--exclude=./dev/* --exclude=./usr/share/doc --exclude=./usr/share/locale";
        make(at, &format!("tar -xf {} {less}", tar.display()));
        make(at, PACKAGES);
        make(at, "mknod -m 666 dev/null c 1 3");
    };
    stage(lower, |stage| {
        let install = "chroot . dpkg -i small.deb >/dev/null
            test \"$(cat usr/share/small/state)\" = configured; test -e usr/share/small/7
            chroot . dpkg -i small2.deb >/dev/null
            test ! -e usr/share/small/7; test \"$(cat usr/share/small/8)\" = new
            chroot . dpkg -V small; chroot . dpkg-query -W -f '${Status}\\n' small | grep -qx 'install ok installed'";
        stage.sh(100, install);
        stage.remount();
        let remove = "chroot . dpkg --audit; chroot . dpkg -V small
            chroot . dpkg --purge small >/dev/null 2>&1; test ! -e usr/share/small/8; test ! -e etc/small.conf
            chroot . dpkg --purge --force-all mount >/dev/null 2>&1; test ! -e usr/bin/mount
            chroot . sh -c 'ldconfig && useradd -m someone && su someone -c \"echo mine >~/file\" && userdel someone'
            test \"$(cat home/someone/file)\" = mine";
        stage.sh(100, remove);
    });
}

/// All that a tree can have.
const EVERYTHING: &str = r#"mkdir -p tree/a/b/c tree/empty; cd tree
    for i in $(seq 40); do
        head -c $((i * 997)) /dev/urandom >a/b/f$i; touch -d @$((1000000000 + i)).00000000$((i % 10)) a/b/f$i
    done
    ln a/b/f1 a/b/c/hard1; ln a/b/f1 hard2; ln -s a/b up; ln -s /nowhere dangling; ln up uphard
    mkfifo pipe; mknod null c 1 3; mknod disk b 240 7; mknod zero c 0 1
    python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("sock")'
    setfattr -n user.x -v value a/b/f2; setfattr -n trusted.y -v value a
    setfacl -m u:1234:rw,g:99:r a/b/f3; setfacl -d -m u:77:rwx a/b
    chmod 4755 a/b/f4; chmod 2775 a; chmod 1777 empty
    chown 1000:1001 a/b/f5; chown -h 12:13 up; chown 3000000000:7 a/b/f6
    truncate -s 3M sparse; printf x | dd of=sparse bs=1 seek=2000000 conv=notrunc status=none
    printf x >$'with\nnewline'; printf x >$'\xff\xfe'; touch -h -d @5 dangling; touch -d @-100 a/b/f7"#;

#[test]
fn rsync_copies_everything_there_and_back() {
    needs!(root, fuse, program "rsync", program "setfattr", program "setfacl", program "python3");
    let lower = |at: &Path| make(at, EVERYTHING);
    stage(lower, |stage| {
        let same = |stage: &Stage, one: &str, other: &str| {
            let script = format!("rsync -aHAXn --delete --itemize-changes --checksum {one}/ {other}/");
            assert_eq!(stage.sh(60, &script), "", "{one} and {other}");
        };
        let below = "$S/lower/tree";
        stage.sh(100, "rsync -aHAXS tree/ $S/tmp/out/; rsync -aHAXS $S/tmp/out/ back/; rsync -aHAX $S/tmp/out/ tree/");
        for (one, other) in
            [("tree", "back"), ("back", "tree"), (below, "back"), (below, "tree"), (below, "$S/tmp/out")]
        {
            same(stage, one, other);
        }
        stage.remount();
        same(stage, below, "back");
        stage
            .sh(60, "rsync -aHAX --remove-source-files back/ third/; find back -type d -empty -delete; test ! -e back");
        same(stage, below, "third");
        let linked = "stat -c %h third/hard2; stat -c %i third/a/b/f1 third/a/b/c/hard1 | sort -u | wc -l";
        assert_eq!(stage.sh(10, linked), "3\n1");
    });
}

#[test]
fn fio_reads_what_it_wrote_by_every_engine() {
    needs!(root, fuse, program "fio");
    let lower = |at: &Path| fs::write(at.join("old"), vec![7; 4 << 20]).unwrap();
    stage(lower, |stage| {
        let size = if is_long() { "256m" } else { "4m" };
        let engines = [
            "psync",
            "psync --direct=1",
            "io_uring --iodepth=8",
            "io_uring --direct=1 --iodepth=8",
            "libaio --direct=1 --iodepth=4",
            "mmap",
        ];
        for engine in engines {
            for (file, rw) in [("old", "randwrite"), ("new", "write"), ("mixed", "randrw")] {
                let what = format!(
                    "--filename={file} --ioengine={engine} --rw={rw} --size={size} --bsrange=4k-64k --bs_unaligned=0"
                );
                let verify = "--verify=crc32c --verify_fatal=1 --do_verify=1 --end_fsync=1 --blockalign=4k";
                stage.sh(
                    200,
                    &format!("fio --name=x {what} {verify} >$S/tmp/fio 2>&1 || {{ tail -8 $S/tmp/fio; exit 1; }}"),
                );
            }
        }
    });
}

/// Two of it take turns by a byte of a mapping that both have; each leaves the number of its last turn.
const TURNS: &str = r#"
import mmap, os, sys, time
me = int(sys.argv[1])
memory = mmap.mmap(os.open("shared", os.O_RDWR), 0)
for turn in range(me, 2000, 2):
    since = time.time()
    while memory[0] != turn % 250:
        assert time.time() - since < 20, "what the other wrote is never seen"
    memory[4096 + me] = turn % 250
    memory[0] = (turn + 1) % 250
"#;

#[test]
fn a_shared_mapping_is_one_for_all() {
    needs!(root, fuse, program "python3");
    let lower = |at: &Path| {
        fs::write(at.join("shared"), vec![0; 8192]).unwrap();
        fs::write(at.join("turns.py"), TURNS).unwrap();
    };
    stage(lower, |stage| {
        stage.sh(60, "python3 turns.py 0 & one=$!; python3 turns.py 1; wait $one");
        stage.remount();
        let bytes = fs::read(stage.mnt().join("shared")).unwrap();
        assert_eq!([bytes[0], bytes[4096], bytes[4097]], [0, 248, 249]);
    });
}
