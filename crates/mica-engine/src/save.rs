//! Images go out of the store, as an archive or as a layout directory.
//!
//! The OCI forms carry the manifest that an image came with, and its layers as they came; and the index of many platforms
//! that a name stands for, with all of it that is here. A layer whose compressed bytes the store did not keep is rebuilt as
//! the plain tar; the manifest must then be made anew, and that is said. A Docker archive knows neither manifests nor
//! indexes.

use std::io::Write;
use std::path::Path;
use std::rc::Rc;

use mica_core::image::Platform;
use mica_store::{Descriptor, ImageRecord, Kept, Lease};
use mica_transport::{
    Companion, DockerArchiveWriter, ImageSink, LayerForm, OciArchiveWriter, OciLayoutWriter, RawManifest, Reference,
    TransportError,
};

use crate::engine::Engine;
use crate::error::Result;
use crate::manifest::read_manifest;
use crate::progress::Progress;
use crate::spread::is_index;

mod write;

/// The form of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaveForm {
    /// What `docker load` reads: plain layers.
    Docker,
    /// The OCI image layout.
    Oci,
}

/// Where images are saved to.
pub enum SaveTo<'a> {
    /// An archive in one of the forms.
    Archive(SaveForm, &'a mut dyn Write),
    /// An OCI layout in a directory: a new one, or one that is added to.
    Layout(&'a Path),
}

impl std::fmt::Debug for SaveTo<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Archive(form, _) => f.debug_tuple("Archive").field(form).finish_non_exhaustive(),
            Self::Layout(path) => f.debug_tuple("Layout").field(path).finish(),
        }
    }
}

/// What to save.
#[derive(Debug, Clone)]
pub struct Save {
    /// References, IDs or their beginnings.
    pub images: Vec<String>,
    /// Of an image that is here for several platforms, only the one for this.
    pub platform: Option<Platform>,
}

/// One manifest that is written, with the names that stand for it or for its index.
#[derive(Debug)]
struct Saved {
    image: ImageRecord,
    manifest: Descriptor,
    names: Vec<Reference>,
    index: Option<Rc<RawManifest>>,
    companions: Rc<Vec<Companion>>,
}

impl Saved {
    fn alone(image: ImageRecord, manifest: Descriptor, name: Option<Reference>) -> Self {
        Self { image, manifest, names: name.into_iter().collect(), index: None, companions: Rc::default() }
    }
}

