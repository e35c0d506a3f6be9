//! What kind of thing an error of a room below is, and what to try: one table per room.

use mica_layer::{CompressionError, EntryError, LayerError};
use mica_runtime::RuntimeError;
use mica_store::{ReadOnly, StoreError, What};
use mica_sys::{Errno, SysError};
use mica_transport::{ReferenceError, TransportError};
use mica_union::UnionError;

use crate::error::{Error, Kind};
use crate::limits;

const FULL: &str = "make room on the disk of the store; `mica system prune` removes what nobody needs";

/// What a refused call anywhere in the chain says of the whole, before the room's own table is asked.
fn kind_of_cause(error: &(dyn std::error::Error + 'static)) -> Option<Kind> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            match io.kind() {
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => return Some(Kind::NoSpace),
                // What a reader of ours wrapped is inside, and not in the chain.
                _ => {
                    if let Some(kind) = io.get_ref().and_then(|inner| kind_of_cause(inner)) {
                        return Some(kind);
                    }
                }
            }
        }
        if let Some(sys) = error.downcast_ref::<SysError>() {
            return kind_of_call(sys);
        }
        cause = error.source();
    }
    None
}

/// How to go on where a limit was met anywhere in the chain.
fn raised_limit(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        // What a reader of ours wrapped is inside, and not in the chain.
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if let Some(hint) = inner.and_then(|inner| raised_limit(inner)) {
            return Some(hint);
        }
        let met = match (error.downcast_ref(), error.downcast_ref(), error.downcast_ref()) {
            (Some(entry), _, _) => EntryError::limit(entry),
            (_, Some(CompressionError::Window { limit }), _) => Some(("window", *limit)),
            (_, _, Some(TransportError::TooLarge { what, max, .. })) => {
                Some((if what == "the archive" { "content" } else { limits::JSON }, *max))
            }
            _ => None,
        };
        if let Some((name, limit)) = met {
            return Some(limits::raise(name, limit));
        }
        cause = error.source();
    }
    None
}

/// How to go on where the server of a container's tree has ended.
pub(crate) const SERVER_ENDED: &str =
    "the server of the container's tree has ended; nothing that was written is lost: start it again";

/// How to go on where this process, or the machine, had too many files open, or a server has ended.
fn after_call(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref().is_some_and(SysError::is_disconnected) {
            return Some("the server of a FUSE file system has ended: `umount` takes away what it left");
        }
        let call = error.downcast_ref().map(SysError::errno);
        if let Some(Errno::MFILE | Errno::NFILE) = call.or_else(|| Errno::from_io_error(error.downcast_ref()?)) {
            return Some("allow more open files: `ulimit -n 1024`, or as many as `ulimit -Hn` says");
        }
        cause = error.source();
    }
    None
}

fn kind_of_call(error: &SysError) -> Option<Kind> {
    if error.is_no_space() {
        Some(Kind::NoSpace)
    } else if error.is_denied() {
        Some(Kind::Denied)
    } else {
        None
    }
}

fn hinted(error: Error, hint: Option<impl Into<String>>) -> Error {
    match (error.kind(), hint) {
        (Kind::NoSpace, _) => error.hinted(FULL),
        (_, Some(hint)) => error.hinted(hint),
        (_, None) => error,
    }
}

impl From<SysError> for Error {
    fn from(error: SysError) -> Self {
        let kind = kind_of_call(&error).unwrap_or(Kind::System);
        let hint = after_call(&error);
        hinted(Self::new(kind, error.to_string()), hint)
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            _ if error.is_no_space() => Kind::NoSpace,
            StoreError::NoStore { .. } | StoreError::NotFound { .. } => Kind::NotFound,
            StoreError::OtherOwner { .. } => Kind::Denied,
            StoreError::RunRoot { source, .. } => kind_of_call(source).unwrap_or(Kind::System),
            StoreError::NotAStore { .. } | StoreError::OtherOwnership { .. } => Kind::Conflict,
            StoreError::NewerFormat { .. } | StoreError::ReadOnly { .. } => Kind::Unsupported,
            StoreError::Ambiguous { .. } | StoreError::BadName { .. } => Kind::Usage,
            StoreError::InUse { .. } | StoreError::NameTaken { .. } => Kind::Conflict,
            StoreError::WrongDigest { .. }
            | StoreError::WrongSize { .. }
            | StoreError::WrongDiffId { .. }
            | StoreError::Corrupt { .. } => Kind::Corrupt,
            StoreError::Layer { source, .. } => kind_of_layer(source),
            StoreError::Sys(source) => kind_of_call(source).unwrap_or(Kind::System),
            other => kind_of_cause(other).unwrap_or(Kind::System),
        };
        let hint = match &error {
            StoreError::NotAStore { .. } => Some("name an empty or missing directory with --root"),
            StoreError::OtherOwner { .. } => {
                Some("use a store of your own with --root, or become the user it belongs to")
            }
            StoreError::RunRoot { .. } => Some(
                "name a directory of your own with --run-root or MICA_RUN_ROOT; after `su`, XDG_RUNTIME_DIR is somebody else's",
            ),
            StoreError::ReadOnly { why: ReadOnly::FileSystem } => {
                Some("mount it read-write, or name another store with --root")
            }
            StoreError::NewerFormat { .. } | StoreError::ReadOnly { .. } => {
                Some("use the newer mica that wrote it, or another store with --root")
            }
            StoreError::Ambiguous { .. } => Some("give more of the ID"),
            StoreError::NameTaken { .. } => Some("choose another --name, or remove the container that has it"),
            StoreError::InUse { by, .. } if by.iter().all(|user| user == "a running operation") => {
                Some("wait until it is done, or use --force")
            }
            StoreError::InUse { .. } => Some("remove the containers first, or use --force"),
            // Without it nothing of the store can be read, so nothing can be mended either.
            StoreError::Corrupt { what: What::Format, .. } => Some(
                "put the record back from a copy of the store, or name another store with --root and load the images there",
            ),
            StoreError::Corrupt { .. } => {
                Some("`mica system check --repair` sets aside what is broken; then load it again")
            }
            StoreError::WrongDigest { .. } | StoreError::WrongSize { .. } | StoreError::WrongDiffId { .. } => {
                Some("the archive is damaged: fetch or make it again")
            }
            // The error that is the call's own is not among its causes.
            StoreError::Sys(call) => after_call(call),
            _ => None,
        };
        // What is written there has names of the store's own, which say nothing to a user.
        let says_nothing = matches!(&error, StoreError::Sys(call) if call.is_no_space());
        let error = wrap(kind, error, hint);
        if says_nothing { error.while_("write to the store") } else { error }
    }
}

