//! Limits: how much a layer may ask of the machine before it is refused.

/// What one layer may cost. Each has an error of its own ([`crate::EntryError`]); the defaults are far above any image
/// that people make and far below what fills a machine's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of content written to disk. Holes of sparse files are free. Default: 1 TiB.
    pub content_bytes: u64,
    /// Entries of the tar, and directories that it implies. Default: 4,000,000.
    pub entries: u64,
    /// Components of a path. Default: 1,000.
    pub depth: usize,
    /// Bytes of one extended header, long name or sparse map. Default: 8 MiB.
    pub header_bytes: u64,
    /// Names and values of one entry's extended attributes. Default: 1 MiB.
    pub xattr_bytes: u64,
    /// Paths, link targets and extended attributes of the whole layer, which are held in memory. Default: 1 GiB.
    pub metadata_bytes: u64,
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
        }
    }
}
