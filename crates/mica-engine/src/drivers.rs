//! The ways to show a stack: which this build has, which work here, and which a container has.
//!
//! A container keeps the driver that it was made with. What a probe found is kept in the run root, for one boot and one
//! file system: `drivers/<type>-<device>-<marks>.json`, a cache that may be deleted at any time.

use std::ffi::CStr;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use mica_store::LockedContainer;
use mica_sys::Dir;
use mica_sys::process::open_place;
use mica_union::fuse::{Fuse, Program, serve_inherited};
use mica_union::{Driver, Flat, Mounted, Overlay, Support, UnionDirs, UnionError, UpperDirs};
use serde::{Deserialize, Serialize};

use crate::container::{Base, Known};
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};

/// The drivers by name, the one that is taken first where it works first.
pub const DRIVERS: [&str; 3] = [OVERLAY, FUSE, FLAT];

pub(crate) const OVERLAY: &str = "overlay";
pub(crate) const FUSE: &str = "fuse";
const FLAT: &str = "flat";

/// The name under which the caller's binary is executed to serve a mount; its only argument.
const SERVER_ARG: &CStr = c"mica-fuse-server";

/// Whether this process was executed to serve a mount. To be asked by `main` before anything else is done: no thread may be started and no file
/// opened before [`server_main`].
#[must_use]
pub fn is_server() -> bool {
    let mut args = std::env::args_os();
    args.next().is_some_and(|name| name.as_encoded_bytes() == SERVER_ARG.to_bytes()) && args.next().is_none()
}

/// Serves a mount until it is gone; `main` ends with what this returns.
#[must_use]
pub fn server_main() -> ExitCode {
    match serve_inherited() {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever started it was told why, where that could be.
        Err(_) => ExitCode::FAILURE,
    }
}

/// How long a mount of an upper is waited for that is about to end: a container's mount goes a moment after its last process, and its server with
/// the mount.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was found out about a driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// Its name.
    pub name: &'static str,
    /// Why it does not work here, with what would help; `None` where it works.
    pub why_not: Option<String>,
    /// Whether new containers get it unless they are given another.
    pub chosen: bool,
}

/// A cache of probes. What is not understood is found out again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    version: u32,
    boot: String,
    /// What was asked for so far.
    drivers: Vec<Finding>,
}

const VERSION: u32 = 1;

/// One driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Finding {
    name: String,
    /// Why not; `None` where it works.
    why: Option<String>,
    hint: Option<String>,
}

impl Finding {
    fn refusal(&self) -> Option<String> {
        let why = self.why.as_ref()?;
        Some(self.hint.as_ref().map_or_else(|| why.clone(), |hint| format!("{why} ({hint})")))
    }
}

impl Engine {
    /// Each driver and whether it works here, found out now and kept.
    ///
    /// # Errors
    /// When the store cannot be looked at. A driver that does not work is no error.
    pub fn probe_drivers(&self) -> Result<Vec<Probed>> {
        let found = DRIVERS.map(|name| self.probe(name));
        let sure = found.iter().all(Result::is_ok);
        let told = DRIVERS.into_iter().zip(found);
        let found: Vec<Finding> =
            told.map(|(name, found)| found.unwrap_or_else(|error| refused(name, &error))).collect();
        if sure {
            self.remember(&found)?;
        }
        let chosen = chosen(&found).map(|finding| finding.name.clone());
        let told = DRIVERS.into_iter().zip(&found).map(|(name, finding)| Probed {
            name,
            why_not: finding.refusal(),
            chosen: chosen.as_deref() == Some(name),
        });
        Ok(told.collect())
    }

    /// The driver for a new container: the one that is asked for, or the first that works.
    pub(crate) fn choose_driver(&self, asked: Option<&str>) -> Result<String> {
        if let Some(name) = asked {
            self.driver(name)?;
        }
        let mut found = self.remembered()?.unwrap_or_default();
        let known = found.clone();
        self.look(&mut found, asked)?;
        if pick(&found, asked).is_none() && !known.is_empty() {
            // A module may have been loaded since; before it is refused, it is looked at again.
            found.clear();
            self.look(&mut found, asked)?;
        }
        if found != known {
            self.remember(&found)?;
        }
        match (pick(&found, asked), asked) {
            (Some(finding), _) => Ok(finding.name.clone()),
            (None, Some(name)) => {
                let finding = found.iter().find(|finding| finding.name == name);
                let why = finding.and_then(|finding| finding.why.clone()).unwrap_or_default();
                let error = Error::new(Kind::Unsupported, format!("driver {name} does not work here: {why}"));
                Err(match finding.and_then(|finding| finding.hint.clone()) {
                    Some(hint) => error.hinted(hint),
                    None => error.hinted("`mica system info` shows which works; without --driver that one is taken"),
                })
            }
            (None, None) => {
                let whys: Vec<String> = found.iter().filter_map(Finding::refusal).collect();
                Err(Error::new(Kind::Unsupported, format!("no driver works here: {}", whys.join("; "))))
            }
        }
    }

