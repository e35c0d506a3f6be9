//! Images that come and go: `load`, `save`, `import`.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use mica_core::image::Platform;
use mica_engine::{
    Engine, Error, Import, ImportSource, Kind, Load, LoadFrom, Platforms, Reference, Save, SaveForm, SaveTo,
};

use super::containers::write_out;
use super::line;
use crate::args::{ArchiveForm, ImportArgs, LoadArgs, SaveArgs};
use crate::failure::say;
use crate::output::progress;

fn platform(text: Option<&str>) -> Result<Option<Platform>> {
    let parse = |text: &str| {
        text.parse().map_err(|error: mica_core::image::PlatformError| Error::new(Kind::Usage, error.to_string()))
    };
    Ok(text.map(parse).transpose()?)
}

/// Standard input as a file, unless a person sits at it.
fn stdin(hint: &str) -> Result<File> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Err(Error::new(Kind::Usage, "standard input is a terminal, not an archive").hinted(hint).into());
    }
    Ok(stdin.as_fd().try_clone_to_owned().context("read standard input")?.into())
}

pub(super) fn load(engine: &Engine, args: &LoadArgs) -> Result<ExitCode> {
    let platforms = match platform(args.platform.as_deref())? {
        Some(platform) => Platforms::One(platform),
        None if args.all_platforms => Platforms::All,
        None => Platforms::Host,
    };
    let from = match args.input.as_deref() {
        Some(path) if path != Path::new("-") && path.is_dir() => LoadFrom::Layout(path.to_owned()),
        Some(path) if path != Path::new("-") => {
            LoadFrom::Archive(File::open(path).with_context(|| format!("open {path:?}"))?)
        }
        _ => LoadFrom::Archive(stdin("name a file with -i, or pipe one in")?),
    };
    let progress = progress::on_stderr(args.quiet);
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let loaded = engine.load(Load { from, platforms, threads }, &*progress);
    let named = || args.input.as_ref().map_or("standard input".to_owned(), |path| format!("{path:?}"));
    let loaded = loaded.map_err(|error| error.while_(format_args!("load {}", named())))?;
    // Bars that are left must go before anything else is printed.
    drop(progress);
    let mut said = BTreeSet::new();
    for image in loaded.images {
        for (name, from) in &image.taken {
            say(&format!("mica: {} was the name of image {}, which keeps its ID", name.familiar(), from.short()));
        }
        if args.quiet {
            line(&image.id.to_string())?;
        } else if image.names.is_empty() {
            line(&format!("Loaded image ID: {}", image.id))?;
            for label in &image.labels {
                let short = image.id.short();
                say(&format!(
                    "mica: {short} is called {label:?} there, without a repository; name it with `mica tag {short} NAME`"
                ));
            }
        } else {
            // The platforms of one image have its name in common.
            let mut names = image.names.iter().map(Reference::familiar).filter(|name| said.insert(name.clone()));
            names.try_for_each(|name| line(&format!("Loaded image: {name}")))?;
        }
    }
    if !args.quiet {
        loaded.artifacts.iter().try_for_each(|name| line(&format!("Loaded artifact: {}", name.familiar())))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn save(engine: &Engine, args: SaveArgs) -> Result<ExitCode> {
    let form = match args.format {
        ArchiveForm::DockerArchive => Some(SaveForm::Docker),
        ArchiveForm::OciArchive => Some(SaveForm::Oci),
        ArchiveForm::OciDir => None,
    };
    let save = Save { images: args.images, platform: platform(args.platform.as_deref())? };
    let output = args.output.as_deref().filter(|path| *path != Path::new("-"));
    let progress = progress::on_stderr(args.quiet);
    match (form, output) {
        (None, Some(path)) => engine.save(&save, SaveTo::Layout(path), &*progress)?,
        (None, None) => {
            return Err(Error::new(Kind::Usage, "an OCI layout is a directory, which standard output is not")
                .hinted("name one with -o DIR, or use --format oci-archive")
                .into());
        }
        (Some(_), Some(path)) if path.is_dir() => {
            return Err(Error::new(Kind::Usage, format!("{path:?} is a directory, and an archive is a file"))
                .hinted("name a file with -o, or use --format oci-dir")
                .into());
        }
        (Some(form), path) => {
            write_out(path, |out| engine.save(&save, SaveTo::Archive(form, out), &*progress))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn import(engine: &Engine, args: ImportArgs) -> Result<ExitCode> {
    let source = if args.source == Path::new("-") {
        ImportSource::Tar(stdin("name a tar or a directory, or pipe one in")?)
    } else if args.source.is_dir() {
        ImportSource::Directory(args.source.clone())
    } else {
        ImportSource::Tar(File::open(&args.source).with_context(|| format!("open {:?}", args.source))?)
    };
    let import = Import {
        source,
        changes: args.change,
        message: args.message,
        platform: platform(args.platform.as_deref())?,
        name: args.reference.as_deref().map(Reference::parse).transpose().map_err(Error::from)?,
    };
    let progress = progress::on_stderr(args.quiet);
    let id =
        engine.import(import, &*progress).map_err(|error| error.while_(format_args!("import {:?}", args.source)))?;
    drop(progress);
    line(&id.to_string())?;
    Ok(ExitCode::SUCCESS)
}
