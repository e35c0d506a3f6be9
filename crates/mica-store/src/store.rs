//! A store: the directory that everything is kept in, opened and found to be ours.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use mica_layer::{Ability, Marks};
use mica_sys::{Dir, Lock, SysError};
use serde::{Deserialize, Serialize};

use crate::error::{Ownership, ReadOnly, StoreError, What};
use crate::options::{IdRow, Missing, Owners, StoreOptions};
use crate::records::{self, DIR_MODE, Draft, Flush, Unknown};

/// The format that this program writes.
const FORMAT: u32 = 1;

/// `format.json`: what kind of store this is. See [`format`](crate::format).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct FormatRecord {
    format: u32,
    uuid: String,
    features: Features,
    marks: String,
    owners: Owners,
    idmap: Vec<IdRow>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    gidmap: Vec<IdRow>,
    #[serde(flatten)]
    other: Unknown,
}

/// What a program must know to open, or to change, a store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Features {
    #[serde(default)]
    compat: Vec<String>,
    #[serde(default)]
    ro_compat: Vec<String>,
    #[serde(default)]
    incompat: Vec<String>,
    #[serde(flatten)]
    other: Unknown,
}

/// Only the number, to be looked at before anything else.
#[derive(Deserialize)]
struct FormatNumber {
    format: u32,
}

/// The directories of the root, in the order in which they are made. `staging` stands before `format.json` is written.
const DIRS: [&str; 20] = [
    "locks",
    "locks/digests",
    "locks/names",
    "locks/containers",
    "leases",
    "staging",
    "trash",
    "blobs",
    "blobs/sha256",
    "facts",
    "facts/sha256",
    "layers",
    "layers/sha256",
    "chains",
    "chains/sha256",
    "images",
    "images/sha256",
    "names",
    "container-names",
    "containers",
];

const VOLATILE: &str = "volatile";

/// Where the run root stands for whoever has no other place for one.
const RUN: &str = "run";

/// The ID that stands for all that are not mapped (`/proc/sys/kernel/overflowuid`, which nobody changes).
const OVERFLOW_ID: u32 = 65534;

/// The open directories of a store.
#[derive(Debug)]
pub(crate) struct Dirs {
    pub(crate) root: Dir,
    pub(crate) locks: Dir,
    pub(crate) digest_locks: Dir,
    pub(crate) name_locks: Dir,
    pub(crate) container_locks: Dir,
    pub(crate) leases: Dir,
    pub(crate) staging: Dir,
    pub(crate) trash: Dir,
    pub(crate) blobs: Dir,
    pub(crate) facts: Dir,
    pub(crate) layers: Dir,
    pub(crate) chains: Dir,
    pub(crate) images: Dir,
    pub(crate) names: Dir,
    pub(crate) claims: Dir,
    pub(crate) containers: Dir,
    pub(crate) volatile: Dir,
}

impl Dirs {
    fn open(root: &Dir) -> Result<Self, SysError> {
        let open = |path: &str| root.open_dir(path.as_bytes());
        Ok(Self {
            locks: open("locks")?,
            digest_locks: open("locks/digests")?,
            name_locks: open("locks/names")?,
            container_locks: open("locks/containers")?,
            leases: open("leases")?,
            staging: open("staging")?,
            trash: open("trash")?,
            blobs: open("blobs/sha256")?,
            facts: open("facts/sha256")?,
            layers: open("layers/sha256")?,
            chains: open("chains/sha256")?,
            images: open("images/sha256")?,
            names: open("names")?,
            claims: open("container-names")?,
            containers: open("containers")?,
            volatile: open(VOLATILE)?,
            root: root.try_clone()?,
        })
    }
}

/// An open store. Any number of processes and threads may have it open and change it at once.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    run_root: PathBuf,
    marks: Marks,
    owners: Owners,
    ability: Ability,
    uuid: String,
    boot: String,
    read_only: Option<ReadOnly>,
    made: bool,
    pub(crate) dirs: Dirs,
}

impl Store {
    /// Opens the store, making it where that was asked for, and sends to the trash what dead operations left.
    ///
    /// # Errors
    /// [`StoreError::NoStore`], [`StoreError::NotAStore`], [`StoreError::OtherOwner`], [`StoreError::OtherOwnership`],
    /// [`StoreError::RunRoot`], [`StoreError::NewerFormat`], [`StoreError::Corrupt`] for an unreadable `format.json`, or of a system
    /// call.
    pub fn open(options: &StoreOptions) -> Result<Self, StoreError> {
        let root = open_root(options)?;
        let user = mica_sys::process::effective_uid();
        let owner = root.metadata()?.uid;
        if owner != user {
            let (owner, user) = (outside(owner, &options.idmap), outside(user, &options.idmap).unwrap_or(user));
            return Err(StoreError::OtherOwner { root: options.root.clone(), owner, user });
        }
        let (record, made) = match read_format(&root)? {
            Some(record) => (record, false),
            None => (make(&root, options)?, true),
        };
        let mut read_only = judge(&record, options)?;
        if root.is_read_only()? {
            read_only.get_or_insert(ReadOnly::FileSystem);
        }
        if read_only.is_none() {
            make_run_root(&options.run_root)?;
        }
        let dirs = match Dirs::open(&root) {
            // A store whose making was interrupted, or of an older program, may lack directories.
            Err(error) if error.is_not_found() && read_only.is_none() => {
                make_dirs(&root)?;
                Dirs::open(&root)?
            }
            dirs => dirs?,
        };
        let store = Self {
            path: options.root.clone(),
            run_root: options.run_root.clone(),
            marks: options.marks,
            owners: options.owners,
            ability: options.ability(),
            uuid: record.uuid,
            boot: boot_id()?,
            read_only,
            made,
            dirs,
        };
        if store.read_only.is_none() {
            store.dirs.volatile.ensure_dir(store.boot.as_bytes(), DIR_MODE)?;
            store.sweep()?;
        }
        Ok(store)
    }

