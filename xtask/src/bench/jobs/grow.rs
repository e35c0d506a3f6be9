//! How our commands grow: with the entries of an image, the layers of a stack and the containers of a store.

use std::path::Path;

use anyhow::Result;

use super::{FORK_AND_EXEC, Work, fork_and_exec};
use crate::bench::images::{self, Image, NAME};
use crate::bench::job::{Entrant, Job, Step};
use crate::bench::line::Line;
use crate::bench::results::Role;
use crate::bench::session::Session;

const ENTRIES: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];

const LAYERS: [u64; 5] = [1, 10, 100, 250, 500];

const CONTAINERS: [u64; 5] = [1, 10, 100, 1_000, 10_000];

/// Writes ten files into a new container.
const TEN_FILES: &str = "for i in 0 1 2 3 4 5 6 7 8 9; do echo $i > /srv/file$i; done";

/// A store with one image.
fn store(session: &Session, name: &str, image: &Image) -> Result<Line> {
    let mica = session.mica(&session.folder(name)?);
    mica.clone().args(["load", "-q", "-i"]).path(image.docker()).run()?;
    Ok(mica)
}

fn words(mica: &Line, words: &[&str]) -> Line {
    mica.clone().args(words.iter().copied())
}

/// Makes a container and forgets it.
fn create(mica: &Line) -> Work {
    let line = words(mica, &["create", "--name", "bench", NAME, "true"]);
    Work { line, after: vec![Step::Run(words(mica, &["rm", "bench"]))], ..Work::default() }
}

/// Runs a command in a container that goes with it.
fn run(mica: &Line) -> Work {
    Work { line: words(mica, &["run", "--rm", "--network", "none", NAME, "true"]), ..Work::default() }
}

/// What a command of a store does in one run.
type How = fn(&Line) -> Work;

/// One size's store, or why there is none, for several commands.
fn entrants(made: Result<Line>, size: u64, commands: &[(&str, How)]) -> Vec<Entrant> {
    let why = made.as_ref().err().map(|error| format!("{error:#}"));
    let work = |work: &How| match (&made, &why) {
        (Ok(mica), _) => Ok(work(mica)),
        (Err(_), why) => Err(anyhow::anyhow!(why.clone().unwrap_or_default())),
    };
    commands.iter().map(|(name, how)| Entrant::of(name, Role::Ours, work(how)).at(size)).collect()
}

fn floor() -> Entrant {
    Entrant::of(FORK_AND_EXEC, Role::Floor, Ok(fork_and_exec()))
}

/// Images of one layer with more and more entries.
pub(super) fn entries(session: &Session) -> Result<Job> {
    let mut contenders = Vec::new();
    for size in session.sizes(&ENTRIES).iter().copied() {
        let made = || -> Result<Line> {
            let mica = store(session, &format!("mica-{size}"), &images::of_entries(session, size)?)?;
            words(&mica, &["run", "--name", "ten", NAME, "sh", "-c", TEN_FILES]).run()?;
            Ok(mica)
        };
        let diff = |mica: &Line| Work { line: words(mica, &["diff", "ten"]), ..Work::default() };
        let commit = |mica: &Line| Work {
            line: words(mica, &["commit", "-q", "ten", "committed"]),
            after: vec![Step::Run(words(mica, &["rmi", "committed"])), Step::Run(words(mica, &["__reap"]))],
            ..Work::default()
        };
        contenders.extend(entrants(
            made(),
            size,
            &[("create", create), ("diff", diff), ("commit", commit), ("run", run)],
        ));
    }
    contenders.push(floor());
    Ok(Job {
        what: "Create a container, list the ten files that one wrote, commit them, and run one, by the entries of the image.".to_owned(),
        fair: "One store for each size with one image of one layer. What a run made is removed before the next.".to_owned(),
        rounds: session.fast_rounds(),
        warm_ups: 1,
        contenders,
        ..Job::default()
    })
}

/// Images of more and more layers.
pub(super) fn layers(session: &Session) -> Result<Job> {
    let mut contenders = Vec::new();
    for size in session.sizes(&LAYERS).iter().copied() {
        let made = images::of_layers(session, size).and_then(|image| store(session, &format!("mica-{size}"), &image));
        contenders.extend(entrants(made, size, &[("create", create), ("run", run)]));
    }
    contenders.push(floor());
    Ok(Job {
        what: "Create a container and run one, by the layers of the image.".to_owned(),
        fair:
            "One store for each size with one image, ten entries a layer. What a run made is removed before the next."
                .to_owned(),
        rounds: session.fast_rounds(),
        warm_ups: 1,
        contenders,
        ..Job::default()
    })
}

/// Stores with more and more containers.
pub(super) fn containers(session: &Session) -> Result<Job> {
    let image = images::of_layers(session, 1)?;
    let mut contenders = Vec::new();
    for size in session.sizes(&CONTAINERS).iter().copied() {
        let made = || -> Result<Line> {
            let mica = store(session, &format!("mica-{size}"), &image)?;
            many(&mica, size, &session.work())?;
            Ok(mica)
        };
        let ps = |mica: &Line| Work { line: words(mica, &["ps", "-a"]), ..Work::default() };
        contenders.extend(entrants(made(), size, &[("create", create), ("ps -a", ps), ("run", run)]));
    }
    contenders.push(floor());
    Ok(Job {
        what: "Create a container, list all, and run one, by the containers that the store has.".to_owned(),
        fair: "One store for each size. What a run made is removed before the next.".to_owned(),
        rounds: session.fast_rounds(),
        warm_ups: 1,
        contenders,
        ..Job::default()
    })
}

/// Makes so many containers, two at a time.
fn many(mica: &Line, count: u64, scratch: &Path) -> Result<()> {
    let create = words(mica, &["create", NAME, "true"]);
    let script = format!("seq {count} | xargs -P 2 -I _ {create} > '{}'", scratch.join("created").display());
    Line::shell(script).run().map(drop)
}
