//! `system df|prune|check|info`.

use std::process::ExitCode;

use anyhow::Result;
use mica_engine::{Engine, Error, IdRow, Kind, Probed, Standing};
use serde_json::{Value, json};

use super::{confirmed, line, print_formatted};
use crate::args::{CheckArgs, DfArgs, InfoArgs, PruneArgs};
use crate::failure::say;
use crate::output::listing::{Column, Listing};
use crate::output::template::{Controls, Template};
use crate::output::{plain, progress, size};

const USAGE: Listing<'_> = Listing {
    columns: &[
        Column { field: "Type", header: "TYPE" },
        Column { field: "TotalCount", header: "TOTAL" },
        Column { field: "Active", header: "ACTIVE" },
        Column { field: "Size", header: "SIZE" },
        Column { field: "Reclaimable", header: "RECLAIMABLE" },
    ],
    shown: &["Type", "TotalCount", "Active", "Size", "Reclaimable"],
    quiet: "Type",
};

pub(super) fn df(engine: &Engine, args: &DfArgs) -> Result<ExitCode> {
    let usage = engine.usage()?;
    let row = |kind: &str, total: usize, active: usize, bytes: u64, reclaimable: u64| -> Value {
        json!({
            "Type": kind,
            "TotalCount": total.to_string(),
            "Active": active.to_string(),
            "Size": size::human(bytes),
            "Reclaimable": size::human(reclaimable),
        })
    };
    let layers = usage.blobs + usage.layers.iter().map(|layer| layer.size).sum::<u64>();
    let used_layers = usage.layers.iter().filter(|layer| layer.images + layer.containers > 0).count();
    let used_images = usage.images.iter().filter(|image| image.containers > 0).count();
    let idle: u64 =
        usage.images.iter().filter(|image| image.containers == 0).map(|image| image.size - image.shared).sum();
    let images: u64 = usage.images.iter().map(|image| image.size - image.shared).sum();
    let shared: u64 = usage.layers.iter().filter(|layer| layer.images > 1).map(|layer| layer.size).sum();
    let containers: u64 = usage.containers.iter().map(|container| container.size).sum();
    let alive: Vec<_> = engine.containers(false)?.into_iter().map(|container| container.id).collect();
    let ended = usage
        .containers
        .iter()
        .filter(|container| !alive.contains(&container.id))
        .map(|container| container.size)
        .sum();
    let rows = [
        row("Images", usage.images.len(), used_images, images + shared, idle),
        row("Containers", usage.containers.len(), alive.len(), containers, ended),
        row("Layers and blobs", usage.layers.len(), used_layers, layers, usage.garbage),
    ];
    print_formatted(&USAGE, &rows, args.format.as_deref(), false)
}

pub(super) fn prune(engine: &Engine, args: &PruneArgs) -> Result<ExitCode> {
    let plan = engine.plan_prune(args.all)?;
    if !args.force {
        say(&format!(
            "This removes {} ended containers, {} images, and all layers and blobs that nothing else uses",
            plan.containers.len(),
            plan.images.len()
        ));
        if !confirmed("Go on?")? {
            return Err(Error::new(Kind::Cancelled, "nothing was removed").into());
        }
    }
    let progress = progress::on_stderr(args.quiet);
    let pruned = engine.prune(&plan, &*progress)?;
    drop(progress);
    if args.quiet {
        return Ok(ExitCode::SUCCESS);
    }
    pruned.containers.iter().try_for_each(|name| line(&format!("Deleted container: {name}")))?;
    pruned.images.iter().try_for_each(|id| line(&format!("Deleted image: {id}")))?;
    line(&format!("Reclaimed: {} in {} layers and {} blobs", size::human(pruned.bytes), pruned.layers, pruned.blobs))?;
    Ok(ExitCode::SUCCESS)
}