    fn driver(&self, name: &str) -> Result<Box<dyn Driver>> {
        let marks = self.store.marks();
        match name {
            OVERLAY => Ok(Box::new(Overlay::new().probing(marks))),
            FUSE => Ok(Box::new(self.fuse()?)),
            FLAT => Ok(Box::new(Flat::new().probing(marks))),
            other => Err(Error::new(Kind::Unsupported, format!("this version has no driver {other:?}"))
                .hinted(format!("it has {}", DRIVERS.join(", ")))),
        }
    }

    /// The FUSE union, served by this program.
    pub(crate) fn fuse(&self) -> Result<Fuse> {
        let exe = open_place(Path::new("/proc/self/exe"))?;
        Ok(Fuse::served_by(Program { exe, argv: vec![SERVER_ARG.to_owned()] }).probing(self.store.marks()))
    }

    pub(crate) fn driver_of(&self, known: &Known) -> Result<Box<dyn Driver>> {
        self.driver(known.settings.driver())
    }

    /// Shows a container's tree, by its driver. The caller holds its lock.
    pub(crate) fn show_tree(&self, known: &Known, dirs: &UnionDirs) -> Result<Mounted> {
        let driver = self.driver_of(known)?;
        let began = Instant::now();
        loop {
            match driver.mount(dirs) {
                Err(UnionError::InUse { .. }) if driver.name() == FUSE && began.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(error) => return Err(self.mounts_in_the_way(known).unwrap_or_else(|| error.into())),
                mounted => return Ok(mounted?),
            }
        }
    }

    /// Why an ordinary user's container stands on no live directory with something mounted in it: in a user namespace the
    /// kernel copies no mount without what is mounted in it, and overlayfs takes no lower with it.
    fn mounts_in_the_way(&self, known: &Known) -> Option<Error> {
        let Base::Directory { path } = &known.settings.base else { return None };
        if self.standing.is_root() || known.settings.driver() != OVERLAY {
            return None;
        }
        let mounts = mica_sys::mount::mounts().ok()?;
        let inner = mounts.iter().find(|mount| mount.target != *path && mount.target.starts_with(path))?;
        let problem = format!("use the directory {path:?} as an image: {} is mounted in it", inner.target.display());
        Some(Error::new(Kind::Unsupported, problem).hinted(
            "an ordinary user's container stands on a directory in which nothing is mounted; name one deeper, or run this as root",
        ))
    }

    /// Brings what a container wrote into its upper, where its driver has not written it there. The upper can be read as
    /// long as what is given is held.
    pub(crate) fn settled(&self, known: &Known) -> Result<Option<LockedContainer>> {
        if [OVERLAY, FUSE].contains(&known.settings.driver()) {
            return Ok(None);
        }
        let locked = self.store.lock_container(known.container.id())?;
        self.settle(known)?;
        Ok(Some(locked))
    }

    /// The same for who holds the container's lock.
    pub(crate) fn settle(&self, known: &Known) -> Result<()> {
        let name = &known.container.record().name;
        let settled = self.driver_of(known)?.settle(&self.union_dirs(known)?);
        settled.map_err(|error| Error::from(error).while_(format_args!("gather what container {name} wrote")))
    }

    /// Bytes that a container's driver takes beside the upper. Of a driver that this version lacks nothing is known.
    pub(crate) fn taken_by_driver(&self, known: &Known) -> Result<u64> {
        let upper = UpperDirs { upper: known.container.upper(), work: known.container.work(), volatile: false };
        match self.driver_of(known) {
            Ok(driver) => Ok(driver.taken(&upper)?),
            Err(_) => Ok(0),
        }
    }

    /// An error says nothing about the driver: a disk that is full today must not give containers a worse driver for good.
    fn probe(&self, name: &str) -> Result<Finding> {
        match self.try_driver(name)? {
            Support::Yes => Ok(Finding { name: name.to_owned(), why: None, hint: None }),
            Support::No { why } if why.is_passing() => {
                Err(Error::from(why).while_(format_args!("find out whether driver {name} works here")))
            }
            Support::No { why } => Ok(refused(name, &Error::from(why))),
        }
    }

    /// Under a lease, since what stands in staging without one is swept away by the next command.
    fn try_driver(&self, name: &str) -> Result<Support> {
        let driver = self.driver(name)?;
        let lease = self.store.lease()?;
        Ok(driver.probe(&lease.staging_path()?))
    }

