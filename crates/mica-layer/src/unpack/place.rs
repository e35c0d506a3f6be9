//! Where the parts of a layer stand in its directory.

/// The changeset as a directory.
pub(crate) const DIFF: &[u8] = b"diff";
/// What the layer says, sorted.
pub(crate) const INDEX: &[u8] = b"index";
/// What brings the tar back.
pub(crate) const RECON: &[u8] = b"recon";
