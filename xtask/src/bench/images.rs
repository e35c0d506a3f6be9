//! The images that are measured with: made here, the same on every run, and kept for the next.
//!
//! ```text
//!   target/bench/images/NAME/
//!     layers/0.tar 1.tar …     plain layers
//!     docker/                  the docker archive's files; layers are the plain ones
//!     layout/                  the OCI layout; layers are compressed by gzip
//!     docker.tar oci.tar       the two as archives
//!     made                     written last: what is here is whole, and made by this version of the recipe
//! ```

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::line::Line;
use super::runner;
use super::session::Session;

mod content;
mod debian;
mod tarball;

pub(super) use debian::four_layers;

/// Changes when a recipe does, so that images of an older one are made again.
const RECIPE: &str = "1";

/// The time of every file that is made here.
const EPOCH: u64 = 1_700_000_000;

/// An image in the forms that the contenders take.
#[derive(Clone, Debug)]
pub(super) struct Image {
    dir: PathBuf,
    layers: usize,
}

/// The name that it has in its archives.
pub(super) const NAME: &str = "docker.io/library/bench:latest";

impl Image {
    pub(super) fn docker(&self) -> PathBuf {
        self.dir.join("docker.tar")
    }

    pub(super) fn oci(&self) -> PathBuf {
        self.dir.join("oci.tar")
    }

    pub(super) fn layout(&self) -> PathBuf {
        self.dir.join("layout")
    }

    /// The plain layers, lowest first.
    pub(super) fn layers(&self) -> Vec<PathBuf> {
        (0..self.layers).map(|number| self.dir.join(format!("layers/{number}.tar"))).collect()
    }

    /// The compressed layers, lowest first.
    pub(super) fn compressed(&self) -> Vec<PathBuf> {
        (0..self.layers).map(|number| self.dir.join(format!("layers/{number}.tar.gz"))).collect()
    }
}

/// Which archives are made of an image.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Forms {
    Docker,
    DockerAndOci,
}

/// The image that `layers` writes, lowest layer first; from the last run when it is still here.
fn kept(session: &Session, name: &str, forms: Forms, layers: impl FnOnce(&Path) -> Result<usize>) -> Result<Image> {
    let dir = session.home.join("images").join(name);
    let stamp = dir.join("made");
    if let Ok(text) = std::fs::read_to_string(&stamp)
        && let Some(layers) = text.strip_prefix(RECIPE).and_then(|rest| rest.trim().parse().ok())
    {
        return Ok(Image { dir, layers });
    }
    println!("    making the image {name}, once");
    runner::empty(&dir)?;
    make_dir(&dir.join("layers"))?;
    let image = Image { layers: layers(&dir.join("layers"))?, dir };
    let plain: Vec<String> = image.layers().iter().map(|layer| digest(layer)).collect::<Result<_>>()?;
    docker_archive(&image.dir, &[(NAME.to_owned(), (0..image.layers).collect())], &plain)?;
    if forms == Forms::DockerAndOci {
        compress(session, &image.layers())?;
        oci_archive(&image, &plain)?;
    }
    write(&stamp, format!("{RECIPE} {}\n", image.layers).as_bytes())?;
    Ok(image)
}

/// An image of one layer with so many entries, and a shell.
pub(super) fn of_entries(session: &Session, entries: u64) -> Result<Image> {
    kept(session, &format!("entries-{entries}"), Forms::Docker, |to| {
        content::flat_tree(&to.join("0.tar"), entries, 0)?;
        Ok(1)
    })
}

/// An image of so many layers with ten entries each, and a shell.
pub(super) fn of_layers(session: &Session, layers: u64) -> Result<Image> {
    kept(session, &format!("layers-{layers}"), Forms::Docker, |to| {
        for number in 0..layers {
            content::flat_tree(&to.join(format!("{number}.tar")), 10, number)?;
        }
        usize::try_from(layers).context("so many layers")
    })
}

/// An image whose layers are what these directories have, lowest first.
pub(super) fn of_directories(session: &Session, name: &str, directories: &[PathBuf]) -> Result<Image> {
    kept(session, name, Forms::Docker, |to| {
        for (number, directory) in directories.iter().enumerate() {
            let archive = to.join(format!("{number}.tar"));
            Line::new("tar").arg("-C").path(directory).arg("-cf").path(&archive).arg(".").run()?;
        }
        Ok(directories.len())
    })
}

/// An archive of so many images, each of one layer of its own.
pub(super) fn many(session: &Session, images: u64) -> Result<Image> {
    let dir = session.home.join("images").join(format!("images-{images}"));
    let layers = usize::try_from(images).context("so many images")?;
    let image = Image { dir, layers };
    let stamp = image.dir.join("made");
    if std::fs::read_to_string(&stamp).is_ok_and(|text| text == RECIPE) {
        return Ok(image);
    }
    println!("    making {images} images, once");
    runner::empty(&image.dir)?;
    make_dir(&image.dir.join("layers"))?;
    for number in 0..images {
        content::flat_tree(&image.dir.join(format!("layers/{number}.tar")), 10, number)?;
    }
    let plain: Vec<String> = image.layers().iter().map(|layer| digest(layer)).collect::<Result<_>>()?;
    let named: Vec<_> = (0..layers).map(|number| (format!("docker.io/library/many:{number}"), vec![number])).collect();
    docker_archive(&image.dir, &named, &plain)?;
    write(&stamp, RECIPE.as_bytes())?;
    Ok(image)
}

