//! podman and buildah with the program as their `mount_program`: the same work done with plain copies gives the same images.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mica_testkit::{Scratch, busybox_rootfs, in_mount_namespace, needs};

use crate::common::{PROGRAM, Said, end_servers_below, limited, quiet, said, servers_below, wait_until};

/// How a store shows its layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// By the program under test.
    Ours,
    /// By the program under test, with owners and modes in attributes (`force_mask`).
    Recorded,
    /// By the program that ours stands in for.
    Theirs,
    /// As plain copies.
    Copied,
}

/// A store of podman and buildah, which is gone with the test.
struct Store {
    scratch: Scratch,
    shown: Shown,
}

impl Store {
    fn new(shown: Shown) -> Self {
        let scratch = Scratch::new();
        // It would raise limits that only the machine's own root may raise.
        let config = "[containers]\ndefault_ulimits=[\"nofile=1024:1024\",\"nproc=1024:1024\"]\n";
        fs::write(scratch.path().join("containers.conf"), config).unwrap();
        Self { scratch, shown }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// podman or buildah on this store.
    fn command(&self, program: &str, words: &[&str]) -> Command {
        let mut command = limited(program);
        command.env("CONTAINERS_CONF", self.path("containers.conf")).env("TMPDIR", self.scratch.make("t"));
        command.arg("--root").arg(self.path("root")).arg("--runroot").arg(self.path("run"));
        if program == "podman" {
            // The cgroups of this machine may be of the older kind, which crun does not take.
            command.arg("--tmpdir").arg(self.path("tmp")).args(["--cgroup-manager", "cgroupfs", "--runtime", "runc"]);
        }
        let mount_program = match self.shown {
            Shown::Ours | Shown::Recorded => Some(PROGRAM),
            Shown::Theirs => Some("/usr/bin/fuse-overlayfs"),
            Shown::Copied => None,
        };
        match mount_program {
            Some(program) => {
                command.args(["--storage-driver", "overlay"]);
                command.args(["--storage-opt", &format!("overlay.mount_program={program}")]);
            }
            None => drop(command.args(["--storage-driver", "vfs"])),
        }
        if self.shown == Shown::Recorded {
            command.args(["--storage-opt", "overlay.force_mask=shared"]);
        }
        command.args(words);
        command
    }

    /// Runs podman to its success and gives what it printed.
    #[track_caller]
    fn podman(&self, words: &[&str]) -> String {
        did(&mut self.command("podman", words))
    }

    /// Runs buildah to its success and gives what it printed.
    #[track_caller]
    fn buildah(&self, words: &[&str]) -> String {
        did(&mut self.command("buildah", words))
    }

    /// An image of busybox, with a little tree in it.
    fn base(&self) {
        self.base_with("mkfifo srv/fifo");
    }

    /// The same with what a script makes besides.
    fn base_with(&self, more: &str) {
        let root = self.scratch.make("rootfs");
        busybox_rootfs(&root);
        let made = "mkdir -p srv/deep/er srv/gone srv/again srv/over usr; echo 1 > srv/deep/er/one; echo 2 > srv/gone/two; echo 3 > srv/again/three; \
                    echo 4 > srv/file; ln srv/file srv/link; ln -s file srv/symlink; echo 5 > srv/over/five; chmod 640 srv/file; chown 7:8 srv/gone/two; \
                    head -c 300000 /dev/zero | tr '\\0' x > srv/big; touch -h -d 2020-01-01 srv/symlink srv/deep";
        quiet(limited("sh").args(["-ec", &format!("{made}; {more}")]).current_dir(&root));
        let tar = self.path("base.tar");
        quiet(limited("tar").arg("-C").arg(&root).arg("-cf").arg(&tar).arg("."));
        self.podman(&["import", "-q", tar.to_str().unwrap(), "base"]);
    }

    /// A container that changes much of the tree, left stopped.
    fn change(&self, name: &str, image: &str, script: &str) {
        self.podman(&["run", "--name", name, "--network", "none", image, "sh", "-ec", script]);
    }

    /// What an image's tree is: what `find` says of each path, and what is in the files.
    fn tree(&self, image: &str) -> Found {
        let container = self.podman(&["create", image, "true"]);
        let container = container.trim();
        let mounted = self.podman(&["mount", container]);
        let tree = tree_of(Path::new(mounted.trim()));
        self.podman(&["umount", container]);
        self.podman(&["rm", container]);
        tree
    }
}

/// What a command printed, that must do well, whatever else it said.
#[track_caller]
fn did(command: &mut Command) -> String {
    let Said { code, out, err } = said(command);
    assert_eq!(code, Some(0), "{command:?}: {err}");
    out
}

/// What the runtime makes in every container.
const RUNTIMES_OWN: [&str; 9] =
    ["", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab", "dev", "proc", "sys", "run"];

fn tree_of(root: &Path) -> Found {
    let lines = |words: &[&str]| quiet(limited("find").arg(".").args(words).current_dir(root));
    let sums = lines(&["-type", "f", "-exec", "sha256sum", "{}", "+"]);
    let sums: BTreeMap<&str, &str> = sums
        .lines()
        .filter_map(|line| line.split_once("  "))
        .map(|(sum, path)| (path.trim_start_matches("./"), sum))
        .collect();
    let mut tree = Found::new();
    for line in lines(&["-printf", "%P\t%y %m %U:%G %l %n\n"]).lines() {
        let (path, what) = line.split_once('\t').expect("a path and what it is");
        if RUNTIMES_OWN.contains(&path) || path.starts_with("run/") || path.starts_with("dev/") {
            continue;
        }
        // The number of links of a directory depends on the file system.
        let what = if what.starts_with('d') { what.rsplit_once(' ').map_or(what, |(what, _)| what) } else { what };
        tree.insert(path.to_owned(), format!("{what} {}", sums.get(path).unwrap_or(&"")));
    }
    tree
}

impl Drop for Store {
    fn drop(&mut self) {
        // ignored: what is left of containers is taken down with the mounts.
        drop(self.command("podman", &["rm", "-fa"]).output());
        end_servers_below(self.scratch.path());
    }
}

/// What came of some work: lines by what they are of.
type Found = BTreeMap<String, String>;

/// Does the same work in a store of plain copies and in one that the program shows: the same comes of it.
fn as_with_copies(work: impl Fn(&Store) -> Found) {
    let wanted = work(&Store::new(Shown::Copied));
    assert_same(&work(&Store::new(Shown::Ours)), &wanted);
}

#[track_caller]
fn assert_same(found: &Found, wanted: &Found) {
    let names = wanted.keys().chain(found.keys().filter(|name| !wanted.contains_key(*name)));
    let wrong: Vec<String> = names
        .filter(|name| found.get(*name) != wanted.get(*name))
        .map(|name| format!("{name}\n  wanted {:?}\n  found  {:?}", wanted.get(name), found.get(name)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Deletes, replaces, renames, links, changes attributes: what an upper can say.
const SCRIPT: &str = "rm srv/file; rm -r srv/gone; rm -r srv/again; mkdir srv/again; echo new > srv/again/new; mv srv/deep srv/moved; \
                      echo more >> srv/moved/er/one; chmod 600 srv/big; chown 9:9 srv/over; ln srv/link srv/third; mv srv/over/five srv/over/six; \
                      rm srv/symlink; mkdir srv/symlink; echo x > srv/symlink/x; mkfifo srv/pipe; ln -s /nowhere srv/dangling; rm srv/fifo; \
                      touch srv/made; mkdir -m 1777 srv/sticky; chmod 4755 srv/made; mv bin/vi bin/vi2";

/// The lines of an output in order, as they come in any.
fn sorted(lines: &str) -> String {
    let mut lines: Vec<&str> = lines.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

#[test]
fn podman_runs_shows_and_commits_containers() {
    needs!(root, fuse, program "podman", program "runc", program "busybox");
    in_mount_namespace(|| {
        as_with_copies(|store| {
            store.base();
            store.change("one", "base", SCRIPT);
            let mut found = Found::from([("diff".to_owned(), sorted(&store.podman(&["diff", "one"])))]);
            // In a container that is started again, the upper is what it was.
            found.insert("after".to_owned(), store.podman(&["run", "--rm", "--network", "none", "base", "ls", "srv"]));
            store.podman(&["commit", "-q", "one", "two"]);
            // On top of it, where the whiteouts of the layer in the middle are podman's files of a name.
            let script = "ls srv; test ! -e srv/gone; rm srv/moved/er/one; echo 4 > srv/gone; rm -r srv/again; mv srv/moved srv/moved2";
            store.change("three", "two", script);
            found.insert("diff 2".to_owned(), sorted(&store.podman(&["diff", "three"])));
            store.podman(&["commit", "-q", "three", "four"]);
            let seen =
                store.podman(&["run", "--rm", "--network", "none", "four", "sh", "-c", "find srv | sort; id -u"]);
            found.insert("seen".to_owned(), seen);
            for image in ["two", "four"] {
                found.extend(store.tree(image).into_iter().map(|(path, what)| (format!("{image}: {path}"), what)));
            }
            found
        });
    });
}

/// On disk all is the server's then, and readable by whom the store is shared with. What podman 4.3 cannot do so is left out: it writes no FIFO, and no bits beside permissions.
#[test]
fn podman_keeps_owners_in_attributes() {
    needs!(root, fuse, program "podman", program "runc", program "busybox");
    const LISTED: &str = "find srv bin/vi2 | sort | xargs stat -c '%n %F %a %u:%g'";
    in_mount_namespace(|| {
        let work = |shown| {
            let store = Store::new(shown);
            store.base_with("chown -R 7:8 srv/again; chmod 711 srv/deep; chmod 0 srv/big; chmod 777 tmp");
            let script = "rm -r srv/gone; mv srv/deep srv/moved; echo more >> srv/moved/er/one; chown 9:9 srv/over srv/file; chmod 604 srv/again/three; \
                          echo more >> srv/link; mkdir srv/new; chown 12:13 srv/new; touch srv/new/made; chmod 4755 srv/new/made; chmod 3777 srv/new; \
                          touch srv/lost; chmod 4711 srv/lost; chown 9 srv/lost; ln -s /nowhere srv/dangling; mv bin/vi bin/vi2";
            let listed = |name: &str, script: &str, image: &str| {
                store.podman(&["run", "--name", name, "--network", "none", image, "sh", "-ec", script])
            };
            let mut found = Found::from([("inside".to_owned(), listed("one", &format!("{script}; {LISTED}"), "base"))]);
            found.insert("diff".to_owned(), sorted(&store.podman(&["diff", "one"])));
            let plain = "chmod 755 srv/new srv/new/made; chmod 640 srv/lost";
            store.change("two", "base", &format!("{script}; {plain}"));
            store.podman(&["commit", "-q", "two", "three"]);
            found.insert("committed".to_owned(), listed("four", LISTED, "three"));
            found.extend(store.tree("three"));
            if shown == Shown::Recorded {
                let made = quiet(limited("find").arg(store.path("root/overlay")).args([
                    "-path",
                    "*/diff/srv/*",
                    "!",
                    "-type",
                    "l",
                    "(",
                    "!",
                    "-uid",
                    "0",
                    "-o",
                    "-perm",
                    "/7000",
                    ")",
                ]));
                assert_eq!(made, "", "files of others on disk");
            }
            found
        };
        assert_same(&work(Shown::Recorded), &work(Shown::Copied));
    });
}

#[test]
fn podman_and_buildah_build() {
    needs!(root, fuse, program "podman", program "buildah", program "runc", program "busybox");
    in_mount_namespace(|| {
        as_with_copies(|store| {
            store.base();
            let context = store.scratch.make("context");
            let steps = "FROM localhost/base\nRUN mkdir /made && chown 12:13 /made && rm /srv/file && mv /srv/deep /made/deep\n\
                         COPY copied /made/copied\nRUN rm -r /srv/gone && touch /srv/gone && chmod 4711 /bin/busybox\nENV A=b\nUSER 12\n";
            fs::write(context.join("Containerfile"), steps).unwrap();
            fs::write(context.join("copied"), "copied").unwrap();
            let context = context.to_str().unwrap();
            store.podman(&["build", "-q", "--network", "none", "-t", "built", context]);
            // Every step a layer of its own.
            store.buildah(&["bud", "-q", "--layers", "--isolation", "chroot", "-t", "layered", context]);
            let container = store.buildah(&["from", "layered"]);
            let container = container.trim();
            store.buildah(&[
                "run",
                "--isolation",
                "chroot",
                "--user",
                "0",
                container,
                "sh",
                "-ec",
                "rm -r /made/deep; echo x > /made/x; chmod 700 /srv",
            ]);
            store.buildah(&["copy", "-q", container, &format!("{context}/copied"), "/srv/again"]);
            store.buildah(&["commit", "-q", container, "committed"]);
            store.buildah(&["rm", container]);
            let mut found = Found::new();
            for image in ["built", "layered", "committed"] {
                found.extend(store.tree(image).into_iter().map(|(path, what)| (format!("{image}: {path}"), what)));
            }
            let said = store.podman(&[
                "run",
                "--rm",
                "--user",
                "0",
                "--network",
                "none",
                "committed",
                "sh",
                "-c",
                "id -u; cat /made/copied /srv/again/copied",
            ]);
            found.insert("said".to_owned(), said);
            found
        });
    });
}

#[test]
fn containers_with_maps_of_owners_are_not_copied() {
    needs!(root, fuse, program "podman", program "runc", program "busybox");
    in_mount_namespace(|| {
        as_with_copies(|store| {
            store.base();
            let script = "id -u; stat -c '%n %u:%g' srv/* /; touch srv/mine; chown 7:8 srv/mine; mv srv/deep srv/moved; chmod 711 srv/over";
            let maps = ["--uidmap", "0:200000:65536", "--gidmap", "0:300000:65536"];
            let words =
                [&["run", "--name", "one", "--network", "none"], &maps[..], &["base", "sh", "-ec", script]].concat();
            let mut found = Found::from([("said".to_owned(), store.podman(&words))]);
            found.insert("diff".to_owned(), sorted(&store.podman(&["diff", "one"])));
            store.podman(&["commit", "-q", "one", "two"]);
            found.extend(store.tree("two"));
            if store.shown == Shown::Ours {
                let upper = store.podman(&["inspect", "--format", "{{.GraphDriver.Data.UpperDir}}", "one"]);
                let upper = Path::new(upper.trim());
                // As the image has it, whatever it looks like in the container.
                assert_eq!(quiet(limited("stat").args(["-c", "%u:%g"]).arg(upper.join("srv/mine"))), "7:8\n");
                assert!(!upper.join("bin").exists(), "nothing is copied that was not changed");
            }
            found
        });
    });
}

#[test]
fn a_container_whose_server_is_killed_is_stopped_and_started_again() {
    needs!(root, fuse, program "podman", program "runc", program "busybox");
    in_mount_namespace(|| {
        let store = Store::new(Shown::Ours);
        store.base();
        let script = "echo kept > /srv/kept; sync; while :; do sleep 1; done";
        store.podman(&["run", "-d", "--name", "one", "--network", "none", "base", "sh", "-c", script]);
        wait_until("it has written", || {
            said(&mut store.command("podman", &["exec", "one", "cat", "/srv/kept"])).out == "kept\n"
        });
        let servers = servers_below(store.scratch.path());
        assert_eq!(servers.len(), 1);
        quiet(limited("kill").args(["-KILL", &servers[0].to_string()]));
        wait_until("the server ends", || servers_below(store.scratch.path()).is_empty());
        let refused = said(&mut store.command("podman", &["exec", "one", "true"]));
        assert_ne!(refused.code, Some(0), "{refused:?}");
        store.podman(&["stop", "-t", "0", "one"]);
        store.podman(&["start", "one"]);
        assert_eq!(store.podman(&["exec", "one", "cat", "/srv/kept"]), "kept\n");
        store.podman(&["rm", "-f", "-t", "0", "one"]);
        wait_until("the server ends", || servers_below(store.scratch.path()).is_empty());
    });
}

#[test]
fn a_store_that_fuse_overlayfs_filled_goes_on() {
    needs!(root, fuse, program "podman", program "runc", program "busybox", program "fuse-overlayfs");
    in_mount_namespace(|| {
        let mut store = Store::new(Shown::Theirs);
        store.base();
        let list = "find srv -exec stat -c '%n %f %u:%g' {} + | sort; cat srv/moved/er/one srv/again/new";
        let script = format!("test -e srv/made || {{ {SCRIPT}; }}; {list}");
        // Not asked of podman again: what fuse-overlayfs commits has files that were deleted.
        let wanted = store.podman(&["run", "--name", "one", "--network", "none", "base", "sh", "-ec", &script]);
        assert!(wanted.contains("srv/symlink/x") && !wanted.contains("three") && !wanted.contains(".wh."), "{wanted}");
        store.shown = Shown::Ours;
        assert_eq!(store.podman(&["start", "-a", "one"]), wanted);
        assert!(store.podman(&["diff", "one"]).contains("D /srv/again/three"));
        store.podman(&["commit", "-q", "one", "two"]);
        let seen = store.podman(&["run", "--rm", "--network", "none", "two", "sh", "-ec", list]);
        assert_eq!(seen, wanted);
        store.podman(&["rm", "one"]);
    });
}

#[test]
fn podman_shows_what_mounts_for_it() {
    needs!(root, fuse, program "podman");
    in_mount_namespace(|| {
        let store = Store::new(Shown::Ours);
        let info = store.podman(&["info", "--format", "{{json .Store.GraphOptions}}"]);
        assert!(info.contains(&format!("mica-fuse {}", env!("CARGO_PKG_VERSION"))), "{info}");
    });
}

/// What builders of images do: packages, accounts, owners, whole trees moved and deleted.
const DEBIAN: &str = "FROM localhost/debian
RUN useradd -m joe && install -d -o joe -g joe /srv/joe && su joe -c 'echo mine > /srv/joe/file' && rm /etc/*-
RUN mkdir -p /tmp/p/DEBIAN /tmp/p/opt/tool /tmp/p/etc && echo tool > /tmp/p/opt/tool/run && chmod 4755 /tmp/p/opt/tool/run && echo a=b > /tmp/p/etc/tool.conf \\
 && printf 'Package: tool\\nVersion: 1\\nArchitecture: all\\nMaintainer: m <m@localhost>\\nDescription: d\\n' > /tmp/p/DEBIAN/control \\
 && echo /etc/tool.conf > /tmp/p/DEBIAN/conffiles && dpkg-deb -b /tmp/p /tmp/tool.deb && dpkg -i /tmp/tool.deb && rm -r /tmp/p \\
 && sed -i s/b/c/ /etc/tool.conf && sed -i s/^root/root/ /etc/group && dpkg -V tool; dpkg -r tool && dpkg -i --force-confold /tmp/tool.deb && dpkg -r tool && apt-get install -y /tmp/tool.deb >/dev/null && dpkg --audit && rm /tmp/tool.deb
RUN mv /usr/share/doc /usr/share/papers && rm -r /usr/share/locale /var/lib/apt && mkdir -p /var/lib/apt/lists/partial && chmod -R g-w /usr/share/papers
RUN chown -R joe:joe /usr/share/papers/base-files && cp -a /etc /srv/etc && rm -f /srv/etc/host* /srv/etc/resolv.conf /srv/etc/mtab && ln /srv/etc/passwd /srv/passwd && touch /srv/.wh.not-a-whiteout && rm /srv/.wh.not-a-whiteout
";

/// What says when it was written.
fn is_of_the_moment(path: &str) -> bool {
    let places = ["var/log/", "var/cache/", "var/lib/dpkg/status-old", "var/lib/dpkg/info/tool.list"];
    places.iter().any(|place| path.starts_with(place))
}

#[test]
fn a_debian_is_built_upon() {
    needs!(root, fuse, program "podman", program "runc", program "mmdebstrap");
    let debian = match mica_testkit::debian_tar(Path::new(env!("CARGO_TARGET_TMPDIR"))) {
        Ok(debian) => debian,
        Err(reason) => {
            fn here() {}
            return mica_testkit::gate::skip(std::any::type_name_of_val(&here), &reason);
        }
    };
    in_mount_namespace(|| {
        let store = Store::new(Shown::Ours);
        store.podman(&["import", "-q", debian.to_str().unwrap(), "debian"]);
        let context = store.scratch.make("context");
        fs::write(context.join("Containerfile"), DEBIAN).unwrap();
        // Every step is a layer of its own.
        store.podman(&["build", "-q", "--network", "none", "-t", "built", context.to_str().unwrap()]);
        let found = store.tree("built");

        // The same in a directory.
        let root = store.scratch.make("plain");
        quiet(limited("tar").args(["--numeric-owner", "--xattrs", "-xpf"]).arg(&debian).arg("-C").arg(&root));
        for (place, kind) in [("proc", "proc"), ("dev", "devtmpfs")] {
            quiet(limited("mount").args(["-t", kind, kind]).arg(root.join(place)));
        }
        for step in DEBIAN.replace("\\\n", " ").lines().filter_map(|line| line.strip_prefix("RUN ")) {
            // A directory for temporary files that the tests were given is not in the new root.
            did(limited("chroot").arg(&root).args(["sh", "-c", step]).env_remove("TMPDIR"));
        }
        for place in ["proc", "dev"] {
            quiet(limited("umount").arg(root.join(place)));
        }
        let of_all = |mut tree: Found| {
            tree.retain(|path, _| !is_of_the_moment(path));
            tree
        };
        assert_same(&of_all(found), &of_all(tree_of(&root)));
    });
}

#[test]
fn volumes_and_images_are_mounted_into_containers() {
    needs!(root, fuse, program "podman", program "runc", program "busybox");
    in_mount_namespace(|| {
        let store = Store::new(Shown::Ours);
        store.base();
        let volume = store.scratch.make("volume");
        fs::write(volume.join("kept"), "kept").unwrap();
        let run = |words: &[&str], script: &str| {
            let words = [&["run", "--rm", "--network", "none"], words, &["sh", "-ec", script]].concat();
            store.podman(&words)
        };
        // A directory of the machine, the changes of which are thrown away.
        let over = format!("{}:/data:O", volume.display());
        let script = "cat /data/kept; rm /data/kept; echo x > /data/new; ls /data; grep -c ' /data fuse.mica ' /proc/self/mounts";
        assert_eq!(run(&["-v", &over, "base"], script), "keptnew\n1\n");
        assert_eq!(fs::read_dir(&volume).unwrap().count(), 1);
        // An image as a volume, without an upper and with one.
        let image = "type=image,src=base,dst=/img";
        assert_eq!(
            run(&["--mount", image, "base"], "cat /img/srv/file; touch /img/x 2>/dev/null || echo refused"),
            "4\nrefused\n"
        );
        assert_eq!(
            run(&["--mount", &format!("{image},rw=true"), "base"], "rm /img/srv/file; ls /img/srv/file || echo gone"),
            "gone\n"
        );
        let root = format!("{}:O", store.path("rootfs").display());
        assert_eq!(run(&["--rootfs", &root], "rm srv/file; touch x; ls -d x"), "x\n");
        assert!(store.path("rootfs/srv/file").exists() && !store.path("rootfs/x").exists());
        wait_until("the servers end", || servers_below(store.scratch.path()).is_empty());
    });
}
