//! A container's process, from the mount of its tree to what is recorded of its end.

use std::os::fd::OwnedFd;
use std::time::Duration;

use jiff::Timestamp;
use mica_core::image::Platform;
use mica_runtime::{Exit, Launch, Stdio};
use mica_store::{ContainerId, ContainerState, Flush, Lifetime, LockedContainer, ProcessId, Status};
use mica_sys::Dir;
use mica_sys::mount::{Mount, Reach, space};

use crate::container::spec::{Plan, spec};
use crate::container::surroundings::Surroundings;
use crate::container::{Base, Create, Known};
use crate::convert::SERVER_ENDED;
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Its exit status; 128 and the number of the signal that ended it.
    pub status: u8,
}

impl Engine {
    /// Makes a container, runs its command to the end, and removes it where that was asked for.
    ///
    /// # Errors
    /// As [`Engine::create`] and [`Engine::start`]. A container that is to be removed is removed then too.
    pub fn run(&self, create: &Create) -> Result<Ended> {
        let known = self.create_known(create, true)?;
        self.start_to_the_end(&known)
    }

    /// Starts a container and stays until its command has ended.
    ///
    /// # Errors
    /// No such container, or one that runs already; what keeps its tree from being mounted or its command from being run.
    pub fn start(&self, word: &str) -> Result<Ended> {
        let known = self.find_container(word)?;
        if let Base::Machine { .. } = known.settings.base {
            return Err(Error::new(Kind::Usage, format!("{word} holds the changes of a try, which has ended"))
                .hinted(format!("`mica diff {word}` shows them, `mica apply {word}` brings them onto this machine")));
        }
        self.start_to_the_end(&known)
    }

    fn start_to_the_end(&self, known: &Known) -> Result<Ended> {
        if !known.settings.remove {
            return self.start_known(known);
        }
        let ended = Self::answer_for(&known.container).and_then(|owner| {
            let ended = self.start_known(known);
            drop(owner);
            ended
        });
        let discarded = self.discard(known.container.id());
        // Why the command did not run says more than why its container could not be removed.
        ended.and_then(|ended| discarded.map(|()| ended))
    }

