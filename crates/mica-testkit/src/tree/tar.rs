//! Trees as layer tars.

use mica_layer::{Marks, Pack, pack};

use super::{Tree, What};
use crate::Scratch;

impl Tree {
    /// The tree, read as a changeset, as the tar of a layer: plain, deterministic, root's entry left out. Needs
    /// `needs!(root)`.
    ///
    /// By `mica_layer::pack`: right for tests of what is done with layers, wrong for tests of packing itself.
    #[must_use]
    pub fn to_layer_tar(&self) -> Vec<u8> {
        let scratch = Scratch::new();
        let mut dated = self.clone();
        // A tar without times would be another one each second.
        for entry in dated.entries.values_mut().filter(|entry| entry.what != What::Whiteout) {
            entry.mtime.get_or_insert(mica_core::Timestamp { secs: 1_000_000_000, nanos: 0 });
        }
        dated.write_layer(scratch.path(), Marks::Trusted);
        let mut tar = Vec::new();
        pack(&scratch.dir(), &Pack::default(), &mut tar).expect("the tree is packed");
        tar
    }
}
