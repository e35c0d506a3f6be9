//! What was asked for: the meaning of all options together, checked as far as words alone allow.

use std::path::PathBuf;
use std::time::Duration;

use mica_sys::mount::{MountAttrFlags, Propagation};
use mica_union::fuse::{Passthrough, Transport};
use mica_union::{Marks, Records};

use crate::owners::Owners;

/// A union as the options describe it. Nothing of it has been looked for yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Lowers, topmost first.
    pub(crate) lowers: Vec<PathBuf>,
    /// Where writes go.
    pub(crate) upper: Option<PathBuf>,
    /// The directory that the union works in.
    pub(crate) work: Option<PathBuf>,
    /// Who owns what shows.
    pub(crate) owners: Owners,
    /// How the tree is shown and written.
    pub(crate) view: View,
    /// How the mount is made.
    pub(crate) mount: MountAs,
    /// How the server works.
    pub(crate) server: Server,
}

/// How the tree is shown, and what is written for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    /// Nothing can be written, whether there is an upper or not.
    pub(crate) is_read_only: bool,
    /// Access control lists are shown and obeyed.
    pub(crate) has_acls: bool,
    /// Extended attributes are shown.
    pub(crate) has_xattrs: bool,
    /// Every directory has one link.
    pub(crate) has_static_links: bool,
    /// No sync reaches the disk.
    pub(crate) is_volatile: bool,
    /// Directories of lowers are renamed by a redirect.
    pub(crate) writes_redirects: bool,
    /// Files are copied up without their content where that is not changed.
    pub(crate) writes_metacopies: bool,
    /// Which prefix the marks have; `None` to find out.
    pub(crate) marks: Option<Marks>,
    /// Where owners and modes are.
    pub(crate) records: Records,
    /// How layers say that something is gone.
    pub(crate) whiteouts: Whiteouts,
}

/// How layers say that something is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Whiteouts {
    /// As the kernel's overlayfs does, and in lowers by names that begin with `.wh.` besides.
    #[default]
    Both,
    /// As the kernel's overlayfs does; a name that begins with `.wh.` is a name as any other.
    Kernel,
}

/// How the mount is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MountAs {
    /// What the table of mounts names as the source; `None` for our own name.
    pub(crate) name: Option<Vec<u8>>,
    /// The type after `fuse.`.
    pub(crate) subtype: Vec<u8>,
    /// Attributes of the mount, its access times included.
    pub(crate) attrs: MountAttrFlags,
    /// Who else than the one who mounts may use it.
    pub(crate) open_to: OpenTo,
    /// How mounts below it spread; `true` for those that are there already, too.
    pub(crate) propagation: Option<(Propagation, bool)>,
    /// Every write reaches the upper's disk at once.
    pub(crate) is_sync: bool,
    /// Every change of a directory does.
    pub(crate) is_dirsync: bool,
    /// SELinux contexts, by the names of their options.
    pub(crate) contexts: Vec<(&'static str, Vec<u8>)>,
    /// An existing mount is to be changed.
    pub(crate) is_remount: bool,
}

/// Who else than the one who mounts may use the mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum OpenTo {
    /// Everyone where we may allow it: root may, an ordinary user where `/etc/fuse.conf` says so.
    #[default]
    AsMayBe,
    /// Everyone, or the mount is refused.
    Everyone,
    /// Root alone.
    Root,
}

/// How the server works.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Server {
    /// How long the kernel may keep what it was told; `None` for as long as nothing changes.
    pub(crate) timeout: Option<Duration>,
    /// How many threads; `None` for one for each processor.
    pub(crate) threads: Option<u16>,
    /// Whether the kernel gathers writes; `None` to choose.
    pub(crate) writeback: Option<bool>,
    /// How requests reach us.
    pub(crate) transport: Transport,
    /// Whether the kernel may read and write files without us.
    pub(crate) passthrough: Passthrough,
    /// Say what is agreed with the kernel.
    pub(crate) is_debug: bool,
}

impl Default for Asked {
    fn default() -> Self {
        Self {
            lowers: Vec::new(),
            upper: None,
            work: None,
            owners: Owners::default(),
            view: View {
                is_read_only: false,
                has_acls: true,
                has_xattrs: true,
                has_static_links: false,
                is_volatile: false,
                writes_redirects: true,
                writes_metacopies: true,
                marks: None,
                records: Records::None,
                whiteouts: Whiteouts::default(),
            },
            mount: MountAs {
                name: None,
                subtype: b"mica".to_vec(),
                // A device node in a layer is somebody else's; whoever trusts it says `dev`.
                attrs: MountAttrFlags::MOUNT_ATTR_NODEV,
                open_to: OpenTo::default(),
                propagation: None,
                is_sync: false,
                is_dirsync: false,
                contexts: Vec::new(),
                is_remount: false,
            },
            server: Server::default(),
        }
    }
}
