//! One function a command: arguments in, engine called, result printed.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::Result;
use mica_engine::{Engine, EngineOptions, Error, Kind, Limits, Standing};
use serde_json::Value;

use crate::args::{Cli, Command, ContainerCommand, GlobalArgs, ImageCommand, ListingArgs, SystemCommand};
use crate::failure::say;
use crate::generate;
use crate::output::listing::{Format, Listing};
use crate::roots;

mod containers;
mod images;
mod inspect;
mod move_images;
mod processes;
mod system;
mod trying;
mod unshare;

/// Does what the user asked.
pub(crate) fn run(cli: Cli) -> Result<ExitCode> {
    if let Some(code) = reaper(&cli.command, &cli.global)? {
        return Ok(code);
    }
    match cli.command {
        Command::Completion { shell } => return done(generate::completion(shell, &mut io::stdout())),
        Command::Generate { directory } => return done(generate::all(&directory)),
        Command::Unshare(args) => return unshare::run(&stand(&cli.global)?, &args),
        _ => {}
    }
    let limits = limits(cli.command.limits())?;
    let engine = open(&cli.global)?.with_limits(limits);
    if let Some(note) = engine.note() {
        say(&format!("mica: {note}"));
    }
    let code = dispatch(&engine, cli.command);
    // Whatever the command was: it may have swept away what another left that was killed.
    empty_trash_at_last(&engine);
    code
}

fn dispatch(engine: &Engine, command: Command) -> Result<ExitCode> {
    use Command as C;
    match command {
        C::Try(args) => trying::run(engine, args),
        C::Apply(args) => trying::apply(engine, &args),
        C::Run(args) | C::Container(ContainerCommand::Run(args)) => processes::run(engine, args),
        C::Create(args) | C::Container(ContainerCommand::Create(args)) => processes::create(engine, args),
        C::Start(args) | C::Container(ContainerCommand::Start(args)) => processes::start(engine, &args),
        C::Ps(args) | C::Container(ContainerCommand::Ls(args)) => containers::ps(engine, &args),
        C::Rm(args) | C::Container(ContainerCommand::Rm(args)) => containers::rm(engine, &args),
        C::Diff(args) | C::Container(ContainerCommand::Diff(args)) => containers::diff(engine, &args),
        C::Commit(args) | C::Container(ContainerCommand::Commit(args)) => containers::commit(engine, args),
        C::Export(args) | C::Container(ContainerCommand::Export(args)) => containers::export(engine, &args),
        C::Mount(args) => containers::mount(engine, &args),
        C::Umount(args) => containers::umount(engine, &args),
        C::Images(args) | C::Image(ImageCommand::Ls(args)) => images::list(engine, &args),
        C::Load(args) | C::Image(ImageCommand::Load(args)) => move_images::load(engine, &args),
        C::Save(args) | C::Image(ImageCommand::Save(args)) => move_images::save(engine, args),
        C::Import(args) | C::Image(ImageCommand::Import(args)) => move_images::import(engine, args),
        C::Tag(args) | C::Image(ImageCommand::Tag(args)) => images::tag(engine, &args),
        C::Rmi(args) | C::Image(ImageCommand::Rm(args)) => images::rmi(engine, &args),
        C::History(args) | C::Image(ImageCommand::History(args)) => images::history(engine, &args),
        C::Image(ImageCommand::Inspect(args)) => inspect::inspect(engine, &args, Some("image")),
        C::Container(ContainerCommand::Inspect(args)) => inspect::inspect(engine, &args, Some("container")),
        C::Inspect(args) => inspect::inspect(engine, &args, None),
        C::Layers(args) => images::layers(engine, &args),
        C::System(SystemCommand::Df(args)) => system::df(engine, &args),
        C::System(SystemCommand::Prune(args)) => system::prune(engine, &args),
        C::System(SystemCommand::Check(args)) => system::check(engine, &args),
        C::System(SystemCommand::Info(args)) => system::info(engine, &args),
        C::Completion { .. } | C::Generate { .. } | C::Unshare(_) | C::Reap => Ok(ExitCode::SUCCESS),
    }
}

