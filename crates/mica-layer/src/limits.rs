//! Limits: how much a layer may ask of the machine before it is refused.

/// What one layer may cost. Each has an error of its own ([`crate::EntryError`], [`crate::CompressionError::Window`]); the
/// defaults are far above any image that people make and far below what fills a machine's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that a tar may have written: contents, what is replaced or passed over, extended headers, and whatever follows
    /// the end. Holes of sparse files are free. Default: 1 TiB.
    pub content_bytes: u64,
    /// Entries of the tar, and directories that it implies. Default: 4,000,000.
    pub entries: u64,
    /// Components of a path. Default: 1,000.
    pub depth: usize,
    /// Bytes of all that stands before one entry: extended headers, long names, a sparse map. Default: 8 MiB.
    pub header_bytes: u64,
    /// Names and values of one entry's extended attributes. Default: 1 MiB.
    pub xattr_bytes: u64,
    /// Paths, link targets and extended attributes of the whole layer, which are held in memory. Default: 1 GiB.
    pub metadata_bytes: u64,
    /// Bytes of the window that a zstd frame may ask for, which is the decoder's memory; rounded down to a power of two.
    /// Default: 32 MiB.
    ///
    /// `zstd -19` and the Go encoder at its best ask for 8 MiB and `zstd -20` for 32; the library's own limit, 128 MiB, is
    /// twice the memory that a whole load may take.
    pub window_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            content_bytes: 1 << 40,
            entries: 4_000_000,
            depth: 1_000,
            header_bytes: 8 << 20,
            xattr_bytes: 1 << 20,
            metadata_bytes: 1 << 30,
            window_bytes: 32 << 20,
        }
    }
}

impl Limits {
    /// The names by which users know them, as errors and [`Limits::set`] have them.
    pub const NAMES: [&str; 7] = ["content", "entries", "depth", "header", "xattrs", "metadata", "window"];

    /// Sets the limit of this name; `None` when there is none of the name.
    #[must_use]
    pub fn set(&mut self, name: &str, value: u64) -> Option<()> {
        match name {
            "content" => self.content_bytes = value,
            "entries" => self.entries = value,
            "depth" => self.depth = usize::try_from(value).unwrap_or(usize::MAX),
            "header" => self.header_bytes = value,
            "xattrs" => self.xattr_bytes = value,
            "metadata" => self.metadata_bytes = value,
            "window" => self.window_bytes = value,
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_has_a_name_and_each_name_another_limit() {
        let mut all = Limits::default();
        let mut seen = vec![all.clone()];
        for name in Limits::NAMES {
            all.set(name, 3).unwrap();
            assert!(!seen.contains(&all), "{name} sets nothing");
            seen.push(all.clone());
        }
        let three = Limits {
            content_bytes: 3,
            entries: 3,
            depth: 3,
            header_bytes: 3,
            xattr_bytes: 3,
            metadata_bytes: 3,
            window_bytes: 3,
        };
        assert_eq!(all, three);
        assert_eq!(all.set("colour", 1), None);
    }
}