/// The error's own message with its sources behind it.
fn wrap(kind: Kind, error: impl std::error::Error + Send + Sync + 'static, hint: Option<impl Into<String>>) -> Error {
    let hint = hint.map(Into::into).or_else(|| raised_limit(&error)).or_else(|| after_call(&error).map(str::to_owned));
    hinted(Error::caused(kind, error), hint)
}

fn kind_of_layer(error: &LayerError) -> Kind {
    match kind_of_cause(error) {
        Some(kind) => kind,
        None => match error {
            LayerError::Entry { .. }
            | LayerError::Index { .. }
            | LayerError::Recon { .. }
            | LayerError::Compression(_) => Kind::Corrupt,
            _ => Kind::System,
        },
    }
}

impl From<LayerError> for Error {
    fn from(error: LayerError) -> Self {
        wrap(kind_of_layer(&error), error, None::<String>)
    }
}

impl From<TransportError> for Error {
    fn from(error: TransportError) -> Self {
        let kind = match kind_of_cause(&error) {
            Some(kind) => kind,
            None if error.is_corrupt() => Kind::Corrupt,
            None => Kind::Usage,
        };
        let hint = error.hint();
        wrap(kind, error, hint)
    }
}

impl From<ReferenceError> for Error {
    fn from(error: ReferenceError) -> Self {
        wrap(Kind::Usage, error, Some("a reference looks like busybox, quay.io/team/app:1.2 or app@sha256:…"))
    }
}

impl From<UnionError> for Error {
    fn from(error: UnionError) -> Self {
        let kind = kind_of_cause(&error).unwrap_or(Kind::System);
        let hint = error.hint();
        let wrapped = wrap(kind, error, hint);
        match (kind, hint) {
            // How to make room, and what a full disk means to the driver.
            (Kind::NoSpace, Some(hint)) => wrapped.hinted(format!("{FULL}; {hint}")),
            _ => wrapped,
        }
    }
}

impl From<RuntimeError> for Error {
    fn from(error: RuntimeError) -> Self {
        let kind = match &error {
            RuntimeError::NotFound { .. } => Kind::CommandNotFound,
            RuntimeError::NotExecutable { .. } => Kind::CannotInvoke,
            RuntimeError::Unsupported { .. } => Kind::Unsupported,
            RuntimeError::NotMapped { .. } => Kind::Usage,
            other => kind_of_cause(other).unwrap_or(Kind::System),
        };
        let hint = error.hint().or_else(|| error.is_disconnected().then_some(SERVER_ENDED));
        wrap(kind, error, hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_and_too_many_files_are_told_with_what_helps() {
        for (errno, message, hint) in [
            (
                Errno::NOSPC,
                "write to the store: mkdirat \"upper\": No space left",
                "make room on the disk of the store",
            ),
            (Errno::MFILE, "mkdirat \"upper\": Too many open files", "ulimit -n"),
        ] {
            let error = Error::from(StoreError::Sys(SysError::new("mkdirat", "upper", errno)));
            assert!(error.to_string().starts_with(message) && error.hint().unwrap().contains(hint), "{error:?}");
        }
        let error = Error::from(SysError::new("openat", "f", Errno::NFILE));
        assert!(error.hint().unwrap().contains("ulimit -n"), "{error:?}");
        assert_eq!(Error::from(StoreError::Sys(SysError::new("openat", "f", Errno::IO))).hint(), None);
    }
}