    /// Removes a container that its owner asked to be removed, and what it leaves in the trash, if that goes fast.
    pub(crate) fn discard(&self, id: &ContainerId) -> Result<()> {
        match self.store.lock_container(id) {
            Ok(locked) => {
                if let Some(path) = self.mounted_at(id)? {
                    self.unmount_at(&path, true)?;
                }
                self.store.remove_container(locked)?;
            }
            // `rm -f` was faster.
            Err(mica_store::StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        self.store.reap(Duration::from_millis(20))?;
        Ok(())
    }

    fn start_known(&self, known: &Known) -> Result<Ended> {
        let id = known.container.id();
        let locked = self.store.lock_container(id)?;
        if self.is_alive(&self.store.container_state(&known.container)?) {
            return Err(Error::new(
                Kind::Conflict,
                format!("container {} runs already", known.container.record().name),
            ));
        }
        let mounted = self.tree_of(known)?;
        let hostname = known.settings.hostname.clone().unwrap_or_else(|| match known.settings.network {
            crate::container::Network::None => id.short().to_owned(),
            crate::container::Network::Host => host_name().unwrap_or_else(|| id.short().to_owned()),
        });
        let surroundings = Surroundings::write(self.store.run_root(), id.as_str(), &hostname, known.settings.network)?;
        let plan = Plan {
            config: &known.settings.config,
            hostname: &hostname,
            network: known.settings.network,
            tty: known.settings.tty,
            read_only: known.settings.read_only,
        };
        let spec = spec(&plan, &mounted.dir, &surroundings).map_err(|error| match space(&mounted.dir) {
            Err(gone) if gone.is_disconnected() => error.hinted(SERVER_ENDED),
            _ => error,
        })?;
        drop(mounted.dir);
        let stdio = if known.settings.tty { Stdio::Tty } else { Stdio::Inherit };
        let ended = self.watch(locked, Launch { spec, root: mounted.root, stdio, extra_mounts: Vec::new() });
        let ended = ended.map_err(|error| self.hinted_at_platform(known, error));
        drop(surroundings);
        if known.settings.remove {
            return ended;
        }
        let settled = match self.settled(known) {
            // `rm -f` took it away while it ran.
            Err(error) if error.kind() == Kind::NotFound => Ok(()),
            settled => settled.map(drop),
        };
        ended.and_then(|ended| settled.map(|()| ended))
    }

    /// A command that is there and cannot be run is most often one for another machine.
    fn hinted_at_platform(&self, known: &Known, error: Error) -> Error {
        if error.kind() != Kind::CannotInvoke || error.hint().is_some() {
            return error;
        }
        let image = known.container.record().image.and_then(|id| self.store.image(&id).ok().flatten());
        let host = Platform::host();
        match image.map(|image| image.platform).filter(|platform| !platform.serves(&host)) {
            Some(platform) => error.hinted(format!(
                "the image is for {platform} and this machine is {host}: load it for that, or install qemu-user's binfmt handlers"
            )),
            None => error,
        }
    }

    /// Starts what is launched, records it, waits for its end and records that.
    pub(crate) fn watch(&self, locked: LockedContainer, launch: Launch) -> Result<Ended> {
        let flush = match locked.container().record().lifetime {
            Lifetime::Kept => Flush::Yes,
            Lifetime::Volatile => Flush::No,
        };
        let id = locked.container().id().clone();
        let running = mica_runtime::start(launch)?;
        let mut state = ContainerState {
            status: Status::Running,
            process: self.process(running.pid()),
            started: Some(now()),
            ..ContainerState::default()
        };
        self.store.update_state(&locked, &state, Flush::No)?;
        drop(locked);
        let ended = running.wait();
        let status = match &ended {
            Ok(exit) => Exit::code(*exit),
            Err(error) => error.code(),
        };
        state = ContainerState {
            status: Status::Exited,
            process: None,
            exit_code: Some(status),
            finished: Some(now()),
            ..state
        };
        match self.store.lock_container(&id) {
            Ok(locked) => self.store.update_state(&locked, &state, flush)?,
            // `rm -f` took it away while it ran.
            Err(mica_store::StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        ended?;
        Ok(Ended { status })
    }

    /// The container's tree as a mount that the runtime takes away with it.
    fn tree_of(&self, known: &Known) -> Result<Tree> {
        let union = match self.answering_at(known.container.id())? {
            // The kernel does not guard an upper that is mounted twice: a mount that is there is shared.
            Some(path) => Mount::clone_of(&path, Reach::One)?,
            None => {
                // One that goes with its command was never mounted before.
                if !known.settings.remove {
                    self.refuse_mounted_elsewhere(known)?;
                }
                let mut dirs = self.union_dirs(known)?;
                // An upper so mounted cannot be mounted again, and one that is removed at the end never is.
                if let Some(upper) = dirs.upper.as_mut() {
                    upper.volatile = known.settings.remove;
                }
                Mount::from(self.show_tree(known, &dirs)?.into_fd())
            }
        };
        Tree::of(union)
    }

    /// Who a process is, so that its number cannot be mistaken later.
    fn process(&self, pid: u32) -> Option<ProcessId> {
        let pid = i32::try_from(pid).ok()?;
        Some(ProcessId { pid, start: start_time(pid)?, boot: self.store.boot_id().to_owned() })
    }

    /// Whether the process that a state names is there.
    pub(crate) fn is_alive(&self, state: &ContainerState) -> bool {
        let named = state.process.as_ref().filter(|_| state.status == Status::Running);
        named.is_some_and(|process| {
            process.boot == self.store.boot_id() && start_time(process.pid) == Some(process.start)
        })
    }
}

/// A mount and its root directory.
pub(crate) struct Tree {
    pub(crate) root: OwnedFd,
    pub(crate) dir: Dir,
}

impl Tree {
    pub(crate) fn of(mount: Mount) -> Result<Self> {
        let root = mount.into_fd();
        let copy =
            root.try_clone().map_err(|error| Error::because(Kind::System, "open the container's tree", error))?;
        // The mount's descriptor names the root without having it open.
        let dir = Dir::from_fd(copy).open_dir(b"")?;
        Ok(Self { root, dir })
    }
}

/// When a process was started, in clock ticks since boot; `None` when it is not there, or is dead and not waited for.
pub(crate) fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name in brackets, which may hold anything.
    let mut rest = stat.rsplit_once(") ")?.1.split(' ');
    match rest.next()? {
        "Z" | "X" => None,
        _ => rest.nth(18)?.parse().ok(),
    }
}

pub(crate) fn now() -> String {
    Timestamp::now().to_string()
}

pub(crate) fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_a_start_and_one_that_is_not_there_has_none() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(start_time(own).unwrap() > 0);
        assert_eq!(start_time(own), start_time(own));
        assert_eq!(start_time(i32::MAX), None);
    }
}
