//! Images of a Docker archive as `docker save` wrote it before version 1.10 (Docker image specification v1).
//!
//! ```text
//! repositories          {"busybox": {"latest": "<id>"}}         may be missing
//! <id>/json             one layer's part of the image, with its parent's ID
//! <id>/layer.tar        its tar
//! <id>/VERSION          "1.0"
//! ```
//!
//! There are no configs in it, and no digests: each layer is read once to learn its DiffID, and the config is made as Docker
//! 1.10 and later make it on `docker load`, so that the image has the ID that it has there. Nothing else proves these
//! bytes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use mica_core::{BlobDigest, DiffId, ImageId};
use mica_layer::Compression;
use serde_json::value::RawValue;

use super::Pass;
use super::docker::add;
use crate::config::ParsedConfig;
use crate::error::io_error;
use crate::sink::digest_of;
use crate::wire::{HistoryStep, Repositories, V1Image, media};
use crate::{BlobRef, Reference, SourceImage, SourceLayer, TransportError};

const REPOSITORIES: &str = "repositories";

/// Of a layer's part of an image, what is no part of a config.
const NOT_IN_A_CONFIG: [&str; 6] = ["id", "parent", "Size", "parent_id", "layer_id", "throwaway"];

/// One layer's part of an image.
struct Part {
    image: V1Image,
    fields: BTreeMap<String, Box<RawValue>>,
}

/// Whether an archive that has neither `manifest.json` nor `index.json` is one of these.
pub(super) fn is_legacy(archive: &Pass<'_>) -> Result<bool, TransportError> {
    Ok(archive.has(REPOSITORIES)? || archive.files.names().any(|name| id_of(name).is_some()))
}

/// The ID of a part by the name of its file.
fn id_of(name: &str) -> Option<&str> {
    name.strip_suffix("/json").filter(|id| BlobDigest::from_hex(id).is_ok())
}

pub(super) fn images(archive: &Pass<'_>) -> Result<Vec<SourceImage>, TransportError> {
    let mut parts: HashMap<String, Part> = HashMap::new();
    let mut layers: HashMap<String, SourceLayer> = HashMap::new();
    let mut images: Vec<SourceImage> = Vec::new();
    for (head, names) in heads(archive)? {
        let lineage = lineage(archive, &head, &mut parts)?;
        let mut image = image(archive, &lineage, &parts, &mut layers)?;
        super::platform::expect(&image.platform, &archive.options.platforms)?;
        image.names = names;
        images.push(image);
    }
    if images.is_empty() {
        return Err(TransportError::NoImages);
    }
    Ok(images)
}

/// The IDs of the images and their names; where nothing is named, each part that is no other's parent.
fn heads(archive: &Pass<'_>) -> Result<Vec<(String, Vec<Reference>)>, TransportError> {
    let mut heads: Vec<(String, Vec<Reference>)> = Vec::new();
    if archive.has(REPOSITORIES)? {
        let bytes = archive.metadata(REPOSITORIES, REPOSITORIES)?;
        let repositories: Repositories = serde_json::from_slice(&bytes)
            .map_err(|source| TransportError::BadJson { what: REPOSITORIES.to_owned(), source })?;
        for (repository, tags) in repositories {
            for (tag, id) in tags {
                let name = format!("{repository}:{tag}");
                let read =
                    Reference::parse(&name).map_err(|source| TransportError::BadName { name: name.clone(), source })?;
                match heads.iter_mut().find(|(head, _)| *head == id) {
                    Some((_, names)) => add(names, vec![read]),
                    None => heads.push((id, vec![read])),
                }
            }
        }
    }
    if heads.is_empty() {
        let all: BTreeSet<&str> = archive.files.names().filter_map(id_of).collect();
        let mut parents = BTreeSet::new();
        for id in &all {
            parents.extend(part(archive, id)?.image.parent);
        }
        heads.extend(all.into_iter().filter(|id| !parents.contains(*id)).map(|id| (id.to_owned(), Vec::new())));
    }
    Ok(heads)
}

fn part(archive: &Pass<'_>, id: &str) -> Result<Part, TransportError> {
    // The ID becomes a name in the archive.
    BlobDigest::from_hex(id)
        .map_err(|source| TransportError::BadDigest { what: format!("image ID {id:?}"), source })?;
    let what = format!("image {id}");
    let bytes = archive.metadata(&what, &format!("{id}/json"))?;
    let bad = |source| TransportError::BadJson { what: what.clone(), source };
    Ok(Part {
        image: serde_json::from_slice(&bytes).map_err(bad)?,
        fields: serde_json::from_slice(&bytes).map_err(bad)?,
    })
}