fn compress(session: &Session, layers: &[PathBuf]) -> Result<()> {
    let gzip = session.program("pigz", "pigz").or_else(|_| session.program("gzip", "gzip"))?;
    layers.iter().try_for_each(|layer| gzip.clone().args(["-6", "-n", "-k", "-f"]).path(layer).run().map(drop))
}

/// The files of a docker archive and the archive: `images` by name with the numbers of their layers.
fn docker_archive(dir: &Path, images: &[(String, Vec<usize>)], diff_ids: &[String]) -> Result<()> {
    let to = dir.join("docker");
    runner::empty(&to)?;
    let mut manifest = Vec::new();
    for (number, (name, layers)) in images.iter().enumerate() {
        let chosen: Vec<&String> = layers.iter().filter_map(|layer| diff_ids.get(*layer)).collect();
        write(&to.join(format!("{number}.json")), &config(&chosen)?)?;
        let files: Vec<String> = layers.iter().map(|layer| format!("{layer}/layer.tar")).collect();
        manifest.push(json!({ "Config": format!("{number}.json"), "RepoTags": [name], "Layers": files }));
    }
    for number in 0..diff_ids.len() {
        make_dir(&to.join(number.to_string()))?;
        let (from, to) = (dir.join(format!("layers/{number}.tar")), to.join(format!("{number}/layer.tar")));
        std::fs::hard_link(&from, &to).with_context(|| format!("cannot link {}", to.display()))?;
    }
    write(&to.join("manifest.json"), &serde_json::to_vec(&manifest).context("cannot write a manifest")?)?;
    archive(&to, &dir.join("docker.tar"))
}

/// The OCI layout of an image with compressed layers, and the archive.
fn oci_archive(image: &Image, diff_ids: &[String]) -> Result<()> {
    let blobs = image.layout().join("blobs/sha256");
    make_dir(&blobs)?;
    let put = |bytes: &[u8]| -> Result<serde_json::Value> {
        let hex = hex(&Sha256::digest(bytes));
        write(&blobs.join(&hex), bytes)?;
        Ok(json!({ "digest": format!("sha256:{hex}"), "size": bytes.len() }))
    };
    let mut layers = Vec::new();
    for layer in image.compressed() {
        let hex = digest(&layer)?;
        let size = std::fs::metadata(&layer).context("cannot look at a layer")?.len();
        std::fs::hard_link(&layer, blobs.join(&hex)).context("cannot link a layer")?;
        layers.push(json!({
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
            "digest": format!("sha256:{hex}"),
            "size": size,
        }));
    }
    let typed = |mut descriptor: serde_json::Value, media_type: &str| {
        if let Some(fields) = descriptor.as_object_mut() {
            fields.insert("mediaType".to_owned(), json!(media_type));
        }
        descriptor
    };
    let config =
        typed(put(&config(&diff_ids.iter().collect::<Vec<_>>())?)?, "application/vnd.oci.image.config.v1+json");
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({ "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers });
    let mut manifest = typed(put(&serde_json::to_vec(&manifest).context("cannot write a manifest")?)?, media_type);
    if let Some(fields) = manifest.as_object_mut() {
        let names = json!({ "org.opencontainers.image.ref.name": "latest", "io.containerd.image.name": NAME });
        fields.insert("annotations".to_owned(), names);
    }
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    write(&image.layout().join("index.json"), &serde_json::to_vec(&index).context("cannot write an index")?)?;
    write(&image.layout().join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    archive(&image.layout(), &image.oci())
}

fn config(diff_ids: &[&String]) -> Result<Vec<u8>> {
    let ids: Vec<String> = diff_ids.iter().map(|id| format!("sha256:{id}")).collect();
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "config": { "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["sh"] },
        "rootfs": { "type": "layers", "diff_ids": ids },
        "history": ids.iter().map(|_| json!({ "created": "2023-11-14T22:13:20Z" })).collect::<Vec<_>>(),
    });
    serde_json::to_vec(&config).context("cannot write a config")
}

fn archive(dir: &Path, to: &Path) -> Result<()> {
    let how = ["--format=ustar", "--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--hard-dereference"];
    let tar = Line::new("tar").args(how).arg(format!("--mtime=@{EPOCH}")).arg("-cf").path(to).arg("-C").path(dir);
    tar.arg("--transform=s,^\\./,,").arg(".").run().map(drop)
}

/// The SHA-256 of a file, in hex.
fn digest(file: &Path) -> Result<String> {
    let mut input = std::fs::File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut hash = Sha256::new();
    let mut part = vec![0; 1 << 20];
    loop {
        let read =
            std::io::Read::read(&mut input, &mut part).with_context(|| format!("cannot read {}", file.display()))?;
        match part.get(..read) {
            None | Some([]) => return Ok(hex(&hash.finalize())),
            Some(bytes) => hash.update(bytes),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn make_dir(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))
}

fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(file, bytes).with_context(|| format!("cannot write {}", file.display()))
}
