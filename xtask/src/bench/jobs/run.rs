//! A container that does nothing: what starting and ending one costs.

use std::path::Path;

use anyhow::{Context, Result};

use super::Work;
use crate::bench::images::{self, Image, NAME};
use crate::bench::job::{Entrant, Job, Step};
use crate::bench::line::Line;
use crate::bench::meter::compile;
use crate::bench::peers::{Podman, Private};
use crate::bench::results::Role;
use crate::bench::runner;
use crate::bench::session::Session;

/// As root, on the four-layer image.
pub(super) fn as_root(session: &Session) -> Result<Job> {
    let image = images::four_layers(session)?;
    let archive = image.docker();
    let mica = || -> Result<Work> {
        let mica = session.mica(&session.folder("mica")?);
        mica.clone().args(["load", "-q", "-i"]).path(&archive).run()?;
        Ok(Work { line: mica.args(["run", "--rm", "--network", "none", NAME, "true"]), ..Work::default() })
    };
    let podman = || -> Result<Work> {
        let podman = Podman::new(session, "podman")?.line();
        podman.clone().args(["load", "-q", "-i"]).path(&archive).run()?;
        Ok(Work { line: podman.args(["run", "--rm", "--network", "none", NAME, "true"]), ..Work::default() })
    };
    let docker = || -> Result<Work> {
        let daemon = Private::docker(session, "docker")?;
        daemon.line().args(["load", "-q", "-i"]).path(&archive).run()?;
        let line = daemon.line().args(["run", "--rm", "--network", "none", NAME, "true"]);
        Ok(Work { line, daemon: Some(daemon.into_daemon()), ..Work::default() })
    };
    Ok(Job {
        what: "Run `true` in a new container of the four-layer image, and remove the container.".to_owned(),
        fair: "The image is there and in memory; every tool gives the container no network but loopback. The floor is a C program that \
               makes an overlay over the same four layers, six namespaces, /proc, /sys, /dev, and execs after pivot_root."
            .to_owned(),
        rounds: session.fast_rounds(),
        warm_ups: 2,
        contenders: vec![
            Entrant::of("mica", Role::Ours, mica()),
            Entrant::of("podman", Role::Peer, podman()),
            Entrant::of("docker", Role::Peer, docker()),
            Entrant::of("floor", Role::Floor, floor(session, &image)),
        ],
        ..Job::default()
    })
}

/// The least container, over layers that tar unpacked.
fn floor(session: &Session, image: &Image) -> Result<Work> {
    let program = compile(&session.home.join("tools"), "floor", include_str!("../floor.c"))?;
    let folder = session.folder("floor")?;
    let lowers: Vec<String> = image
        .layers()
        .iter()
        .enumerate()
        .map(|(number, layer)| unpack(layer, &folder.join(number.to_string())))
        .collect::<Result<_>>()?;
    let scratch = folder.join("scratch");
    let lowers = lowers.into_iter().rev().collect::<Vec<_>>().join(":");
    let line = Line::new(program).arg(lowers).path(&scratch).arg("/bin/true");
    runner::empty(&scratch)?;
    Ok(Work { reset: vec![Step::Empty(scratch)], line, ..Work::default() })
}

fn unpack(layer: &Path, to: &Path) -> Result<String> {
    std::fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    Line::new("tar").args(["-x", "-p", "--same-owner", "-C"]).path(to).arg("-f").path(layer).run()?;
    Ok(to.display().to_string())
}
