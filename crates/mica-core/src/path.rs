//! Where something is inside a layer: bytes that cannot leave it.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;

/// Why bytes are not a [`Name`] or a [`RelPath`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// A component is empty: a slash at either end, or two in a row.
    #[error("path {path:?} has an empty component")]
    Empty {
        /// The path, lossily as text.
        path: String,
    },
    /// A component is `.` or `..`.
    #[error("path {path:?} has a component {component:?}")]
    Dots {
        /// The path, lossily as text.
        path: String,
        /// The component.
        component: String,
    },
    /// A byte that no file name can have: NUL anywhere, or a slash in a single name.
    #[error("path {path:?} has a byte that no file name can have")]
    Byte {
        /// The path, lossily as text.
        path: String,
    },
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn check_component(component: &[u8], whole: &[u8]) -> Result<(), PathError> {
    match component {
        b"" => Err(PathError::Empty { path: lossy(whole) }),
        b"." | b".." => Err(PathError::Dots { path: lossy(whole), component: lossy(component) }),
        _ if component.contains(&0) => Err(PathError::Byte { path: lossy(whole) }),
        _ => Ok(()),
    }
}

/// One path component, as bytes: not empty, not `.` or `..`, without `/` and NUL.
///
/// Length is not limited here: the file system says `ENAMETOOLONG` where it stands (255 bytes on most).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<[u8]>);

impl Name {
    /// Takes one component.
    ///
    /// # Errors
    /// [`PathError`] where `bytes` is no single component.
    pub fn new(bytes: &[u8]) -> Result<Self, PathError> {
        if bytes.contains(&b'/') {
            return Err(PathError::Byte { path: lossy(bytes) });
        }
        check_component(bytes, bytes)?;
        Ok(Self(bytes.into()))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", lossy(&self.0))
    }
}

/// A path inside a layer: names joined by `/`; empty is the layer's root.
///
/// Ordered with `/` below every other byte, so that a directory is followed by all that is under it: `a`, `a/b`,
/// `a-b`. Indexes are sorted by this order.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct RelPath(Vec<u8>);

impl RelPath {
    /// The layer's root.
    #[must_use]
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    /// Takes a path as indexes and listings write it: no leading slash, no empty component, no `.` and no `..`.
    ///
    /// # Errors
    /// [`PathError`] says what is wrong; nothing is mended silently.
    pub fn parse(bytes: &[u8]) -> Result<Self, PathError> {
        if bytes.is_empty() {
            return Ok(Self::root());
        }
        bytes.split(|byte| *byte == b'/').try_for_each(|component| check_component(component, bytes))?;
        Ok(Self(bytes.to_vec()))
    }

    /// Takes a path as people and archives write it: `/etc/`, `./etc`, `etc//motd` mean what they mean in a shell.
    ///
    /// # Errors
    /// [`PathError::Dots`] for any `..`, even one that would stay inside; [`PathError::Byte`] for NUL.
    pub fn parse_loose(bytes: &[u8]) -> Result<Self, PathError> {
        let mut path = Vec::with_capacity(bytes.len());
        for component in bytes.split(|byte| *byte == b'/') {
            if component.is_empty() || component == b"." {
                continue;
            }
            check_component(component, bytes)?;
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(component);
        }
        Ok(Self(path))
    }

    /// This path with one more component.
    #[must_use]
    pub fn join(&self, name: &Name) -> Self {
        let mut path = Vec::with_capacity(self.0.len() + 1 + name.0.len());
        path.extend_from_slice(&self.0);
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(&name.0);
        Self(path)
    }

    /// This path followed by `below`.
    #[must_use]
    pub fn join_path(&self, below: &Self) -> Self {
        below.names().fold(self.clone(), |path, name| path.join(&name))
    }

