//! What a mount is made of and how it is served, as a value and as lines.
//!
//! The lines are how a server process gets it from whoever starts it: the same executable, so that the version in the first
//! line is its guard against one that was replaced meanwhile. One `key value` a line; in a value a backslash stands as `\\` and
//! an end of line as `\n`, and any other byte for itself.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mica_core::plan::Features;
use mica_layer::Marks;

use super::super::channel::Transport;
use super::super::{IdRow, Ids};
use crate::{Records, UnionDirs, UpperDirs};

/// What the first line says.
const FIRST: &[u8] = b"mica fuse 1";

/// Whether the kernel reads and writes files of the upper by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Passthrough {
    /// Where it may be (Linux 6.9, `CAP_SYS_ADMIN` in the initial user namespace).
    #[default]
    Auto,
    /// Nowhere: all content goes through the page cache of the mount.
    Off,
}

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The directories. Nothing else may use the upper and work directories meanwhile.
    pub dirs: UnionDirs,
    /// How owners are mapped.
    pub ids: Ids,
    /// What is shown as the mount's source.
    pub name: String,
    /// Nothing can be changed, also where there is an upper, which is shown as the topmost lower then.
    pub read_only: bool,
    /// Others than the user who mounts may use it.
    pub allow_other: bool,
    /// POSIX ACLs are kept and count. Where not, setting one is `EOPNOTSUPP`.
    pub acls: bool,
    /// Extended attributes are shown and can be set. Where not, asking for one is `EOPNOTSUPP`.
    pub xattrs: bool,
    /// Every directory shows one link, so that none has to be counted (`static_nlink` of fuse-overlayfs).
    pub static_links: bool,
    /// What is written to the upper: with [`Features::Basic`], nothing that overlayfs reads with an option alone.
    pub features: Features,
    /// In lowers, an entry `.wh.NAME` says that NAME is gone and `.wh..wh..opq` that its directory is opaque, besides the kernel's
    /// marks: containers/storage writes layers so where a mount program shows them. In the upper such a name is as any other.
    pub named_whiteouts: bool,
    /// How long the kernel may keep names and attributes without asking. The server is the only one who changes them, so they
    /// are never wrong; short times serve programs that change directories of the union behind it.
    pub timeout: Duration,
    /// How requests come.
    pub transport: Transport,
    /// Whether the kernel reads and writes by itself.
    pub passthrough: Passthrough,
    /// Writes are collected by the kernel and sent later. Excludes passthrough.
    pub writeback: bool,
    /// Threads that answer; one for each processor that may be used, where it is not said.
    pub threads: Option<NonZeroUsize>,
}

/// As long as the kernel keeps anything.
const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

impl Options {
    /// The usual options for these directories.
    #[must_use]
    pub fn new(dirs: UnionDirs) -> Self {
        Self {
            dirs,
            ids: Ids::default(),
            name: "mica".to_owned(),
            read_only: false,
            allow_other: true,
            acls: true,
            xattrs: true,
            static_links: false,
            features: Features::Full,
            named_whiteouts: false,
            timeout: FOREVER,
            transport: Transport::Auto,
            passthrough: Passthrough::Auto,
            writeback: false,
            threads: None,
        }
    }

    /// Whether anything can be changed.
    #[must_use]
    pub const fn can_write(&self) -> bool {
        self.dirs.upper.is_some() && !self.read_only
    }

    /// The lines that say the same.
    #[must_use]
    pub fn to_lines(&self) -> Vec<u8> {
        let mut lines = Lines([FIRST, b"\n"].concat());
        for lower in &self.dirs.lowers {
            lines.path("lower", lower);
            if let Some(index) = self.dirs.indexes.get(lower) {
                lines.path("index", index);
            }
        }
        if let Some(upper) = &self.dirs.upper {
            lines.path("upper", &upper.upper);
            lines.path("work", &upper.work);
            lines.flag("volatile", upper.volatile);
        }
        lines.flag("user-marks", self.dirs.marks == Marks::User);
        lines.flag("user-records", self.dirs.records == Records::User);
        lines.flag("security-records", self.dirs.records == Records::Security);
        for (key, rows) in [("uids", &self.ids.uids), ("gids", &self.ids.gids)] {
            for row in rows {
                lines.value(key, format!("{}:{}:{}", row.shown, row.stored, row.count).as_bytes());
            }
        }
        for (key, id) in [("squash-uid", self.ids.squash.uid), ("squash-gid", self.ids.squash.gid)] {
            lines.number(key, id.map(u128::from));
        }
        lines.value("name", self.name.as_bytes());
        lines.flag("read-only", self.read_only);
        lines.flag("allow-other", self.allow_other);
        lines.flag("acls", self.acls);
        lines.flag("no-xattrs", !self.xattrs);
        lines.flag("static-links", self.static_links);
        lines.flag("basic", self.features == Features::Basic);
        lines.flag("named-whiteouts", self.named_whiteouts);
        lines.number("timeout-ns", Some(self.timeout.as_nanos()));
        match self.transport {
            Transport::Auto => {}
            Transport::Device => lines.flag("device", true),
            Transport::Ring => lines.flag("ring", true),
        }
        lines.flag("no-passthrough", self.passthrough == Passthrough::Off);
        lines.flag("writeback", self.writeback);
        lines.number("threads", self.threads.and_then(|threads| u128::try_from(threads.get()).ok()));
        lines.0
    }

