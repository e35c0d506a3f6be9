//! All that is known of an image or a container, in Docker's field names.

use mica_transport::Reference;
use serde_json::{Value, json};

use crate::container::{Base, Life, Network};
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::manifest::config_of;

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inspected {
    /// Only images.
    Image,
    /// Only containers.
    Container,
    /// Containers first, then images.
    Any,
}

fn is_missing(error: &Error) -> bool {
    error.kind() == Kind::NotFound
}

impl Engine {
    /// All that is known of what `word` names.
    ///
    /// # Errors
    /// Nothing has that name.
    pub fn inspect(&self, word: &str, what: Inspected) -> Result<Value> {
        match what {
            Inspected::Container => self.inspect_container(word),
            Inspected::Image => self.inspect_image(word),
            Inspected::Any => match self.inspect_container(word) {
                Err(error) if is_missing(&error) => match self.inspect_image(word) {
                    Err(error) if is_missing(&error) => {
                        let missing = Error::new(Kind::NotFound, format!("no such image or container: {word}"));
                        Err(match error.hint() {
                            Some(hint) => missing.hinted(hint),
                            None => missing,
                        })
                    }
                    found => found,
                },
                found => found,
            },
        }
    }

    fn inspect_image(&self, word: &str) -> Result<Value> {
        let image = self.find_image(word)?.image;
        let (_, config) = config_of(&self.store, &image.id)?;
        let summary = self.summary(&image)?;
        let names = self.names_by_image()?.remove(&image.id).unwrap_or_default();
        let names: Vec<Reference> = names.iter().filter_map(|name| Reference::parse(&name.reference).ok()).collect();
        let familiar: Vec<String> = names.iter().map(Reference::familiar).collect();
        let digests: Vec<String> =
            names.iter().map(|name| format!("{}@{}", name.familiar_repository(), image.manifest.digest)).collect();
        Ok(json!({
            "Id": image.id,
            "RepoTags": familiar,
            "RepoDigests": digests,
            "Comment": config.history.last().map(|step| step.comment.as_str()).unwrap_or_default(),
            "Created": config.created.map(|at| at.to_string()),
            "Author": config.author.clone().unwrap_or_default(),
            "Config": config.config,
            "Architecture": image.platform.architecture,
            "Variant": image.platform.variant,
            "Os": image.platform.os,
            "Size": summary.size,
            "RootFS": { "Type": "layers", "Layers": image.layers },
            "Descriptor": image.manifest,
            "Metadata": { "StoredTime": image.stored, "Origin": image.origin },
        }))
    }

    fn inspect_container(&self, word: &str) -> Result<Value> {
        let known = self.find_container(word)?;
        let summary = self.container_summary(&known)?;
        let settings = &known.settings;
        let (status, running, pid, code) = match summary.life {
            Life::Created => ("created", false, 0, None),
            Life::Running { pid } => ("running", true, pid, None),
            Life::Exited { status } => ("exited", false, 0, status),
        };
        let never = "0001-01-01T00:00:00Z".to_owned();
        let hostname = settings.hostname.clone().unwrap_or_else(|| summary.id.short().to_owned());
        let mut config = serde_json::to_value(&settings.config)
            .map_err(|error| Error::because(Kind::System, "write the container's config", error))?;
        if let Some(config) = config.as_object_mut() {
            config.insert("Image".to_owned(), summary.image.clone().into());
            config.insert("Hostname".to_owned(), hostname.into());
            config.insert("Tty".to_owned(), settings.tty.into());
        }
        let views = match &settings.base {
            Base::Machine { views } => views.iter().map(|view| view.target.display().to_string()).collect(),
            _ => Vec::new(),
        };
        let mounted = self.mounted_at(known.container.id())?.map(|path| path.display().to_string());
        Ok(json!({
            "Id": summary.id,
            "Created": summary.created,
            "Path": summary.command.first(),
            "Args": summary.command.get(1..).unwrap_or_default(),
            "State": {
                "Status": status,
                "Running": running,
                "Pid": pid,
                "ExitCode": code.unwrap_or(0),
                "StartedAt": summary.started.unwrap_or_else(|| never.clone()),
                "FinishedAt": summary.finished.unwrap_or(never),
            },
            "Image": summary.image_id,
            "Name": format!("/{}", summary.name),
            "Driver": settings.driver(),
            "HostConfig": {
                "AutoRemove": settings.remove,
                "NetworkMode": match settings.network { Network::None => "none", Network::Host => "host" },
                "ReadonlyRootfs": settings.read_only,
            },
            "GraphDriver": {
                "Name": settings.driver(),
                "Data": {
                    "LowerDir": self.lower_paths(&known)?.join(":"),
                    "UpperDir": known.container.upper().display().to_string(),
                    "WorkDir": known.container.work().display().to_string(),
                    "MergedDir": mounted,
                },
            },
            "Views": views,
            "Config": config,
        }))
    }
}
