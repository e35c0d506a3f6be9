//! Plans carried out on real directories.
