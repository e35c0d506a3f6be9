//! Lists of a store in which much is kept.

use anyhow::Result;

use super::{FORK_AND_EXEC, Work, fork_and_exec};
use crate::bench::images;
use crate::bench::job::{Entrant, Job};
use crate::bench::results::Role;
use crate::bench::session::Session;

const IMAGES: u64 = 1000;

pub(super) fn prepare(session: &Session) -> Result<Job> {
    let archive = images::many(session, IMAGES)?.docker();
    let mica = session.mica(&session.folder("mica")?);
    mica.clone().args(["load", "-q", "-i"]).path(&archive).run()?;
    let asked = |words: &[&str]| Ok(Work { line: mica.clone().args(words.iter().copied()), ..Work::default() });
    Ok(Job {
        what: "List 1,000 images, and add up what 1,000 layers take.".to_owned(),
        fair: "One store with 1,000 images, each with a layer of its own; its records are in memory.".to_owned(),
        rounds: session.fast_rounds(),
        warm_ups: 2,
        contenders: vec![
            Entrant::of("images", Role::Ours, asked(&["images"])),
            Entrant::of("system df", Role::Ours, asked(&["system", "df"])),
            Entrant::of(FORK_AND_EXEC, Role::Floor, Ok(fork_and_exec())),
        ],
        ..Job::default()
    })
}