    /// The directory that holds this; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        self.split().map(|(parent, _)| parent)
    }

    /// The last component; `None` for the root.
    #[must_use]
    pub fn name(&self) -> Option<Name> {
        self.split().map(|(_, name)| name)
    }

    /// Parent and last component; `None` for the root.
    #[must_use]
    pub fn split(&self) -> Option<(Self, Name)> {
        if self.is_root() {
            return None;
        }
        let (parent, name) = match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (self.0.get(..slash)?, self.0.get(slash + 1..)?),
            None => (&[][..], &self.0[..]),
        };
        Some((Self(parent.to_vec()), Name(name.into())))
    }

    /// The components, outermost first.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|component| !component.is_empty())
    }

    /// The components as names, outermost first.
    pub fn names(&self) -> impl Iterator<Item = Name> + '_ {
        self.components().map(|component| Name(component.into()))
    }

    /// The directories above this path, the root first, without the path itself.
    pub fn ancestors(&self) -> impl Iterator<Item = Self> + '_ {
        let mut at = (!self.is_root()).then(Self::root);
        let mut rest = self.names();
        std::iter::from_fn(move || {
            let now = at.take()?;
            let next = rest.next().map(|name| now.join(&name));
            at = next.filter(|next| next.0.len() < self.0.len());
            Some(now)
        })
    }

    /// Whether this is `other` or somewhere under it.
    #[must_use]
    pub fn is_at_or_under(&self, other: &Self) -> bool {
        other.is_root()
            || self.0.strip_prefix(&other.0[..]).is_some_and(|rest| rest.is_empty() || rest.first() == Some(&b'/'))
    }

    /// How many components there are; 0 for the root.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.components().count()
    }

    /// Whether this is the layer's root.
    #[must_use]
    pub const fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes, without a leading slash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Ord for RelPath {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
        let differs = self.0.iter().zip(&other.0).find(|(one, other)| one != other);
        differs.map_or_else(|| self.0.len().cmp(&other.0.len()), |(one, other)| key(one).cmp(&key(other)))
    }
}

impl PartialOrd for RelPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", lossy(&self.0))
    }
}

/// With a leading slash, as users see paths of an image; bytes that are not UTF-8 as U+FFFD.
impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", String::from_utf8_lossy(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_would_leave_the_layer_is_no_path() {
        for bad in ["..", "a/..", "../a", "a/../b", ".", "a/./b", "/a", "a/", "a//b", "a\0b", "/"] {
            assert!(RelPath::parse(bad.as_bytes()).is_err(), "{bad:?} was taken");
        }
        for bad in ["", ".", "..", "a/b", "/", "a\0"] {
            assert!(Name::new(bad.as_bytes()).is_err(), "{bad:?} was taken");
        }
        for good in ["a", "...", "..a", ".a", " ", "\u{ff}"] {
            assert!(Name::new(good.as_bytes()).is_ok(), "{good:?} was refused");
        }
        assert!(Name::new(b"\xff\xfe\n").is_ok(), "names are bytes");
    }

    #[test]
    fn loose_spellings_mean_what_a_shell_means() {
        for (loose, strict) in [("", ""), ("/", ""), ("./", ""), ("/etc/", "etc"), ("./a//b/.", "a/b"), ("a", "a")] {
            assert_eq!(RelPath::parse_loose(loose.as_bytes()), Ok(path(strict)), "{loose:?}");
        }
        for bad in ["..", "a/../b", "/..", "a\0"] {
            assert!(RelPath::parse_loose(bad.as_bytes()).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn a_directory_is_followed_by_what_is_under_it() {
        let mut paths = ["a-b", "a", "b", "a/b", "a/b/c", "a.b", "a/z", ""].map(path);
        paths.sort();
        assert_eq!(paths, ["", "a", "a/b", "a/b/c", "a/z", "a-b", "a.b", "b"].map(path));
    }

    #[test]
    fn parents_names_and_ancestors_fit_together() {
        assert_eq!(path("").split(), None);
        assert_eq!(path("a").split(), Some((path(""), Name::new(b"a").unwrap())));
        assert_eq!(path("a/b/c").split(), Some((path("a/b"), Name::new(b"c").unwrap())));
        assert_eq!(path("a/b/c").ancestors().collect::<Vec<_>>(), ["", "a", "a/b"].map(path));
        assert_eq!(path("").ancestors().count(), 0);
        assert_eq!(path("a/b/c").depth(), 3);
        assert_eq!(path("a/b").join_path(&path("c/d")), path("a/b/c/d"));
        assert!(path("a/b").is_at_or_under(&path("a")) && path("a").is_at_or_under(&path("")));
        assert!(!path("ab").is_at_or_under(&path("a")) && !path("a").is_at_or_under(&path("a/b")));
    }
}