impl Engine {
    /// Writes images to where they are wanted.
    ///
    /// # Errors
    /// No such image; whatever the place refuses. A layout directory is as it was then.
    pub fn save(&self, save: &Save, to: SaveTo<'_>, progress: &dyn Progress) -> Result<()> {
        // Nothing of them may go while they are read.
        let lease = self.store.lease()?;
        let form = match to {
            SaveTo::Archive(SaveForm::Docker, _) => LayerForm::Plain,
            SaveTo::Archive(SaveForm::Oci, _) | SaveTo::Layout(_) => LayerForm::Any,
        };
        let mut saved: Vec<Saved> = Vec::new();
        let mut artifacts = Vec::new();
        for word in &save.images {
            match self.chosen(word, save.platform.as_ref(), form, &lease, progress) {
                Ok(chosen) => chosen.into_iter().for_each(|one| add(&mut saved, one)),
                Err(error) => {
                    let Some(artifact) = self.artifact_named(word)? else { return Err(error) };
                    lease.keep_present(&[Kept::Blob(artifact.manifest.digest)])?;
                    artifacts.push(artifact);
                }
            }
        }
        let mut sink: Box<dyn ImageSink + '_> = match to {
            SaveTo::Archive(SaveForm::Docker, out) => Box::new(DockerArchiveWriter::new(out)),
            SaveTo::Archive(SaveForm::Oci, out) => Box::new(OciArchiveWriter::new(out)?),
            SaveTo::Layout(path) => Box::new(OciLayoutWriter::open(path)?),
        };
        for one in &saved {
            self.save_one(one, &mut *sink, progress)?;
        }
        for artifact in &artifacts {
            self.save_artifact(artifact, &mut *sink)?;
        }
        sink.finish()?;
        lease.finish();
        Ok(())
    }

    /// What `word` stands for: one manifest, or, in a form that has indexes, all of an index that is here.
    fn chosen(
        &self,
        word: &str,
        platform: Option<&Platform>,
        form: LayerForm,
        lease: &Lease<'_>,
        progress: &dyn Progress,
    ) -> Result<Vec<Saved>> {
        let found = self.find_image(word)?;
        lease.keep_present(&[Kept::Image(found.image.id)])?;
        let target = match &found.name {
            Some(name) => self.store.name(&name.to_string())?.map(|named| named.target),
            None => None,
        };
        let name = found.name.filter(|name| name.tag().is_some());
        let index = match &target {
            Some(target) => self.store.blob_bytes(&target.digest)?.filter(|bytes| is_index(bytes)),
            None => None,
        };
        let (Some(target), Some(bytes)) = (target, index) else {
            refuse_other(platform, &[&found.image])?;
            let manifest = found.image.manifest.clone();
            return Ok(vec![Saved::alone(found.image, manifest, name)]);
        };
        lease.keep_present(&[Kept::Blob(target.digest)])?;
        let spread = self.spread(&bytes)?;
        let images: Vec<&ImageRecord> = spread.images.iter().map(|(_, image)| image).collect();
        refuse_other(platform, &images)?;
        if platform.is_none() && form == LayerForm::Any && self.are_whole(&spread.images)? {
            if !spread.absent.is_empty() {
                let here: Vec<String> = images.iter().map(|image| image.platform.to_string()).collect();
                progress.note(&format!(
                    "{word}: its index is written whole, and of its platforms what is in the store: {}; not {}",
                    here.join(", "),
                    spread.absent.join(", ")
                ));
            }
            let index = Rc::new(RawManifest::new(bytes, target.media_type));
            let companions = Rc::new(spread.companions);
            let member = |(manifest, image)| Saved {
                image,
                manifest,
                names: name.iter().cloned().collect(),
                index: Some(Rc::clone(&index)),
                companions: Rc::clone(&companions),
            };
            return Ok(spread.images.into_iter().map(member).collect());
        }
        let is_wanted = |image: &ImageRecord| match platform {
            Some(platform) => image.platform.serves(platform),
            None => image.id == found.image.id,
        };
        let one = spread.images.into_iter().find(|(_, image)| is_wanted(image));
        if let (Some((_, image)), None) = (&one, platform) {
            let why = match form {
                LayerForm::Plain => "a docker archive has none",
                LayerForm::Any => "the compressed layers that it names are not all in the store any more",
            };
            progress.note(&format!(
                "{word}: only {} is written, and not the index {}: {why}",
                image.platform, target.digest
            ));
        }
        Ok(one.into_iter().map(|(manifest, image)| Saved::alone(image, manifest, name.clone())).collect())
    }

    /// Whether every layer can be written as the manifests describe it.
    fn are_whole(&self, images: &[(Descriptor, ImageRecord)]) -> Result<bool> {
        for (described, image) in images {
            let (_, manifest) = read_manifest(&self.store, image, described)?;
            for (diff_id, layer) in image.layers.iter().zip(&manifest.layers) {
                if self.as_described(diff_id, layer)?.is_none() {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

/// Adds to what is written. What is there already has one more name.
fn add(saved: &mut Vec<Saved>, one: Saved) {
    let index = |one: &Saved| one.index.as_ref().map(|index| index.digest);
    let known = saved.iter_mut().find(|known| {
        (known.image.id, known.manifest.digest, index(known)) == (one.image.id, one.manifest.digest, index(&one))
    });
    match known {
        Some(known) => {
            for name in one.names {
                if !known.names.contains(&name) {
                    known.names.push(name);
                }
            }
        }
        None => saved.push(one),
    }
}

/// Refuses a platform for which none of the images is.
fn refuse_other(platform: Option<&Platform>, images: &[&ImageRecord]) -> Result<()> {
    match platform {
        Some(wanted) if !images.iter().any(|image| image.platform.serves(wanted)) => {
            let available = images.iter().map(|image| image.platform.to_string()).collect();
            Err(TransportError::NoPlatform { wanted: wanted.to_string(), available }.into())
        }
        _ => Ok(()),
    }
}
