//! A reference: the name by which people call an image, such as `quay.io/fedora/fedora:41`.
//!
//! The grammar and the short forms are those that Docker, podman and containerd share ("distribution/reference"):
//!
//! ```text
//! reference  = [ domain "/" ] path [ ":" tag ] [ "@" digest ]
//! domain     = host [ ":" port ]                    docker.io when absent
//! path       = component *( "/" component )         "library/" goes before a single one on docker.io
//! component  = 1*[a-z0-9] *( separator 1*[a-z0-9] )   separator: "_" "__" "." or any number of "-"
//! tag        = [A-Za-z0-9_] *127[A-Za-z0-9_.-]      latest when there is neither tag nor digest
//! digest     = "sha256:" 64 lower-case hex digits
//! ```
//!
//! The first component is a domain when it has a `.`, a `:` or an upper-case letter, or is `localhost`. A parsed
//! [`Reference`] is always complete; [`Reference::familiar`] makes the short form again, and only where that short form
//! means the same reference.

use std::fmt;
use std::str::FromStr;

use mica_core::{BlobDigest, DigestError};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const DEFAULT_DOMAIN: &str = "docker.io";
/// What docker.io was called in the first years; still in old config files.
const LEGACY_DOMAIN: &str = "index.docker.io";
const OFFICIAL_PREFIX: &str = "library/";
const DEFAULT_TAG: &str = "latest";
/// Bytes of a path, and of a domain, at most.
const NAME_MAX: usize = 255;
/// Bytes of a tag at most.
const TAG_MAX: usize = 128;

/// A complete image name: domain, path and a tag, a digest or both.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<BlobDigest>,
}

/// Why a text is not a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// Nothing was given.
    #[error("reference is empty")]
    Empty,
    /// Nothing stands before the tag, the digest or after the domain.
    #[error("reference {text:?} has no repository name")]
    NoName {
        /// What was read.
        text: String,
    },
    /// Repository names are lower-case.
    #[error("reference {text:?}: repository name {path:?} must be lower-case")]
    Uppercase {
        /// What was read.
        text: String,
        /// The repository name in it.
        path: String,
    },
    /// 64 hex digits look like an image ID, never like a name.
    #[error("reference {text:?}: 64 hex digits are an image ID and cannot be a name")]
    LooksLikeId {
        /// What was read.
        text: String,
    },
    /// A path component breaks the grammar.
    #[error(
        "reference {text:?}: {component:?} is not a name component (lower-case letters and digits, joined by '.', '_', '__' or '-')"
    )]
    Component {
        /// What was read.
        text: String,
        /// The component between two slashes.
        component: String,
    },
    /// The host or the port breaks the grammar.
    #[error("reference {text:?}: {domain:?} is not a registry host with an optional port")]
    Domain {
        /// What was read.
        text: String,
        /// What stands before the first slash.
        domain: String,
    },
    /// The tag breaks the grammar.
    #[error(
        "reference {text:?}: {tag:?} is not a tag (1 to 128 letters, digits, '_', '.' and '-', not beginning with '.' or '-')"
    )]
    Tag {
        /// What was read.
        text: String,
        /// What stands after the colon.
        tag: String,
    },
    /// The digest breaks the grammar.
    #[error("reference {text:?}")]
    Digest {
        /// What was read.
        text: String,
        /// What is wrong with the part after the `@`.
        source: DigestError,
    },
    /// A part is longer than any registry takes.
    #[error("reference of {bytes} bytes: a {part} has at most {max} bytes")]
    TooLong {
        /// Which part: repository name or domain.
        part: &'static str,
        /// Bytes of the part.
        bytes: usize,
        /// Bytes it may have.
        max: usize,
    },
}

impl Reference {
    /// Reads a reference as a person types it: `busybox` is `docker.io/library/busybox:latest`.
    ///
    /// # Errors
    /// A [`ReferenceError`] that says which part breaks the grammar.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let owned = || text.to_owned();
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        let (name_and_tag, digest) = match text.split_once('@') {
            None => (text, None),
            Some((before, digest)) => {
                let digest = digest.parse().map_err(|source| ReferenceError::Digest { text: owned(), source })?;
                (before, Some(digest))
            }
        };
        // The bare form alone is an ID; behind a domain or a namespace it is a name like any other.
        if is_hex_id(name_and_tag) {
            return Err(ReferenceError::LooksLikeId { text: owned() });
        }

