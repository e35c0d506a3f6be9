//! What the kernel is told unasked.

use std::io::IoSlice;
use std::os::fd::AsFd;
use std::sync::{Arc, Weak};

use mica_sys::Errno;
use mica_sys::fuse::Device;

use crate::fuse::wire::Notice;

/// The way to the kernel. Cheap to clone; it does not keep the mount alive: after its end everything is `ENOTCONN`.
#[derive(Debug, Clone)]
pub struct Notifier(Weak<Device>);

impl Notifier {
    pub(super) fn new(device: &Arc<Device>) -> Self {
        Self(Arc::downgrade(device))
    }

    fn device(&self) -> Result<Arc<Device>, Errno> {
        self.0.upgrade().ok_or(Errno::NOTCONN)
    }

    /// Sends a notice.
    ///
    /// # Errors
    /// `ENOENT` where the kernel does not know the node or the name, which mostly is as good; `EINVAL` where it does not know the
    /// notice; `ENOTDIR`, `ENOTEMPTY` and `EBUSY` of [`Notice::Delete`].
    pub fn send(&self, notice: &Notice<'_>) -> Result<(), Errno> {
        let (head, [first, second]) = notice.parts().ok_or(Errno::NAMETOOLONG)?;
        self.device()?.write(&[IoSlice::new(head.bytes()), IoSlice::new(first), IoSlice::new(second)])
    }

    /// The attributes of a node, and `length` bytes of its content from `offset`, are not to be believed any more: 0 for all that
    /// follow; a negative offset leaves the content.
    ///
    /// # Errors
    /// Those of [`Notifier::send`].
    pub fn inval_inode(&self, node: u64, offset: i64, length: i64) -> Result<(), Errno> {
        self.send(&Notice::InvalInode { node, offset, length })
    }

    /// What stands at a name is not to be believed any more.
    ///
    /// # Errors
    /// Those of [`Notifier::send`].
    pub fn inval_entry(&self, parent: u64, name: &[u8]) -> Result<(), Errno> {
        self.send(&Notice::InvalEntry { parent, name, expire_only: false })
    }

    /// A name was removed by somebody else than the kernel.
    ///
    /// # Errors
    /// Those of [`Notifier::send`].
    pub fn delete(&self, parent: u64, child: u64, name: &[u8]) -> Result<(), Errno> {
        self.send(&Notice::Delete { parent, child, name })
    }

    /// Bytes of a file for the kernel to keep.
    ///
    /// # Errors
    /// Those of [`Notifier::send`].
    pub fn store(&self, node: u64, offset: u64, data: &[u8]) -> Result<(), Errno> {
        self.send(&Notice::Store { node, offset, data })
    }

    /// Gives the kernel a file that it may read and write by itself: [`Device::backing_open`] has what must be heeded.
    ///
    /// # Errors
    /// Those of [`Device::backing_open`].
    pub fn backing_open(&self, file: impl AsFd) -> Result<i32, Errno> {
        self.device()?.backing_open(file)
    }

    /// Takes it back.
    ///
    /// # Errors
    /// Those of [`Device::backing_close`].
    pub fn backing_close(&self, id: i32) -> Result<(), Errno> {
        self.device()?.backing_close(id)
    }
}
