//! Loads: the same file into an empty store of each.

use anyhow::Result;

use super::{Step, Work, emptied};
use crate::bench::images::{self, Image, NAME};
use crate::bench::job::{Entrant, Job};
use crate::bench::line::Line;
use crate::bench::peers::{self, Podman, Private};
use crate::bench::results::Role;
use crate::bench::session::Session;

const FAIR: &str = "Every run starts from an empty store, a flushed disk and an archive that is in memory. Its time ends when all is \
                    flushed to disk, by a syncfs where the tool does none. All stores are on one file system.";

/// The OCI archive with layers that gzip compressed.
pub(super) fn gzip(session: &Session) -> Result<Job> {
    let image = images::four_layers(session)?;
    let archive = image.oci();
    let containerd = || -> Result<Work> {
        let daemon = Private::containerd(session, "containerd")?;
        let ctr = daemon.line();
        let line = ctr.clone().args(["images", "import", "--snapshotter", "overlayfs"]).path(&archive);
        let gone = ctr.args(["images", "rm", "--sync", NAME]);
        Ok(Work {
            reset: vec![Step::Try(gone), Step::Flush],
            daemon: Some(daemon.into_daemon()),
            ..work(session, line)
        })
    };
    let skopeo = || -> Result<Work> {
        let store = session.folder("skopeo")?;
        let to = peers::containers_storage(&store, NAME);
        let line = session.program("skopeo", "skopeo")?.args(["copy", "--quiet"]);
        let line = line.env("TMPDIR", session.folder("tmp")?).arg(format!("oci-archive:{}", archive.display())).arg(to);
        Ok(Work { reset: emptied(store), ..work(session, line) })
    };
    let umoci = || -> Result<Work> {
        let bundle = session.folder("umoci")?;
        let line = session.program("umoci", "umoci")?.args(["unpack", "--image"]);
        let line = line.arg(format!("{}:latest", image.layout().display())).path(bundle.join("bundle"));
        Ok(Work { reset: emptied(bundle), ..work(session, line) })
    };
    let inflate = || -> Result<Work> {
        let program = peers::inflate(session)?;
        let files = image.compressed();
        let all: Vec<String> = files.iter().map(|file| format!("{program} '{}'", file.display())).collect();
        Ok(Work { line: Line::shell(format!("{{ {}; }} > /dev/null", all.join("; "))), ..Work::default() })
    };
    Ok(Job {
        what: "Load the four-layer image from an OCI archive with gzip layers.".to_owned(),
        fair: format!("{FAIR} umoci reads the archive's content as a directory, which spares it the archive."),
        rounds: session.slow_rounds(),
        inputs: image.compressed().into_iter().chain(image.layers()).chain([archive.clone()]).collect(),
        contenders: vec![
            Entrant::of("mica", Role::Ours, mica(session, &archive)),
            Entrant::of("podman", Role::Peer, podman(session, &archive)),
            Entrant::of("containerd", Role::Peer, containerd()),
            Entrant::of("skopeo", Role::Peer, skopeo()),
            Entrant::of("umoci", Role::Peer, umoci()),
            Entrant::of("inflate", Role::Floor, inflate()),
            Entrant::of("tar -x", Role::Floor, extract(session, &image)),
        ],
        ..Job::default()
    })
}

/// The docker archive, whose layers are plain.
pub(super) fn plain(session: &Session) -> Result<Job> {
    let image = images::four_layers(session)?;
    let archive = image.docker();
    let docker = || -> Result<Work> {
        let daemon = Private::docker(session, "docker")?;
        let docker = daemon.line();
        let line = docker.clone().args(["load", "-q", "-i"]).path(&archive);
        let gone = docker.args(["rmi", "-f", NAME]);
        Ok(Work {
            reset: vec![Step::Try(gone), Step::Flush],
            daemon: Some(daemon.into_daemon()),
            ..work(session, line)
        })
    };
    Ok(Job {
        what: "Load the four-layer image from a docker archive with plain layers.".to_owned(),
        fair: FAIR.to_owned(),
        rounds: session.slow_rounds(),
        inputs: image.layers().into_iter().chain([archive.clone()]).collect(),
        contenders: vec![
            Entrant::of("mica", Role::Ours, mica(session, &archive)),
            Entrant::of("podman", Role::Peer, podman(session, &archive)),
            Entrant::of("docker", Role::Peer, docker()),
            Entrant::of("tar -x", Role::Floor, extract(session, &image)),
        ],
        ..Job::default()
    })
}

fn work(session: &Session, line: Line) -> Work {
    Work { line, flushed: Some(session.work()), ..Work::default() }
}

fn mica(session: &Session, archive: &std::path::Path) -> Result<Work> {
    let folder = session.folder("mica")?;
    let line = session.mica(&folder).args(["load", "-q", "-i"]).path(archive);
    Ok(Work { reset: emptied(folder), ..work(session, line) })
}

fn podman(session: &Session, archive: &std::path::Path) -> Result<Work> {
    let podman = Podman::new(session, "podman")?;
    let line = podman.line().args(["load", "-q", "-i"]).path(archive);
    Ok(Work { reset: emptied(podman.store()), ..work(session, line) })
}

/// The layers unpacked by GNU tar, each into a folder of its own: no digest is checked, nothing is remembered.
fn extract(session: &Session, image: &Image) -> Result<Work> {
    let folder = session.folder("tar")?;
    let tar = session.program("tar", "tar")?;
    let one = |(number, layer): (usize, std::path::PathBuf)| {
        let to = folder.join(number.to_string());
        format!(
            "mkdir '{to}'; {tar} -x --numeric-owner --same-owner -p -C '{to}' -f '{from}'",
            to = to.display(),
            from = layer.display()
        )
    };
    let all: Vec<String> = image.layers().into_iter().enumerate().map(one).collect();
    Ok(Work { reset: emptied(folder), ..work(session, Line::shell(all.join("; "))) })
}
