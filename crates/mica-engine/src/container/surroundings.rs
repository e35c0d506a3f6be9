//! The files that a container gets from outside: host name, hosts and name servers.
//!
//! They stand in the run root while the container runs and are mounted over the image's, so that they are no changes of
//! the container.

use std::path::{Path, PathBuf};

use mica_sys::Dir;

use crate::container::Network;
use crate::error::Result;

/// The files of one running container, in a directory of their own.
#[derive(Debug)]
pub(crate) struct Surroundings {
    path: PathBuf,
    home: Dir,
    name: String,
}

const LOOPBACK: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
                        fe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";

impl Surroundings {
    /// Writes the files of container `id` under the run root.
    pub(crate) fn write(run_root: &Path, id: &str, hostname: &str, network: Network) -> Result<Self> {
        let home = Dir::open(run_root)?.ensure_dir(b"containers", 0o700)?;
        home.remove_tree(id.as_bytes())?;
        home.mkdir(id.as_bytes(), 0o700)?;
        let surroundings = Self { path: run_root.join("containers").join(id), home, name: id.to_owned() };
        let dir = surroundings.home.open_dir(id.as_bytes())?;
        let hosts = match network {
            Network::None => format!("{LOOPBACK}127.0.1.1\t{hostname}\n"),
            Network::Host => host_file("/etc/hosts").unwrap_or_else(|| LOOPBACK.to_owned()),
        };
        let servers = match network {
            Network::None => String::new(),
            Network::Host => host_file("/etc/resolv.conf").unwrap_or_default(),
        };
        for (name, text) in [("hostname", format!("{hostname}\n")), ("hosts", hosts), ("resolv.conf", servers)] {
            let mut file = dir.create_file(name.as_bytes(), 0o644)?;
            file.write_whole(text.as_bytes())?;
            // Whatever umask the caller has, the container's users must be able to read it.
            file.set_mode(0o644)?;
        }
        Ok(surroundings)
    }

    /// What to mount where.
    pub(crate) fn mounts(&self) -> [(PathBuf, &'static str); 3] {
        [
            (self.path.join("hostname"), "/etc/hostname"),
            (self.path.join("hosts"), "/etc/hosts"),
            (self.path.join("resolv.conf"), "/etc/resolv.conf"),
        ]
    }
}

impl Drop for Surroundings {
    fn drop(&mut self) {
        // ignored: what is left is in the run root, and replaced when the container is started again.
        match self.home.remove_tree(self.name.as_bytes()) {
            Ok(()) | Err(_) => {}
        }
    }
}

/// A file of the machine's own, as text; a machine may do without.
pub(crate) fn host_file(path: &str) -> Option<String> {
    std::fs::read(path).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}