fn counted(count: usize, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

pub(super) fn check(engine: &Engine, args: &CheckArgs) -> Result<ExitCode> {
    let progress = progress::on_stderr(args.quiet);
    let report = engine.check(args.repair, &*progress)?;
    drop(progress);
    report.findings.iter().try_for_each(|finding| line(finding))?;
    if report.leftovers > 0 && !args.quiet {
        let left = counted(report.leftovers, "thing is", "things are");
        say(&format!("mica: {left} left that nobody keeps; `mica system prune` removes it"));
    }
    if report.standing > 0 {
        let hint = match args.repair {
            false => "`mica system check --repair` mends what can be",
            true => "what is left must be looked at by hand",
        };
        return Err(Error::new(Kind::Corrupt, counted(report.standing, "thing is not whole", "things are not whole"))
            .hinted(hint)
            .into());
    }
    if report.findings.is_empty() {
        if !args.quiet {
            line(&report.looked_at)?;
        }
    } else {
        say("mica: all of this was mended; load again what was set aside");
    }
    Ok(ExitCode::SUCCESS)
}

fn probed(driver: &Probed) -> Value {
    let Probed { name, why_not, chosen } = driver;
    json!({ "Name": name, "Works": why_not.is_none(), "WhyNot": why_not, "Chosen": chosen })
}

/// How owners stand on disk, and by which rows.
fn owners_line(standing: &Standing) -> String {
    let list = |rows: &[IdRow]| rows.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let maps = standing.maps();
    let rows = match (maps.uids.is_empty(), maps.uids == maps.gids) {
        (true, _) => String::new(),
        (false, true) => format!(" ({})", list(&maps.uids)),
        (false, false) => format!(" (users {}; groups {})", list(&maps.uids), list(&maps.gids)),
    };
    let why = standing.shortage().map(|shortage| format!(": {shortage}")).unwrap_or_default();
    format!("{}{rows}{why}", standing.owners().as_str())
}

/// Rows of a map, by Docker's names of their parts.
fn map_rows(rows: &[IdRow]) -> Vec<Value> {
    rows.iter().map(|row| json!({ "ContainerID": row.inside, "HostID": row.outside, "Size": row.count })).collect()
}

pub(super) fn info(engine: &Engine, args: &InfoArgs) -> Result<ExitCode> {
    let info = engine.info()?;
    let drivers: Vec<Value> = info.drivers.iter().map(probed).collect();
    let chosen = info.drivers.iter().find(|driver| driver.chosen).map(|driver| driver.name);
    let value = json!({
        "ServerVersion": env!("CARGO_PKG_VERSION"),
        "StoreRoot": info.root,
        "RunRoot": info.run_root,
        "StoreID": info.uuid,
        "ReadOnly": info.read_only,
        "Rootless": !info.standing.is_root(),
        "Owners": info.standing.owners().as_str(),
        "UIDMap": map_rows(&info.standing.maps().uids),
        "GIDMap": map_rows(&info.standing.maps().gids),
        "Images": info.images,
        "Containers": info.containers,
        "ContainersRunning": info.running,
        "Layers": info.layers,
        "Driver": chosen,
        "Drivers": drivers,
        "KernelVersion": info.kernel,
    });
    match args.format.as_deref() {
        Some("json") => line(&plain::escape_json(value.to_string()))?,
        Some(text) => line(&Template::parse(text)?.render(&value, Controls::Escaped)?)?,
        None => {
            line(&format!("Store:      {}", info.root))?;
            line(&format!("Run root:   {}", info.run_root))?;
            line(&format!("Store ID:   {}", info.uuid))?;
            line(&format!("Rootless:   {}", if info.standing.is_root() { "no" } else { "yes" }))?;
            line(&format!("Owners:     {}", owners_line(&info.standing)))?;
            if let Some(why) = &info.read_only {
                line(&format!("Read-only:  {why}"))?;
            }
            line(&format!("Images:     {}", info.images))?;
            line(&format!("Layers:     {}", info.layers))?;
            line(&format!("Containers: {}, {} running", info.containers, info.running))?;
            for Probed { name, why_not, chosen } in &info.drivers {
                let works = if *chosen { "works, and is taken for new containers" } else { "works" };
                line(&format!("Driver:     {name}: {}", why_not.as_deref().unwrap_or(works)))?;
            }
            line(&format!("Kernel:     {}", info.kernel))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
