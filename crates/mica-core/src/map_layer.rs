//! A layer that is a map, for tests.

use std::collections::BTreeMap;
use std::convert::Infallible;

use crate::{Layer, LayerEntry, Name, RelPath};

#[derive(Debug, Clone, Default)]
pub(crate) struct MapLayer(pub(crate) BTreeMap<RelPath, LayerEntry>);

impl Layer for MapLayer {
    type Error = Infallible;

    fn entry(&self, path: &RelPath) -> Result<Option<LayerEntry>, Infallible> {
        Ok(self.0.get(path).cloned())
    }

    fn names(&self, path: &RelPath) -> Result<Vec<Name>, Infallible> {
        Ok(self.0.keys().filter(|key| key.parent().as_ref() == Some(path)).filter_map(RelPath::name).collect())
    }
}
