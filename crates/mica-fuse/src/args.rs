//! The one definition of the command line, in its two faces: `mica-fuse`, which is called as fuse-overlayfs is, and
//! `mount.fuse.mica`, which mount(8) calls. Help, man pages and completions are made from it and from the table of mount options.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory as _, Parser};

use crate::options::GROUPS;

/// What every program that mount(8) calls has in front of its name.
const HELPER: &str = "mount.";

/// What one call is about, whichever face it came by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    /// What the table of mounts shall name as the source.
    pub(crate) source: Option<OsString>,
    /// Where the union is shown.
    pub(crate) mountpoint: PathBuf,
    /// Strings of mount options.
    pub(crate) options: Vec<OsString>,
    /// Stay until the mount is gone.
    pub(crate) is_foreground: bool,
    /// Say what is agreed with the kernel.
    pub(crate) is_debug: bool,
    /// One thread serves.
    pub(crate) is_single: bool,
    /// Options that nobody knows are passed over.
    pub(crate) is_sloppy: bool,
    /// Everything is checked and nothing is mounted.
    pub(crate) is_trial: bool,
}

/// A union of directories as a file system in user space: a drop-in for fuse-overlayfs.
///
/// Shows the lower directories as one tree and writes what is changed in it to the upper one. Returns when the mount answers; the
/// server stays in the background until it is unmounted.
#[derive(Debug, Parser)]
#[command(
    name = "mica-fuse",
    disable_version_flag = true,
    allow_missing_positional = true,
    max_term_width = 100,
    override_usage = "mica-fuse [-f] -o lowerdir=DIR[:DIR...],upperdir=DIR,workdir=DIR[,OPTION...] MOUNTPOINT"
)]
pub(crate) struct Fuse {
    /// Mount options, separated by commas; may be given several times.
    #[arg(short = 'o', value_name = "OPTIONS")]
    options: Vec<OsString>,
    /// Stay in the foreground until the mount is gone.
    #[arg(short = 'f', long)]
    foreground: bool,
    /// Stay in the foreground, and say on standard error what is agreed with the kernel.
    #[arg(short = 'd', long)]
    debug: bool,
    /// Serve with one thread.
    #[arg(short = 's')]
    single: bool,
    /// Print the version.
    #[arg(short = 'V', long)]
    version: bool,
    /// What the table of mounts names as the source; as `-o fsname=`.
    #[arg(value_name = "SOURCE")]
    source: Option<OsString>,
    /// The directory where the union is shown.
    #[arg(value_name = "MOUNTPOINT", required_unless_present_any = ["version", "generate"])]
    mountpoint: Option<PathBuf>,
    /// Write man pages and completions into a directory.
    #[arg(long = "__generate", hide = true, value_name = "DIR", exclusive = true)]
    generate: Option<PathBuf>,
}

/// The mount helper of `mount -t fuse.mica`: what mount(8) calls, and nobody else needs to.
///
/// It does what `mica-fuse` does, with the words that mount(8) has for it. Installed as a link to `mica-fuse` by the name
/// `/sbin/mount.fuse.mica`.
#[derive(Debug, Parser)]
#[command(name = "mount.fuse.mica", disable_version_flag = true, max_term_width = 100)]
pub(crate) struct Helper {
    /// What the table of mounts names as the source; any word.
    #[arg(value_name = "SOURCE")]
    source: OsString,
    /// The directory where the union is shown.
    #[arg(value_name = "MOUNTPOINT")]
    mountpoint: PathBuf,
    /// Mount options, separated by commas; may be given several times.
    #[arg(short = 'o', value_name = "OPTIONS")]
    options: Vec<OsString>,
    /// Pass over options that nobody knows.
    #[arg(short = 's')]
    sloppy: bool,
    /// Check everything, and mount nothing.
    #[arg(short = 'f')]
    fake: bool,
    /// Nothing: there is no /etc/mtab to write.
    #[arg(short = 'n')]
    no_mtab: bool,
    /// Nothing: there is no more to say.
    #[arg(short = 'v')]
    verbose: bool,
    /// The type, as mount(8) read it: `fuse.mica`, or `fuse` where the helper of all FUSE types is asked.
    #[arg(short = 't', value_name = "TYPE")]
    kind: Option<OsString>,
}

