//! A container that does nothing, as an ordinary user.
//!
//! The user is a number that nobody has. In the bench's own mount namespace `/etc/passwd` and the like name it, give it a range of
//! ids, and `/mnt` is its folder: wherever the tree stands, it may be closed to others.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use anyhow::{Context, Result};

use super::Work;
use crate::bench::images::{self, NAME};
use crate::bench::job::{Entrant, Job};
use crate::bench::line::Line;
use crate::bench::results::Role;
use crate::bench::session::Session;

/// The user's number and its group's.
const ID: u32 = 790_002;

/// Where the user's folder shows.
const HERE: &str = "/mnt";

pub(super) fn prepare(session: &Session) -> Result<Job> {
    let archive = images::of_layers(session, 10)?.docker();
    let user = enter(session)?;
    // The archive stands where the user may not go; a shell opens it.
    let load = |line: Line| Line::shell(format!("{} < '{}'", line.under(user.clone()), archive.display()));
    let work = |tool: Line| -> Result<Work> {
        load(tool.clone().args(["load", "-q"])).run()?;
        let line = tool.args(["run", "--rm", "--network", "none", NAME, "true"]);
        Ok(Work { line, by: Some(user.clone().path(Path::new(HERE).join("meter"))), ..Work::default() })
    };
    let mica = || work(Line::new(Path::new(HERE).join("mica")));
    let podman = || {
        session.program("podman", "podman")?;
        session.program("newuidmap", "uidmap")?;
        let place = |name: &str| format!("{HERE}/home/{name}");
        let roots = [
            "--root".to_owned(),
            place("root"),
            "--runroot".to_owned(),
            place("run"),
            "--tmpdir".to_owned(),
            place("tmp"),
        ];
        let line = Line::new("podman").args(roots).args(["--storage-driver", "overlay", "--runtime", "runc"]);
        work(line)
    };
    Ok(Job {
        what: "Run `true` in a new container of an image of ten layers as an ordinary user, and remove the container.".to_owned(),
        fair: "One user with a range of 65,536 ids; each tool has a store of its own in the user's home, with the image in it and in memory, \
               and gives the container no network but loopback. podman has its process that holds the namespace, and uses the kernel's overlay."
            .to_owned(),
        rounds: session.fast_rounds(),
        warm_ups: 2,
        contenders: vec![Entrant::of("mica", Role::Ours, mica()), Entrant::of("podman", Role::Peer, podman())],
        ..Job::default()
    })
}

/// Makes the user be there, and gives the line that a command of it is run by.
fn enter(session: &Session) -> Result<Line> {
    let folder = session.folder("user")?;
    let open = |path: &Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
            .with_context(|| format!("cannot open {}", path.display()))
    };
    open(&folder, 0o755)?;
    for own in ["home", "runtime"] {
        let path = session.folder(&format!("user/{own}"))?;
        open(&path, 0o700)?;
        chown(&path, Some(ID), Some(ID)).with_context(|| format!("cannot give {}", path.display()))?;
    }
    let etc = session.folder("user/etc")?;
    let config = "[containers]\ndefault_ulimits=[\"nofile=1024:1024\",\"nproc=1024:1024\"]\n\
                  [engine]\ncgroup_manager=\"cgroupfs\"\nevents_logger=\"none\"\n";
    let (passwd, group) = (format!("bench:x:{ID}:{ID}::{HERE}/home:/bin/sh\n"), format!("bench:x:{ID}:\n"));
    let range = "bench:790200000:65536\n";
    let before = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    for (name, text) in [
        ("passwd", before("/etc/passwd") + &passwd),
        ("group", before("/etc/group") + &group),
        ("subuid", range.to_owned()),
        ("subgid", range.to_owned()),
        ("containers.conf", config.to_owned()),
    ] {
        std::fs::write(etc.join(name), text).with_context(|| format!("cannot write {name}"))?;
    }
    let bind = |from: &Path, to: &str| Line::new("mount").arg("--bind").path(from).arg(to).run().map(drop);
    for file in ["passwd", "group", "subuid", "subgid"] {
        bind(&etc.join(file), &format!("/etc/{file}"))?;
    }
    for (program, name) in [(session.mica_program(), "mica"), (&session.home.join("tools/meter"), "meter")] {
        std::fs::copy(program, folder.join(name)).with_context(|| format!("cannot copy {}", program.display()))?;
    }
    bind(&folder, HERE)?;
    let id = ID.to_string();
    let line = Line::new("setpriv").args([
        "--reuid",
        &id,
        "--regid",
        &id,
        "--clear-groups",
        "--inh-caps=-all",
        "--ambient-caps=-all",
    ]);
    let line =
        line.args(["env", "-i", "-C", &format!("{HERE}/home"), "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]);
    let line = line.arg(format!("HOME={HERE}/home")).arg(format!("XDG_RUNTIME_DIR={HERE}/runtime"));
    Ok(line.args(["USER=bench", &format!("CONTAINERS_CONF={HERE}/etc/containers.conf")]))
}