/// The parts of an image, base first.
fn lineage(archive: &Pass<'_>, head: &str, parts: &mut HashMap<String, Part>) -> Result<Vec<String>, TransportError> {
    let mut lineage: Vec<String> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut next = Some(head.to_owned());
    while let Some(id) = next.filter(|id| !id.is_empty()) {
        if !seen.insert(id.clone()) {
            return Err(TransportError::ParentLoop { id });
        }
        if !parts.contains_key(&id) {
            parts.insert(id.clone(), part(archive, &id)?);
        }
        next = parts.get(&id).and_then(|part| part.image.parent.clone());
        lineage.push(id);
    }
    lineage.reverse();
    Ok(lineage)
}

fn image(
    archive: &Pass<'_>,
    lineage: &[String],
    parts: &HashMap<String, Part>,
    known: &mut HashMap<String, SourceLayer>,
) -> Result<SourceImage, TransportError> {
    let mut layers = Vec::with_capacity(lineage.len());
    let mut history = Vec::with_capacity(lineage.len());
    for id in lineage {
        let layer = match known.get(id) {
            Some(layer) => layer.clone(),
            None => known.entry(id.clone()).or_insert(layer(archive, id)?).clone(),
        };
        layers.push(layer);
        history.extend(parts.get(id).map(|part| step(&part.image)));
    }
    let head = lineage.last().and_then(|id| parts.get(id));
    let diff_ids: Vec<DiffId> = layers.iter().map(|layer| layer.diff_id).collect();
    let config = config(head, &diff_ids, &history)
        .map_err(|source| TransportError::BadJson { what: "config".to_owned(), source })?;
    let parsed = ParsedConfig::read("config", &config)?;
    Ok(SourceImage {
        names: Vec::new(),
        labels: Vec::new(),
        manifest: None,
        index: None,
        companions: Vec::new(),
        platform: parsed.platform,
        id: ImageId::of(&config),
        config,
        config_media_type: media::OCI_CONFIG.to_owned(),
        layers,
    })
}

/// The fields of the topmost part, sorted, with the layers and the history of all parts.
fn config(head: Option<&Part>, diff_ids: &[DiffId], history: &[HistoryStep]) -> Result<Vec<u8>, serde_json::Error> {
    let rootfs = serde_json::value::to_raw_value(&serde_json::json!({"type": "layers", "diff_ids": diff_ids}))?;
    let history = serde_json::value::to_raw_value(history)?;
    let mut fields: BTreeMap<&str, &RawValue> = head
        .into_iter()
        .flat_map(|head| &head.fields)
        .map(|(key, value)| (key.as_str(), &**value))
        .filter(|(key, _)| !NOT_IN_A_CONFIG.contains(key))
        .collect();
    fields.insert("history", &history);
    fields.insert("rootfs", &rootfs);
    serde_json::to_vec(&fields)
}

fn step(image: &V1Image) -> HistoryStep {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    HistoryStep {
        created: image.created.clone(),
        author: text(&image.author),
        created_by: image
            .container_config
            .as_ref()
            .and_then(|it| it.cmd.as_ref())
            .map(|cmd| cmd.join(" "))
            .unwrap_or_default(),
        comment: text(&image.comment),
    }
}

/// A layer, read once to learn its DiffID.
fn layer(archive: &Pass<'_>, id: &str) -> Result<SourceLayer, TransportError> {
    let what = format!("layer of image {id}");
    let name = format!("{id}/layer.tar");
    let reading = |source| io_error(format!("read {what}"), source);
    let found = archive.required(&what, &name)?;
    let size = found.size;
    let compression = super::compression(found).map_err(reading)?;
    let stored = archive.required(&what, &name)?.reader();
    let mut tar = mica_layer::decoder(stored).map_err(|source| TransportError::Layer { what: what.clone(), source })?;
    let plain = digest_of(&mut tar).map_err(reading)?;
    Ok(SourceLayer {
        diff_id: DiffId::from_sha256(*plain.as_bytes()),
        blob: BlobRef::Entry(name),
        // What was just read is what will be read again, unless the file changes; then this says so.
        digest: (compression == Compression::Plain).then_some(plain),
        size,
        media_type: media::oci_layer(compression).to_owned(),
        compression,
    })
}