    /// The marks of the store in a directory, which is not opened; `None` where there is none yet.
    ///
    /// # Errors
    /// [`StoreError::NewerFormat`], [`StoreError::Corrupt`] for an unreadable `format.json`, or of a system call.
    pub fn marks_of(root: &Path) -> Result<Option<Marks>, StoreError> {
        let root = match Dir::open(root) {
            Err(error) if error.is_not_found() => return Ok(None),
            opened => opened?,
        };
        let marks = read_format(&root)?.map(|record| record.marks);
        Ok(marks.and_then(|marks| [Marks::Trusted, Marks::User].into_iter().find(|known| marks_word(*known) == marks)))
    }

    /// The store's directory, as it was named.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where mounts and sockets of running containers stand.
    #[must_use]
    pub fn run_root(&self) -> &Path {
        &self.run_root
    }

    /// Whose extended attributes the layers' marks are.
    #[must_use]
    pub const fn marks(&self) -> Marks {
        self.marks
    }

    /// How owners stand on disk.
    #[must_use]
    pub const fn owners(&self) -> Owners {
        self.owners
    }

    /// What can be put on disk of what layers say; the rest has a stand-in there.
    #[must_use]
    pub const fn ability(&self) -> &Ability {
        &self.ability
    }

    /// The store's own ID, made with it.
    #[must_use]
    pub fn uuid(&self) -> &str {
        &self.uuid
    }

    /// The kernel's ID of this uptime of the machine.
    #[must_use]
    pub fn boot_id(&self) -> &str {
        &self.boot
    }

    /// What keeps this program from changing the store; `None` when it may.
    #[must_use]
    pub const fn read_only(&self) -> Option<&ReadOnly> {
        self.read_only.as_ref()
    }

    /// Whether there was no store before this one was opened.
    #[must_use]
    pub const fn was_made(&self) -> bool {
        self.made
    }

    /// The store's root directory, for drivers that probe what its file system can.
    #[must_use]
    pub const fn root(&self) -> &Dir {
        &self.dirs.root
    }

    pub(crate) fn writable(&self) -> Result<(), StoreError> {
        match &self.read_only {
            Some(why) => Err(StoreError::ReadOnly { why: why.clone() }),
            None => Ok(()),
        }
    }

    /// Keeps gc from marking. Held for an instant; nothing else is waited for under it.
    pub(crate) fn gc_shared(&self) -> Result<Lock, StoreError> {
        Ok(Lock::shared(&self.dirs.locks, b"gc")?)
    }

    /// Keeps leases from being written. Held for an instant; nothing else is waited for under it.
    pub(crate) fn gc_exclusive(&self) -> Result<Lock, StoreError> {
        Ok(Lock::exclusive(&self.dirs.locks, b"gc")?)
    }
}

/// Lets go of a lock whose file nobody needs any more.
pub(crate) fn release(lock: Lock) {
    // ignored: the lock is released all the same, and gc removes files that nobody holds.
    drop(lock.remove());
}

fn sys_error(call: &'static str, path: &Path, error: &std::io::Error) -> SysError {
    let errno = mica_sys::Errno::from_io_error(error).unwrap_or(mica_sys::Errno::IO);
    SysError::new(call, path.as_os_str().as_encoded_bytes(), errno)
}

fn open_root(options: &StoreOptions) -> Result<Dir, StoreError> {
    match Dir::open(&options.root) {
        Err(error) if error.is_not_found() => {}
        opened => return Ok(opened?),
    }
    if options.missing == Missing::Refuse {
        return Err(StoreError::NoStore { root: options.root.clone() });
    }
    std::fs::create_dir_all(&options.root).map_err(|error| sys_error("mkdir", &options.root, &error))?;
    Ok(Dir::open(&options.root)?)
}

/// The ID that the machine knows somebody by; `None` for whoever is not mapped.
fn outside(id: u32, rows: &[IdRow]) -> Option<u32> {
    if rows.is_empty() {
        return Some(id);
    }
    // In a namespace that maps it, too, the overflow ID stands for all who are not.
    let known = |row: &&IdRow| id != OVERFLOW_ID && id >= row.container && id - row.container < row.size;
    rows.iter().find(known).map(|row| row.host + (id - row.container))
}

