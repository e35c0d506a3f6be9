//! An image's config and platform (OCI image specification, `config.md`).
//!
//! A config is read into a typed form for what Mica looks at or changes, and every field that it does not know is kept:
//! a commit on top of somebody's image must not lose what another tool wrote there. The exact bytes, whose digest is
//! the [`ImageId`](crate::ImageId), stay beside this form wherever an image is only passed on.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::DiffId;

/// What an image runs on, in Go's words.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`, …
    pub architecture: String,
    /// `v7`, `v8`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// A text that names no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("platform {text:?} is not of the form OS/ARCHITECTURE[/VARIANT], such as linux/arm64")]
pub struct PlatformError {
    text: String,
}

impl Platform {
    /// The platform this program was built for.
    #[must_use]
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "x86" => ("386", None),
            "aarch64" => ("arm64", Some("v8")),
            "arm" => ("arm", Some("v7")),
            "powerpc64" => ("ppc64le", None),
            "loongarch64" => ("loong64", None),
            other => (other, None),
        };
        Self {
            os: std::env::consts::OS.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        }
    }

    /// Whether an image for `self` serves a machine that is `wanted`: same system and architecture, and the same variant
    /// where both name one.
    #[must_use]
    pub fn serves(&self, wanted: &Self) -> bool {
        self.os == wanted.os
            && self.architecture == wanted.architecture
            && (self.variant.is_none() || wanted.variant.is_none() || self.variant == wanted.variant)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let mut words = text.split('/');
        let mut word = || words.next().filter(|word| !word.is_empty()).map(str::to_owned);
        match (word(), word(), word(), words.next()) {
            (Some(os), Some(architecture), variant, None) if text.split('/').all(|word| !word.is_empty()) => {
                Ok(Self { os, architecture, variant })
            }
            _ => Err(PlatformError { text: text.to_owned() }),
        }
    }
}

/// Go prints an empty list or map as `null`.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

fn no<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A config: what an image is, and what a container of it runs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ImageConfig {
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// By whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// `amd64`, …
    #[serde(default)]
    pub architecture: String,
    /// `v8`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// `linux`.
    #[serde(default)]
    pub os: String,
    /// What a container runs unless told otherwise.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "no")]
    pub config: ContainerConfig,
    /// Its layers.
    pub rootfs: RootFs,
    /// How it was made, oldest first; one item per layer that is not `empty_layer`.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "no")]
    pub history: Vec<History>,
    /// What this program does not know.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The layers of a config.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// DiffIDs, base first.
    #[serde(default, deserialize_with = "or_default")]
    pub diff_ids: Vec<DiffId>,
}