/// What the words on the command line ask for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A mount.
    Mount(Call),
    /// The version.
    Version,
    /// Man pages and completions, in this directory.
    Generated(PathBuf),
}

/// Reads the words of a command line, the first of which is the name that the program was called by.
///
/// # Errors
/// What is wrong with the words; or the help that was asked for.
pub(crate) fn read(words: impl Iterator<Item = OsString>) -> Result<Wanted, clap::Error> {
    let words: Vec<OsString> = words.collect();
    if words.first().is_some_and(|name| is_helper(name)) {
        return Helper::try_parse_from(words).map(|helper| Wanted::Mount(helper.into()));
    }
    let mut command = fuse_command();
    let matches = command.try_get_matches_from_mut(words)?;
    let fuse = <Fuse as clap::FromArgMatches>::from_arg_matches(&matches)?;
    if let Some(directory) = fuse.generate {
        return Ok(Wanted::Generated(directory));
    }
    match fuse.mountpoint {
        Some(mountpoint) if !fuse.version => Ok(Wanted::Mount(Call {
            source: fuse.source,
            mountpoint,
            options: fuse.options,
            is_foreground: fuse.foreground || fuse.debug,
            is_debug: fuse.debug,
            is_single: fuse.single,
            is_sloppy: false,
            is_trial: false,
        })),
        _ => Ok(Wanted::Version),
    }
}

/// Whether mount(8) has called.
fn is_helper(name: &OsStr) -> bool {
    Path::new(name).file_name().is_some_and(|name| name.as_bytes().starts_with(HELPER.as_bytes()))
}

impl From<Helper> for Call {
    fn from(helper: Helper) -> Self {
        Self {
            source: Some(helper.source).filter(|source| !source.is_empty()),
            mountpoint: helper.mountpoint,
            options: helper.options,
            is_foreground: false,
            is_debug: false,
            is_single: false,
            is_sloppy: helper.sloppy,
            is_trial: helper.fake,
        }
    }
}

/// The command line of `mica-fuse`, with the table of mount options in its long help.
pub(crate) fn fuse_command() -> Command {
    Fuse::command().after_long_help(options_help()).after_help("`mica-fuse --help` lists the mount options.")
}

/// The command line of `mount.fuse.mica`.
pub(crate) fn helper_command() -> Command {
    Helper::command()
}

/// The table of mount options as text.
fn options_help() -> String {
    let mut text = "Mount options:".to_owned();
    for group in GROUPS {
        text.push_str(&format!("\n\n{}:", group.title));
        for known in group.options {
            let names: Vec<String> = known.names.iter().map(|name| format!("{name}{}", known.value)).collect();
            text.push_str(&format!("\n  {}", names.join(", ")));
            if !known.help.is_empty() {
                text.push_str(&format!("\n          {}", known.help));
            }
        }
    }
    text.push_str(&format!("\n\n{}\n\n{}", EXAMPLES, EXIT_STATUS));
    text
}

/// Calls to begin with.
pub(crate) const EXAMPLES: &str = "\
Examples:
  mica-fuse -o lowerdir=/srv/base,upperdir=/srv/mine,workdir=/srv/work /mnt
  mica-fuse -o lowerdir=/srv/top:/srv/base /mnt
  mount -t fuse.mica tree /mnt -o lowerdir=/srv/base,upperdir=/srv/mine,workdir=/srv/work
  podman --storage-opt overlay.mount_program=/usr/bin/mica-fuse run ...
  fusermount3 -u /mnt      (or umount)";

/// What the exit status says.
pub(crate) const EXIT_STATUS: &str = "\
Exit status: 0 when the union is mounted, or in the foreground when it was unmounted; 1 when the words on the command line, an option or \
a directory are wrong; 32 when the mount was refused.";