    /// Reads lines that [`Options::to_lines`] wrote.
    ///
    /// # Errors
    /// [`OptionsError`]: of another version, or no such lines.
    pub fn parse(lines: &[u8]) -> Result<Self, OptionsError> {
        let mut split = lines.split(|byte| *byte == b'\n');
        if split.next() != Some(FIRST) {
            return Err(OptionsError::Version);
        }
        let mut options = Self { allow_other: false, acls: false, ..Self::new(UnionDirs::default()) };
        let (mut upper, mut work, mut volatile) = (None, None, false);
        for line in split.filter(|line| !line.is_empty()) {
            let wrong = || OptionsError::Line(String::from_utf8_lossy(line).into_owned());
            let (key, value) = match line.iter().position(|byte| *byte == b' ') {
                Some(space) => line.split_at_checked(space).ok_or_else(wrong)?,
                None => (line, &b""[..]),
            };
            let value = Value(value.get(1..).unwrap_or_default());
            match key {
                b"lower" => options.dirs.lowers.push(value.path().ok_or_else(wrong)?),
                b"index" => {
                    let lower = options.dirs.lowers.last().cloned().ok_or_else(wrong)?;
                    options.dirs.indexes.insert(lower, value.path().ok_or_else(wrong)?);
                }
                b"upper" => upper = Some(value.path().ok_or_else(wrong)?),
                b"work" => work = Some(value.path().ok_or_else(wrong)?),
                b"volatile" => volatile = true,
                b"user-marks" => options.dirs.marks = Marks::User,
                b"user-records" => options.dirs.records = Records::User,
                b"security-records" => options.dirs.records = Records::Security,
                b"uids" => options.ids.uids.push(value.row().ok_or_else(wrong)?),
                b"gids" => options.ids.gids.push(value.row().ok_or_else(wrong)?),
                b"squash-uid" => options.ids.squash.uid = Some(value.number().ok_or_else(wrong)?),
                b"squash-gid" => options.ids.squash.gid = Some(value.number().ok_or_else(wrong)?),
                b"name" => options.name = value.text().ok_or_else(wrong)?,
                b"read-only" => options.read_only = true,
                b"allow-other" => options.allow_other = true,
                b"acls" => options.acls = true,
                b"no-xattrs" => options.xattrs = false,
                b"static-links" => options.static_links = true,
                b"basic" => options.features = Features::Basic,
                b"named-whiteouts" => options.named_whiteouts = true,
                b"timeout-ns" => options.timeout = value.duration().ok_or_else(wrong)?,
                b"device" => options.transport = Transport::Device,
                b"ring" => options.transport = Transport::Ring,
                b"no-passthrough" => options.passthrough = Passthrough::Off,
                b"writeback" => options.writeback = true,
                b"threads" => options.threads = Some(value.number().ok_or_else(wrong)?),
                _ => return Err(wrong()),
            }
        }
        options.dirs.upper = match (upper, work) {
            (Some(upper), Some(work)) => Some(UpperDirs { upper, work, volatile }),
            (None, None) => None,
            _ => return Err(OptionsError::Half),
        };
        Ok(options)
    }
}

/// Lines that are not options of a mount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// Another version wrote them.
    #[error("the options of the mount were written by another version of this program")]
    Version,
    /// A line that this version does not know.
    #[error("the options of the mount have a line {0:?}, which this version does not know")]
    Line(String),
    /// An upper directory without a work directory, or the reverse.
    #[error("the options of the mount name one of the upper and work directories")]
    Half,
}

struct Lines(Vec<u8>);

