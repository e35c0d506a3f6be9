//! An upper over its stack, asked as a layer.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use mica_core::{Layer, LayerEntry, Name, RelPath};
use mica_sys::{Dir, File};

use super::{Expander, Item, Spot};
use crate::{DirLayer, Files, LayerError, Marks, Over, TreeError};

/// An upper over its stack, as a layer: what its marks lead to is said in full.
#[derive(Debug)]
pub struct UpperLayer<'a> {
    dir: DirLayer,
    expander: Expander<'a>,
    /// What is known of the directories that were met.
    spots: Mutex<HashMap<RelPath, Spot>>,
}

impl<'a> UpperLayer<'a> {
    /// The upper `dir` over what is below it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn new(dir: Dir, marks: Marks, over: Over<'a>) -> Result<Self, LayerError> {
        let expander = Expander::new(&dir, Some(marks), Some(over))?;
        Ok(Self { dir: DirLayer::new(dir, marks), expander, spots: Mutex::default() })
    }

    fn spot(&self, path: &RelPath) -> Result<Option<Spot>, LayerError> {
        if let Some(known) = self.known(path) {
            return Ok(Some(known));
        }
        let mut at = self.expander.root()?.1;
        for name in path.names() {
            let inner = at.path.join(&name);
            at = match self.known(&inner) {
                Some(known) => known,
                None => match self.look(&at, &name)?.and_then(|item| item.spot) {
                    Some(spot) => spot,
                    None => return Ok(None),
                },
            };
        }
        self.keep(&at);
        Ok(Some(at))
    }

    fn look(&self, at: &Spot, name: &Name) -> Result<Option<Item>, LayerError> {
        let dir = if at.stands { self.dir.open_dir(&at.path)? } else { None };
        let item = self.expander.look(dir.as_deref(), at, name)?;
        if let Some(spot) = item.as_ref().and_then(|item| item.spot.as_ref()) {
            self.keep(spot);
        }
        Ok(item)
    }

    fn known(&self, path: &RelPath) -> Option<Spot> {
        self.spots.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }

    fn keep(&self, spot: &Spot) {
        self.spots.lock().unwrap_or_else(PoisonError::into_inner).insert(spot.path.clone(), spot.clone());
    }

    fn item(&self, path: &RelPath) -> Result<Option<Item>, LayerError> {
        let Some((parent, name)) = path.split() else { return Ok(None) };
        match self.spot(&parent)? {
            Some(at) => self.look(&at, &name),
            None => Ok(None),
        }
    }
}

impl Layer for UpperLayer<'_> {
    type Error = LayerError;

    fn entry(&self, path: &RelPath) -> Result<Option<LayerEntry>, LayerError> {
        if path.is_root() {
            return Ok(Some(LayerEntry::Node(self.expander.root()?.0)));
        }
        Ok(self.item(path)?.map(|item| item.entry))
    }

    fn names(&self, path: &RelPath) -> Result<Vec<Name>, LayerError> {
        let Some(spot) = self.spot(path)? else { return Ok(Vec::new()) };
        let dir = if spot.stands { self.dir.open_dir(path)? } else { None };
        self.expander.names(dir.as_deref(), &spot)
    }
}

impl Files for UpperLayer<'_> {
    fn open(&self, path: &RelPath) -> Result<File, LayerError> {
        match self.item(path)? {
            Some(item) => self.expander.open(None, path, &item),
            None => Err(TreeError::Astray { path: path.clone() }.into()),
        }
    }
}
