//! Containers that are looked at, committed, mounted and removed.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::Result;
use jiff::Timestamp;
use mica_core::Change;
use mica_engine::{Commit, ContainerSummary, Engine, Error, Kind, Life, Network, Reference};
use serde_json::{Value, json};

use super::{cut, id_text, line, print, print_formatted};
use crate::args::{CommitArgs, DiffArgs, ExportArgs, MountArgs, PsArgs, RmArgs, UmountArgs};
use crate::output::listing::{Column, Listing};
use crate::output::{plain, progress, time};

const CONTAINERS: Listing<'_> = Listing {
    columns: &[
        Column { field: "ID", header: "CONTAINER ID" },
        Column { field: "Image", header: "IMAGE" },
        Column { field: "Command", header: "COMMAND" },
        Column { field: "CreatedAt", header: "CREATED AT" },
        Column { field: "RunningFor", header: "CREATED" },
        Column { field: "State", header: "STATE" },
        Column { field: "Status", header: "STATUS" },
        Column { field: "Networks", header: "NETWORKS" },
        Column { field: "Names", header: "NAMES" },
    ],
    shown: &["ID", "Image", "Command", "RunningFor", "Status", "Names"],
    quiet: "ID",
};

pub(super) fn ps(engine: &Engine, args: &PsArgs) -> Result<ExitCode> {
    let now = Timestamp::now();
    let rows: Vec<Value> =
        engine.containers(args.all)?.iter().map(|container| row(container, now, args.listing.no_trunc)).collect();
    print(&CONTAINERS, &rows, &args.listing)
}

fn row(container: &ContainerSummary, now: Timestamp, no_trunc: bool) -> Value {
    let at = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<Timestamp>().ok());
    let created = container.created.parse::<Timestamp>().unwrap_or(now);
    let (state, status) = match container.life {
        Life::Created => ("created", "Created".to_owned()),
        Life::Running { .. } => {
            ("running", format!("Up {}", time::lasting(at(&container.started).unwrap_or(now), now)))
        }
        Life::Exited { status } => {
            let ago = at(&container.finished).or(at(&container.started)).map(|then| time::ago(then, now));
            let code = status.map_or("?".to_owned(), |status| status.to_string());
            ("exited", format!("Exited ({code}) {}", ago.unwrap_or_default()).trim_end().to_owned())
        }
    };
    json!({
        "ID": id_text(container.id.as_str(), no_trunc),
        "Image": container.image,
        "Command": format!("\"{}\"", cut(&container.command.join(" "), 20, no_trunc)),
        "CreatedAt": time::created_at(created),
        "RunningFor": time::ago(created, now),
        "State": state,
        "Status": status,
        "Networks": match container.network { Network::None => "none", Network::Host => "host" },
        "Names": container.name,
    })
}

/// Tries all, tells each error, and fails if any did.
pub(super) fn each<'a>(
    words: impl IntoIterator<Item = &'a String>,
    mut one: impl FnMut(&str) -> Result<()>,
) -> Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for word in words {
        if let Err(error) = one(word) {
            code = crate::failure::report(&error);
        }
    }
    Ok(code)
}

pub(super) fn rm(engine: &Engine, args: &RmArgs) -> Result<ExitCode> {
    each(&args.containers, |word| {
        engine.remove_container(word, args.force)?;
        line(word)
    })
}

const CHANGES: Listing<'_> = Listing {
    columns: &[Column { field: "Kind", header: "KIND" }, Column { field: "Path", header: "PATH" }],
    shown: &["Kind", "Path"],
    quiet: "Path",
};

pub(super) fn diff(engine: &Engine, args: &DiffArgs) -> Result<ExitCode> {
    let changes = engine.diff(&args.container)?;
    if args.format.is_none() {
        let mut stdout = io::BufWriter::new(io::stdout().lock());
        let escape = io::stdout().is_terminal();
        for change in &changes {
            let text = change.to_string();
            writeln!(stdout, "{}", if escape { plain::escape(&text) } else { text.into() })?;
        }
        stdout.flush()?;
        return Ok(ExitCode::SUCCESS);
    }
    let row = |change: &Change| json!({ "Kind": change.kind.letter().to_string(), "Path": change.path.to_string() });
    print_formatted(&CHANGES, &changes.iter().map(row).collect::<Vec<_>>(), args.format.as_deref(), false)
}

pub(super) fn commit(engine: &Engine, args: CommitArgs) -> Result<ExitCode> {
    let name = args.reference.as_deref().map(Reference::parse).transpose().map_err(Error::from)?;
    let commit =
        Commit { container: args.container, name, message: args.message, author: args.author, changes: args.change };
    let id = engine.commit(&commit, &*progress::on_stderr(args.quiet))?;
    line(&id.to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// Where a tar goes: a file that is complete when it has its name, or standard output unless that is a terminal.
pub(super) fn write_out(
    path: Option<&std::path::Path>,
    write: impl FnOnce(&mut dyn io::Write) -> mica_engine::Result<()>,
) -> Result<()> {
    if let Some(path) = path {
        return Ok(mica_engine::write_file(path, write)?);
    }
    let mut stdout = io::stdout().lock();
    if stdout.is_terminal() {
        return Err(Error::new(Kind::Usage, "an archive is not written to a terminal")
            .hinted("name a file with -o, or use a pipe")
            .into());
    }
    Ok(mica_engine::write_stream(&mut stdout, "standard output", write)?)
}

pub(super) fn export(engine: &Engine, args: &ExportArgs) -> Result<ExitCode> {
    write_out(args.output.as_deref(), |out| engine.export(&args.container, out))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn mount(engine: &Engine, args: &MountArgs) -> Result<ExitCode> {
    match &args.container {
        Some(word) => line(&engine.mount(word)?.display().to_string())?,
        None => {
            for (name, path) in engine.mounted()? {
                line(&format!("{name} {}", path.display()))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn umount(engine: &Engine, args: &UmountArgs) -> Result<ExitCode> {
    engine.unmount(&args.container)?;
    line(&args.container)?;
    Ok(ExitCode::SUCCESS)
}