    /// Adds what is not known of the driver that is asked for; without one, of all up to the first that works.
    fn look(&self, found: &mut Vec<Finding>, asked: Option<&str>) -> Result<()> {
        for name in DRIVERS.into_iter().filter(|name| asked.is_none_or(|asked| asked == *name)) {
            if !found.iter().any(|finding| finding.name == name) {
                found.push(self.probe(name)?);
            }
            if pick(found, Some(name)).is_some() {
                break;
            }
        }
        Ok(())
    }

    fn record_name(&self) -> Result<Vec<u8>> {
        let store = Dir::open(self.store.path())?;
        let on = mica_sys::mount::file_system(&store)?;
        let prefix = self.store.marks().prefix();
        let marks = prefix.split(|byte| *byte == b'.').next().unwrap_or_default();
        let name = format!("{:x}-{:x}-{}.json", on.magic, store.metadata()?.dev, String::from_utf8_lossy(marks));
        Ok(name.into_bytes())
    }

    fn remembered(&self) -> Result<Option<Vec<Finding>>> {
        let Some(home) = Dir::open(self.store.run_root())?.open_dir_if_there(b"drivers")? else { return Ok(None) };
        let Some(bytes) = home.read_if_there(&self.record_name()?, 64 << 10)? else { return Ok(None) };
        let record = serde_json::from_slice::<Record>(&bytes).ok().filter(|record| {
            let known = |finding: &Finding| DRIVERS.contains(&finding.name.as_str());
            record.version == VERSION && record.boot == self.store.boot_id() && record.drivers.iter().all(known)
        });
        Ok(record.map(|record| record.drivers))
    }

    fn remember(&self, found: &[Finding]) -> Result<()> {
        let record = Record { version: VERSION, boot: self.store.boot_id().to_owned(), drivers: found.to_vec() };
        let bytes = serde_json::to_vec(&record)
            .map_err(|error| Error::because(Kind::System, "write down which drivers work", error))?;
        let name = self.record_name()?;
        let written = Dir::open(self.store.run_root())
            .and_then(|run| run.ensure_dir(b"drivers", 0o700))
            .and_then(|home| home.write_atomic(&name, &bytes, 0o600));
        match written {
            // ignored: it is a cache, and is found out again the next time.
            Err(error) if error.is_no_space() || error.is_denied() || error.is_read_only() => Ok(()),
            written => Ok(written?),
        }
    }
}

fn refused(name: &str, error: &Error) -> Finding {
    Finding { name: name.to_owned(), why: Some(error.to_string()), hint: error.hint().map(str::to_owned) }
}

/// The first that works.
fn chosen(found: &[Finding]) -> Option<&Finding> {
    DRIVERS.into_iter().find_map(|name| pick(found, Some(name)))
}

/// The one that is asked for if it works; without one, the first that works.
fn pick<'a>(found: &'a [Finding], asked: Option<&str>) -> Option<&'a Finding> {
    match asked {
        Some(name) => found.iter().find(|finding| finding.name == name && finding.why.is_none()),
        None => chosen(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(overlay: Option<&str>, fuse: Option<&str>, flat: Option<&str>) -> Vec<Finding> {
        let finding = |name: &str, why: Option<&str>| Finding {
            name: name.to_owned(),
            why: why.map(str::to_owned),
            hint: Some("try".to_owned()),
        };
        vec![finding(OVERLAY, overlay), finding(FUSE, fuse), finding(FLAT, flat)]
    }

    #[test]
    fn the_first_that_works_is_taken_unless_another_is_asked_for() {
        let name = |found: &[Finding], asked| pick(found, asked).map(|finding| finding.name.clone());
        let all = found(None, None, None);
        assert_eq!(name(&all, None).as_deref(), Some("overlay"));
        assert_eq!(name(&all, Some("flat")).as_deref(), Some("flat"));
        let fuse = found(Some("no"), None, None);
        assert_eq!(name(&fuse, None).as_deref(), Some("fuse"));
        assert_eq!(name(&fuse, Some("overlay")), None, "what is asked for is never replaced");
        assert_eq!(name(&found(Some("no"), Some("no"), None), None).as_deref(), Some("flat"));
        assert_eq!(name(&found(Some("no"), Some("no"), Some("no")), None), None);
    }

    #[test]
    fn a_refusal_says_why_and_what_would_help() {
        let found = found(Some("no overlayfs"), None, None);
        assert_eq!(found[0].refusal().as_deref(), Some("no overlayfs (try)"));
        assert_eq!(found[1].refusal(), None, "a driver that works refuses nothing");
    }
}