        let (domain, rest) = split_domain(name_and_tag);
        let (path, tag) = match rest.split_once(':') {
            None => (rest, None),
            Some((path, tag)) => (path, Some(tag)),
        };
        check_domain(text, domain)?;
        let path = if domain == DEFAULT_DOMAIN && !path.is_empty() && !path.contains('/') {
            format!("{OFFICIAL_PREFIX}{path}")
        } else {
            path.to_owned()
        };
        check_path(text, &path)?;
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(ReferenceError::Tag { text: owned(), tag: tag.to_owned() });
        }
        let tag = match (tag, &digest) {
            (Some(tag), _) => Some(tag.to_owned()),
            (None, None) => Some(DEFAULT_TAG.to_owned()),
            (None, Some(_)) => None,
        };
        Ok(Self { domain: domain.to_owned(), path, tag, digest })
    }

    /// The registry's host with its port, such as `docker.io` or `localhost:5000`.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository's path on its registry, such as `library/busybox`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Domain and path, without tag and digest.
    #[must_use]
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The tag. `None` only where a digest stands instead.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The manifest's digest, if the reference pins one.
    #[must_use]
    pub fn digest(&self) -> Option<&BlobDigest> {
        self.digest.as_ref()
    }

    /// Whether `text` may stand as a tag.
    #[must_use]
    pub fn is_tag(text: &str) -> bool {
        is_tag(text)
    }

    /// The same repository with another tag and no digest.
    ///
    /// # Errors
    /// [`ReferenceError::Tag`] when `tag` breaks the grammar.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ReferenceError> {
        if !is_tag(tag) {
            return Err(ReferenceError::Tag { text: self.to_string(), tag: tag.to_owned() });
        }
        Ok(Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    /// The shortest form that still means this reference: `busybox:latest` for `docker.io/library/busybox:latest`.
    #[must_use]
    pub fn familiar(&self) -> String {
        format!("{}{}", self.familiar_repository(), Suffix(self))
    }

    /// [`familiar`](Self::familiar) without tag and digest, as the REPOSITORY column of listings shows it.
    #[must_use]
    pub fn familiar_repository(&self) -> String {
        let full = self.repository();
        if self.domain != DEFAULT_DOMAIN {
            return full;
        }
        let official = self.path.strip_prefix(OFFICIAL_PREFIX).filter(|name| !name.contains('/'));
        let short = official.unwrap_or(&self.path);
        // docker.io/localhost/x and docker.io/library/<64 hex> have no short form: it would mean something else.
        let same = Self::parse(short).is_ok_and(|read| read.domain == self.domain && read.path == self.path);
        if same { short.to_owned() } else { full }
    }
}

/// The tag and the digest as they follow a repository.
struct Suffix<'a>(&'a Reference);

impl fmt::Display for Suffix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(tag) = &self.0.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.0.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.domain, self.path, Suffix(self))
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reference({self})")
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::parse(text)
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

fn split_domain(name: &str) -> (&str, &str) {
    let (domain, rest) = match name.split_once('/') {
        Some((first, rest)) if looks_like_domain(first) => (first, rest),
        _ => (DEFAULT_DOMAIN, name),
    };
    if domain == LEGACY_DOMAIN { (DEFAULT_DOMAIN, rest) } else { (domain, rest) }
}

fn looks_like_domain(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn check_domain(text: &str, domain: &str) -> Result<(), ReferenceError> {
    let wrong = || ReferenceError::Domain { text: text.to_owned(), domain: domain.to_owned() };
    if domain.len() > NAME_MAX {
        return Err(ReferenceError::TooLong { part: "domain", bytes: domain.len(), max: NAME_MAX });
    }
    let port = if let Some(bracketed) = domain.strip_prefix('[') {
        let (address, port) = bracketed.split_once(']').ok_or_else(wrong)?;
        if address.is_empty() || !address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':') {
            return Err(wrong());
        }
        match port {
            "" => None,
            port => Some(port.strip_prefix(':').ok_or_else(wrong)?),
        }
    } else {
        let (host, port) = domain.split_once(':').map_or((domain, None), |(host, port)| (host, Some(port)));
        if !host.split('.').all(is_host_label) {
            return Err(wrong());
        }
        port
    };
    match port {
        Some(port) if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) => Err(wrong()),
        _ => Ok(()),
    }
}

fn is_host_label(label: &str) -> bool {
    !label.is_empty()
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn check_path(text: &str, path: &str) -> Result<(), ReferenceError> {
    if path.is_empty() {
        return Err(ReferenceError::NoName { text: text.to_owned() });
    }
    if path.len() > NAME_MAX {
        return Err(ReferenceError::TooLong { part: "repository name", bytes: path.len(), max: NAME_MAX });
    }
    if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(ReferenceError::Uppercase { text: text.to_owned(), path: path.to_owned() });
    }
    match path.split('/').find(|component| !is_component(component)) {
        Some(component) => Err(ReferenceError::Component { text: text.to_owned(), component: component.to_owned() }),
        None => Ok(()),
    }
}

fn is_component(component: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut separators = component.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    // Splitting at the words leaves what stands between them: "" inside a word and at both ends.
    component.bytes().next().is_some_and(word)
        && component.bytes().next_back().is_some_and(word)
        && separators
            .all(|between| matches!(between, "" | "." | "_" | "__") || between.bytes().all(|byte| byte == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= TAG_MAX
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

fn is_hex_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests;