#[cfg(test)]
mod tests {
    use super::*;

    fn call(words: &[&str]) -> Call {
        match read(words.iter().map(OsString::from)) {
            Ok(Wanted::Mount(call)) => call,
            other => panic!("{words:?}: {other:?}"),
        }
    }

    fn plain(mountpoint: &str, options: &[&str]) -> Call {
        Call {
            source: None,
            mountpoint: mountpoint.into(),
            options: options.iter().map(OsString::from).collect(),
            is_foreground: false,
            is_debug: false,
            is_single: false,
            is_sloppy: false,
            is_trial: false,
        }
    }

    #[test]
    fn the_definitions_hold_together() {
        fuse_command().debug_assert();
        helper_command().debug_assert();
    }

    #[test]
    fn words_are_read_as_fuse_overlayfs_reads_them() {
        assert_eq!(call(&["mica-fuse", "-o", "lowerdir=a", "/m"]), plain("/m", &["lowerdir=a"]));
        assert_eq!(call(&["mica-fuse", "/m", "-olowerdir=a", "-o", "ro"]), plain("/m", &["lowerdir=a", "ro"]));
        let source = Some("tree".into());
        assert_eq!(call(&["mica-fuse", "tree", "/m", "-o", "rw"]), Call { source, ..plain("/m", &["rw"]) });
        for (word, wanted) in [
            ("-f", Call { is_foreground: true, ..plain("/m", &[]) }),
            ("--foreground", Call { is_foreground: true, ..plain("/m", &[]) }),
            ("-d", Call { is_foreground: true, is_debug: true, ..plain("/m", &[]) }),
            ("--debug", Call { is_foreground: true, is_debug: true, ..plain("/m", &[]) }),
            ("-s", Call { is_single: true, ..plain("/m", &[]) }),
        ] {
            assert_eq!(call(&["/usr/bin/mica-fuse", word, "/m"]), wanted, "{word}");
        }
    }

    #[test]
    fn words_are_read_as_mount_writes_them() {
        let source = Some(OsString::from("tree"));
        let wanted = Call { source: source.clone(), ..plain("/m", &["rw,lowerdir=a"]) };
        let name = "/sbin/mount.fuse.mica";
        assert_eq!(call(&[name, "tree", "/m", "-o", "rw,lowerdir=a"]), wanted);
        assert_eq!(call(&[name, "tree", "/m", "-n", "-v", "-o", "rw,lowerdir=a", "-t", "fuse.mica"]), wanted);
        assert_eq!(call(&["mount.fuse", "", "/m"]).source, None);
        // By this name the letters mean what mount(8) means by them.
        let wanted = Call { source, is_sloppy: true, is_trial: true, ..plain("/m", &[]) };
        assert_eq!(call(&[name, "tree", "/m", "-s", "-f"]), wanted);
        assert_eq!(call(&[name, "tree", "/m", "-sf"]), wanted);
    }

    #[test]
    fn help_and_version_need_no_mountpoint() {
        let read = |words: &[&str]| super::read(words.iter().map(OsString::from));
        for word in ["-V", "--version"] {
            assert_eq!(read(&["mica-fuse", word]).unwrap(), Wanted::Version);
            assert_eq!(read(&["mica-fuse", word, "/m"]).unwrap(), Wanted::Version);
        }
        let help = read(&["mica-fuse", "--help"]).unwrap_err();
        assert!(!help.use_stderr());
        let help = help.to_string();
        for said in ["lowerdir=DIR", "uidmapping=", "Exit status: 0", "Examples:"] {
            assert!(help.contains(said), "{said}: {help}");
        }
        let wrong = read(&["mica-fuse"]).unwrap_err();
        assert!(wrong.use_stderr() && wrong.to_string().contains("MOUNTPOINT"), "{wrong}");
        assert!(read(&["mica-fuse", "a", "b", "c"]).unwrap_err().use_stderr());
    }
}
