//! The scaffold: a layer under every image, with the places where a running container has something mounted.
//!
//! An image may lack `/proc` or `/etc/hosts`. Were they made when the container starts, they would be changes of the
//! container. As the lowest layer they show only where the image says nothing, with the attributes of an implied
//! directory, so that nothing above looks different; and they are in no diff and in no commit.

use mica_core::{Attrs, DiffId, Timestamp};
use mica_layer::tar::{Member, MemberKind, Writer};
use mica_store::Lease;

use crate::engine::Engine;
use crate::error::Result;

const DIRECTORIES: [&[u8]; 4] = [b"dev", b"etc", b"proc", b"sys"];
const FILES: [&[u8]; 3] = [b"etc/hostname", b"etc/hosts", b"etc/resolv.conf"];

fn tar() -> Result<Vec<u8>> {
    let mut tar = Writer::new(Vec::new());
    let attrs = |mode| Attrs { mode, mtime: Timestamp::default(), ..Attrs::default() };
    for path in DIRECTORIES {
        let member = Member { path, kind: MemberKind::Directory, attrs: &attrs(0o755) };
        tar.append(&member, &mut std::io::empty())?;
    }
    for path in FILES {
        tar.append(&Member { path, kind: MemberKind::File(0), attrs: &attrs(0o644) }, &mut std::io::empty())?;
    }
    Ok(tar.finish()?)
}

impl Engine {
    /// The scaffold's DiffID; the layer is made the first time.
    pub(crate) fn scaffold(&self, lease: &Lease<'_>) -> Result<DiffId> {
        let tar = tar()?;
        let layer = DiffId::of(&tar);
        let batch = self.store.stage_layers(lease, &[layer])?;
        let mut mine = batch.mine();
        loop {
            for layer in mine {
                batch.stage(&layer, &mut &tar[..], &self.limits.layer)?;
            }
            batch.seal()?;
            mine = batch.take_over()?;
            if mine.is_empty() {
                return Ok(layer);
            }
        }
    }
}
