//! A layer tar becomes a directory, an index and a `recon`, in one pass over its bytes.
//!
//! ```text
//!                       +--> SHA-256 of the tar (a thread)            = DiffID
//!   read, 256 KiB each -+
//!                       +--> parse, write diff/, BLAKE3 (a thread)    = diff/ index recon
//! ```
//!
//! What a path means is decided in memory, by a table of all that the tar said so far; the disk is only written. An
//! entry's parent is looked up in the table, symlinks of the layer followed as if the layer were `/`, and the directory
//! that this names is then opened with no symlink allowed on the way. A layer is unpacked without those below it.
//!
//! # What a tar means
//!
//! * **Names**: a leading slash, `.` and empty components say nothing; `..` is taken back as it stands, and an error
//!   where it leaves the root. A directory that the tar does not describe is implicit: 0755, root's, 1970.
//! * **Again**: of several entries for a path the last counts; a directory over a directory only changes its attributes.
//!   Anything else replaces what was there with all under it, as Docker does and `tar -x` does for what is not a full
//!   directory. A directory replaces a symlink. Nothing can be below a file, a device or a dangling hard link: that is
//!   an error, for Docker and `tar -x` too.
//! * **Whiteouts** hide lower layers only, in whatever order they stand: where the layer itself has the path, a file
//!   stays, and a directory becomes opaque. Within an opaque directory they say nothing and are not made.
//! * **Hard links** share the file that has the name at that moment; where none has, the one that has it in the end;
//!   where none has ever, they are [`mica_core::Kind::LinkToParent`], for which `diff/` has nothing. The link's own
//!   owner, mode, times and content are not looked at: they are those of the file.
//! * **Times** are set on files at once and on directories in the end. Owner comes before mode, mode before extended
//!   attributes. `SCHILY.acl.*` (access control lists as text) says nothing; as `SCHILY.xattr.system.posix_acl_*` they
//!   are kept.
//! * A volume label makes nothing. Sockets and types of other vendors are errors.
//! * What overlayfs would take for its own mark is kept escaped; see [`crate::Marks`].
//! * What the owner of the store cannot make has a stand-in in `diff/`; the index says what the layer says. See
//!   [`crate::stand_in`].
//!
//! Of all this `recon` keeps what `diff/` cannot, so that the tar comes back whatever it said twice.

mod directories;
mod extract;
mod finish;
mod pipe;
pub(crate) mod place;
mod pool;
mod replace;
mod resolve;
mod tree;

use std::io::Read;

use mica_core::{DiffId, DigestHasher};
use mica_sys::Dir;

use crate::{Ability, LayerError, Limits, Marks, Result};
use extract::Extract;

/// How a layer is unpacked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unpack {
    /// Which marks `diff/` has.
    pub marks: Marks,
    /// What the layer may cost.
    pub limits: Limits,
    /// What can be put on disk; the rest has a [stand-in](crate::stand_in) there.
    pub ability: Ability,
}

/// What came out of a tar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// The digest of the tar.
    pub diff_id: DiffId,
    /// The length of the tar.
    pub tar_size: u64,
    /// Paths that the index has, the root and implicit directories included.
    pub entries: u64,
    /// Bytes of content in `diff/`, holes not counted, each file once.
    pub content_size: u64,
    /// Directories below the root that the layer only implies.
    pub implicit: u64,
    /// Hard links to files that only a lower layer has.
    pub needs_parent: u64,
}

/// Unpacks the whole stream `tar` into the empty directory `layer`: makes `diff/`, `index` and `recon` in it. Nothing is
/// flushed to disk here. Uses two threads besides the caller's, which reads.
///
/// # Errors
/// [`LayerError`]; what is in `layer` then is to be thrown away.
pub fn unpack(tar: &mut dyn Read, layer: &Dir, how: &Unpack) -> Result<Unpacked> {
    std::thread::scope(|scope| {
        let (to_hash, hashed) = pipe::pipe();
        let (to_make, made) = pipe::pipe();
        let named = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let hash = named("layer-hash").spawn_scoped(scope, move || {
            let mut hasher = DigestHasher::default();
            let mut length = 0;
            for chunk in hashed.chunks() {
                hasher.update(&chunk);
                length += u64::try_from(chunk.len()).unwrap_or(0);
            }
            (DiffId::from_sha256(hasher.finish()), length)
        });
        let make = named("layer-make").spawn_scoped(scope, move || Extract::run(made, layer, how));
        let (Ok(hash), Ok(make)) = (hash, make) else { return Err(LayerError::Thread) };
        let read = pipe::feed(tar, to_hash, to_make);
        let made = make.join().map_err(|_| LayerError::Thread)?;
        let (diff_id, tar_size) = hash.join().map_err(|_| LayerError::Thread)?;
        // What was wrong with the stream explains what the maker missed in it.
        read.map_err(LayerError::Read)?;
        let made = made?;
        Ok(Unpacked {
            diff_id,
            tar_size,
            entries: made.entries,
            content_size: made.content_size,
            implicit: made.implicit,
            needs_parent: made.needs_parent,
        })
    })
}
