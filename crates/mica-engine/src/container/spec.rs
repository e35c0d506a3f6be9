//! From a container's settings to what the runtime runs.

use std::path::PathBuf;

use mica_core::image::ContainerConfig;
use mica_runtime::{default_spec, set_user, users};
use mica_sys::Dir;
use oci_spec::runtime::{Mount, Spec};

use crate::change::{directory, set_env};
use crate::container::surroundings::Surroundings;
use crate::container::{Network, arguments};
use crate::error::{Error, Kind, Result};

/// What the spec of a container is made from.
pub(crate) struct Plan<'a> {
    pub(crate) config: &'a ContainerConfig,
    pub(crate) hostname: &'a str,
    pub(crate) network: Network,
    pub(crate) tty: bool,
    pub(crate) read_only: bool,
}

impl From<Network> for mica_runtime::Network {
    fn from(network: Network) -> Self {
        match network {
            Network::None => Self::None,
            Network::Host => Self::Host,
        }
    }
}

/// The spec of a container whose tree is `root`.
pub(crate) fn spec(plan: &Plan<'_>, root: &Dir, surroundings: &Surroundings) -> Result<Spec> {
    let mut spec = default_spec(plan.network.into());
    spec.set_hostname(Some(plan.hostname.to_owned()));
    let mounts = spec.mounts_mut().get_or_insert_default();
    mounts.extend(
        surroundings.mounts().into_iter().map(|(source, target)| bind(source, PathBuf::from(target), &["bind"])),
    );
    if let Some(process) = spec.process_mut() {
        let env = process.env_mut().get_or_insert_default();
        set_env(env, "HOSTNAME", plan.hostname);
        if plan.tty {
            set_env(env, "TERM", "xterm");
        }
        for item in &plan.config.env {
            let (name, value) = item.split_once('=').unwrap_or((item, ""));
            set_env(env, name, value);
        }
        process.set_args(Some(arguments(plan.config)));
        process.set_cwd(PathBuf::from(directory("/", &plan.config.working_dir)));
    }
    let who = if plan.config.user.is_empty() { "0" } else { &plan.config.user };
    let user = users::resolve(root, who).map_err(|error| {
        Error::because(Kind::Usage, format!("user {who:?}"), error).hinted("--user takes names of the image or numbers")
    })?;
    set_user(&mut spec, &user);
    if let Some(root) = spec.root_mut().as_mut().filter(|_| plan.read_only) {
        root.set_readonly(Some(true));
    }
    Ok(spec)
}

/// A bind mount.
pub(crate) fn bind(source: PathBuf, target: PathBuf, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(target)
        .set_typ(Some("bind".to_owned()))
        .set_source(Some(source))
        .set_options(Some(options.iter().map(|option| (*option).to_owned()).collect()));
    mount
}
