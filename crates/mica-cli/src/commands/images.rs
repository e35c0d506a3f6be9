//! Images and layers that are listed, named, traced and removed.

use std::process::ExitCode;

use anyhow::Result;
use jiff::Timestamp;
use mica_core::image::Platform;
use mica_engine::{ArtifactSummary, Engine, Error, HistoryStep, ImageSummary, LayerSummary, Reference, Removed};
use serde_json::{Value, json};

use super::containers::each;
use super::{cut, id_text, line, print};
use crate::args::{HistoryArgs, ImagesArgs, LayersArgs, RmiArgs, TagArgs};
use crate::output::listing::{Column, Listing};
use crate::output::{size, time};

const IMAGE_COLUMNS: &[Column] = &[
    Column { field: "Repository", header: "REPOSITORY" },
    Column { field: "Tag", header: "TAG" },
    Column { field: "Digest", header: "DIGEST" },
    Column { field: "ID", header: "IMAGE ID" },
    Column { field: "CreatedSince", header: "CREATED" },
    Column { field: "CreatedAt", header: "CREATED AT" },
    Column { field: "Size", header: "SIZE" },
    Column { field: "Platform", header: "PLATFORM" },
];

pub(super) fn list(engine: &Engine, args: &ImagesArgs) -> Result<ExitCode> {
    let now = Timestamp::now();
    let (images, artifacts) = engine.images(args.reference.as_deref())?;
    let mut shown = match args.digests {
        false => vec!["Repository", "Tag", "ID", "CreatedSince", "Size"],
        true => vec!["Repository", "Tag", "Digest", "ID", "CreatedSince", "Size"],
    };
    // Where all are for this machine, that says nothing.
    let host = Platform::host();
    if images.iter().any(|image| !image.platform.serves(&host)) {
        shown.push("Platform");
    }
    let mut rows: Vec<Value> = images.iter().flat_map(|image| rows_of(image, now, args.listing.no_trunc)).collect();
    // They have no image ID, so that whoever asks for IDs alone gets none of them.
    if !args.listing.quiet {
        rows.extend(artifacts.iter().map(artifact_row));
    }
    print(&Listing { columns: IMAGE_COLUMNS, shown: &shown, quiet: "ID" }, &rows, &args.listing)
}

fn artifact_row(artifact: &ArtifactSummary) -> Value {
    json!({
        "Repository": artifact.name.familiar_repository(),
        "Tag": artifact.name.tag().unwrap_or("<none>"),
        "Digest": artifact.manifest.to_string(),
        "ID": "<artifact>",
        "CreatedSince": "N/A",
        "CreatedAt": "N/A",
        "Size": size::human(artifact.size),
        "Platform": "",
    })
}

/// A row for each name, or one with no name.
fn rows_of(image: &ImageSummary, now: Timestamp, no_trunc: bool) -> Vec<Value> {
    let row = |name: Option<&Reference>| {
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "<none>".to_owned());
        json!({
            "Repository": or_none(name.map(Reference::familiar_repository)),
            "Tag": or_none(name.and_then(|name| name.tag().map(str::to_owned))),
            "Digest": image.manifest.to_string(),
            "ID": if no_trunc { image.id.to_string() } else { image.id.short() },
            "CreatedSince": image.created.map_or_else(|| "N/A".to_owned(), |at| time::ago(at, now)),
            "CreatedAt": image.created.map_or_else(|| "N/A".to_owned(), time::created_at),
            "Size": size::human(image.size),
            "Platform": image.platform.to_string(),
        })
    };
    match &image.names[..] {
        [] => vec![row(None)],
        names => names.iter().map(|name| row(Some(name))).collect(),
    }
}

pub(super) fn tag(engine: &Engine, args: &TagArgs) -> Result<ExitCode> {
    engine.tag(&args.image, &Reference::parse(&args.reference).map_err(Error::from)?)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn rmi(engine: &Engine, args: &RmiArgs) -> Result<ExitCode> {
    let mut deleted = false;
    let code = each(&args.images, |word| {
        for removed in engine.remove_image(word, args.force)? {
            match removed {
                Removed::Untagged(name) => line(&format!("Untagged: {}", name.familiar()))?,
                Removed::Artifact(name) => {
                    deleted = true;
                    line(&format!("Untagged: {}", name.familiar()))?;
                }
                Removed::Deleted(id) => {
                    deleted = true;
                    line(&format!("Deleted: {id}"))?;
                }
            }
        }
        Ok(())
    })?;
    if deleted {
        engine.collect()?;
    }
    Ok(code)
}

const HISTORY: Listing<'_> = Listing {
    columns: &[
        Column { field: "ID", header: "IMAGE" },
        Column { field: "CreatedSince", header: "CREATED" },
        Column { field: "CreatedAt", header: "CREATED AT" },
        Column { field: "CreatedBy", header: "CREATED BY" },
        Column { field: "Size", header: "SIZE" },
        Column { field: "Comment", header: "COMMENT" },
        Column { field: "Layer", header: "LAYER" },
    ],
    shown: &["ID", "CreatedSince", "CreatedBy", "Size", "Comment"],
    quiet: "ID",
};

pub(super) fn history(engine: &Engine, args: &HistoryArgs) -> Result<ExitCode> {
    let now = Timestamp::now();
    let no_trunc = args.listing.no_trunc;
    let row = |step: &HistoryStep| {
        let id = step.image.map(|id| if no_trunc { id.to_string() } else { id.short() });
        let layer = step.layer.map(|layer| if no_trunc { layer.to_string() } else { layer.short() });
        json!({
            "ID": id.unwrap_or_else(|| "<missing>".to_owned()),
            "CreatedSince": step.created.map_or_else(|| "N/A".to_owned(), |at| time::ago(at, now)),
            "CreatedAt": step.created.map_or_else(|| "N/A".to_owned(), time::created_at),
            "CreatedBy": cut(&step.created_by, 45, no_trunc),
            "Size": size::human(step.size),
            "Comment": step.comment,
            "Layer": layer.unwrap_or_default(),
        })
    };
    let rows: Vec<Value> = engine.history(&args.image)?.iter().map(row).collect();
    print(&HISTORY, &rows, &args.listing)
}

const LAYERS: Listing<'_> = Listing {
    columns: &[
        Column { field: "ID", header: "DIFFID" },
        Column { field: "Size", header: "SIZE" },
        Column { field: "Entries", header: "ENTRIES" },
        Column { field: "Images", header: "IMAGES" },
        Column { field: "Containers", header: "CONTAINERS" },
    ],
    shown: &["ID", "Size", "Entries", "Images", "Containers"],
    quiet: "ID",
};

pub(super) fn layers(engine: &Engine, args: &LayersArgs) -> Result<ExitCode> {
    let no_trunc = args.listing.no_trunc;
    let row = |layer: &LayerSummary| {
        json!({
            "ID": if no_trunc { layer.layer.to_string() } else { id_text(&layer.layer.hex(), false) },
            "Size": size::human(layer.size),
            "Entries": layer.entries.to_string(),
            "Images": cut(&layer.images.join(","), 60, no_trunc),
            "Containers": cut(&layer.containers.join(","), 60, no_trunc),
        })
    };
    let rows: Vec<Value> = engine.layers(args.image.as_deref())?.iter().map(row).collect();
    print(&LAYERS, &rows, &args.listing)
}