/// What a container runs, and how.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerConfig {
    /// `user[:group]`, names or numbers; empty is root.
    #[serde(default, skip_serializing_if = "no", deserialize_with = "or_default")]
    pub user: String,
    /// `80/tcp`.
    #[serde(default, skip_serializing_if = "no", deserialize_with = "or_default")]
    pub exposed_ports: BTreeMap<String, Value>,
    /// `NAME=value`.
    #[serde(default, skip_serializing_if = "no", deserialize_with = "or_default")]
    pub env: Vec<String>,
    /// Comes before the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// The command, or the arguments of the entrypoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// Paths that want storage of their own.
    #[serde(default, skip_serializing_if = "no", deserialize_with = "or_default")]
    pub volumes: BTreeMap<String, Value>,
    /// Where the command starts; empty is `/`.
    #[serde(default, skip_serializing_if = "no", deserialize_with = "or_default")]
    pub working_dir: String,
    /// Whatever somebody wants to say.
    #[serde(default, skip_serializing_if = "no", deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
    /// The signal that asks it to end, by name or number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Docker's: how to tell whether the container is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Docker's: instructions for builds on top of this image.
    #[serde(default, skip_serializing_if = "no", deserialize_with = "or_default")]
    pub on_build: Vec<String>,
    /// Docker's: the shell of instructions that are not lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
    /// What this program does not know.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// How to tell whether a container is well (Docker image specification v1.2). Times are nanoseconds; 0 inherits.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", text]`; empty inherits.
    #[serde(default, skip_serializing_if = "no", deserialize_with = "or_default")]
    pub test: Vec<String>,
    /// Time between two checks.
    #[serde(default, skip_serializing_if = "no")]
    pub interval: i64,
    /// How long one may take.
    #[serde(default, skip_serializing_if = "no")]
    pub timeout: i64,
    /// How long failures at the start do not count.
    #[serde(default, skip_serializing_if = "no")]
    pub start_period: i64,
    /// Time between two checks within the start period.
    #[serde(default, skip_serializing_if = "no")]
    pub start_interval: i64,
    /// How many failures in a row make it unwell.
    #[serde(default, skip_serializing_if = "no")]
    pub retries: i64,
    /// What this program does not know.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// One step in the making of an image.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct History {
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// The instruction or command.
    #[serde(default, skip_serializing_if = "no", deserialize_with = "or_default")]
    pub created_by: String,
    /// By whom.
    #[serde(default, skip_serializing_if = "no", deserialize_with = "or_default")]
    pub author: String,
    /// A message.
    #[serde(default, skip_serializing_if = "no", deserialize_with = "or_default")]
    pub comment: String,
    /// It made no layer.
    #[serde(default, skip_serializing_if = "no")]
    pub empty_layer: bool,
    /// What this program does not know.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl ImageConfig {
    /// Reads a config.
    ///
    /// # Errors
    /// What is not JSON, or not a config.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// The bytes of this config; the same config gives the same bytes.
    ///
    /// # Errors
    /// None that a value of this type can cause.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// The platform. Old images leave the system out; they were all for linux.
    #[must_use]
    pub fn platform(&self) -> Platform {
        Platform {
            os: if self.os.is_empty() { "linux".to_owned() } else { self.os.clone() },
            architecture: self.architecture.clone(),
            variant: self.variant.clone().filter(|variant| !variant.is_empty()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_read_printed_and_compared() {
        let platform = |text: &str| text.parse::<Platform>().unwrap();
        for text in ["linux/amd64", "linux/arm64/v8"] {
            assert_eq!(platform(text).to_string(), text);
        }
        for bad in ["", "linux", "linux/", "/amd64", "a/b/c/d", "linux/arm64/"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad:?} was taken");
        }
        assert!(platform("linux/arm64").serves(&platform("linux/arm64/v8")));
        assert!(!platform("linux/arm/v6").serves(&platform("linux/arm/v7")));
        assert!(Platform::host().serves(&Platform::host()));
    }

    #[test]
    fn a_config_keeps_what_it_does_not_know() {
        let text = r#"{"created":"2024-05-06T07:08:09.123456789Z","architecture":"amd64","os":"linux",
            "config":{"Env":["A=b"],"Cmd":["sh"],"ArgsEscaped":true,"Healthcheck":{"Test":["NONE"],"New":1}},
            "rootfs":{"type":"layers","diff_ids":["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]},
            "history":[{"created_by":"x","empty_layer":true,"mystery":2}],
            "moby.buildkit.buildinfo.v1":"e30=","docker_version":"20.10"}"#;
        let config = ImageConfig::parse(text.as_bytes()).unwrap();
        let written: Value = serde_json::from_slice(&config.to_bytes().unwrap()).unwrap();
        assert_eq!(written, serde_json::from_str::<Value>(text).unwrap());
        assert_eq!(config.platform().to_string(), "linux/amd64");
    }

    #[test]
    fn null_is_an_empty_list() {
        let text = r#"{"rootfs":{"type":"layers","diff_ids":null},"history":null,
            "config":{"Env":null,"Cmd":null,"Labels":null,"Volumes":null,"OnBuild":null,"User":null}}"#;
        let config = ImageConfig::parse(text.as_bytes()).unwrap();
        assert!(config.rootfs.diff_ids.is_empty() && config.history.is_empty());
        assert_eq!(config.config, ContainerConfig::default());
        assert!(ImageConfig::parse(text.replace("null,\"Cmd\"", "3,\"Cmd\"").as_bytes()).is_err());
    }
}
