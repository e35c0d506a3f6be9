//! A mount from its directories to its end.

mod options;
mod process;

use std::sync::Arc;

use mica_sys::fuse::Device;
use mica_sys::{Errno, SysError};

use super::NAME;
use super::carry::ability_here;
use super::channel::{Channel, ChannelError, ChannelOptions};
use super::ops::Server;
use super::union::Union;
use super::wire::Init;
use crate::UnionError;

pub use super::channel::Transport;
pub use options::{Options, OptionsError, Passthrough};
pub use process::{Program, Served, ServerError, attend, listen, serve_inherited};

/// A mount whose directories are open and found fit, and which nobody has asked yet.
#[derive(Debug)]
pub struct Prepared {
    server: Server,
    channel: ChannelOptions,
}

impl Prepared {
    /// Serves the mount that `device` belongs to. It answers when this returns.
    ///
    /// # Errors
    /// [`UnionError::Serve`]; the device is closed then.
    pub fn start(self, device: Device) -> Result<Session, UnionError> {
        self.server.begin().map_err(|source| UnionError::Serve { driver: NAME, source })?;
        let channel = Channel::start(device, Arc::new(self.server), self.channel).map_err(refused)?;
        Ok(Session { channel })
    }
}

/// A mount that is served by threads of this process.
///
/// Dropped, it answers no more; see [`Session::detach`].
#[derive(Debug)]
pub struct Session {
    channel: Channel,
}

impl Session {
    /// Opens the directories of a mount and finds out whether they can be one: everything that a user can have got wrong is an error here, before
    /// there is a mount.
    ///
    /// # Errors
    /// [`UnionError`].
    pub fn prepare(options: &Options) -> Result<Prepared, UnionError> {
        let ability = ability_here().map_err(|source| UnionError::Serve { driver: NAME, source })?;
        let Options { dirs, read_only, features, named_whiteouts, .. } = options;
        let union = Union::open(dirs, *read_only, ability, *features, *named_whiteouts)?;
        Ok(Prepared {
            server: Server::new(options, union),
            channel: ChannelOptions { transport: options.transport, threads: options.threads },
        })
    }

    /// [`Session::prepare`] and [`Prepared::start`].
    ///
    /// # Errors
    /// [`UnionError`]; the device is closed then.
    pub fn start(device: Device, options: &Options) -> Result<Self, UnionError> {
        Self::prepare(options)?.start(device)
    }

    /// What was agreed on with the kernel.
    #[must_use]
    pub const fn agreed(&self) -> &Init {
        self.channel.init()
    }

    /// Waits until the mount is gone, or is stopped by another thread.
    pub fn wait(&self) {
        self.channel.wait();
    }

    /// Takes no more requests, and returns when those that were begun are answered. The mount stays where it is; who uses it is told
    /// `ENOTCONN` once this is dropped.
    pub fn stop(&self) {
        self.channel.stop();
    }

    /// Lets the threads go on until the mount is gone.
    ///
    /// # Errors
    /// [`UnionError::Serve`] without a thread that waits for it.
    pub fn detach(self) -> Result<(), UnionError> {
        let waits = std::thread::Builder::new().name("mica-wait".to_owned()).spawn(move || self.wait());
        waits.map(drop).map_err(|error| refused(ChannelError::Thread(error)))
    }
}

fn refused(error: ChannelError) -> UnionError {
    let source = match error {
        ChannelError::Read(source) | ChannelError::Write(source) | ChannelError::Another(source) => source,
        ChannelError::Thread(error) => {
            SysError::new("clone", "thread", Errno::from_io_error(&error).unwrap_or(Errno::AGAIN))
        }
        ChannelError::NotInit | ChannelError::Version { .. } => {
            SysError::new("FUSE_INIT", error.to_string(), Errno::PROTO)
        }
        ChannelError::NoRings | ChannelError::Rings => {
            SysError::new("io_uring_setup", error.to_string(), Errno::OPNOTSUPP)
        }
    };
    UnionError::Serve { driver: NAME, source }
}