fn limits(texts: &[String]) -> Result<Limits> {
    let mut limits = Limits::default();
    texts.iter().try_for_each(|text| limits.set(text))?;
    Ok(limits)
}

fn done(result: Result<()>) -> Result<ExitCode> {
    result.map(|()| ExitCode::SUCCESS)
}

fn open(global: &GlobalArgs) -> Result<Engine> {
    let standing = stand(global)?;
    Ok(Engine::open(&roots::of(global, standing.is_root())?, &standing)?)
}

/// Enters a user namespace where this process needs one. No thread was started before.
fn stand(global: &GlobalArgs) -> Result<Standing> {
    let search = std::env::var_os("PATH").unwrap_or_default();
    Ok(Standing::take(&search, || roots::of(global, true).is_ok_and(|places| Engine::is_roots(&places.root)))?)
}

/// The process that empties the trash.
fn reaper(command: &Command, global: &GlobalArgs) -> Result<Option<ExitCode>> {
    let Command::Reap = command else { return Ok(None) };
    open(global)?.reap(Duration::from_secs(u64::from(u32::MAX)))?;
    Ok(Some(ExitCode::SUCCESS))
}

/// Deletes what a command put into the trash: at once where that takes no time, else in a process that outlives the
/// command. Should that one die, the next goes on.
fn empty_trash(engine: &Engine) -> Result<()> {
    if !engine.has_trash()? || !engine.reap(Duration::from_millis(20))? {
        return Ok(());
    }
    let EngineOptions { root, run_root } = engine.options();
    let mut reaper = std::process::Command::new("/proc/self/exe");
    reaper.arg("--root").arg(root).arg("--run-root").arg(run_root).arg("__reap");
    reaper.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    reaper.current_dir("/").env_clear();
    std::os::unix::process::CommandExt::process_group(&mut reaper, 0);
    drop(reaper.spawn()?);
    Ok(())
}

/// As [`empty_trash`], where the outcome of the command is what counts.
fn empty_trash_at_last(engine: &Engine) {
    // ignored: the next command goes on with it.
    match empty_trash(engine) {
        Ok(()) | Err(_) => {}
    }
}

/// Prints rows as the user asked for them.
fn print(listing: &Listing<'_>, rows: &[Value], args: &ListingArgs) -> Result<ExitCode> {
    print_formatted(listing, rows, args.format.as_deref(), args.quiet)
}

fn print_formatted(listing: &Listing<'_>, rows: &[Value], format: Option<&str>, quiet: bool) -> Result<ExitCode> {
    let format: Format = format.unwrap_or_default().parse()?;
    listing.print(&mut io::stdout().lock(), rows, &format, quiet)?;
    Ok(ExitCode::SUCCESS)
}

/// A line on standard output.
fn line(text: &str) -> Result<()> {
    Ok(writeln!(io::stdout().lock(), "{text}")?)
}

/// An ID as listings show it.
fn id_text(hex: &str, no_trunc: bool) -> String {
    if no_trunc { hex.to_owned() } else { hex.get(..12).unwrap_or(hex).to_owned() }
}

/// A long text as listings show it.
fn cut(text: &str, length: usize, no_trunc: bool) -> String {
    if no_trunc || text.chars().count() <= length {
        return text.to_owned();
    }
    text.chars().take(length.saturating_sub(1)).chain(std::iter::once('…')).collect()
}

/// What the spec of a container can hold.
fn text(words: Vec<OsString>) -> Result<Vec<String>> {
    let one = |word: OsString| {
        word.into_string().map_err(|word| Error::new(Kind::Usage, format!("argument {word:?} is not UTF-8")))
    };
    Ok(words.into_iter().map(one).collect::<Result<_, _>>()?)
}

/// Asks before something that cannot be undone; no answer is a no.
fn confirmed(question: &str) -> Result<bool> {
    if !io::stdin().is_terminal() {
        return Err(Error::new(Kind::Usage, "there is no terminal to ask on")
            .hinted("say yes beforehand: --yes, or --force of prune")
            .into());
    }
    let mut stderr = io::stderr().lock();
    write!(stderr, "{question} [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
