//! Removing an image: what a person waits for.

use anyhow::Result;

use super::{FORK_AND_EXEC, Work, fork_and_exec};
use crate::bench::images::{self, NAME};
use crate::bench::job::{Entrant, Job, Step};
use crate::bench::peers::{Podman, Private};
use crate::bench::results::Role;
use crate::bench::session::Session;

const ENTRIES: u64 = 40_000;

pub(super) fn prepare(session: &Session) -> Result<Job> {
    let archive = images::of_entries(session, ENTRIES)?.docker();
    let mica = || -> Result<Work> {
        let mica = session.mica(&session.folder("mica")?);
        let load = mica.clone().args(["load", "-q", "-i"]).path(&archive);
        let reap = mica.clone().arg("__reap");
        let reset = vec![Step::Run(load), Step::Flush];
        Ok(Work { reset, line: mica.args(["rmi", NAME]), after: vec![Step::Run(reap)], ..Work::default() })
    };
    let podman = || -> Result<Work> {
        let podman = Podman::new(session, "podman")?.line();
        let load = podman.clone().args(["load", "-q", "-i"]).path(&archive);
        let reset = vec![Step::Run(load), Step::Flush];
        Ok(Work { reset, line: podman.args(["rmi", NAME]), ..Work::default() })
    };
    let docker = || -> Result<Work> {
        let daemon = Private::docker(session, "docker")?;
        let load = daemon.line().args(["load", "-q", "-i"]).path(&archive);
        let reset = vec![Step::Run(load), Step::Flush];
        let line = daemon.line().args(["rmi", NAME]);
        Ok(Work { reset, line, daemon: Some(daemon.into_daemon()), ..Work::default() })
    };
    Ok(Job {
        what: "Remove an image with one layer of 40,000 entries.".to_owned(),
        fair: "The image was just loaded and flushed. The time is until the command returns: ours deletes the files after that, in a \
               process of low priority, and what is left of it is waited for before the next run."
            .to_owned(),
        rounds: if session.quick { 2 } else { 7 },
        inputs: vec![archive.clone()],
        contenders: vec![
            Entrant::of("mica", Role::Ours, mica()),
            Entrant::of("podman", Role::Peer, podman()),
            Entrant::of("docker", Role::Peer, docker()),
            Entrant::of(FORK_AND_EXEC, Role::Floor, Ok(fork_and_exec())),
        ],
        ..Job::default()
    })
}