impl Lines {
    fn value(&mut self, key: &str, value: &[u8]) {
        self.0.extend_from_slice(key.as_bytes());
        self.0.push(b' ');
        for byte in value {
            match byte {
                b'\n' => self.0.extend_from_slice(b"\\n"),
                b'\\' => self.0.extend_from_slice(b"\\\\"),
                byte => self.0.push(*byte),
            }
        }
        self.0.push(b'\n');
    }

    fn path(&mut self, key: &str, path: &Path) {
        self.value(key, path.as_os_str().as_bytes());
    }

    fn flag(&mut self, key: &str, set: bool) {
        if set {
            self.0.extend_from_slice(key.as_bytes());
            self.0.push(b'\n');
        }
    }

    fn number(&mut self, key: &str, number: Option<u128>) {
        if let Some(number) = number {
            self.value(key, number.to_string().as_bytes());
        }
    }
}

struct Value<'a>(&'a [u8]);

impl Value<'_> {
    fn bytes(&self) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(self.0.len());
        let mut rest = self.0.iter();
        while let Some(byte) = rest.next() {
            bytes.push(match byte {
                b'\\' => match rest.next()? {
                    b'n' => b'\n',
                    b'\\' => b'\\',
                    _ => return None,
                },
                byte => *byte,
            });
        }
        Some(bytes)
    }

    fn path(&self) -> Option<PathBuf> {
        self.bytes().map(|bytes| OsString::from_vec(bytes).into())
    }

    fn text(&self) -> Option<String> {
        String::from_utf8(self.bytes()?).ok()
    }

    fn number<T: std::str::FromStr>(&self) -> Option<T> {
        std::str::from_utf8(self.0).ok()?.parse().ok()
    }

    fn duration(&self) -> Option<Duration> {
        let nanos: u128 = self.number()?;
        Some(Duration::new(u64::try_from(nanos / 1_000_000_000).ok()?, u32::try_from(nanos % 1_000_000_000).ok()?))
    }

    fn row(&self) -> Option<IdRow> {
        let mut numbers = std::str::from_utf8(self.0).ok()?.splitn(3, ':').map(|number| number.parse().ok());
        let (shown, stored, count) = (numbers.next()??, numbers.next()??, numbers.next()??);
        Some(IdRow { shown, stored, count })
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Squash;
    use super::*;

    fn full() -> Options {
        let dirs = UnionDirs {
            lowers: vec!["/a b".into(), "/c\nupper /x\\".into(), OsString::from_vec(b"/\xff:,".to_vec()).into()],
            upper: Some(UpperDirs { upper: "/u".into(), work: "/w".into(), volatile: true }),
            marks: Marks::User,
            indexes: [("/a b".into(), "/a index".into())].into(),
            records: Records::Security,
        };
        let rows = vec![IdRow { shown: 0, stored: 1000, count: 1 }, IdRow { shown: 1, stored: 9, count: u32::MAX }];
        Options {
            ids: Ids { uids: rows.clone(), gids: rows, squash: Squash { uid: Some(0), gid: Some(u32::MAX) } },
            name: "a name\\".to_owned(),
            read_only: true,
            allow_other: false,
            acls: false,
            xattrs: false,
            static_links: true,
            features: Features::Basic,
            named_whiteouts: true,
            timeout: Duration::from_millis(1500),
            transport: Transport::Ring,
            passthrough: Passthrough::Off,
            writeback: true,
            threads: NonZeroUsize::new(3),
            ..Options::new(dirs)
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let plain = Options::new(UnionDirs::default());
        let device = Options { transport: Transport::Device, ..plain.clone() };
        let records = UnionDirs { records: Records::User, ..UnionDirs::default() };
        for options in [plain, device, full(), Options::new(records)] {
            assert_eq!(Options::parse(&options.to_lines()), Ok(options));
        }
    }

    #[test]
    fn another_version_and_unknown_lines_are_refused() {
        assert_eq!(Options::parse(b"mica fuse 2\n"), Err(OptionsError::Version));
        assert_eq!(Options::parse(b""), Err(OptionsError::Version));
        for line in ["colour red", "threads 0", "threads", "uids 1:2", "uids 1:2:3:4", "lower /a\\x", "timeout-ns -1"] {
            let lines = [FIRST, b"\n", line.as_bytes(), b"\n"].concat();
            assert_eq!(Options::parse(&lines), Err(OptionsError::Line(line.to_owned())));
        }
        assert_eq!(Options::parse(b"mica fuse 1\nupper /u\n"), Err(OptionsError::Half));
    }
}
