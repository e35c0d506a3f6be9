//! The JSON of images as archives hold it: descriptors, manifests, indexes, configs and Docker's `manifest.json`.
//!
//! Only the fields that decide something are read. Documents are never written back from these forms: what was read stays
//! beside them as bytes. `null` stands for an empty list, as programs written in Go print it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Media types, OCI and Docker.
pub(crate) mod media {
    use mica_layer::Compression;

    pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    pub(crate) const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    pub(crate) const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

    /// The OCI type of a layer in one of the compressions.
    pub(crate) fn oci_layer(compression: Compression) -> &'static str {
        match compression {
            Compression::Plain => OCI_LAYER,
            Compression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Compression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }

    pub(crate) fn is_index(media_type: &str) -> bool {
        matches!(media_type, OCI_INDEX | DOCKER_LIST)
    }

    pub(crate) fn is_manifest(media_type: &str) -> bool {
        matches!(media_type, OCI_MANIFEST | DOCKER_MANIFEST)
    }

    pub(crate) fn is_config(media_type: &str) -> bool {
        matches!(media_type, OCI_CONFIG | DOCKER_CONFIG)
    }

    /// Whether a layer of this type is a tar in a compression that is read here.
    pub(crate) fn is_layer(media_type: &str) -> bool {
        const TARS: [&str; 4] = [
            OCI_LAYER,
            "application/vnd.oci.image.layer.nondistributable.v1.tar",
            "application/vnd.docker.image.rootfs.diff.tar",
            "application/vnd.docker.image.rootfs.foreign.diff.tar",
        ];
        TARS.iter().any(|tar| {
            media_type
                .strip_prefix(tar)
                .is_some_and(|suffix| matches!(suffix, "" | "+gzip" | "+zstd" | ".gzip" | ".zstd"))
        })
    }

    /// Whether a layer of this type is one that its publisher hands out himself (OCI image specification, "Non-Distributable
    /// Layers"), and archives may leave out.
    pub(crate) fn is_foreign(media_type: &str) -> bool {
        media_type.contains(".nondistributable.") || media_type.contains(".foreign.")
    }

    /// Whether a layer of this type is a tar without compression.
    pub(crate) fn is_plain_layer(media_type: &str) -> bool {
        is_layer(media_type) && media_type.ends_with(".tar")
    }
}

/// Where the name of an image stands in a descriptor (OCI image specification, "Pre-Defined Annotation Keys").
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// containerd's and BuildKit's full name, beside a `ref.name` that is only the tag.
pub(crate) const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// The whole name among the two annotations, if one is. containerd and BuildKit write the tag alone as `ref.name`; a whole one is
/// newer than what stands beside it, and so is a tag that is another: umoci and skopeo know only `ref.name`, and umoci
/// copies the rest.
pub(crate) fn whole_name<'a>(containerd: Option<&'a str>, oci: Option<&'a str>) -> Option<&'a str> {
    let is_whole = |name: &&str| name.contains(['/', ':', '@']);
    match (containerd, oci) {
        (_, Some(oci)) if is_whole(&oci) => Some(oci),
        (Some(containerd), Some(tag)) => {
            let last = containerd.rsplit('/').next().unwrap_or_default();
            let said = last.split('@').next().and_then(|last| last.split_once(':'));
            Some(containerd).filter(|_| said.is_none_or(|(_, said)| said == tag))
        }
        (containerd, _) => containerd,
    }
}

/// BuildKit marks attestations, which stand among the platforms of an index, with this.
pub(crate) const ATTESTATION: &str = "vnd.docker.reference.type";

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: String,
    pub(crate) size: u64,
    pub(crate) annotations: Option<BTreeMap<String, String>>,
    pub(crate) platform: Option<WirePlatform>,
    pub(crate) urls: Option<Vec<String>>,
}

impl Descriptor {
    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct WirePlatform {
    #[serde(default)]
    pub(crate) os: String,
    #[serde(default)]
    pub(crate) architecture: String,
    pub(crate) variant: Option<String>,
}

/// An index, or the `index.json` of a layout.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) manifests: Option<Vec<Descriptor>>,
    pub(crate) layers: Option<serde::de::IgnoredAny>,
    pub(crate) config: Option<serde::de::IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) config: Descriptor,
    pub(crate) layers: Option<Vec<Descriptor>>,
    pub(crate) artifact_type: Option<String>,
    pub(crate) manifests: Option<serde::de::IgnoredAny>,
}

/// What of a config decides how its layers are read.
#[derive(Debug, Deserialize)]
pub(crate) struct Config {
    #[serde(default)]
    pub(crate) os: String,
    #[serde(default)]
    pub(crate) architecture: String,
    pub(crate) variant: Option<String>,
    pub(crate) rootfs: RootFs,
}

#[derive(Debug, Deserialize)]
pub(crate) struct RootFs {
    pub(crate) diff_ids: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Layout {
    pub(crate) image_layout_version: String,
}

/// One image of the `manifest.json` of a Docker archive (Docker image specification v1.2, "Combined Image JSON").
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DockerItem {
    pub(crate) config: String,
    pub(crate) repo_tags: Option<Vec<String>>,
    pub(crate) layers: Option<Vec<String>>,
}

/// `repositories` of the oldest Docker archives: a repository's tags, and the image that each is (Docker image
/// specification v1, "Combined Image JSON + Filesystem Changeset Format").
pub(crate) type Repositories = BTreeMap<String, BTreeMap<String, String>>;

/// What of `<id>/json` tells how one of the oldest images is made.
#[derive(Debug, Deserialize)]
pub(crate) struct V1Image {
    pub(crate) parent: Option<String>,
    pub(crate) created: Option<String>,
    pub(crate) author: Option<String>,
    pub(crate) comment: Option<String>,
    pub(crate) container_config: Option<V1Container>,
}

/// The container that was committed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct V1Container {
    pub(crate) cmd: Option<Vec<String>>,
}

/// A step of the history of a config.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct HistoryStep {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) created: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) author: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) created_by: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) comment: String,
}
