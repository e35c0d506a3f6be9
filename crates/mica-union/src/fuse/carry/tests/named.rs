//! One promise each.