fn make_run_root(path: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::RunRoot { path: path.to_owned(), source };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(DIR_MODE)
        .create(path)
        .map_err(|error| failed(sys_error("mkdir", path, &error)))
}

fn read_format(root: &Dir) -> Result<Option<FormatRecord>, StoreError> {
    let Some(bytes) = root.read_if_there(b"format.json", records::RECORD_CAP)? else {
        return Ok(None);
    };
    let broken = |error: serde_json::Error| StoreError::corrupt(What::Format, "format.json", error);
    let FormatNumber { format } = serde_json::from_slice(&bytes).map_err(broken)?;
    if format > FORMAT {
        return Err(StoreError::NewerFormat { feature: format!("store format {format}") });
    }
    serde_json::from_slice(&bytes).map(Some).map_err(broken)
}

fn make_dirs(root: &Dir) -> Result<(), StoreError> {
    for path in DIRS.iter().chain([&VOLATILE]) {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        root.open_dir(parent.as_bytes())?.ensure_dir(name.as_bytes(), DIR_MODE)?;
    }
    Ok(())
}

/// Makes a store in an empty directory, or in one where the making of a store was interrupted.
fn make(root: &Dir, options: &StoreOptions) -> Result<FormatRecord, StoreError> {
    if options.missing == Missing::Refuse {
        return Err(StoreError::NoStore { root: options.root.clone() });
    }
    let ours = |name: &[u8]| {
        [VOLATILE, RUN].iter().any(|dir| dir.as_bytes() == name) || DIRS.iter().any(|dir| dir.as_bytes() == name)
    };
    if let Some(entry) = root.read_dir()?.into_iter().find(|entry| !ours(&entry.name) && entry.name != b"lost+found") {
        // Another process may have finished the store just now.
        if let Some(record) = read_format(root)? {
            return Ok(record);
        }
        let entry = String::from_utf8_lossy(&entry.name).into_owned();
        return Err(StoreError::NotAStore { root: options.root.clone(), entry });
    }
    root.chmod_self(DIR_MODE)?;
    make_dirs(root)?;
    let record = FormatRecord {
        format: FORMAT,
        uuid: uuid()?,
        features: Features::default(),
        marks: marks_word(options.marks).to_owned(),
        owners: options.owners,
        idmap: options.idmap.clone(),
        gidmap: options.gidmap.clone(),
        other: Unknown::new(),
    };
    let bytes = records::encode(What::Format, &record)?;
    // Trash and not staging: a draft that is left here is emptied like everything else.
    let trash = root.open_dir(b"trash")?;
    let draft = records::random_name()?;
    let draft = Draft { dir: &trash, name: draft.as_bytes() };
    records::write_file(draft.dir, draft.name, &bytes, Flush::Yes)?;
    root.sync()?;
    match draft.dir.rename_noreplace(draft.name, root, b"format.json") {
        Err(error) if error.is_exists() => {
            records::unlink_if_there(draft.dir, draft.name)?;
        }
        made => made?,
    }
    root.sync()?;
    read_format(root)?.ok_or_else(|| StoreError::not_found(What::Format, "format.json"))
}

/// Whether this program may open the store: an error when not, the feature's name when it may only read.
fn judge(record: &FormatRecord, options: &StoreOptions) -> Result<Option<ReadOnly>, StoreError> {
    // Format 1 defines no feature, so any is unknown.
    if let Some(feature) = record.features.incompat.first() {
        return Err(StoreError::NewerFormat { feature: format!("feature {feature:?}") });
    }
    let words = |marks: &str, owners: Owners, idmap: &[IdRow], gidmap: &[IdRow]| Ownership {
        marks: marks.to_owned(),
        owners,
        idmap: idmap.to_vec(),
        gidmap: gidmap.to_vec(),
    };
    let made = words(&record.marks, record.owners, &record.idmap, &record.gidmap);
    let asked = words(marks_word(options.marks), options.owners, &options.idmap, &options.gidmap);
    if made != asked {
        let (made, asked) = (Box::new(made), Box::new(asked));
        return Err(StoreError::OtherOwnership { root: options.root.clone(), made, asked });
    }
    Ok(record.features.ro_compat.first().cloned().map(ReadOnly::Feature))
}

const fn marks_word(marks: Marks) -> &'static str {
    match marks {
        Marks::Trusted => "trusted",
        Marks::User => "user",
    }
}

/// A random UUID (RFC 9562, version 4).
fn uuid() -> Result<String, StoreError> {
    let hex = records::random_name()?;
    let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default();
    Ok(format!("{}-{}-4{}-a{}-{}", part(0..8), part(8..12), part(13..16), part(17..20), part(20..32)))
}

fn boot_id() -> Result<String, StoreError> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let text = std::fs::read_to_string(path).map_err(|error| sys_error("read", path, &error))?;
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-') {
        return Err(StoreError::corrupt(What::Format, path.display(), "is no boot ID"));
    }
    Ok(text.to_owned())
}
