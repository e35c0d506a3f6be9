//! `run`, `create`, `start`: commands in containers.

use std::process::ExitCode;

use anyhow::Result;
use mica_engine::{Create, Engine, Network};

use super::{line, text};
use crate::args::{CreateArgs, NetworkArg, ProcessArgs, RunArgs, StartArgs};

impl From<NetworkArg> for Network {
    fn from(network: NetworkArg) -> Self {
        match network {
            NetworkArg::None => Self::None,
            NetworkArg::Host => Self::Host,
        }
    }
}

fn create_from(args: ProcessArgs) -> Result<Create> {
    Ok(Create {
        image: args.image,
        command: text(args.command)?,
        name: args.name,
        env: args.env.into_iter().filter_map(variable).collect(),
        workdir: args.workdir,
        user: args.user,
        hostname: args.hostname,
        entrypoint: args.entrypoint,
        network: args.network.into(),
        tty: args.tty,
        read_only: args.read_only,
        remove: args.rm,
        driver: args.driver,
    })
}

/// `NAME` alone stands for the value that it has here, and for nothing where it has none.
fn variable(item: String) -> Option<String> {
    if item.contains('=') {
        return Some(item);
    }
    std::env::var(&item).ok().map(|value| format!("{item}={value}"))
}

pub(super) fn run(engine: &Engine, args: RunArgs) -> Result<ExitCode> {
    Ok(ExitCode::from(engine.run(&create_from(args.process)?)?.status))
}

pub(super) fn create(engine: &Engine, args: CreateArgs) -> Result<ExitCode> {
    line(engine.create(&create_from(args.process)?)?.as_str())?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn start(engine: &Engine, args: &StartArgs) -> Result<ExitCode> {
    Ok(ExitCode::from(engine.start(&args.container)?.status))
}
