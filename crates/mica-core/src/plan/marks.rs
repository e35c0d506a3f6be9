//! What the marks say that lead to a lower path: redirects, which are the kernel's, and joining, which is ours.

use crate::{Name, RelPath};

/// A redirect as it is read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Redirect {
    /// The lower path.
    Absolute(RelPath),
    /// The last name of the lower path.
    Relative(Name),
}

impl Redirect {
    /// Reads the mark's value; `None` for what says no place, which overlayfs refuses too (`ovl_get_redirect_xattr`, Linux 4.10).
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        match value.strip_prefix(b"/") {
            Some(path) => RelPath::parse(path).ok().filter(|path| !path.is_root()).map(Self::Absolute),
            None => Name::new(value).ok().map(Self::Relative),
        }
    }

    /// The mark's value.
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        match self {
            Self::Absolute(path) => [b"/", path.as_bytes()].concat(),
            Self::Relative(name) => name.as_bytes().to_vec(),
        }
    }

    /// The lower path that it says, on what has the name's lower path `lower` without it; `None` where a relative one stands in a directory that has no lower
    /// path.
    #[must_use]
    pub fn lead(&self, lower: Option<&RelPath>) -> Option<RelPath> {
        match self {
            Self::Absolute(path) => Some(path.clone()),
            Self::Relative(name) => Some(lower?.parent()?.join(name)),
        }
    }
}

/// The mark joining as it is read: `/PATH` while names may be left to be linked that were found, and `=/PATH` after.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct JoiningMark {
    /// The lower path of the file.
    pub from: RelPath,
    /// All names that were found are links of it.
    pub settled: bool,
}

impl JoiningMark {
    /// Reads the mark's value; `None` for what says no path.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let rest = value.strip_prefix(b"=");
        match Redirect::parse(rest.unwrap_or(value))? {
            Redirect::Absolute(from) => Some(Self { from, settled: rest.is_some() }),
            Redirect::Relative(_) => None,
        }
    }

    /// The mark's value.
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        let start: &[u8] = if self.settled { b"=/" } else { b"/" };
        [start, self.from.as_bytes()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_a_path_from_the_root_or_one_name() {
        let (path, name) = (RelPath::parse(b"a/b \xff").unwrap(), Name::new(b"c").unwrap());
        for (value, says) in [
            (&b"/a/b \xff"[..], Some(Redirect::Absolute(path.clone()))),
            (b"c", Some(Redirect::Relative(name.clone()))),
            (b"", None),
            (b"/", None),
            (b"/a/", None),
            (b"/a//b", None),
            (b"//a", None),
            (b"a/b", None),
            (b"/a/../b", None),
            (b"..", None),
            (b"/a\0", None),
        ] {
            assert_eq!(Redirect::parse(value), says, "{value:?}");
            if let Some(says) = says {
                assert_eq!(says.value(), value);
            }
        }
        let below = RelPath::parse(b"d/x").unwrap();
        assert_eq!(Redirect::Absolute(path.clone()).lead(None), Some(path));
        assert_eq!(Redirect::Relative(name.clone()).lead(Some(&below)), RelPath::parse(b"d/c").ok());
        assert_eq!(Redirect::Relative(name).lead(None), None);
    }

    #[test]
    fn the_mark_joining_is_a_path_from_the_root_settled_or_not() {
        let from = RelPath::parse(b"a/b \xff").unwrap();
        for (value, says) in [
            (&b"/a/b \xff"[..], Some(JoiningMark { from: from.clone(), settled: false })),
            (b"=/a/b \xff", Some(JoiningMark { from: from.clone(), settled: true })),
            (b"a", None),
            (b"=a", None),
            (b"=", None),
            (b"", None),
            (b"==/a", None),
        ] {
            assert_eq!(JoiningMark::parse(value), says, "{value:?}");
            if let Some(says) = says {
                assert_eq!(says.value(), value);
            }
        }
    }
}
