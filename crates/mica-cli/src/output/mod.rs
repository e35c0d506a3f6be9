//! What the user sees: listings, templates, ages, sizes and progress.
//!
//! Data goes to the writer that the caller gives (standard output), progress and notes to standard error. Nothing that came out of an image
//! reaches a terminal as a control character ([`plain`]). There are no colours, so `NO_COLOR` has nothing to switch off.

pub(crate) mod listing;
pub(crate) mod plain;
pub(crate) mod progress;
pub(crate) mod size;
pub(crate) mod table;
pub(crate) mod template;
pub(crate) mod time;
